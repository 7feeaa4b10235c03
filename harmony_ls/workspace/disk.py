"""A workspace on a disk: the files of one or more folders, as they are there.

An editor's unsaved text is not seen here: an editor needs a workspace of its own, which changes nothing behind it.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.text_file import decode
from harmony_ls.errors import WorkspaceError
from harmony_ls.settings.models import DEFAULT_EXCLUDE
from harmony_ls.workspace.carry_out import carry_out, remove_folders
from harmony_ls.workspace.files import read_state
from harmony_ls.workspace.gate import GatedPath, PathGate
from harmony_ls.workspace.globs import folded
from harmony_ls.workspace.port import Applied, WorkspaceFile
from harmony_ls.workspace.transaction import FileStyle, verify
from harmony_ls.workspace.undoable import last_of, n_characters_of

__all__ = ["DiskWorkspace"]

_N_SEARCHED = 20_000
_N_SUGGESTED = 3

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Done:
    """A change set as it can be taken back. No other of its workspace has its ``number``."""

    number: int
    inverse: tuple[FileChange, ...]
    styles: dict[str, FileStyle]
    folders: tuple[GatedPath, ...]

    @property
    def n_characters(self) -> int:
        """How long the texts are that it takes."""
        return n_characters_of(self.inverse)


class DiskWorkspace:
    """The files below ``roots``, read and changed on disk; see `Workspace` for what its methods promise.

    ``exclude`` are globs of files that are never touched, secrets by default. Files that ``.gitignore`` names are
    touched only with ``lets_ignored_through``. Raises WorkspaceError where a root is no folder.
    """

    def __init__(
        self,
        roots: Sequence[Path | str],
        *,
        exclude: Sequence[str] = DEFAULT_EXCLUDE,
        lets_ignored_through: bool = False,
    ) -> None:
        self._gate = PathGate(roots, exclude=exclude, lets_ignored_through=lets_ignored_through)
        self._done: list[_Done] = []
        self._n_applied = 0
        self._told: set[str] = set()
        self._lock = threading.Lock()

    @property
    def roots(self) -> tuple[Path, ...]:
        """The real paths of the folders."""
        return self._gate.roots

    @property
    def gate(self) -> PathGate:
        """What decides which paths are let through. To make another for the same folders would cost a second search
        for their links."""
        return self._gate

    @property
    def change_sets(self) -> tuple[int, ...]:
        """The numbers of the change sets that `undo` would take back, the last one at the end; none is used twice.

        Whoever compares what was there before with what is there afterwards knows which are its own.
        """
        return tuple(done.number for done in self._done)

    async def read(self, path: str) -> WorkspaceFile:
        """The text of a file on disk."""
        return await _to_the_end(lambda: self._read(path))

    async def list_files(self, n_most: int = 10_000) -> tuple[str, ...]:
        """The files that may be read: below the root, or absolute where there is more than one root."""
        return await _to_the_end(lambda: tuple(self._name(path) for path in islice(self._gate.files(), n_most)))

    async def check(self, changes: Sequence[FileChange]) -> tuple[str, ...]:
        """Verify changes without making them; the files of which a person must be asked each time."""
        return await _to_the_end(lambda: self._check(changes))

    async def apply(self, changes: Sequence[FileChange]) -> Applied:
        """Make all changes or none; they can be taken back by `undo`. Cancelled, it still does and says what it did."""
        return await _to_its_outcome(lambda: self._apply(changes))

    async def undo(self) -> Applied:
        """Take back the last change set that was applied and not taken back yet. Cancelled, it still does."""
        return await _to_its_outcome(self._undo)

    def _read(self, written: str) -> WorkspaceFile:
        path = self._gate.pass_through(written)
        try:
            state = read_state(path)
        except FileNotFoundError as error:
            raise WorkspaceError(f"{written} does not exist.{self._suggestion(path)}") from error
        return WorkspaceFile(self._name(path), decode(state.data, written).text)

    def _suggestion(self, path: GatedPath) -> str:
        """Where files of this name are: models often leave out a folder."""
        name = folded(path.names[-1])
        searched = islice(self._gate.files(), _N_SEARCHED)
        found = [file for file in searched if folded(file.names[-1]) == name]
        if not found:
            return ""
        return f" There is {' and '.join(self._name(file) for file in found[:_N_SUGGESTED])}."

    def _name(self, path: GatedPath) -> str:
        return path.shown if len(self.roots) == 1 else path.real.as_posix()

    def _check(self, changes: Sequence[FileChange]) -> tuple[str, ...]:
        steps = verify(self._gate, changes)
        paths = [path for step in steps for path in (step.source, step.target) if path is not None]
        return tuple(dict.fromkeys(path.shown for path in paths if path.is_sensitive))

    def _apply(self, changes: Sequence[FileChange]) -> Applied:
        with self._lock:
            steps = verify(self._gate, changes)
            carried_out = carry_out(steps)
            inverse = tuple(change.inverse() for change in reversed(changes))
            styles = {step.change.path: step.style for step in steps if step.change.kind is ChangeKind.DELETE}
            self._n_applied += 1
            done = _Done(self._n_applied, inverse, styles, carried_out.folders)
            self._done = last_of([*self._done, done])
            return _applied(changes, self._news(carried_out.notes))

    def _undo(self) -> Applied:
        with self._lock:
            if not self._done:
                raise WorkspaceError("There is nothing to undo.")
            done = self._done[-1]
            carried_out = carry_out(verify(self._gate, done.inverse, done.styles))
            self._done = self._done[:-1]
            remove_folders(done.folders)
            return _applied(done.inverse, self._news(carried_out.notes))

    def _news(self, notes: Sequence[str]) -> tuple[str, ...]:
        """The notes that were not told before."""
        news = tuple(note for note in notes if note not in self._told)
        self._told.update(news)
        return news


def _applied(changes: Sequence[FileChange], notes: tuple[str, ...]) -> Applied:
    return Applied(
        created=tuple(change.path for change in changes if change.kind is ChangeKind.CREATE),
        modified=tuple(c.final_path for c in changes if c.kind in (ChangeKind.UPDATE, ChangeKind.RENAME)),
        deleted=tuple(change.path for change in changes if change.kind is ChangeKind.DELETE),
        notes=notes,
    )


async def _to_the_end(work: Callable[[], _Result]) -> _Result:
    """Run work on a thread. Cancelled, it still ends before the caller goes on, so that nobody is left guessing."""
    done, cancelled = await _ended(work)
    if cancelled is not None:
        done.exception()  # taken note of, else asyncio complains about it later
        raise cancelled
    return done.result()


async def _to_its_outcome(work: Callable[[], _Result]) -> _Result:
    """Run work that changes files on a thread. Its outcome is true, and is given, whether this was cancelled or not."""
    done, _ = await _ended(work)
    return done.result()


async def _ended(
    work: Callable[[], _Result],
) -> tuple["asyncio.Future[_Result]", asyncio.CancelledError | None]:
    """Run work on a thread to its end, however often this is cancelled; return that with the first cancellation.

    It is no task: those are all cancelled when an event loop is closed, which would not end the work, but hide it.
    """
    done = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    return done, cancelled
