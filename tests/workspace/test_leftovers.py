"""What a crash leaves beside the files that were being changed: it is in nobody's way, and nothing is lost with it."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.leftovers import is_scratch, kept_name, new_name

FOREVER = """
import asyncio, sys
from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.workspace.disk import DiskWorkspace

async def main():
    workspace = DiskWorkspace([sys.argv[1]])
    changes = [FileChange(ChangeKind.UPDATE, f"{i}.txt", "old\\n", "new\\n") for i in range(8)]
    changes.append(FileChange(ChangeKind.RENAME, "moved.txt", "old\\n", "new\\n", new_path="there/moved.txt"))
    while True:
        await workspace.apply(changes)
        print(flush=True)
        await workspace.undo()

asyncio.run(main())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("one\n")
    return root


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


def left(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if name.startswith(".harmony-ls"))


def update(old: str = "one\n", new: str = "1\n") -> FileChange:
    return FileChange(ChangeKind.UPDATE, "a.txt", old, new)


def test_both_kinds_of_names_are_known(root: Path) -> None:
    assert is_scratch(new_name())
    assert is_scratch(kept_name())
    for name in (".harmony-ls-x.tmp", "a.txt", ".harmony-ls-new-1-0123456789abcdef.tmp.py", ".harmony_ls.toml"):
        assert not is_scratch(name)


@pytest.mark.parametrize("kind", ["old-{}-", "new-{}-", ""])
async def test_a_second_name_that_a_crash_left_keeps_no_file_from_being_changed(
    root: Path, dead: int, kind: str
) -> None:
    name = f".harmony-ls-{kind.format(dead)}0123456789abcdef.tmp"
    (root / name).hardlink_to(root / "a.txt")
    workspace = DiskWorkspace([root])
    assert (await workspace.read("a.txt")).text == "one\n"
    applied = await workspace.apply([update()])
    assert applied.notes == ()
    await workspace.undo()
    assert (root / "a.txt").read_text() == "one\n"
    assert left(root) == []


async def test_a_name_outside_counts_although_a_leftover_is_there(root: Path, dead: int, tmp_path: Path) -> None:
    (root / f".harmony-ls-old-{dead}-0123456789abcdef.tmp").hardlink_to(root / "a.txt")
    (tmp_path / "outside.txt").hardlink_to(root / "a.txt")
    with pytest.raises(WorkspaceError, match=r"has 2 names \(hard links\)"):
        await DiskWorkspace([root]).apply([update()])
    (root / "sub").mkdir()
    (root / "sub" / f".harmony-ls-old-{dead}-fedcba9876543210.tmp").write_text("x\n")
    assert len(left(root)) == 1, "what was refused clears nothing away"


async def test_a_text_that_never_got_its_place_is_removed(root: Path, dead: int) -> None:
    (root / f".harmony-ls-new-{dead}-0123456789abcdef.tmp").write_text("a model's text\n")
    await DiskWorkspace([root]).apply([update()])
    assert left(root) == []


@pytest.mark.parametrize("kind", ["old-{}-", ""])
async def test_the_only_copy_of_something_is_kept_and_told_once(root: Path, dead: int, kind: str) -> None:
    name = f".harmony-ls-{kind.format(dead)}0123456789abcdef.tmp"
    (root / name).write_text("a person's text\n")
    workspace = DiskWorkspace([root])
    applied = await workspace.apply([update()])
    assert len(applied.notes) == 1
    assert applied.notes[0].startswith(f"{name} was left by a change that a crash broke off.")
    assert (await workspace.undo()).notes == ()
    assert (root / name).read_text() == "a person's text\n"


async def test_what_a_living_process_has_there_is_left_alone(root: Path) -> None:
    for name in (new_name(), f".harmony-ls-new-{os.getppid()}-0123456789abcdef.tmp"):
        (root / name).write_text("being written\n")
    await DiskWorkspace([root]).apply([update()])
    assert len(left(root)) == 2


async def test_what_a_process_of_another_container_has_there_is_left_alone(root: Path, dead: int) -> None:
    """Its number means nothing here; that it is in the middle of a change does."""
    (root / f".harmony-ls-new-{dead}-0123456789abcdef.tmp").write_text("being written\n")
    with locked(root):
        await DiskWorkspace([root]).apply([update()])
        assert len(left(root)) == 1
    await DiskWorkspace([root]).apply([update("1\n", "2\n")])
    assert left(root) == []


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


async def test_folders_links_and_other_files_with_such_a_name_are_left_alone(root: Path, dead: int) -> None:
    (root / f".harmony-ls-new-{dead}-0000000000000000.tmp").mkdir()
    (root / f".harmony-ls-new-{dead}-0000000000000001.tmp").symlink_to("nothing")
    (root / f".harmony-ls-new-{dead}-0000000000000002").write_text("x\n")
    assert (await DiskWorkspace([root]).apply([update()])).notes == ()
    assert len(left(root)) == 3


@pytest.mark.parametrize("n_rounds", [1, 4, 12])
def test_a_process_that_is_killed_in_the_middle_loses_nothing(root: Path, n_rounds: int) -> None:
    """Each file is old or new as a whole, and the next change finds nothing in its way."""
    names = [*(f"{i}.txt" for i in range(8)), "moved.txt"]
    for name in names:
        (root / name).write_text("old\n")
    process = subprocess.Popen([sys.executable, "-c", FOREVER, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(n_rounds):
        assert process.stdout.readline() == b"\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    moved = [path for path in (root / "moved.txt", root / "there" / "moved.txt") if path.exists()]
    kept = {(root / name).read_text() for name in left(root) if f"-old-{process.pid}-" in name}
    assert moved or kept, "it is there under one name at least"
    workspace = DiskWorkspace([root])
    changes = []
    for path in [*(root / f"{i}.txt" for i in range(8)), *moved]:
        text = path.read_text()
        assert text in ("old\n", "new\n")
        changes.append(FileChange(ChangeKind.UPDATE, str(path), text, "newer\n"))
    asyncio.run(workspace.apply(changes))
    assert not [name for name in left(root) if "-new-" in name]
    assert {(root / name).read_text() for name in left(root)} <= {"old\n", "new\n"}
