"""What came of an edit that an editor was asked for: looked up in its documents and on disk, not taken on trust.

Editors answer before they tell of the changes, apply a part where a person chose one, and say that all is well where
they passed a stale file over.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from harmony_ls.edits.changes import ChangeKind
from harmony_ls.edits.diff import visible
from harmony_ls.errors import WorkspaceError
from harmony_ls.lsp.documents.documents import Documents
from harmony_ls.lsp.workspace.plan import PlannedChange, comparable, disk_text

__all__ = ["Finding", "Observed", "Watch", "observed", "settled", "told"]


class Finding(Enum):
    """What is known of one change. ``UNSEEN``: the file is not open here, and on disk it is as before, so that an
    editor which says that it changed it holds it unsaved. ``OTHER``: the file is neither as before nor as planned."""

    DONE = auto()
    NOT_DONE = auto()
    UNSEEN = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Observed:
    """One planned change afterwards. ``disk`` is the text on disk of the file as it is called now, None for no file."""

    planned: PlannedChange
    finding: Finding
    disk: str | None = None
    is_open: bool = False


class Watch:
    """Watches the documents while an edit is under way: which of them have held exactly what was sent.

    A person may type on at once, so the text at the end does not tell that.
    """

    def __init__(self, documents: Documents, planned: Sequence[PlannedChange]) -> None:
        self.seen: set[str] = set()
        self._told: set[str] = set()
        self.changed = asyncio.Event()
        self._documents = documents
        self._wanted = {
            place.uri: comparable(each.change.new_text)
            for each in planned
            for place in (each.old, each.new)
            if place is not None and each.new is not None
        }
        documents.listen(self)

    def document_changed(self, uri: str, *, was_opened: bool = False) -> None:
        """A document holds another text now."""
        self.changed.set()
        if not was_opened:
            self._told.add(uri)
        wanted, document = self._wanted.get(uri), self._documents.get(uri)
        if wanted is not None and document is not None and wanted == comparable(str(document.text)):
            self.seen.add(uri)

    def was_told(self, planned: PlannedChange) -> bool:
        """Whether the client has told of a change of one of these files, be it another than the planned one."""
        return any(place is not None and place.uri in self._told for place in (planned.old, planned.new))


class Observe(Protocol):
    """Looks at the files of an edit."""

    async def __call__(self) -> tuple[Observed, ...]:
        """What has come of each change."""


async def settled(
    observe: Observe, watch: Watch, seconds: float, *, grace: float, expects_all: bool
) -> tuple[Observed, ...]:
    """What came of an edit that was answered, as soon as it is clear, and after so many seconds at the latest.

    ``expects_all``: the editor says that it made the edit, so that it is clear once every change is there. Where the
    editor has told of something else of every file that is not as it should be, it gets ``grace`` seconds more.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        watch.changed.clear()
        found = await observe()
        open_ended = [each for each in found if each.finding not in _SETTLED]
        if loop.time() >= deadline or (expects_all and not open_ended):
            return found
        if expects_all and all(watch.was_told(each.planned) for each in open_ended):
            deadline = min(deadline, loop.time() + grace)
        try:
            async with asyncio.timeout_at(deadline):
                await watch.changed.wait()
        except TimeoutError:
            return await observe()


_SETTLED = (Finding.DONE, Finding.UNSEEN)


def observed(planned: PlannedChange, texts: Mapping[str, str | None], seen: frozenset[str]) -> Observed:
    """What has come of a change. ``texts`` are those of the open documents among its files, by path; None where a text
    is not known. ``seen`` are the URIs of documents that have held the new text. Reads the disk."""
    try:
        return _observed(planned, texts, seen)
    except (OSError, WorkspaceError):
        return Observed(planned, Finding.OTHER)


def _observed(planned: PlannedChange, texts: Mapping[str, str | None], seen: frozenset[str]) -> Observed:
    change, old, new = planned.change, planned.old, planned.new
    if new is None:
        assert old is not None, "what is deleted was there"
        is_there = os.path.lexists(old.path.real)
        return Observed(planned, Finding.NOT_DONE if is_there else Finding.DONE)
    moves = planned.moves and old is not None
    if moves and old is not None and os.path.lexists(old.path.real):
        if os.path.lexists(new.path.real):
            return Observed(planned, Finding.OTHER)
        disk = disk_text(old.path, change.path)
        text = texts.get(str(old.path.real), disk)
        is_same = text is not None and comparable(text) == comparable(change.old_text)
        return Observed(planned, Finding.NOT_DONE if is_same else Finding.OTHER, disk)
    real = str(new.path.real)
    disk, is_open = disk_text(new.path, change.final_path), real in texts
    text = texts[real] if is_open else disk
    return Observed(planned, _finding(planned, text, seen, is_open=is_open), disk, is_open)


def _finding(planned: PlannedChange, text: str | None, seen: frozenset[str], *, is_open: bool) -> Finding:
    """What the text of a file under its final name tells."""
    change, new = planned.change, planned.new
    assert new is not None, "a deleted file has no text"
    if new.uri in seen:
        return Finding.DONE
    if text is None:
        if is_open:
            return Finding.OTHER
        return Finding.NOT_DONE if change.kind is ChangeKind.CREATE else Finding.OTHER
    if comparable(text) == comparable(change.new_text):
        return Finding.DONE
    if not is_open and change.kind is ChangeKind.CREATE:
        return Finding.UNSEEN if not text else Finding.OTHER
    if not is_open and planned.buffer is None:
        return Finding.UNSEEN if text == planned.disk else Finding.OTHER
    is_old = comparable(text) == comparable(change.old_text) and change.kind is ChangeKind.UPDATE
    return Finding.NOT_DONE if is_old else Finding.OTHER


_DONE = {
    ChangeKind.CREATE: "was created",
    ChangeKind.UPDATE: "was changed",
    ChangeKind.DELETE: "was deleted",
    ChangeKind.RENAME: "was moved",
}
_NOT_DONE = {
    ChangeKind.CREATE: "was not created",
    ChangeKind.UPDATE: "was not changed",
    ChangeKind.DELETE: "was not deleted",
    ChangeKind.RENAME: "was not moved",
}


def told(found: Sequence[Observed]) -> str:
    """What came of each file, for a person and a model."""
    return " ".join(f"{visible(each.planned.change.path)} {_said(each)}." for each in found)


def _said(each: Observed) -> str:
    match each.finding:
        case Finding.DONE:
            return _DONE[each.planned.change.kind]
        case Finding.NOT_DONE:
            return _NOT_DONE[each.planned.change.kind]
        case Finding.UNSEEN:
            return "is unchanged on disk (and not open here)"
        case Finding.OTHER:
            return "is not what it was meant to become (read it again)"
