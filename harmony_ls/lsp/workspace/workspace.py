"""The files of one editor as a `harmony_ls.workspace.port.Workspace`: open documents shadow the disk.

The server never writes a file: the editor is asked to, by one ``workspace/applyEdit`` for all changes, and what it made
of them is looked up afterwards. Which changes fit is `plan`, how they are put `edit`, what came of them `outcome`.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.lsp.connection.asking import Question
from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.documents.documents import path_of
from harmony_ls.lsp.workspace.edit import EditMeans, label_of, taken_back, workspace_edit
from harmony_ls.lsp.workspace.outcome import Finding, Observed, Watch, observed, settled, told
from harmony_ls.lsp.workspace.plan import Buffer, Place, PlannedChange, Unsaved, located, planned_changes
from harmony_ls.settings.models import DEFAULT_EXCLUDE
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.port import Applied, WorkspaceFile
from harmony_ls.workspace.undoable import last_of, n_characters_of

if TYPE_CHECKING:
    from harmony_ls.lsp.documents.documents import Document

__all__ = ["EditorWorkspace", "Patience"]

_N_TRIES = 5
_N_REVIEWED = 16

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an editor is waited for, in seconds: for its answer to an edit that nobody is asked about; for the
    changes that it then tells of; for those that it may still tell of after it refused, or told of other ones; and for
    its answer after nobody wants the edit any more."""

    answer: float = 30.0
    changes: float = 3.0
    refusal: float = 0.5
    withdrawal: float = 2.0


@dataclass(frozen=True, slots=True)
class _Done:
    """Changes that were made and can be taken back. No other of its workspace has the ``number``."""

    number: int
    changes: tuple[FileChange, ...]

    @property
    def n_characters(self) -> int:
        """How long the texts are that it takes."""
        return n_characters_of(self.changes)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of an edit: the fault where not all of it was made, and whether it is certain that nothing was."""

    error: WorkspaceError | None = None
    is_nothing: bool = False


class EditorWorkspace:
    """The files below ``roots``, as an editor has them; see `Workspace` for what its methods promise.

    ``exclude`` are globs of files that are never touched, secrets by default. ``disk`` are the files of these roots as
    they are on disk, for whoever has looked at the roots on a thread. Raises WorkspaceError where a root is no folder.
    """

    def __init__(
        self,
        connection: Connection,
        roots: Sequence[Path],
        *,
        exclude: Sequence[str] = DEFAULT_EXCLUDE,
        patience: Patience = Patience(),
        disk: DiskWorkspace | None = None,
    ) -> None:
        self._connection = connection
        self._disk = DiskWorkspace(roots, exclude=exclude) if disk is None else disk
        self._gate = self._disk.gate
        self._roots = tuple(Path(os.path.abspath(root)) for root in roots)
        self._patience = patience
        self._lock = asyncio.Lock()
        self._working: set[asyncio.Task[_Outcome]] = set()
        self._done: list[_Done] = []
        self._n_applied = 0
        self._confirmed: list[tuple[FileChange, ...]] = []
        self._unsaved: dict[Path, Unsaved] = {}
        self._made: dict[Path, str] = {}
        self._opened: set[str] = set()
        connection.documents.listen(self)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The real paths of the folders."""
        return self._gate.roots

    @property
    def change_sets(self) -> tuple[int, ...]:
        """The numbers of the change sets that `undo` would take back, the last one at the end; none is used twice."""
        return tuple(done.number for done in self._done)

    @property
    def can_confirm(self) -> bool:
        """Whether the editor can show changes for a person to choose from."""
        return EditMeans.of(self._connection).can_confirm

    async def read(self, path: str) -> WorkspaceFile:
        """The text of a file as the person sees it: of the open document, saved or not, else of the disk."""
        place, buffer = await self._held(path)
        return WorkspaceFile(place.path.shown if len(self.roots) == 1 else place.path.real.as_posix(), buffer.text)

    async def place_of(self, path: str) -> Place:
        """Where a file that may be read and changed is, and by which URI the editor knows it; it need not exist."""
        return (await self._located((path,)))[path]

    async def buffer_of(self, path: str) -> Buffer:
        """The text of a file as the person sees it, with the URI and the version by which an edit must name it: that
        has no version where the file is not open."""
        _, buffer = await self._held(path)
        return buffer

    async def list_files(self, n_most: int = 10_000) -> tuple[str, ...]:
        """The files on disk that may be read: below the root, or absolute where there is more than one root."""
        return await self._disk.list_files(n_most)

    async def check(self, changes: Sequence[FileChange]) -> tuple[str, ...]:
        """Verify changes without making them; the files of which a person must be asked each time."""
        EditMeans.of(self._connection).refuse_others(changes)
        planned = await self._planned(changes)
        paths = [place.path for each in planned for place in (each.old, each.new) if place is not None]
        return tuple(dict.fromkeys(path.shown for path in paths if path.is_sensitive))

    def confirm(self, changes: Sequence[FileChange]) -> None:
        """Let the next `apply` of exactly these changes have them confirmed by the person in the editor."""
        self._confirmed = [*self._confirmed[1 - _N_REVIEWED :], tuple(changes)]

    async def apply(self, changes: Sequence[FileChange]) -> Applied:
        """Have the editor make all changes. Raises PartlyAppliedError where it made some, or may have.

        Cancelled while the editor is asked, it withdraws the edit. If the editor has made it all the same, this is told
        as if nobody had cancelled, or, where the editor takes its time, noted when it is known, for `undo`.
        """
        changes = tuple(changes)
        confirmed = changes in self._confirmed and self.can_confirm
        if changes in self._confirmed:
            self._confirmed.remove(changes)
        async with self._lock:
            return await self._changed(changes, confirmed=confirmed, taken_from=None)

    async def undo(self) -> Applied:
        """Have the editor take back the last changes that were applied and not taken back yet."""
        async with self._lock:
            if not self._done:
                raise WorkspaceError("There is nothing to undo.")
            done = self._done[-1]
            inverse = tuple(taken_back(change) for change in reversed(done.changes))
            return await self._changed(inverse, confirmed=False, taken_from=done)

    def document_changed(self, uri: str, *, was_opened: bool = False) -> None:
        """A document was opened: from now on it is what the editor holds, and the disk where it is closed again."""
        if was_opened and self._unsaved:
            self._opened.add(uri)

    # Looking

    async def _located(self, written: Iterable[str]) -> dict[str, Place]:
        documents = self._connection.documents
        uris, opened = tuple(document.uri for document in documents), tuple(self._opened)
        places = await asyncio.to_thread(located, self._gate, tuple(written), uris, documents.notebooks, self._roots)
        if opened:
            for path in await asyncio.to_thread(_real_paths, opened):
                self._unsaved.pop(path, None)
            self._opened.difference_update(opened)
        return places

    async def _held(self, path: str) -> tuple[Place, Buffer]:
        """A file with its text, which is still that of an open document when this returns."""
        place = await self.place_of(path)
        if not place.is_open:
            file = await self._disk.read(path)
            held = self._unsaved.get(place.path.real)
            if held is not None and held.disk == file.text:
                return place, Buffer(place.uri, None, 0, held.text)
            self._unsaved.pop(place.path.real, None)
            return place, Buffer(place.uri, None, 0, file.text)
        buffer = self._buffer(place.uri)
        if not buffer.is_held:
            raise WorkspaceError(
                f"{path} is open, but an edit of it could not be read, so that its text is not known. Close it and "
                "open it again."
            )
        return place, buffer

    def _buffer(self, uri: str) -> Buffer:
        document = self._connection.documents.get(uri)
        if document is None:
            raise WorkspaceError(f"{uri} was closed in this moment. Try again.")
        text = document.snapshot().text
        is_whole = text == str(document.text)
        return Buffer(uri, document.version, document.n_changes, text, document.in_sync, is_whole)

    async def _planned(self, changes: Sequence[FileChange]) -> tuple[PlannedChange, ...]:
        """The changes, if they fit the files as they are when this returns."""
        written = {path for change in changes for path in (change.path, change.final_path)}
        for _ in range(_N_TRIES):
            known = self._open_documents()
            places = await self._located(written)
            buffers = {place.uri: self._buffer(place.uri) for place in places.values() if place.is_open}
            unsaved, made = dict(self._unsaved), dict(self._made)
            planned = await asyncio.to_thread(planned_changes, self._gate, changes, places, buffers, unsaved, made)
            if self._open_documents() == known and all(self._buffer(uri) == buffers[uri] for uri in buffers):
                return planned
        raise WorkspaceError("The files are being edited at this moment. Nothing was changed; try again.")

    def _open_documents(self) -> dict[str, int]:
        return {document.uri: id(document) for document in self._connection.documents}

    async def _observed(self, planned: Sequence[PlannedChange], watch: Watch) -> tuple[Observed, ...]:
        """What has come of changes so far."""
        uris = tuple(document.uri for document in self._connection.documents)
        reals = {place.path.real for each in planned for place in (each.old, each.new) if place is not None}
        paths = await asyncio.to_thread(_real_paths, uris)
        texts = {
            str(path): _text_of(self._connection.documents.get(uri))
            for uri, path in zip(uris, paths, strict=True)
            if path in reals and self._connection.documents.get(uri) is not None
        }
        seen = frozenset(watch.seen)
        return await asyncio.to_thread(lambda: tuple(observed(each, texts, seen) for each in planned))

    # Changing

    async def _changed(self, changes: tuple[FileChange, ...], *, confirmed: bool, taken_from: _Done | None) -> Applied:
        EditMeans.of(self._connection).refuse_others(changes)
        for attempt in range(_N_TRIES):
            planned = await self._planned(changes)
            outcome = await self._sent(planned, confirmed=confirmed, taken_from=taken_from)
            if outcome.error is None:
                break
            # Neovim counts changes that change no text, and tells of them a moment later; until then, its version is
            # not ours.
            if not outcome.is_nothing or attempt == _N_TRIES - 1 or not self._was_stale(planned):
                raise _by_choice(outcome.error) if confirmed else outcome.error
        return _applied(changes)

    def _was_stale(self, planned: Sequence[PlannedChange]) -> bool:
        """Whether an edit named a version that was not the editor's any more."""
        sent = {each.buffer.uri: each.buffer for each in planned if each.buffer is not None}
        documents = {uri: self._connection.documents.get(uri) for uri in sent}
        return any(each is not None and each.version != sent[uri].version for uri, each in documents.items())

    async def _sent(self, planned: tuple[PlannedChange, ...], *, confirmed: bool, taken_from: _Done | None) -> _Outcome:
        """Send the edit in this very moment, so that its versions are true, and find out what comes of it."""
        means = EditMeans.of(self._connection)
        edit = workspace_edit(planned, means, self._connection.documents.encoding, confirmed=confirmed)
        if edit is None:
            return _Outcome()
        watch = Watch(self._connection.documents, planned)
        params = types.ApplyWorkspaceEditParams(edit=edit, label=label_of([each.change for each in planned]))
        question = Question(self._connection, types.WORKSPACE_APPLY_EDIT, params)
        is_atomic = means.is_whole or len(edit.document_changes or edit.changes or ()) == 1
        work = asyncio.create_task(self._carried_out(planned, watch, question, taken_from, is_atomic=is_atomic))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        outcome = await self._awaited(work, question, None if confirmed else self._patience.answer)
        if outcome is not None:
            return outcome
        found = await self._observed(planned, watch)
        seconds = f"{self._patience.answer:g} seconds"
        error = f"The editor did not answer within {seconds}, and may still make the change. {told(found)}"
        return _Outcome(error=PartlyAppliedError(error))

    async def _awaited(
        self, work: "asyncio.Task[_Outcome]", question: Question, seconds: float | None
    ) -> _Outcome | None:
        """The outcome; None if the editor does not answer. The work goes on without us, and notes what comes of it."""
        try:
            async with asyncio.timeout(seconds) as limit:
                await asyncio.wait({work, question.answer}, return_when=asyncio.FIRST_COMPLETED)
                limit.reschedule(None)  # what follows the answer has its own limits
                await asyncio.wait({work})
        except TimeoutError:
            question.withdraw()
            work.add_done_callback(_report_late)
            return None
        except asyncio.CancelledError:
            question.withdraw()
            await asyncio.wait({work}, timeout=self._patience.withdrawal)
            if not work.done():
                work.add_done_callback(_report_late)
                raise
            if work.cancelled() or work.result().is_nothing:
                raise
        return work.result()

    async def _carried_out(
        self,
        planned: tuple[PlannedChange, ...],
        watch: Watch,
        question: Question,
        taken_from: _Done | None,
        *,
        is_atomic: bool,
    ) -> _Outcome:
        """Wait for the editor's answer, find out what is true, and note it."""
        try:
            answer: types.ApplyWorkspaceEditResult | None = await question.answer
        except JsonRpcException as error:
            answer = types.ApplyWorkspaceEditResult(applied=False, failure_reason=error.message)
        says_applied = answer is not None and answer.applied
        wait = self._patience.changes if says_applied else 0.0 if is_atomic else self._patience.refusal
        grace = self._patience.refusal
        found = await settled(
            lambda: self._observed(planned, watch), watch, wait, grace=grace, expects_all=says_applied
        )
        is_made = {Finding.DONE} | ({Finding.UNSEEN} if says_applied else set())
        made = tuple(each for each in found if each.finding in is_made)
        self._note(made, taken_from)
        if len(made) == len(found):
            return _Outcome()
        because = f": {answer.failure_reason.rstrip('.')}." if answer is not None and answer.failure_reason else "."
        # Where nothing can have been made in part, an editor is believed of files that are not open here.
        as_before = {Finding.NOT_DONE} | ({Finding.UNSEEN} if is_atomic and not says_applied else set())
        if all(each.finding in as_before for each in found):
            refusal = WorkspaceError(f"The editor did not make the change{because} No file was changed.")
            return _Outcome(error=refusal, is_nothing=True)
        how = "made only a part of" if made or says_applied else "did not make"
        return _Outcome(error=PartlyAppliedError(f"The editor {how} the change{because} {told(found)}"))

    def _note(self, made: Sequence[Observed], taken_from: _Done | None) -> None:
        """Keep what was made for `undo`, and what the editor holds unsaved for `read`."""
        changes = tuple(each.planned.change for each in made)
        if taken_from is None and changes:
            self._n_applied += 1
            self._done = last_of([*self._done, _Done(self._n_applied, changes)])
        elif taken_from is not None and taken_from in self._done:
            # The files that could not be taken back stay to be undone.
            gone = {change.final_path for change in changes}
            rest = tuple(change for change in taken_from.changes if change.path not in gone)
            kept = [each for each in self._done if each is not taken_from]
            self._done = [*kept, _Done(taken_from.number, rest)] if rest else kept
        for each in made:
            old, new = each.planned.old, each.planned.new
            if old is not None:
                self._unsaved.pop(old.path.real, None)
                self._made.pop(old.path.real, None)
            if new is None:
                continue
            if each.finding is Finding.UNSEEN:
                self._unsaved[new.path.real] = Unsaved(each.disk, each.planned.change.new_text)
            if each.planned.change.kind is ChangeKind.CREATE:
                self._made[new.path.real] = each.planned.change.new_text


def _by_choice(error: WorkspaceError) -> WorkspaceError:
    """What was not made of changes that the person was shown: the editor has not failed at them."""
    return type(error)(f"The person looked the changes over in the editor. {error}")


def _report_late(work: "asyncio.Task[_Outcome]") -> None:
    if not work.cancelled() and work.exception() is None and not work.result().is_nothing:
        _logger.warning("the editor made a change that was not waited for any more; undo takes it back")


def _real_paths(uris: Sequence[str]) -> list[Path]:
    return [Path(os.path.realpath(path_of(uri) or "")) for uri in uris]


def _text_of(document: "Document | None") -> str | None:
    return str(document.text) if document is not None and document.in_sync else None


def _applied(changes: Sequence[FileChange]) -> Applied:
    return Applied(
        created=tuple(change.path for change in changes if change.kind is ChangeKind.CREATE),
        modified=tuple(c.final_path for c in changes if c.kind in (ChangeKind.UPDATE, ChangeKind.RENAME)),
        deleted=tuple(change.path for change in changes if change.kind is ChangeKind.DELETE),
    )
