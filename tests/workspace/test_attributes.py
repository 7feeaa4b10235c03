"""A changed file keeps what belongs to it beside its text, and what could not be kept is told."""

import os
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.tools.apply_patch import success_text
from harmony_ls.workspace.disk import DiskWorkspace

if sys.platform != "linux":
    pytest.skip("needs Linux: elsewhere Python reads no extended attributes", allow_module_level=True)

NOBODY = 65534
ACCESS_LIST, FOLDERS_LIST = "system.posix_acl_access", "system.posix_acl_default"
NO_ID = 0xFFFFFFFF


def access_list(**also: int) -> bytes:
    """The kernel's form: the owner may read and write, one more user may read, and nobody else anything."""
    entries = [(1, 6, NO_ID), (2, 4, also.get("user", 1234)), (4, 0, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a file that has an attribute of its own. Others may get there, unlike below `tmp_path`."""
    root = Path(tempfile.mkdtemp(prefix="harmony-ls-"))
    root.chmod(0o755)
    (root / "a.txt").write_text("one\n")
    try:
        os.setxattr(root / "a.txt", "user.tag", b"mine")
        os.setxattr(root / "a.txt", ACCESS_LIST, access_list())
    except OSError as error:
        shutil.rmtree(root)
        pytest.skip(f"needs a file system with extended attributes ({error})")
    yield root
    shutil.rmtree(root)


@contextmanager
def being_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def kept(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in sorted(os.listxattr(path))}


CHANGES = [
    FileChange(ChangeKind.UPDATE, "a.txt", "one\n", "two\n"),
    FileChange(ChangeKind.RENAME, "a.txt", "one\n", "two\n", new_path="new/b.txt"),
]


@pytest.mark.parametrize("change", CHANGES, ids=["update", "move"])
async def test_access_list_and_attributes_are_kept(root: Path, change: FileChange) -> None:
    before = kept(root / "a.txt")
    assert set(before) >= {"user.tag", ACCESS_LIST}
    applied = await DiskWorkspace([root]).apply([change])
    assert (root / change.final_path).read_text() == "two\n"
    assert kept(root / change.final_path) == before
    assert stat.S_IMODE((root / change.final_path).stat().st_mode) == 0o640
    assert applied.notes == ()


async def test_what_was_deleted_comes_back_with_them(root: Path) -> None:
    before = kept(root / "a.txt")
    workspace = DiskWorkspace([root])
    await workspace.apply([FileChange(ChangeKind.DELETE, "a.txt", "one\n")])
    await workspace.undo()
    assert kept(root / "a.txt") == before


async def test_a_file_that_has_no_access_list_gets_none_from_its_folder(root: Path) -> None:
    """Else whoever the list names could read what only its owner could."""
    (root / "private.txt").write_text("one\n")
    (root / "private.txt").chmod(0o600)
    os.setxattr(root, FOLDERS_LIST, access_list())
    await DiskWorkspace([root]).apply([FileChange(ChangeKind.UPDATE, "private.txt", "one\n", "two\n")])
    assert (root / "private.txt").read_text() == "two\n"
    assert ACCESS_LIST not in os.listxattr(root / "private.txt")
    assert stat.S_IMODE((root / "private.txt").stat().st_mode) == 0o600


async def test_a_new_file_gets_what_its_folder_gives(root: Path) -> None:
    os.setxattr(root, FOLDERS_LIST, access_list())
    await DiskWorkspace([root]).apply([FileChange(ChangeKind.CREATE, "new.txt", "", "x\n")])
    assert ACCESS_LIST in os.listxattr(root / "new.txt")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to set what others may not")
async def test_what_cannot_be_kept_is_told_and_the_change_is_made(root: Path) -> None:
    """Another's file, in a group of others, with an attribute that the system alone may set."""
    os.setxattr(root / "a.txt", "security.label-of-a-test", b"x")
    (root / "a.txt").chmod(0o664)
    os.chown(root / "a.txt", 0, 1234)
    os.chown(root, NOBODY, NOBODY)
    workspace = DiskWorkspace([root])
    with being_nobody():
        applied = await workspace.apply([CHANGES[0]])
        again = await workspace.undo()
    assert applied.modified == ("a.txt",)
    [note] = applied.notes
    assert note.startswith("a.txt could not keep its owner, its group, the attribute security.label-of-a-test (Op")
    assert f"Note: {note}" in success_text(applied)
    assert kept(root / "a.txt")["user.tag"] == b"mine"
    status = (root / "a.txt").stat()
    assert status.st_uid == NOBODY
    assert again.notes == (), "and it is told once"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
async def test_a_group_that_cannot_be_kept_leaves_its_rights_to_no_other(root: Path) -> None:
    (root / "b.txt").write_text("one\n")
    os.chown(root / "b.txt", NOBODY, 1234)
    (root / "b.txt").chmod(0o660)
    os.chown(root, NOBODY, NOBODY)
    with being_nobody():
        applied = await DiskWorkspace([root]).apply([FileChange(ChangeKind.UPDATE, "b.txt", "one\n", "two\n")])
    assert applied.notes == ("b.txt could not keep its group.",)
    assert stat.S_IMODE((root / "b.txt").stat().st_mode) == 0o600
