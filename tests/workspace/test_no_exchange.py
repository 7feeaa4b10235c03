"""File systems on which names cannot change places and files have one name each, as exFAT: what is saved is not lost.

The kernel refuses both steps to a process of its own here, as such a file system does.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Numbers of renameat2 and linkat.
_CALLS = {"x86_64": (316, 265), "aarch64": (276, 37)}

_PROGRAM = """
import ctypes, errno, os, struct, sys
from pathlib import Path
from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.carry_out import carry_out
from harmony_ls.workspace.gate import PathGate
from harmony_ls.workspace.transaction import verify

root, how, *calls = sys.argv[1:]
file = Path(root, "a.txt")
LOAD, EQUAL, RETURN, REFUSE, ALLOW = 0x20, 0x15, 0x06, 0x00050000 | errno.ENOSYS, 0x7FFF0000
steps = [(LOAD, 0, 0, 0)]
for call in calls:
    steps += [(EQUAL, 0, 1, int(call)), (RETURN, 0, 0, REFUSE)]
code = b"".join(struct.pack("HBBI", *step) for step in (*steps, (RETURN, 0, 0, ALLOW)))
buffer = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):
    sys.exit("needs a kernel that lets a process give up system calls")

n_written = 0
def save(event, arguments):
    # The first file that is written is the new one, the second a copy of the old one: somebody saves before that.
    global n_written
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_EXCL:
        n_written += 1
        if n_written == 2:
            if how == "replaces":
                Path(root, "saved").write_text("words\\n")
                os.rename(Path(root, "saved"), file)
            elif how == "writes":
                file.write_text("words\\n")

change = FileChange(ChangeKind.UPDATE, "a.txt", "one\\n", "1\\n")
steps = verify(PathGate([Path(root)]), [change])
sys.addaudithook(save)
try:
    carry_out(steps)
except WorkspaceError as error:
    print(error)
else:
    print("applied")
assert n_written == 2
"""


@pytest.mark.parametrize(
    ("how", "text", "said"),
    [
        ("waits", "1\n", "applied"),
        ("replaces", "words\n", "a.txt was changed in the meantime. Nothing was changed."),
        ("writes", "words\n", "a.txt was changed in the meantime. Nothing was changed."),
    ],
)
def test_what_is_saved_while_the_old_file_is_copied_is_kept(tmp_path: Path, how: str, text: str, said: str) -> None:
    calls = _CALLS.get(platform.machine())
    if sys.platform != "linux" or calls is None:
        pytest.skip("needs Linux on x86-64 or ARM, whose numbers of system calls are known here")
    (tmp_path / "a.txt").write_text("one\n")
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), how, *map(str, calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.stderr.startswith("needs "):
        pytest.skip(done.stderr.strip())
    assert (done.stdout.strip(), done.stderr) == (said, "")
    assert (tmp_path / "a.txt").read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["a.txt"]
