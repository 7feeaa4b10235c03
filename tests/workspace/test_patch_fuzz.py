"""Any text as a patch: an answer and never another exception, nothing touched on error, nothing outside ever.

A sample runs always; ``HARMONY_LS_FUZZ_PATCHES=100000`` sets the number of patches for a long run.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ApprovalRequest
from harmony_ls.workspace.disk import DiskWorkspace

N_PATCHES = int(os.environ.get("HARMONY_LS_FUZZ_PATCHES", "1000"))
N_PER_EXAMPLE = 20

FILES = {
    "a.txt": "one\ntwo\nthree\ntwo\n",
    "src/b.py": "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 1\n",
    "crlf.txt": "one\r\ntwo\r\n\r\nthree",
    "empty.txt": "",
    ".git/config": "[core]\n",
    ".env": "KEY=secret\n",
}
PATHS = [
    "a.txt", "./a.txt", "src/b.py", "src/../a.txt", "crlf.txt", "empty.txt", "new.txt", "deep/er/new.txt", "src", ".",
    "..", "../canary/file.txt", "../new.txt", "/etc/passwd", "link/file.txt", "link", "link/new.txt", "hard.txt",
    "fifo", ".git/config", ".GIT/hooks/x", ".env", "~/x", "C:\\x", "file:///etc/passwd", "a.txt/b", "", "\0", "x" * 300,
    "src/./b.py", "src//b.py", "A.txt", ".vscode/settings.json", "inner-link.txt",
]  # fmt: skip
TEXTS = [
    "one",
    "two",
    "three",
    "",
    "class A:",
    "    def f(self):",
    "        return 1",
    "return 1",
    "x",
    "\u2028",
    "-- x",
]
EXISTING = ["a.txt", "src/b.py", "crlf.txt"]
HEADERS = ["*** Add File: ", "*** Delete File: ", "*** Update File: ", "*** Move to: "]
MARKERS = [
    "*** Begin Patch", "*** End Patch", "*** End of File", "@@", "@@ class A:", "@@ -1,2 +1,2 @@", "@@ ... @@",
    "*** Frobnicate", "```", "EOF", "\\ No newline at end of file", "*** Environment ID: x", " *** End Patch",
]  # fmt: skip


def a_patch(random: Random) -> str:
    """A patch that is nearly right, in one of the wrappers that models use."""
    body = [line for _ in range(random.choice([1, 1, 2, 3])) for line in _section(random)]
    for _ in range(random.choice([0, 0, 0, 1, 3])):
        place = random.randint(0, len(body))
        body[place : place + random.randint(0, 2)] = [_line(random)]
    text = "\n".join(("*** Begin Patch", *body, "*** End Patch") if random.randrange(10) else body)
    for _ in range(random.choice([0, 0, 0, 0, 1, 4])):
        place = random.randint(0, len(text))
        text = text[:place] + _garbage(random, 2) + text[place + random.randint(0, 3) :]
    match random.choice(["", "", "", "json", "heredoc", "fence", "crlf", "escaped"]):
        case "json":
            return json.dumps({random.choice(["patch", "input", "cmd", "x"]): text})
        case "heredoc":
            return f"{random.choice(['cd src && ', 'cd .. && ', ''])}apply_patch <<'EOF'\n{text}\nEOF"
        case "fence":
            return f"Look:\n```patch\n{text}\n```\n"
        case "crlf":
            return text.replace("\n", "\r\n")
        case "escaped":
            return text.replace("\n", "\\n")
        case _:
            return text


def _section(random: Random) -> list[str]:
    path = random.choice(PATHS if random.randrange(5) == 0 else EXISTING)
    match random.choice(["Add", "Delete", "Update", "Update", "Update", "diff"]):
        case "Add":
            path = random.choice(["new.txt", "deep/er/new.txt", path])
            return [f"*** Add File: {path}", *(f"+{random.choice(TEXTS)}" for _ in range(random.randrange(4)))]
        case "Delete":
            return [f"*** Delete File: {path}"]
        case "diff":
            target = random.choice([path, random.choice(PATHS)])
            numbers = random.choice(["@@ -1 +1 @@", "@@ -1,2 +1,2 @@", "@@"])
            return [f"--- a/{path}", f"+++ b/{target}", numbers, *_hunk(random, path)]
        case _:
            move = [f"*** Move to: {random.choice(PATHS)}"] if random.randrange(5) == 0 else []
            anchor = random.choice(["@@", "@@", "@@", "@@ class A:", "@@     def g(self):", "@@ two", "@@ no"])
            return [f"*** Update File: {path}", *move, anchor, *_hunk(random, path)]


def _hunk(random: Random, path: str) -> list[str]:
    real = FILES.get(path.removeprefix("./"), "one\n").splitlines() or [""]
    start = random.randrange(len(real))
    marked = [random.choice("  -") + line for line in real[start : start + random.randint(1, 4)]]
    marked.insert(random.randint(0, len(marked)), f"+{random.choice(TEXTS)}")
    return marked


def _line(random: Random) -> str:
    match random.randrange(4):
        case 0:
            return random.choice(["", " ", "+", "-"]) + random.choice(TEXTS)
        case 1:
            return random.choice(HEADERS) + random.choice(PATHS)
        case 2:
            return random.choice(MARKERS)
        case _:
            return _garbage(random, 8)


def _garbage(random: Random, n_most: int) -> str:
    ranges = ((0, 0x20), (0x20, 0x7F), (0x20, 0x7F), (0x80, 0x3000), (0xD7F0, 0xE010), (0xFE00, 0x1FFFF))
    return "".join(chr(random.randrange(*random.choice(ranges))) for _ in range(random.randrange(n_most + 1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with traps in it, and beside it a canary that must never change."""
    base = tmp_path_factory.mktemp("fuzz")
    (base / "canary").mkdir()
    (base / "canary" / "file.txt").write_text("one\ntwo\n")
    root = base / "root"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    (root / "link").symlink_to(base / "canary")
    (root / "inner-link.txt").symlink_to(root / "a.txt")
    (root / "hard.txt").hardlink_to(base / "canary" / "file.txt")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def state_of(folder: Path) -> dict[str, tuple[int, int, object]]:
    """Every name below a folder with its mode, inode-independent, and its bytes."""
    state: dict[str, tuple[int, int, object]] = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content: object = os.readlink(path) if os.path.islink(path) else None
            if os.path.isfile(path) and content is None:
                with open(path, "rb") as file:
                    content = file.read()
            state[path] = (status.st_mode, status.st_nlink if content is not None else 0, content)
    return state


async def attempt(folder: Path, text: str) -> str:
    before, canary = state_of(folder), state_of(folder.parent / "canary")
    workspace = DiskWorkspace([folder])
    tool = apply_patch_tool(workspace)
    call = ToolCall("call_1", "apply_patch", text)
    prepared = await tool.prepare(call)
    assert state_of(folder) == before, "preparing changes nothing"
    if not isinstance(prepared, ApprovalRequest):
        assert prepared is not None
        assert prepared.is_error
        return "refused"
    assert prepared.detail
    output = await tool.run(call)
    assert not output.is_error, f"what was prepared can be done: {output.text}"
    assert state_of(folder.parent / "canary") == canary, "nothing outside is touched"
    await workspace.undo()
    assert state_of(folder) == before, "undo puts back every byte"
    assert sorted(os.listdir(folder.parent)) == ["canary", "root"]
    return "applied"


def test_any_text_is_answered(folder: Path, runner: asyncio.Runner) -> None:
    outcomes = {"applied": 0, "refused": 0}

    @settings(max_examples=N_PATCHES // N_PER_EXAMPLE, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64))
    def fuzz(seed: int) -> None:
        random = Random(seed)
        for _ in range(N_PER_EXAMPLE):
            text = a_patch(random)
            note(f"the patch: {text!r}")
            outcomes[runner.run(attempt(folder, text))] += 1

    fuzz()
    # Both kinds are among them, or the patches say nothing.
    assert outcomes["applied"] * 10 > N_PATCHES, outcomes
    assert outcomes["refused"] * 10 > N_PATCHES, outcomes
