"""The workspace on a real disk: what it refuses, what it keeps, and that a failure leaves nothing behind."""

import asyncio
import contextlib
import gc
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.port import Applied


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "b.txt").write_text("two\n")
    return folder


@pytest.fixture
def workspace(root: Path) -> DiskWorkspace:
    return DiskWorkspace([root])


def update(path: str, old: str, new: str) -> FileChange:
    return FileChange(ChangeKind.UPDATE, path, old, new)


def create(path: str, text: str = "new\n") -> FileChange:
    return FileChange(ChangeKind.CREATE, path, "", text)


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


async def test_a_file_is_read_by_any_spelling_of_its_path(workspace: DiskWorkspace, root: Path) -> None:
    for path in ("a.txt", "./a.txt", "sub/../a.txt", str(root / "a.txt"), (root / "a.txt").as_uri()):
        file = await workspace.read(path)
        assert (file.path, file.text) == ("a.txt", "one\n")


async def test_mode_and_encoding_are_kept(workspace: DiskWorkspace, root: Path) -> None:
    script = root / "script.sh"
    script.write_bytes(b"\xff\xfe" + "écho\r\n".encode("utf-16-le"))
    script.chmod(0o754)
    await workspace.apply([update("script.sh", "écho\r\n", "écho 2\r\n")])
    assert script.read_bytes() == b"\xff\xfe" + "écho 2\r\n".encode("utf-16-le")
    assert stat.S_IMODE(script.stat().st_mode) == 0o754


async def test_a_moved_file_keeps_its_mode(workspace: DiskWorkspace, root: Path) -> None:
    (root / "a.txt").chmod(0o755)
    await workspace.apply([FileChange(ChangeKind.RENAME, "a.txt", "one\n", "one\n", new_path="bin/a")])
    assert stat.S_IMODE((root / "bin" / "a").stat().st_mode) == 0o755


async def test_the_last_change_sets_are_taken_back_one_by_one(workspace: DiskWorkspace, root: Path) -> None:
    (root / "b.txt").chmod(0o600)
    states = [tree(root)]
    await workspace.apply([update("a.txt", "one\n", "1\n"), create("new/deep/file.txt")])
    states.append(tree(root))
    await workspace.apply([FileChange(ChangeKind.DELETE, "b.txt", "two\n")])
    states.append(tree(root))
    await workspace.apply([FileChange(ChangeKind.RENAME, "a.txt", "1\n", "2\n", new_path="c/a.txt")])
    for state in reversed(states):
        await workspace.undo()
        assert tree(root) == state
    assert stat.S_IMODE((root / "b.txt").stat().st_mode) == 0o600
    with pytest.raises(WorkspaceError, match="nothing to undo"):
        await workspace.undo()


async def test_every_change_set_has_a_number_of_its_own(workspace: DiskWorkspace, root: Path) -> None:
    """Also after one was taken back, and when the oldest are no longer kept."""
    await workspace.apply([update("a.txt", "one\n", "1\n")])
    [first] = workspace.change_sets
    with pytest.raises(WorkspaceError):
        await workspace.apply([update("a.txt", "one\n", "2\n")])
    assert workspace.change_sets == (first,)
    await workspace.undo()
    assert workspace.change_sets == ()
    seen = {first}
    for number in range(30):
        await workspace.apply([create(f"{number}.txt")])
        assert workspace.change_sets[-1] not in seen
        seen.add(workspace.change_sets[-1])
    assert len(workspace.change_sets) == 20
    last = workspace.change_sets
    (root / "29.txt").write_text("mine\n")
    with pytest.raises(WorkspaceError):
        await workspace.undo()
    assert workspace.change_sets == last


async def test_undo_is_refused_where_a_person_went_on(workspace: DiskWorkspace, root: Path) -> None:
    await workspace.apply([update("a.txt", "one\n", "1\n")])
    (root / "a.txt").write_text("1\nmine\n")
    with pytest.raises(WorkspaceError, match=r"a\.txt was changed in the meantime"):
        await workspace.undo()
    assert (root / "a.txt").read_text() == "1\nmine\n"
    (root / "a.txt").write_text("1\n")
    await workspace.undo()
    assert (root / "a.txt").read_text() == "one\n"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (create("a.txt"), "there already"),
        (create("folder"), "a folder already"),
        (create("a.txt/inside"), "not a folder"),
        (update("missing.txt", "x", "y"), "does not exist"),
        (update("a.txt", "different\n", "y"), "changed in the meantime"),
        (update("folder", "x", "y"), "a folder"),
        (update("fifo", "x", "y"), "a named pipe"),
        (update("latin.txt", "x", "y"), "not UTF-8"),
        (update("binary.bin", "x", "y"), "binary"),
        (update("read-only.txt", "x\n", "y\n"), "read-only"),
        (FileChange(ChangeKind.DELETE, "read-only.txt", "x\n"), "read-only"),
        (FileChange(ChangeKind.RENAME, "link", "one\n", "one\n", new_path="c.txt"), "is a link"),
        (FileChange(ChangeKind.DELETE, "link", "one\n"), "is a link"),
        (create("dangling"), "a link already"),
        (create("loop/x"), "loop/x"),
    ],
)
async def test_all_is_verified_before_anything_is_done(
    workspace: DiskWorkspace, root: Path, bad: FileChange, words: str
) -> None:
    (root / "folder").mkdir()
    os.mkfifo(root / "fifo")
    (root / "latin.txt").write_bytes("é\n".encode("latin-1"))
    (root / "binary.bin").write_bytes(b"a\0b")
    (root / "read-only.txt").write_text("x\n")
    (root / "read-only.txt").chmod(0o444)
    (root / "link").symlink_to("a.txt")
    (root / "dangling").symlink_to("nowhere.txt")
    (root / "loop").symlink_to("loop")
    before = tree(root)
    with pytest.raises(WorkspaceError, match=words):
        await workspace.apply([create("first.txt"), update("b.txt", "two\n", "2\n"), bad])
    assert tree(root) == before
    with pytest.raises(WorkspaceError, match=words):
        await workspace.check([create("first.txt"), bad])


async def test_a_failure_in_the_middle_puts_everything_back(workspace: DiskWorkspace, root: Path) -> None:
    """Two new files of which one would have to be a folder: that shows only when the second is written."""
    before = tree(root)
    changes = [
        update("a.txt", "one\n", "1\n"),
        FileChange(ChangeKind.DELETE, "b.txt", "two\n"),
        create("x/y/first.txt"),
        create("x/y/first.txt/second.txt"),
    ]
    with pytest.raises(WorkspaceError, match="Nothing was changed"):
        await workspace.apply(changes)
    assert tree(root) == before
    with pytest.raises(WorkspaceError, match="nothing to undo"):
        await workspace.undo()


async def test_a_link_inside_the_workspace_is_edited_where_it_leads(workspace: DiskWorkspace, root: Path) -> None:
    (root / "link").symlink_to("a.txt")
    await workspace.apply([update("link", "one\n", "1\n")])
    assert (root / "link").is_symlink()
    assert (root / "a.txt").read_text() == "1\n"
    with pytest.raises(WorkspaceError, match="Multiple operations"):
        await workspace.apply([update("link", "1\n", "2\n"), update("a.txt", "1\n", "3\n")])


async def test_with_two_roots_each_file_is_found_in_its_own(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.txt").write_text("three\n")
    workspace = DiskWorkspace([root, other])
    assert (await workspace.read("c.txt")).path == (other / "c.txt").as_posix()
    (other / "a.txt").write_text("other\n")
    with pytest.raises(WorkspaceError, match="more than one folder"):
        await workspace.read("a.txt")
    await workspace.apply([create("new.txt")])
    assert (root / "new.txt").exists()
    assert len(await workspace.list_files()) == 5


async def test_files_are_listed_without_what_may_not_be_read(workspace: DiskWorkspace, root: Path) -> None:
    for name in (".git/config", ".vscode/settings.json", ".env", "build/out.txt", "src/c.py", "src/key.pem"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n")
    (root / ".gitignore").write_text("build/\n")
    (root / "src" / "link.py").symlink_to("c.py")
    assert await workspace.list_files() == (".gitignore", "a.txt", "b.txt", "src/c.py")
    assert await workspace.list_files(2) == (".gitignore", "a.txt")


async def test_ignored_files_are_let_through_where_that_is_wanted(root: Path) -> None:
    (root / ".gitignore").write_text("*.log\n")
    (root / "x.log").write_text("x\n")
    with pytest.raises(WorkspaceError, match=r"ignored by version control \(\.gitignore, line 1: \*\.log\)"):
        await DiskWorkspace([root]).read("x.log")
    assert (await DiskWorkspace([root], lets_ignored_through=True).read("x.log")).text == "x\n"


async def test_folders_in_folders_without_an_end_are_looked_into_so_far_and_no_further(root: Path) -> None:
    """A repository of a few kilobytes can hold thousands of them, and a judgement of each takes longer the deeper."""
    folder = os.open(root, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("deep", dir_fd=folder)
        inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("c.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    (root / ("deep/" * 50) / "d.txt").write_text("four\n")
    workspace = DiskWorkspace([root])
    async with asyncio.timeout(60):
        assert await workspace.list_files() == ("a.txt", "b.txt", "deep/" * 50 + "d.txt")
        with pytest.raises(WorkspaceError, match=r"lies too deep: a path has at most 100 names"):
            await workspace.read("deep/" * 150 + "c.txt")
        (root / "link").symlink_to("deep/" * 150)
        with pytest.raises(WorkspaceError, match=r"leads too deep"):
            await workspace.apply([create("link/c.txt")])
    await asyncio.to_thread(remove_deep, root / "deep")


def remove_deep(folder: Path) -> None:
    """Without recursion, which what pytest uses for it would not survive."""
    subprocess.run(["rm", "-rf", folder], check=True, timeout=60)


async def test_the_memory_for_undo_has_a_bound(root: Path) -> None:
    """The last change set can always be taken back, the ones before it while they are not too long together."""
    workspace = DiskWorkspace([root])
    texts = [letter * 15_000_000 for letter in "abcdef"]
    await workspace.apply([create("long.txt", texts[0])])
    for old, new in pairwise(texts):
        await workspace.apply([update("long.txt", old, new)])
    assert workspace.change_sets == (3, 4, 5, 6)
    await workspace.undo()
    assert (root / "long.txt").stat().st_size == 15_000_000


async def test_a_missing_folder_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not a folder"):
        DiskWorkspace([tmp_path / "nowhere"])


async def test_a_cancelled_change_is_made_whole_and_told(workspace: DiskWorkspace, root: Path) -> None:
    changes = [create(f"many/{i}.txt") for i in range(50)]
    task = asyncio.ensure_future(workspace.apply(changes))
    await asyncio.sleep(0)
    task.cancel()
    assert len((await task).created) == 50
    assert len(list((root / "many").glob("*.txt"))) == 50
    assert not [name for name in tree(root) if name.endswith(".tmp")]


@contextmanager
def threads_at_work() -> Iterator[threading.Event]:
    """What is to be done on a thread waits until the event is set."""
    are_free, executor = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(are_free.wait)
    try:
        yield are_free
    finally:
        are_free.set()


async def test_a_read_that_is_cancelled_more_than_once_ends_and_is_complained_of_by_nobody(
    workspace: DiskWorkspace,
) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, complaint: complaints.append(complaint))
    with threads_at_work() as are_free:
        task = asyncio.create_task(workspace.read("missing.txt"))
        for _ in range(3):
            await asyncio.sleep(0)
            assert task.cancel()
        await asyncio.sleep(0)
        assert not task.done(), "nobody is left guessing"
        are_free.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    del task
    gc.collect()
    assert complaints == []


def test_a_change_that_the_end_of_the_event_loop_cancels_is_made_and_told(workspace: DiskWorkspace, root: Path) -> None:
    told: list[Applied] = []

    async def applying() -> None:
        told.append(await workspace.apply([update("a.txt", "one\n", "1\n")]))

    async def freeing(are_free: threading.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            are_free.set()

    async def ending() -> None:
        with contextlib.ExitStack() as left_open:
            are_free = left_open.enter_context(threads_at_work())
            tasks.update({asyncio.create_task(applying()), asyncio.create_task(freeing(are_free))})
            await asyncio.sleep(0)
            left_open.pop_all()

    tasks: set[asyncio.Task[None]] = set()
    asyncio.run(ending())
    assert told == [Applied(modified=("a.txt",))]
    assert (root / "a.txt").read_text() == "1\n"
