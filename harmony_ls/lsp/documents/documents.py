"""The open documents: what the client sent, and nothing that is on disk.

It stands in for pygls's own workspace, whose text handling splits lines at the wrong characters and raises on edits of
unopened documents. Whatever a client sends, nothing here raises: what cannot be applied is logged, once per document
and kind of fault. Cells of notebooks are documents like others; the order of the cells is not kept.
"""

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname
from weakref import WeakSet

from harmony_ls.errors import UserError
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.lsp.documents.followed_links import FollowedLinks
from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text

__all__ = ["Change", "Document", "DocumentListener", "Documents", "path_of", "targets_of"]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# A disk that takes longer for a few names is one that does not answer.
_DISK_SECONDS = 3.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit. Without a range (``start`` and ``end`` None), ``text`` is the whole new text."""

    text: str
    start: Position | None = None
    end: Position | None = None


@dataclass(slots=True)
class Document:
    """One open document. ``n_changes`` counts what was applied: it tells two states of equal version apart.

    ``in_sync`` is false after an edit that could not be read: the text is not the client's until it comes whole again.
    """

    uri: str
    language_id: str
    version: int | None
    text: Text
    n_changes: int = 0
    in_sync: bool = True
    faults: set[str] = field(default_factory=set)
    _snapshot: DocumentSnapshot | None = None
    _digest: str | None = None
    _links: FollowedLinks = field(default_factory=FollowedLinks)

    def digest(self) -> str:
        """The SHA-256 of the text's UTF-8, in hexadecimal: it tells two documents apart that have one URI and version,
        as one that was closed and opened again may have."""
        if self._digest is None:
            self._digest = hashlib.sha256(str(self.text).encode("utf-8", "surrogatepass")).hexdigest()
        return self._digest

    async def link_targets(self) -> tuple[str, ...]:
        """The paths that the document's path has led to by links since it was opened: it may show any of these files.

        The disk is looked at again when the text has changed.
        """
        path = path_of(self.uri)
        return () if path is None else await self._links.targets(path, self.n_changes)

    def bare(self) -> DocumentSnapshot:
        """Return the document as it is now, but for its text: in a large one, to look at that would take too long."""
        return DocumentSnapshot(self.uri, path_of(self.uri), self.language_id, self.version, "")

    def snapshot(self) -> DocumentSnapshot:
        """Return the document as it is now.

        Half a surrogate pair, and a byte that was no UTF-8, become U+FFFD there: no tokenizer takes them. All offsets
        stay what they are.
        """
        if self._snapshot is None:
            self._snapshot = replace(self.bare(), text=_without_surrogates(str(self.text)))
        return self._snapshot

    def apply(self, changes: Sequence[Change], version: int | None) -> None:
        """Apply ``changes`` in order and take ``version``."""
        for change in changes:
            if change.start is None or change.end is None:
                self.text.replace_all(change.text)
                self.in_sync = True
                continue
            if not (self._holds(change.start) and self._holds(change.end)):
                self.report("an edit outside the text was clamped to it")
            self.text.replace(change.start, change.end, change.text)
        if version is not None and self.version is not None and version != self.version + 1:
            self._report_version(version, self.version)
        self.version = version if version is not None else self.version
        self.n_changes += 1
        self._snapshot = self._digest = None

    def _holds(self, position: Position) -> bool:
        # The start of the line after the last is how editors name the end of the text.
        return self.text.contains(position) or position == Position(self.text.n_lines, 0)

    def _report_version(self, version: int, previous: int) -> None:
        if version <= previous:
            self.report(f"version {version} came after version {previous}")
        elif "gap" not in self.faults:
            # Neovim counts its own changes and sends them in batches, so a gap alone proves no loss.
            self.faults.add("gap")
            _logger.info("%s: version %s came after version %s", self.uri, version, previous)

    def report(self, fault: str) -> None:
        """Log a fault of the client's, once per kind: its buffer and ours may differ from now on."""
        kind = "".join(character for character in fault if not character.isdigit())
        if kind not in self.faults:
            self.faults.add(kind)
            _logger.warning("%s: %s", self.uri, fault)


class DocumentListener(Protocol):
    """Whoever wants to know at once what becomes of documents."""

    def document_changed(self, uri: str, *, was_opened: bool = False) -> None:
        """A document was opened, changed or closed, or what the client did to it could not be read."""


class Documents:
    """The open documents by URI. ``encoding`` is what was agreed on in ``initialize``."""

    def __init__(self, encoding: PositionEncoding = PositionEncoding.UTF_16) -> None:
        self.encoding = encoding
        self._documents: dict[str, Document] = {}
        self._unopened: set[str] = set()
        self._cells: dict[str, set[str]] = {}
        self._listeners: WeakSet[DocumentListener] = WeakSet()

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    def get(self, uri: str) -> Document | None:
        """Return an open document, or None."""
        return self._documents.get(uri)

    @property
    def notebooks(self) -> tuple[str, ...]:
        """The URIs of the notebooks that open cells belong to."""
        return tuple(self._cells)

    def listen(self, listener: DocumentListener) -> None:
        """Tell ``listener`` of every document from now on, for as long as someone else holds it."""
        self._listeners.add(listener)

    def _tell(self, uri: str, *, was_opened: bool = False) -> None:
        for listener in tuple(self._listeners):
            listener.document_changed(uri, was_opened=was_opened)

    def open(self, uri: str, language_id: str, version: int | None, text: str) -> None:
        """Take a document from the client. A second ``didOpen`` replaces the text: the client knows it best."""
        if uri in self._documents:
            _logger.warning("%s: opened again without being closed", uri)
        self._documents[uri] = Document(uri, language_id, version, Text(text, self.encoding))
        self._unopened.discard(uri)
        self._tell(uri, was_opened=True)

    def change(self, uri: str, version: int | None, changes: Sequence[Change]) -> None:
        """Apply a change. One to a document that is not open is dropped."""
        document = self._documents.get(uri)
        if document is None:
            if uri not in self._unopened:
                self._unopened.add(uri)
                _logger.warning("%s: changed without being open; the change is dropped", uri)
            return
        document.apply(changes, version)
        self._tell(uri)

    def distrust(self, uri: str) -> None:
        """Note that an edit of ``uri`` could not be read. Nothing is offered there until its text comes whole again."""
        document = self._documents.get(uri)
        if document is not None and document.in_sync:
            document.in_sync = False
            document.report("an edit could not be read; nothing is offered here until the document is opened again")
            self._tell(uri)

    def open_cells(self, notebook: str, uris: Iterable[str]) -> None:
        """Note that open documents are cells of a notebook."""
        self._cells.setdefault(notebook, set()).update(uris)

    def close_cells(self, notebook: str, uris: Iterable[str]) -> None:
        """Note that documents are cells of a notebook no more."""
        cells = self._cells.get(notebook, set())
        cells.difference_update(uris)
        if not cells:
            self._cells.pop(notebook, None)

    def distrust_notebook(self, notebook: object) -> None:
        """Note that an edit of a notebook could not be read: of all notebooks, if it is not known of which."""
        of_one = self._cells.get(notebook) if isinstance(notebook, str) else None
        for uri in set().union(*self._cells.values()) if of_one is None else set(of_one):
            self.distrust(uri)

    def close(self, uri: str) -> None:
        """Forget a document."""
        if self._documents.pop(uri, None) is None:
            _logger.warning("%s: closed without being open", uri)
        else:
            self._tell(uri)


def _without_surrogates(text: str) -> str:
    """Return ``text`` with U+FFFD in place of each lone surrogate; to encode it finds them far sooner than a search."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


async def targets_of(document: Document) -> tuple[str, ...]:
    """`Document.link_targets` for who owes an answer. Raises UserError where the disk does not tell them: it is not
    known then whether the model may see the document."""
    try:
        async with asyncio.timeout(_DISK_SECONDS):
            return await document.link_targets()
    except TimeoutError:
        raise UserError(f"The disk does not say which file {document.uri} is. Try again when it answers.") from None


def path_of(uri: str) -> str | None:
    """Return the path that a ``file`` URI names, else None: also for one that no file system could take."""
    try:
        parts = urlsplit(uri, allow_fragments=False)  # an unescaped "#" belongs to the name, an unescaped "?" too
    except ValueError:
        return None
    if parts.scheme != "file":
        return None
    path = url2pathname(f"{parts.path}?{parts.query}" if parts.query else parts.path)
    if parts.netloc and parts.netloc != "localhost":
        path = f"//{parts.netloc}{path}"
    return path if path and "\0" not in path and _can_be_encoded(path) else None


def _can_be_encoded(path: str) -> bool:
    """Whether the system can be asked for a path: not with half a character in it, as JSON may have."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
