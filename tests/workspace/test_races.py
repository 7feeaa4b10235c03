"""Files that change between plan and change, disks that are full, names that look the same: nothing is lost."""

import contextlib
import os
import resource
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.carry_out import carry_out
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.gate import PathGate
from harmony_ls.workspace.transaction import verify

OUTSIDE = "outside\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\n")
    (root / "sub" / "b.txt").write_text("two\n")
    (root / "sub" / "c.txt").write_text("three\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_text(OUTSIDE)
    return root


def tree(root: Path) -> dict[str, object]:
    """Everything below a folder: texts, where links lead, kinds of the rest."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        plain = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[name] = os.readlink(path) if path.is_symlink() else plain
    return found


def update(path: str, old: str, new: str) -> FileChange:
    return FileChange(ChangeKind.UPDATE, path, old, new)


CHANGES = (
    update("a.txt", "one\n", "1\n"),
    FileChange(ChangeKind.CREATE, "new/d.txt", "", "four\n"),
    update("sub/b.txt", "two\n", "2\n"),
    FileChange(ChangeKind.DELETE, "sub/c.txt", "three\n"),
)


def replaced_by_link(root: Path) -> None:
    (root / "sub" / "b.txt").unlink()
    (root / "sub" / "b.txt").symlink_to(root.parent / "outside" / "b.txt")


def replaced_by_folder(root: Path) -> None:
    (root / "sub" / "b.txt").unlink()
    (root / "sub" / "b.txt").mkdir()


def replaced_by_pipe(root: Path) -> None:
    (root / "sub" / "b.txt").unlink()
    os.mkfifo(root / "sub" / "b.txt")


def replaced_by_another(root: Path) -> None:
    (root / "other").write_text("two\n")
    (root / "other").rename(root / "sub" / "b.txt")


def gone(root: Path) -> None:
    (root / "sub" / "b.txt").unlink()


def written_at_the_same_size(root: Path) -> None:
    (root / "sub" / "b.txt").write_text("owt\n")


def written_with_the_same_times(root: Path) -> None:
    """As on a file system whose clock is too coarse to tell."""
    path = root / "sub" / "b.txt"
    status = path.stat()
    path.write_text("owt\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def parent_gone(root: Path) -> None:
    for name in ("b.txt", "c.txt"):
        (root / "sub" / name).unlink()
    (root / "sub").rmdir()


def parent_moved(root: Path) -> None:
    (root / "sub").rename(root / "elsewhere")


def parent_became_a_link(root: Path) -> None:
    (root / "sub").rename(root / "elsewhere")
    (root / "sub").symlink_to(root.parent / "outside")


def parent_became_a_file(root: Path) -> None:
    (root / "sub").rename(root / "elsewhere")
    (root / "sub").write_text("x\n")


def new_place_was_taken(root: Path) -> None:
    (root / "new").mkdir()
    (root / "new" / "d.txt").write_text("mine\n")


def new_folder_became_a_link(root: Path) -> None:
    (root / "new").symlink_to(root.parent / "outside")


def deleted_file_was_written_to(root: Path) -> None:
    (root / "sub" / "c.txt").write_text("three\nand mine\n")


def root_gone(root: Path) -> None:
    root.rename(root.parent / "moved")


BETWEEN = [
    replaced_by_link, replaced_by_folder, replaced_by_pipe, replaced_by_another, gone, written_at_the_same_size,
    written_with_the_same_times, parent_gone, parent_moved, parent_became_a_link, parent_became_a_file,
    new_place_was_taken, new_folder_became_a_link, deleted_file_was_written_to, root_gone,
]  # fmt: skip


@pytest.mark.parametrize("between", BETWEEN, ids=lambda function: function.__name__)
def test_what_happens_between_verifying_and_changing_is_seen_and_all_is_put_back(
    root: Path, between: Callable[[Path], None]
) -> None:
    steps = verify(PathGate([root]), CHANGES)
    between(root)
    before = tree(root.parent)
    with pytest.raises(WorkspaceError, match="Nothing was changed"):
        carry_out(steps)
    assert tree(root.parent) == before


def test_a_save_of_somebody_else_in_the_same_moment_is_never_lost(root: Path) -> None:
    """An editor that saves by a rename, in a real race: it comes before the change, which then is refused, or after."""
    path, saved = root / "a.txt", root / "saved"
    for number in range(100):
        path.write_text("one\n")
        steps = verify(PathGate([root]), [update("a.txt", "one\n", "1\n")])
        saved.write_text(f"save {number}\n")
        both = threading.Barrier(2)

        def save(both: threading.Barrier = both) -> None:
            both.wait()
            saved.rename(path)

        editor = threading.Thread(target=save)
        editor.start()
        both.wait()
        with contextlib.suppress(WorkspaceError):
            carry_out(steps)
        editor.join()
        assert path.read_text() == f"save {number}\n"
        assert sorted(os.listdir(root)) == ["a.txt", "sub"]


def test_of_several_change_sets_in_the_same_moment_one_is_made_as_a_whole(root: Path) -> None:
    """Each in a workspace of its own, as in a process of its own."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(25):
            (root / "a.txt").write_text("one\n")
            (root / "sub" / "b.txt").write_text("one\n")
            all_ready, outcomes = threading.Barrier(3), []

            def change(number: int, all_ready: threading.Barrier = all_ready, made: list[str] = outcomes) -> None:
                text = f"{number}\n"
                steps = verify(PathGate([root]), [update(path, "one\n", text) for path in ("a.txt", "sub/b.txt")])
                all_ready.wait()
                with contextlib.suppress(WorkspaceError):
                    carry_out(steps)
                    made.append(text)

            threads = [threading.Thread(target=change, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert outcomes == [(root / "a.txt").read_text()] == [(root / "sub" / "b.txt").read_text()]
            assert sorted(tree(root)) == ["a.txt", "sub", "sub/b.txt", "sub/c.txt"]
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Writing more fails as on a full disk: the system says so in the middle of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_disk_that_is_full_at_one_of_three_files_leaves_all_as_they_were(root: Path, place: int) -> None:
    changes = [
        FileChange(ChangeKind.CREATE, "deep/new/d.txt", "", "four\n"),
        update("a.txt", "one\n", "1\n"),
        FileChange(ChangeKind.RENAME, "sub/b.txt", "two\n", "2\n", new_path="other/b.txt"),
    ]
    changes[place] = replace(changes[place], new_text="x" * 100_000)
    before = tree(root)
    steps = verify(PathGate([root]), changes)
    words = rf"{changes[place].final_path} could not be written: File too large\. Nothing was changed"
    with (
        files_of_at_most(10_000),
        pytest.raises(WorkspaceError, match=words),
    ):
        carry_out(steps)
    assert tree(root) == before
    carry_out(verify(PathGate([root]), changes))
    assert len((root / changes[place].final_path).read_text()) == 100_000


async def test_a_file_that_grows_while_it_is_read_is_not_taken_for_whole(root: Path) -> None:
    """What is read is what the system said there was: a text or a refusal, never a piece of a text."""
    path = root / "log.txt"
    line = "x" * 1023 + "\n"
    path.write_text(line * 1000)
    is_over = threading.Event()

    def grow() -> None:
        with path.open("a") as file:
            for _ in range(8000):
                if is_over.is_set():
                    return
                file.write(line)
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    workspace = DiskWorkspace([root])
    try:
        for _ in range(20):
            try:
                text = (await workspace.read("log.txt")).text
            except WorkspaceError as error:
                assert "being written" in str(error) or "larger than" in str(error)  # noqa: PT017
            else:
                assert text.endswith("\n")
                assert len(text) % 1024 == 0
    finally:
        is_over.set()
        writer.join()


@pytest.mark.parametrize("size", [16 * 1024 * 1024 + 1, 2 * 1024**3])
async def test_a_large_sparse_file_is_refused_without_being_read(root: Path, size: int) -> None:
    os.truncate(root / "a.txt", size)
    with pytest.raises(WorkspaceError, match="larger than 16 MB"):
        await DiskWorkspace([root]).read("a.txt")


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "né/é.txt"), unicodedata.normalize("NFD", "né/é.txt")


@pytest.mark.parametrize(("there", "written"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)], ids=["nfc", "nfd"])
async def test_a_name_is_found_however_its_characters_are_composed(root: Path, there: str, written: str) -> None:
    """A model copies what it sees, and both look the same."""
    (root / there).parent.mkdir()
    (root / there).write_text("one\n")
    workspace = DiskWorkspace([root])
    assert (await workspace.read(written)).path == there
    with pytest.raises(WorkspaceError, match="there already"):
        await workspace.apply([FileChange(ChangeKind.CREATE, written, "", "x\n")])
    with pytest.raises(WorkspaceError, match="Multiple operations"):
        await workspace.apply([update(there, "one\n", "1\n"), update(written, "one\n", "2\n")])
    move = FileChange(ChangeKind.RENAME, there, "one\n", "one\n", new_path=written)
    with pytest.raises(WorkspaceError, match="composed in another way"):
        await workspace.apply([move])
    await workspace.apply([update(written, "one\n", "1\n")])
    assert (root / there).read_text() == "1\n"
    assert len([name for name in tree(root) if name.endswith(".txt")]) == 4


async def test_two_names_that_look_the_same_are_each_found_by_their_own(root: Path) -> None:
    """Where they are two: to some file systems they are one."""
    names = [name.rpartition("/")[2] for name in (COMPOSED, DECOMPOSED)]
    for name in names:
        (root / name).write_text(f"{len(name)}\n")
    workspace = DiskWorkspace([root])
    texts = [(await workspace.read(name)).text for name in names]
    assert texts == (["5\n", "6\n"] if len(tree(root)) == 6 else ["6\n", "6\n"])


async def test_a_name_in_other_case_keeps_its_own_spelling_where_case_means_nothing(root: Path) -> None:
    if not (root / "A.TXT").exists():
        pytest.skip("needs macOS, or another system to whose files case means nothing")
    workspace = DiskWorkspace([root])
    await workspace.apply([update("A.TXT", "one\n", "1\n")])
    assert "a.txt" in tree(root)
    await workspace.apply([FileChange(ChangeKind.RENAME, "a.txt", "1\n", "1\n", new_path="A.txt")])
    assert "A.txt" in tree(root)
    await workspace.undo()
    await workspace.apply([FileChange(ChangeKind.DELETE, "A.TXT", "1\n")])
    await workspace.undo()
    assert (root / "a.txt").read_text() == "1\n"


async def test_two_new_names_that_differ_in_case_are_two_files_or_a_refusal(root: Path) -> None:
    before = tree(root)
    changes = [FileChange(ChangeKind.CREATE, name, "", f"{name}\n") for name in ("New.txt", "NEW.txt")]
    try:
        await DiskWorkspace([root]).apply(changes)
    except WorkspaceError:
        assert tree(root) == before
    else:
        assert tree(root) == before | {"New.txt": b"New.txt\n", "NEW.txt": b"NEW.txt\n"}


async def test_names_of_the_greatest_length_are_changed_moved_and_put_back(root: Path) -> None:
    long, other = "é" * 125 + ".txt", "x" * 251 + ".txt"
    workspace = DiskWorkspace([root])
    await workspace.apply([FileChange(ChangeKind.CREATE, long, "", "one\n")])
    await workspace.apply([update(long, "one\n", "1\n")])
    await workspace.apply([FileChange(ChangeKind.RENAME, long, "1\n", "1\n", new_path=f"{other}/{other}")])
    assert (root / other / other).read_text() == "1\n"
    for _ in range(3):
        await workspace.undo()
    assert not (root / long).exists()
    assert not (root / other).exists()


async def test_every_file_that_is_listed_can_be_read(root: Path) -> None:
    for name in ("bad\udcff", "two\nlines", "tab\there", "back\\slash", "dot.", "space ", "\u2028line", "ok ay"):
        with contextlib.suppress(OSError):  # not every file system has all of these
            (root / name).write_text("x\n")
    (root / "odd\n" / "inner").mkdir(parents=True)
    (root / "odd\n" / "inner" / "x.txt").write_text("x\n")
    workspace = DiskWorkspace([root])
    listed = await workspace.list_files()
    assert listed == ("a.txt", "ok ay", "sub/b.txt", "sub/c.txt")
    for path in listed:
        await workspace.read(path)


async def test_half_a_character_in_a_new_text_is_a_refusal(root: Path) -> None:
    before = tree(root)
    for change in (update("a.txt", "one\n", "\ud800"), FileChange(ChangeKind.CREATE, "new.txt", "", "\udfff")):
        with pytest.raises(WorkspaceError, match="half a character"):
            await DiskWorkspace([root]).apply([update("sub/b.txt", "two\n", "2\n"), change])
    assert tree(root) == before


@pytest.mark.parametrize(
    ("data", "new"),
    [
        (b"one", b"one more"),
        (b"a\r\nb\nc\rd", b"a\r\nb\nc\rd more"),
        (b"\xef\xbb\xbfone\n", b"\xef\xbb\xbfone\n more"),
        ("one\r\n".encode("utf-16"), "one\r\n more".encode("utf-16")),
        (b"\xfe\xff\x00o\x00\n", b"\xfe\xff\x00o\x00\n\x00 \x00m\x00o\x00r\x00e"),
        (b"", b" more"),
    ],
)
async def test_bytes_come_back_as_they_were(root: Path, data: bytes, new: bytes) -> None:
    (root / "a.txt").write_bytes(data)
    workspace = DiskWorkspace([root])
    text = (await workspace.read("a.txt")).text
    await workspace.apply([update("a.txt", text, text + " more")])
    assert (root / "a.txt").read_bytes() == new
    await workspace.undo()
    assert (root / "a.txt").read_bytes() == data
    await workspace.apply([FileChange(ChangeKind.DELETE, "a.txt", text)])
    await workspace.undo()
    assert (root / "a.txt").read_bytes() == data
