"""Changes of many files as one: everything is verified first, everything written next to its place, then put there.

Whatever fails on the way, all files are put back as they were. A crash between two files can leave the first changed
and the second not, since no file system changes two names at once; a single file is always old or new.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.text_file import Encoding, decode
from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.workspace.files import (
    FileState,
    opened_folder,
    read_state,
    same_state,
    scratch_name,
    state_of,
    sync_folder,
    write_new_file,
)
from harmony_ls.workspace.gate import GatedPath, PathGate, check_no_repository_made

__all__ = ["FileStyle", "Step", "carry_out", "remove_folders", "verify"]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class FileStyle:
    """What a text alone does not say of a file: how it is encoded, and whom it belongs to."""

    encoding: Encoding = Encoding.UTF_8
    like: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A change that was verified: the files that it is about, and the bytes that it writes.

    ``source`` and ``old`` are unset for a new file, ``target`` for one that is deleted. ``is_respelled``: the new name
    is the same file to this file system, as ``a.txt`` and ``A.txt`` may be.
    """

    change: FileChange
    source: GatedPath | None
    target: GatedPath | None
    old: FileState | None
    data: bytes
    style: FileStyle
    is_respelled: bool = False


def verify(gate: PathGate, changes: Sequence[FileChange], styles: Mapping[str, FileStyle] | None = None) -> list[Step]:
    """The steps that the changes take, if all of them can be taken now. Raises WorkspaceError; changes nothing.

    ``styles`` are those of files that are created, by path.
    """
    steps: list[Step] = []
    for change in changes:
        try:
            steps.append(_step(gate, change, (styles or {}).get(change.path, FileStyle())))
        except OSError as error:
            raise WorkspaceError(f"{change.path} cannot be used: {error.strerror}. Nothing was changed.") from error
    targets = [step.target for step in steps if step.target is not step.source]
    check_no_repository_made(target for target in targets if target is not None)
    owners: dict[object, int] = {}
    for number, step in enumerate(steps):
        identities: list[object] = [path.real for path in (step.source, step.target) if path is not None]
        if step.old is not None:
            identities.append((step.old.status.st_dev, step.old.status.st_ino))
        if any(owners.setdefault(identity, number) != number for identity in identities):
            raise WorkspaceError(f"Multiple operations target {step.change.path}. Put all its hunks into one section.")
    return steps


def _step(gate: PathGate, change: FileChange, style: FileStyle) -> Step:
    if change.kind is ChangeKind.CREATE:
        target = gate.pass_through(change.path)
        _check_vacant(target, change.path)
        return Step(change, None, target, None, style.encoding.to_bytes(change.new_text), style)
    source = gate.pass_through(change.path)
    old, encoding = _unchanged(source, change)
    style = FileStyle(encoding, old.status)
    data = encoding.to_bytes(change.new_text)
    _check_writable(source, old, change)
    match change.kind:
        case ChangeKind.UPDATE:
            return Step(change, source, source, old, data, style)
        case ChangeKind.DELETE:
            return Step(change, source, None, old, b"", style)
        case _:
            target = gate.pass_through(change.final_path)
            is_same = not target.is_link and _is_same_file(source, target)
            if is_same and target.real == source.real:
                return Step(change, source, source, old, data, style)
            is_respelled = is_same and target.names[:-1] == source.names[:-1]
            if not is_respelled:
                _check_vacant(target, change.final_path)
            return Step(change, source, target, old, data, style, is_respelled)


def _unchanged(path: GatedPath, change: FileChange) -> tuple[FileState, Encoding]:
    try:
        old = read_state(path)
    except FileNotFoundError as error:
        raise WorkspaceError(f"{change.path} does not exist (any more). Nothing was changed.") from error
    text_file = decode(old.data, change.path)
    if text_file.text != change.old_text:
        raise WorkspaceError(
            f"{change.path} was changed in the meantime. Nothing was changed; read it again and make a new patch."
        )
    return old, text_file.encoding


def _check_writable(path: GatedPath, old: FileState, change: FileChange) -> None:
    if path.is_link and change.kind is not ChangeKind.UPDATE:
        raise WorkspaceError(f"{change.path} is a link; name the file that it leads to. Nothing was changed.")
    if not old.mode & stat.S_IWUSR or not os.access(path.real, os.W_OK):
        raise WorkspaceError(f"{change.path} is read-only. Nothing was changed.")
    if not os.access(path.real.parent, os.W_OK):
        raise WorkspaceError(f"The folder of {change.path} is read-only. Nothing was changed.")


def _check_vacant(path: GatedPath, name: str) -> None:
    """Nothing may be overwritten that the patch does not show."""
    if path.is_link or os.path.lexists(path.real):
        what = "a folder" if path.real.is_dir() else "a link" if path.is_link else "there"
        raise WorkspaceError(
            f"{name} is {what} already. Nothing was changed; to change a file use '*** Update File', or choose another "
            "name."
        )
    folder = path.root
    for part in path.names[:-1]:
        folder = folder / part
        if not os.path.lexists(folder):
            break
        if not folder.is_dir():
            raise WorkspaceError(f"{name} cannot be created: {folder.relative_to(path.root)} is not a folder.")
    existing = folder if folder.is_dir() else folder.parent
    if not os.access(existing, os.W_OK):
        raise WorkspaceError(f"{name} cannot be created: its folder is read-only.")


def _is_same_file(source: GatedPath, target: GatedPath) -> bool:
    try:
        return os.path.samefile(source.real, target.real)
    except OSError:
        return False


@dataclass(slots=True)
class _Work:
    """What was done so far: how to take it back, what to clear away, and the folders that were made."""

    undo: list[Callable[[], None]] = field(default_factory=list)
    scratch: list[tuple[GatedPath, str]] = field(default_factory=list)
    folders: list[GatedPath] = field(default_factory=list)


def carry_out(steps: Sequence[Step]) -> tuple[GatedPath, ...]:
    """Take all steps, or none. Returns the folders that were made. Raises WorkspaceError after putting all back."""
    work = _Work()
    try:
        staged = [_staged(step, work) for step in steps]
        for step, name in zip(steps, staged, strict=True):
            _commit(step, name, work)
        # The entries of new folders too: after a loss of power, what lies in a folder is found through its parent.
        touched = [path for step in steps for path in (step.source, step.target) if path is not None]
        for path in {path.real.parent: path for path in (*work.folders, *touched)}.values():
            with opened_folder(path) as folder:
                sync_folder(folder)
    except BaseException as error:
        lost = _roll_back(work)
        if lost:
            raise PartlyAppliedError(f"{_reason(error)} Not all could be put back: {'; '.join(lost)}.") from error
        _clear(work)
        remove_folders(work.folders)
        if isinstance(error, OSError):
            raise WorkspaceError(f"{_reason(error)} Nothing was changed.") from error
        raise
    _clear(work)
    return tuple(work.folders)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"The changes could not be written: {error.strerror or error}."
    return str(error) or type(error).__name__


def _staged(step: Step, work: _Work) -> str:
    """Write the new bytes next to their place; the empty string where there are none to write."""
    if step.target is None or (step.old is not None and step.target is step.source and step.old.data == step.data):
        return ""
    _make_folders(step.target, work)
    name = scratch_name()
    with opened_folder(step.target) as folder:
        write_new_file(folder, name, step.data, step.style.like)
    work.scratch.append((step.target, name))
    return name


def _make_folders(path: GatedPath, work: _Work) -> None:
    for depth in range(1, len(path.names)):
        folder_path = GatedPath(path.root, path.names[:depth])
        with opened_folder(folder_path) as folder, contextlib.suppress(FileExistsError):
            os.mkdir(folder_path.names[-1], dir_fd=folder)
            work.folders.append(folder_path)


def _commit(step: Step, staged: str, work: _Work) -> None:
    if step.source is not None and step.old is not None:
        with opened_folder(step.source) as folder:
            if not same_state(state_of(folder, step.source.names[-1]), step.old.status):
                raise WorkspaceError(f"{step.change.path} was changed in the meantime. Nothing was changed.")
    if step.source is None and step.target is not None:
        _put_new(step.target, staged, work, step.change.path)
    elif step.source is not None and (step.target is step.source or step.is_respelled):
        if staged:
            _put_over(step.source, step.target or step.source, staged, work)
        if step.is_respelled and step.target is not None:
            _respell(step.source, step.target, work)
    elif step.source is not None:
        if step.target is not None:
            _put_new(step.target, staged, work, step.change.final_path)
        _take_away(step.source, work)


def _put_new(path: GatedPath, staged: str, work: _Work, shown: str) -> None:
    name = path.names[-1]
    with opened_folder(path) as folder:
        try:
            os.link(staged, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.unlink(staged, dir_fd=folder)
        except FileExistsError as error:
            raise WorkspaceError(f"{shown} has come into being in the meantime. Nothing was changed.") from error
        except OSError as error:
            if error.errno not in _NO_LINKS or state_of(folder, name) is not None:
                raise
            os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
    work.undo.append(lambda: _in_folder(path, lambda folder: os.unlink(name, dir_fd=folder)))


def _put_over(path: GatedPath, staged_in: GatedPath, staged: str, work: _Work) -> None:
    name, backup = path.names[-1], scratch_name()
    with opened_folder(path) as folder:
        try:
            os.link(name, backup, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            old = read_state(path)
            write_new_file(folder, backup, old.data, old.status)
        work.scratch.append((path, backup))
        work.undo.append(lambda: _rename(path, backup, name))
        os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)


def _take_away(path: GatedPath, work: _Work) -> None:
    name, backup = path.names[-1], scratch_name()
    _rename(path, name, backup)
    work.scratch.append((path, backup))
    work.undo.append(lambda: _rename(path, backup, name))


def _respell(source: GatedPath, target: GatedPath, work: _Work) -> None:
    old, new = source.names[-1], target.names[-1]
    _rename(source, old, new)
    work.undo.append(lambda: _rename(source, new, old))


def _rename(path: GatedPath, old: str, new: str) -> None:
    _in_folder(path, lambda folder: os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder))


def _in_folder(path: GatedPath, act: Callable[[int], None]) -> None:
    with opened_folder(path) as folder:
        act(folder)


def _roll_back(work: _Work) -> list[str]:
    """Put everything back, the last first. Returns what could not be."""
    lost: list[str] = []
    for undo in reversed(work.undo):
        try:
            undo()
        except OSError as error:
            lost.append(str(error))
    return lost


def _clear(work: _Work) -> None:
    for path, name in work.scratch:
        # What was put into its place is no longer there under this name.
        with contextlib.suppress(OSError):
            _in_folder(path, lambda folder, name=name: os.unlink(name, dir_fd=folder))  # type: ignore[misc]
    work.scratch.clear()


def remove_folders(folders: Sequence[GatedPath]) -> None:
    """Remove folders that are empty, the innermost first."""
    for path in reversed(folders):
        with contextlib.suppress(OSError):
            _in_folder(path, lambda folder, name=path.names[-1]: os.rmdir(name, dir_fd=folder))  # type: ignore[misc]
