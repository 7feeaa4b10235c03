"""Carry out changes of many files that were verified: everything is written next to its place first, then put there.

Whatever fails on the way, all files are put back as they were; and whatever somebody else writes into one of them in
the same moment is not lost: it is seen before what was there is let go of. Where two names cannot change places (NFS,
SMB, exFAT), that is seen up to the last look at a file, just before its new bytes are put over it; a save that falls
between this look and that step is written over. Change sets of several harmony-ls wait for each other, folder by
folder. A crash between two files can leave the first changed and the second not, since no file system changes two names
at once; a single file is always old or new. What a crash leaves beside the files is `leftovers`' business.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.workspace.files import (
    FileState,
    holds_still,
    opened_file,
    opened_folder,
    same_state,
    state_of,
    sync_folder,
    write_new_file,
)
from harmony_ls.workspace.gate import GatedPath
from harmony_ls.workspace.leftovers import kept_name, lock_folder, new_name, remove_leftovers
from harmony_ls.workspace.renaming import rename_exchange, rename_to_free
from harmony_ls.workspace.transaction import Step

__all__ = ["CarriedOut", "carry_out", "remove_folders"]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# Each takes a descriptor, of which a process has 256 on some systems.
_MOST_LOCKS = 64
_LOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """What was done beside the changes themselves: the folders that were made, and ``notes`` for a person about what
    could not be kept of a file, or was found in a folder."""

    folders: tuple[GatedPath, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What had a place before, under another name in the same folder: the file itself, or a copy."""

    path: GatedPath
    name: str
    old: FileState
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class _Undo:
    """How to take one thing back. ``kept`` holds what is lost if that fails."""

    act: Callable[[], None]
    shown: str
    kept: _Kept | None = None


@dataclass(slots=True)
class _Work:
    """What was done so far: how to take it back, what to clear away, and the folders that were made.

    ``current`` is the file that is being worked on, for messages.
    """

    current: str = ""
    undo: list[_Undo] = field(default_factory=list)
    staged: list[tuple[GatedPath, str]] = field(default_factory=list)
    kept: list[_Kept] = field(default_factory=list)
    folders: list[GatedPath] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    locks: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def carry_out(steps: Sequence[Step]) -> CarriedOut:
    """Take all steps, or none. Raises WorkspaceError after putting all back, PartlyAppliedError where that failed."""
    work = _Work()
    with work.locks:
        try:
            _lock(steps, work)
            staged = []
            for step in steps:
                work.current = step.change.final_path
                staged.append(_staged(step, work))
            for step, name in zip(steps, staged, strict=True):
                work.current = step.change.final_path
                _commit(step, name, work)
            _sync(steps, work)
            _check_kept(work)
        except BaseException as error:
            _take_back(work, error)
            if isinstance(error, OSError):
                raise WorkspaceError(f"{_reason(error, work)} Nothing was changed.") from error
            raise
        _clear(work)
    return CarriedOut(tuple(work.folders), tuple(work.notes))


def _take_back(work: _Work, error: BaseException) -> None:
    """Put everything back. Raises PartlyAppliedError where not all could be."""
    lost = _roll_back(work)
    _clear(work)
    remove_folders(work.folders)
    if lost:
        raise PartlyAppliedError(f"{_reason(error, work)} Not all could be put back: {'; '.join(lost)}.") from error


def _reason(error: BaseException, work: _Work) -> str:
    if isinstance(error, OSError):
        return f"{work.current} could not be written: {error.strerror or error}."
    return str(error).removesuffix(" Nothing was changed.") or type(error).__name__


def _paths(steps: Sequence[Step]) -> Iterator[GatedPath]:
    """One path for each folder that the steps change names in."""
    found = {path.real.parent: path for step in steps for path in (step.source, step.target) if path is not None}
    yield from found.values()


def _lock(steps: Sequence[Step], work: _Work) -> None:
    """Have the folders for oneself, always in the same order, and clear away what crashes have left in them."""
    deadline = time.monotonic() + _LOCK_SECONDS
    for path in sorted(_paths(steps), key=lambda path: path.real)[:_MOST_LOCKS]:
        with contextlib.suppress(OSError):  # a folder that is still to be made
            folder = work.locks.enter_context(opened_folder(path))
            if lock_folder(folder, deadline):
                # Now, while what a crash has left is still to be seen as a second name of a file.
                work.notes += [_note(path, name) for name in remove_leftovers(folder)]


def _note(path: GatedPath, name: str) -> str:
    return (
        f"{'/'.join((*path.names[:-1], name))} was left by a change that a crash broke off. It holds the text that a "
        "file had before, or was to have; look at it, and delete it when it is of no use."
    )


def _staged(step: Step, work: _Work) -> str:
    """Write the new bytes next to their place; the empty string where there are none to write."""
    if step.target is None or (step.old is not None and step.target is step.source and step.old.data == step.data):
        return ""
    _make_folders(step.target, work)
    name = new_name()
    with contextlib.ExitStack() as opened:
        original = None
        if step.source is not None:
            around = opened.enter_context(opened_folder(step.source))
            original = opened.enter_context(opened_file(around, step.source.names[-1]))
        folder = opened.enter_context(opened_folder(step.target))
        refused = write_new_file(folder, name, step.data, step.style.like, original)
    work.staged.append((step.target, name))
    if refused:
        work.notes.append(f"{step.change.final_path} could not keep {', '.join(refused)}.")
    return name


def _make_folders(path: GatedPath, work: _Work) -> None:
    for depth in range(1, len(path.names)):
        folder_path = GatedPath(path.root, path.names[:depth])
        with opened_folder(folder_path) as folder, contextlib.suppress(FileExistsError):
            os.mkdir(folder_path.names[-1], dir_fd=folder)
            work.folders.append(folder_path)


def _commit(step: Step, staged: str, work: _Work) -> None:
    source, target = step.source, step.target
    if source is None:
        if target is not None:
            _put_new(target, staged, work, step.change.path)
        return
    if step.old is None:
        raise AssertionError("a file that there is was not read")
    with opened_folder(source) as folder:
        if not same_state(state_of(folder, source.names[-1]), step.old.status):
            raise WorkspaceError(f"{step.change.path} was changed in the meantime. Nothing was changed.")
    if target is source or step.is_respelled:
        if staged:
            _put_over(source, target or source, staged, step.old, work)
        if step.is_respelled and target is not None:
            _respell(source, target, work)
        return
    if target is not None:
        _put_new(target, staged, work, step.change.final_path)
    _take_away(source, step.old, work)


def _put_new(path: GatedPath, staged: str, work: _Work, shown: str) -> None:
    name = path.names[-1]
    with opened_folder(path) as folder:
        status = state_of(folder, staged)
        try:
            if not rename_to_free(folder, staged, name):
                _link_and_unlink(folder, staged, name)
        except FileExistsError as error:
            raise WorkspaceError(f"{shown} has come into being in the meantime. Nothing was changed.") from error

    def take_back(folder: int) -> None:
        _check_ours(folder, name, status)
        os.unlink(name, dir_fd=folder)

    work.undo.append(_Undo(lambda: _in_folder(path, take_back), path.shown))


def _check_ours(folder: int, name: str, status: os.stat_result | None) -> None:
    """Raise WorkspaceError unless a name still stands for what was put there, of which this was said before."""
    if status is None or not same_state(state_of(folder, name), status):
        raise WorkspaceError("somebody else has written to it")


def _link_and_unlink(folder: int, old: str, new: str) -> None:
    """Rename to a free name where the system has no step for that. Raises FileExistsError where it is taken."""
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(old, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if state_of(folder, new) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def _put_over(path: GatedPath, staged_in: GatedPath, staged: str, old: FileState, work: _Work) -> None:
    """Put new bytes into the place of a file, which is kept. ``staged_in`` lies in the same folder."""
    name, kept = path.names[-1], _Kept(path, kept_name(), old)
    with opened_folder(path) as folder:
        status = state_of(folder, staged)
        # Under this name from now on, so that what is there after the step below is never taken for ours.
        os.rename(staged, kept.name, src_dir_fd=folder, dst_dir_fd=folder)
        work.staged.remove((staged_in, staged))
        work.kept.append(kept)
        if not rename_exchange(folder, kept.name, name):
            os.rename(kept.name, staged, src_dir_fd=folder, dst_dir_fd=folder)
            work.staged.append((staged_in, staged))
            work.kept.remove(kept)
            kept = _kept_beside(folder, kept)
            work.kept.append(kept)
            # To keep it took a while, a copy most of all, and what is put over a name here is seen no more.
            if not holds_still(folder, name, old):
                raise WorkspaceError(f"{path.shown} was changed in the meantime. Nothing was changed.")
            os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)

    def take_back(folder: int) -> None:
        _check_ours(folder, name, status)
        os.rename(kept.name, name, src_dir_fd=folder, dst_dir_fd=folder)

    work.undo.append(_Undo(lambda: _in_folder(path, take_back), path.shown, kept))


def _kept_beside(folder: int, kept: _Kept) -> _Kept:
    """Keep a file where names cannot change places: by a second name, else by a copy."""
    name = kept.path.names[-1]
    try:
        os.link(name, kept.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not holds_still(folder, name, kept.old):
            raise WorkspaceError(f"{kept.path.shown} was changed in the meantime. Nothing was changed.") from error
        write_new_file(folder, kept.name, kept.old.data, kept.old.attributes)
        return replace(kept, is_copy=True)
    return kept


def _take_away(path: GatedPath, old: FileState, work: _Work) -> None:
    name, kept = path.names[-1], _Kept(path, kept_name(), old)
    _rename(path, name, kept.name)
    work.kept.append(kept)

    def take_back(folder: int) -> None:
        if not rename_to_free(folder, kept.name, name):
            _link_and_unlink(folder, kept.name, name)

    work.undo.append(_Undo(lambda: _in_folder(path, take_back), path.shown, kept))


def _respell(source: GatedPath, target: GatedPath, work: _Work) -> None:
    old, new = source.names[-1], target.names[-1]
    _rename(source, old, new)
    work.undo.append(_Undo(lambda: _rename(source, new, old), source.shown))


def _rename(path: GatedPath, old: str, new: str) -> None:
    _in_folder(path, lambda folder: os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder))


def _in_folder(path: GatedPath, act: Callable[[int], None]) -> None:
    with opened_folder(path) as folder:
        act(folder)


def _sync(steps: Sequence[Step], work: _Work) -> None:
    # The entries of new folders too: after a loss of power, what lies in a folder is found through its parent.
    touched = {path.real.parent: path for path in (*work.folders, *_paths(steps))}
    for path in touched.values():
        _in_folder(path, sync_folder)


def _check_kept(work: _Work) -> None:
    """Whoever wrote into a file in the moment before it was kept, or since, has written into what is kept."""
    for kept in work.kept:
        with opened_folder(kept.path) as folder:
            if not kept.is_copy and not holds_still(folder, kept.name, kept.old):
                raise WorkspaceError(f"{kept.path.shown} was changed in the meantime. Nothing was changed.")


def _roll_back(work: _Work) -> list[str]:
    """Put everything back, the last first. Returns what could not be; what was there before then stays where it is."""
    lost: list[str] = []
    for undo in reversed(work.undo):
        try:
            undo.act()
        except (OSError, WorkspaceError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            where = ""
            if undo.kept is not None:
                work.kept.remove(undo.kept)
                where = f"; what it was before is in {undo.kept.name} beside it"
            lost.append(f"{undo.shown} ({why}{where})")
    return lost


def _clear(work: _Work) -> None:
    for path, name in (*work.staged, *((kept.path, kept.name) for kept in work.kept)):
        # What was put into its place is no longer there under this name.
        with contextlib.suppress(OSError), opened_folder(path) as folder:
            os.unlink(name, dir_fd=folder)


def remove_folders(folders: Sequence[GatedPath]) -> None:
    """Remove folders that are empty, the innermost first."""
    for path in reversed(folders):
        with contextlib.suppress(OSError), opened_folder(path) as folder:
            os.rmdir(path.names[-1], dir_fd=folder)
