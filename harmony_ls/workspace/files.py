"""Files of a disk, opened so that no link is followed on the way: each folder is opened inside the one before it.

A path that passed the gate can be swapped for a link before it is used; walked like this, it then is an error and never
another file. Nothing here decides what may be changed.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.attributes import Attributes, attributes_of, take_over
from harmony_ls.workspace.gate import GatedPath
from harmony_ls.workspace.globs import folded
from harmony_ls.workspace.leftovers import n_own_names

__all__ = [
    "FileState", "holds_still", "opened_file", "opened_folder", "read_state", "same_state", "spelled_as_there",
    "state_of", "sync_folder", "write_new_file",
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
    attributes: Attributes

    @property
    def status(self) -> os.stat_result:
        """What the system said of it before its bytes were read."""
        return self.attributes.status

    @property
    def mode(self) -> int:
        """The permission bits."""
        return self.attributes.mode


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


@contextlib.contextmanager
def opened_file(folder: int, name: str) -> Iterator[int]:
    """A file of a folder, as a descriptor to read from. Raises OSError for a link."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def spelled_as_there(path: GatedPath) -> GatedPath:
    """The path with the file's own spelling of its name, where the file system takes other cases for the same.

    A name that is replaced would else be spelled anew by that. Raises OSError.
    """
    name = path.names[-1]
    with opened_folder(path) as folder:
        entries = os.listdir(folder)
        if name in entries or (status := state_of(folder, name)) is None:
            return path
        likely = [each for each in entries if folded(each) == folded(name)]
        same = [each for each in likely if (other := state_of(folder, each)) and os.path.samestat(other, status)]
    return replace(path, names=(*path.names[:-1], same[0])) if len(same) == 1 else path


def read_state(path: GatedPath) -> FileState:
    """Read a regular file. Raises WorkspaceError in plain words for everything else, FileNotFoundError for nothing."""
    try:
        with opened_folder(path) as folder:
            status = os.stat(path.names[-1], dir_fd=folder, follow_symlinks=False)
            _check_regular(path, status, folder)
            with opened_file(folder, path.names[-1]) as descriptor:
                attributes = attributes_of(descriptor)
                _check_regular(path, attributes.status, folder)
                data = _all_bytes(descriptor)
                if len(data) != attributes.status.st_size or not same_state(os.fstat(descriptor), attributes.status):
                    raise WorkspaceError(f"{path.shown} is being written at this moment. Try again.")
                return FileState(data, attributes)
    except (FileNotFoundError, WorkspaceError):
        raise
    except NotADirectoryError as error:
        # A parent that is a file, or that became a link in this very moment.
        raise WorkspaceError(f"{path.shown} cannot be read: one of its folders is a file or a link.") from error
    except OSError as error:
        raise WorkspaceError(f"{path.shown} cannot be read: {error.strerror}.") from error


def _all_bytes(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(LARGEST_FILE + 1)


def _check_regular(path: GatedPath, status: os.stat_result, folder: int) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise WorkspaceError(f"{path.shown} is {kind}, not a file. It is left alone.")
    if status.st_nlink > 1 and (n_names := status.st_nlink - n_own_names(folder, status)) > 1:
        raise WorkspaceError(
            f"{path.shown} has {n_names} names (hard links), some of which may lie outside the workspace. It is left "
            "alone."
        )
    if status.st_size > LARGEST_FILE:
        raise WorkspaceError(
            f"{path.shown} is larger than {LARGEST_FILE // 1024 // 1024} MB. It is left alone; such files are not "
            "written by hand."
        )


def same_state(status: os.stat_result | None, earlier: os.stat_result) -> bool:
    """Whether a file is the one that it was, untouched as far as its times and its size tell."""
    return status is not None and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) == (
        earlier.st_dev, earlier.st_ino, earlier.st_size, earlier.st_mtime_ns,
    )  # fmt: skip


def holds_still(folder: int, name: str, earlier: FileState) -> bool:
    """Whether a name stands for the file that was read, with the bytes that it had. Times can be too coarse to tell."""
    try:
        with opened_file(folder, name) as descriptor:
            is_same = same_state(os.fstat(descriptor), earlier.status)
            return is_same and _all_bytes(descriptor) == earlier.data
    except OSError:
        return False


def write_new_file(
    folder: int, name: str, data: bytes, like: Attributes | None = None, original: int | None = None
) -> tuple[str, ...]:
    """Write a file that does not exist yet, to the disk and not only to its cache, with the attributes of another.

    ``original`` is that other file, where it is open. Returns what could not be kept of it. An error leaves nothing.
    """
    # Until the file has the mode of the other, nobody else may look into it.
    descriptor = os.open(name, _WRITE_NEW, 0o666 if like is None else 0o600, dir_fd=folder)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        refused = () if like is None else take_over(descriptor, like, original)
        os.fsync(descriptor)
        return refused
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def sync_folder(folder: int) -> None:
    """Write names that were changed to the disk. Some file systems cannot do that for folders, and need not."""
    with contextlib.suppress(OSError):
        os.fsync(folder)
