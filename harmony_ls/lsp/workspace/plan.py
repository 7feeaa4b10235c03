"""What changes of files meet in an editor: which files they are about, who holds their text now, and whether they fit.

Everything is verified here and nothing is changed. It reads the disk, so it runs on a thread, and is given what it
needs of the open documents.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.text_file import decode
from harmony_ls.errors import WorkspaceError
from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.lsp.documents.documents import path_of
from harmony_ls.workspace.files import read_state
from harmony_ls.workspace.gate import GatedPath, PathGate
from harmony_ls.workspace.transaction import verify

__all__ = ["Buffer", "Place", "PlannedChange", "Unsaved", "comparable", "disk_text", "located", "planned_changes"]

_NO_FILE = re.compile(r"(untitled|inmemory|memory|vscode-[a-z-]+|git|output|search-editor):", re.IGNORECASE)
_LONE_CARRIAGE_RETURN = re.compile("\r(?!\n)")


@dataclass(frozen=True, slots=True)
class Buffer:
    """An open document as it was when it was looked at. ``is_held`` says that its text is known for certain,
    ``is_whole`` that it is all text: no half of a character had to be replaced in it."""

    uri: str
    version: int | None
    n_changes: int
    text: str
    is_held: bool = True
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A file that an editor changed without opening it here and without saving it: on disk it is still ``disk``."""

    disk: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A file that a change is about. ``uri`` is the open document's own spelling, else that of the client's folder."""

    path: GatedPath
    uri: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A change that fits now. ``old`` is unset for a new file, ``new`` for one that is deleted.

    ``buffer`` is the open document that holds the text, if one does; ``disk`` is the text on disk, None for no file.
    """

    change: FileChange
    old: Place | None
    new: Place | None
    buffer: Buffer | None
    disk: str | None

    @property
    def moves(self) -> bool:
        """Whether the file gets another name."""
        return self.old is not None and self.new is not None and self.old.path.real != self.new.path.real


def comparable(text: str) -> str:
    """The text without what editors set right on their own: the kind of line ends, and whether the last line has one.

    The lines and columns of two texts that compare equal are the same.
    """
    return with_plain_line_ends(text).removesuffix("\n")


def located(
    gate: PathGate, written: Iterable[str], open_uris: Sequence[str], notebooks: Sequence[str], roots: Sequence[Path]
) -> dict[str, Place]:
    """Where paths, as they are written, lead. Raises WorkspaceError for what may not or cannot be worked on.

    ``roots`` are the gate's roots as the client spells them.
    """
    of_documents = [(uri, _Identity.of(path)) for uri in open_uris if (path := path_of(uri)) is not None]
    of_notebooks = [_Identity.of(path) for uri in notebooks if (path := path_of(uri)) is not None]
    places: dict[str, Place] = {}
    for each in written:
        if _NO_FILE.match(each) or (each in open_uris and path_of(each) is None):
            raise WorkspaceError(
                f"{each} is no file: it is a buffer that was never saved, or a cell of a notebook. A person can save "
                "it under a name first, or make the change by hand."
            )
        gated = gate.pass_through(each)
        identity = _Identity.of(str(gated.real))
        if any(identity.is_same(notebook) for notebook in of_notebooks):
            raise WorkspaceError(f"{each} is open as a notebook, whose cells only a person can change. Close it first.")
        uris = [uri for uri, document in of_documents if identity.is_same(document)]
        if len(uris) > 1:
            raise WorkspaceError(f"{each} is open more than once, as {' and '.join(uris)}. Close all but one of them.")
        spelled = roots[gate.roots.index(gated.root)].joinpath(*gated.names)
        places[each] = Place(gated, uris[0] if uris else spelled.as_uri(), bool(uris))
    return places


@dataclass(frozen=True, slots=True)
class _Identity:
    """A file, however its path is spelled: where it really is, and what the file system calls it."""

    real: str
    status: os.stat_result | None

    @staticmethod
    def of(path: str) -> "_Identity":
        real = os.path.realpath(path)
        try:
            return _Identity(real, os.stat(real))
        except (OSError, ValueError):
            return _Identity(real, None)

    def is_same(self, other: "_Identity") -> bool:
        if self.real == other.real:
            return True
        return self.status is not None and other.status is not None and os.path.samestat(self.status, other.status)


def disk_text(path: GatedPath, name: str) -> str | None:
    """The text of a file on disk, None for no file. Raises WorkspaceError for what is no text, or no plain file."""
    try:
        return decode(read_state(path).data, name).text
    except FileNotFoundError:
        return None


def planned_changes(
    gate: PathGate,
    changes: Sequence[FileChange],
    places: Mapping[str, Place],
    buffers: Mapping[str, Buffer],
    unsaved: Mapping[Path, Unsaved],
    made: Mapping[Path, str],
) -> tuple[PlannedChange, ...]:
    """The changes, if all of them can be made now. Raises WorkspaceError; changes nothing.

    ``buffers`` are the open documents by URI; ``made`` holds the texts of the files that were created here, by path:
    those alone are deleted while they are unsaved.
    """
    planned = [_planned(change, places, buffers, unsaved, made) for change in changes]
    _refuse_twice(planned)
    on_disk = [
        replace(each.change, old_text=each.disk or "", changes=())
        for each in planned
        if each.disk is not None or each.buffer is None
    ]
    try:
        verify(gate, on_disk)
    except UnicodeEncodeError as error:
        raise WorkspaceError("The new text contains half a character. Nothing was changed.") from error
    return tuple(planned)


def _planned(
    change: FileChange,
    places: Mapping[str, Place],
    buffers: Mapping[str, Buffer],
    unsaved: Mapping[Path, Unsaved],
    made: Mapping[Path, str],
) -> PlannedChange:
    new = None if change.kind is ChangeKind.DELETE else places[change.final_path]
    if change.kind is ChangeKind.CREATE:
        _refuse_open(new, change.path)
        return PlannedChange(change, None, new, None, None)
    old = places[change.path]
    buffer = buffers[old.uri] if old.is_open else None
    disk = disk_text(old.path, change.path)
    text = _text_now(change, old, buffer, disk, unsaved)
    if text is not None and comparable(text) != comparable(change.old_text):
        raise WorkspaceError(
            f"{change.path} was changed in the meantime. Nothing was changed; read it again and make a new patch."
        )
    if change.changes and _LONE_CARRIAGE_RETURN.search(change.old_text):
        raise WorkspaceError(
            f"{change.path} contains carriage returns without line feeds, of which editors do not agree whether they "
            "end a line. It is left alone; a person can set its line ends right first."
        )
    if change.kind is not ChangeKind.UPDATE and buffer is not None and disk is None:
        raise WorkspaceError(f"{change.path} has never been saved, or was deleted on disk. Save it first.")
    if change.kind is ChangeKind.DELETE and text is not None and disk is not None:
        is_lost = comparable(text) not in (comparable(disk), comparable(made.get(old.path.real, disk)))
        if is_lost:
            raise WorkspaceError(f"{change.path} has changes that are not saved. Nothing was deleted; save it first.")
    planned = PlannedChange(change, old, new, buffer, disk)
    if planned.moves:
        _refuse_open(new, change.final_path)
    return planned


def _text_now(
    change: FileChange, place: Place, buffer: Buffer | None, disk: str | None, unsaved: Mapping[Path, Unsaved]
) -> str | None:
    """The text as a person sees it now; None where there is none."""
    if buffer is not None:
        if not buffer.is_held:
            raise WorkspaceError(
                f"{change.path} is open, but an edit of it could not be read, so that its text is not known. Close it "
                "and open it again."
            )
        if not buffer.is_whole or "\0" in buffer.text:
            raise WorkspaceError(f"{change.path} contains halves of characters, or NUL. It is left alone.")
        return buffer.text
    held = unsaved.get(place.path.real)
    return held.text if held is not None and held.disk == disk else disk


def _refuse_open(place: Place | None, name: str) -> None:
    if place is not None and place.is_open:
        raise WorkspaceError(
            f"{name} is open in the editor already. Nothing was changed; to change a file use '*** Update File', or "
            "choose another name."
        )


def _refuse_twice(planned: Sequence[PlannedChange]) -> None:
    owners: dict[Path, int] = {}
    for number, each in enumerate(planned):
        for place in (each.old, each.new):
            if place is not None and owners.setdefault(place.path.real, number) != number:
                raise WorkspaceError(
                    f"Multiple operations target {each.change.path}. Put all its hunks into one section."
                )
