"""Files of a disk, opened so that no link is followed on the way: each folder is opened inside the one before it.

A path that passed the gate can be swapped for a link before it is used; walked like this, it then is an error and never
another file. Nothing here decides what may be changed.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.gate import GatedPath

__all__ = [
    "FileState", "opened_folder", "read_state", "same_state", "scratch_name", "state_of", "sync_folder",
    "write_new_file",
]  # fmt: skip

LARGEST_FILE = 16 * 1024 * 1024

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe would wait for someone to write into it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class FileState:
    """A regular file as it was read: its bytes, and what tells whether it was touched since."""

    data: bytes
    status: os.stat_result

    @property
    def mode(self) -> int:
        """The permission bits."""
        return stat.S_IMODE(self.status.st_mode)


def scratch_name() -> str:
    """A name that no file has and that the gate lets nobody use."""
    return f".harmony-ls-{secrets.token_hex(8)}.tmp"


@contextlib.contextmanager
def opened_folder(path: GatedPath) -> Iterator[int]:
    """The folder that a file lies in, as a descriptor. Raises OSError where it is missing or behind a link."""
    folder = os.open(path.root, _FOLDER)
    try:
        for name in path.names[:-1]:
            inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def state_of(folder: int, name: str) -> os.stat_result | None:
    """What a name in a folder stands for; None for nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def read_state(path: GatedPath) -> FileState:
    """Read a regular file. Raises WorkspaceError in plain words for everything else, FileNotFoundError for nothing."""
    try:
        with opened_folder(path) as folder:
            status = os.stat(path.names[-1], dir_fd=folder, follow_symlinks=False)
            _check_regular(path, status)
            descriptor = os.open(path.names[-1], _READ, dir_fd=folder)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                _check_regular(path, status)
                return FileState(file.read(LARGEST_FILE + 1), status)
    except (FileNotFoundError, WorkspaceError):
        raise
    except NotADirectoryError as error:
        # A parent that is a file, or that became a link in this very moment.
        raise WorkspaceError(f"{path.shown} cannot be read: one of its folders is a file or a link.") from error
    except OSError as error:
        raise WorkspaceError(f"{path.shown} cannot be read: {error.strerror}.") from error


def _check_regular(path: GatedPath, status: os.stat_result) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise WorkspaceError(f"{path.shown} is {kind}, not a file. It is left alone.")
    if status.st_nlink > 1:
        raise WorkspaceError(
            f"{path.shown} has {status.st_nlink} names (hard links), some of which may lie outside the workspace. "
            "It is left alone."
        )
    if status.st_size > LARGEST_FILE:
        raise WorkspaceError(
            f"{path.shown} is larger than {LARGEST_FILE // 1024 // 1024} MB. It is left alone; such files are not "
            "written by hand."
        )


def same_state(status: os.stat_result | None, earlier: os.stat_result) -> bool:
    """Whether a file is the one that it was, untouched."""
    return status is not None and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) == (
        earlier.st_dev, earlier.st_ino, earlier.st_size, earlier.st_mtime_ns,
    )  # fmt: skip


def write_new_file(folder: int, name: str, data: bytes, like: os.stat_result | None) -> None:
    """Write a file that does not exist yet, to the disk and not only to its cache, with mode and owner of another."""
    descriptor = os.open(name, _WRITE_NEW, 0o666, dir_fd=folder)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        if like is not None:
            _take_over(descriptor, like)
        os.fsync(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _take_over(descriptor: int, like: os.stat_result) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (like.st_uid, like.st_gid):
        # Only the superuser may give a file away; one that others may write then belongs to who wrote it.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def sync_folder(folder: int) -> None:
    """Write names that were changed to the disk. Some file systems cannot do that for folders, and need not."""
    with contextlib.suppress(OSError):
        os.fsync(folder)
