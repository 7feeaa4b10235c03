"""An editor for tests: it keeps buffers and files, really applies what a server asks for, and tells of it as LSP says.

It is as strict as VS Code: a stale version or a file in the way refuses the whole edit, changed buffers stay unsaved,
and what one edit does to a buffer is one step of its undo. How it misbehaves, and what the person at it does, is said
by its attributes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony_ls.lsp.client import EDITOR_CAPABILITIES
from harmony_ls.lsp.documents.documents import path_of
from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text

__all__ = ["CAPABILITIES", "Buffer", "Editor", "Refusal"]

CAPABILITIES: dict[str, Any] = EDITOR_CAPABILITIES | {
    "workspace": EDITOR_CAPABILITIES["workspace"]
    | {
        "applyEdit": True,
        "workspaceEdit": {
            "documentChanges": True,
            "resourceOperations": ["create", "rename", "delete"],
            "failureHandling": "textOnlyTransactional",
            "changeAnnotationSupport": {"groupsOnLabel": True},
        },
    }
}
"""What VS Code declares, edits included."""

_FAILED = -32803


class Refusal(Exception):
    """An edit, or a question, that this editor answers with an error."""


class _CannotApply(Exception):
    """Why an edit is not applied."""


@dataclass
class Buffer:
    """A document of the editor. ``is_told``: the server knows of it."""

    uri: str
    text: Text
    version: int = 1
    is_told: bool = True
    earlier: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        path = path_of(self.uri)
        assert path is not None, self.uri
        return Path(path)

    def __str__(self) -> str:
        return str(self.text)


class Editor:
    """The buffers and files of one editor; ``send`` takes its messages to the server."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self.encoding = PositionEncoding.UTF_16
        self.buffers: dict[str, Buffer] = {}
        self.edits: list[dict[str, Any]] = []
        """The parameters of each ``workspace/applyEdit``."""
        self.questions: list[dict[str, Any]] = []
        """The parameters of each ``window/showMessageRequest``."""
        self.withdrawn: list[Any] = []
        """The ids of requests that the server took back."""
        self.messages: list[tuple[str, Any]] = []
        """All notifications of the server."""
        self.asked = asyncio.Event()
        """Set when a request of the server comes."""

        self.answers: list[str | Refusal | None] = []
        """What the person answers to questions, in turn; without one, a question stays open until `reply`."""
        self.refuses: str | Refusal | None = None
        """Why every edit is refused."""
        self.before_edit: Callable[[], None] = lambda: None
        """What happens between the coming of an edit and its being applied."""
        self.after_edit: Callable[[], None] = lambda: None
        """What happens as soon as an edit was applied, before it is answered."""
        self.leaves_out: Callable[[str], bool] = lambda _uri: False
        """Documents that are passed over, although the answer says that all went well."""
        self.confirms: Callable[[str], bool] = lambda _label: True
        """Whether the person ticks a change of this label where the server asks for that."""
        self.skips_stale = False
        """Like Neovim: a stale document is passed over, and the answer says that all went well."""
        self.opens_edited = True
        """Whether the server is told of buffers that an edit opens."""
        self.tells_late = False
        """Whether the answer comes before the changes are told."""
        self.holds_edits = False
        """Whether edits wait for `release`, as while a person looks them over."""
        self.withdraws_edits = False
        """Whether an edit that waits is given up when the server withdraws it."""
        self.answers_twice = False
        """Whether each edit is answered a second time, with the opposite."""
        self.makes_edits: Callable[[], None] | None = None
        """What is done in place of every edit that then counts as made."""
        self.formats: Callable[[str], str] = lambda text: text
        """What a formatter makes of a text that an edit has changed, before the server is told of it."""
        self.all_read: Callable[[], Awaitable[object]]
        """Waits until the server has read what it was sent."""
        self._late: list[dict[str, Any]] = []
        self._open_questions: list[Any] = []
        self._held: list[tuple[Any, dict[str, Any]]] = []

    # What the person does

    def open(self, path: Path, uri: str | None = None, language_id: str = "python") -> str:
        """Open a file, or a new buffer under the name of one that does not exist."""
        text = _read(path) if path.exists() else ""
        return self.open_text(path.as_uri() if uri is None else uri, text, language_id)

    def open_text(self, uri: str, text: str, language_id: str = "python") -> str:
        """Open a document with a text."""
        self.buffers[uri] = Buffer(uri, Text(text, self.encoding))
        item = {"uri": uri, "languageId": language_id, "version": 1, "text": text}
        self._notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def open_notebook(self, uri: str, cells: dict[str, str]) -> None:
        """Open a notebook: its cells are documents."""
        items = [{"uri": cell, "languageId": "python", "version": 1, "text": text} for cell, text in cells.items()]
        notebook = {
            "uri": uri,
            "notebookType": "jupyter-notebook",
            "version": 1,
            "cells": [{"kind": 2, "document": cell} for cell in cells],
        }
        self._notify("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": items})

    def insert(self, uri: str, offset: int, text: str) -> None:
        """Type at an offset in characters."""
        buffer = self.buffers[uri]
        place = buffer.text.position_at(offset)
        self._change(buffer, [(place, place, text)])

    def rewrite(self, uri: str, text: str) -> None:
        """Put another text in place of all, in one change."""
        buffer = self.buffers[uri]
        buffer.text.replace_all(text)
        buffer.version += 1
        self._tell_change(buffer, [{"text": text}])

    def undo(self, uri: str) -> None:
        """Take one step back."""
        buffer = self.buffers[uri]
        buffer.text.replace_all(buffer.earlier.pop())
        buffer.version += 1
        self._tell_change(buffer, [{"text": str(buffer)}])

    def save(self, uri: str) -> None:
        """Write a buffer to its file."""
        buffer = self.buffers[uri]
        buffer.path.write_bytes(str(buffer).encode())

    def close(self, uri: str) -> None:
        """Close a document; what was not saved is lost."""
        if self.buffers.pop(uri).is_told:
            self._notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def reply(self, title: str | None) -> None:
        """Answer the question that has been open for longest."""
        self._answer(self._open_questions.pop(0), None if title is None else {"title": title})

    def release(self) -> None:
        """Go on with the edit that has waited for longest."""
        self._edit(*self._held.pop(0))

    def text(self, path: Path) -> str:
        """The text of a file as the person sees it."""
        for buffer in self.buffers.values():
            if buffer.path.resolve() == path.resolve():
                return str(buffer)
        return _read(path)

    # What the server says

    def receive(self, message: dict[str, Any]) -> bool:
        """Take a message of the server. Returns whether it was one for an editor."""
        method, params = message.get("method"), message.get("params")
        match method:
            case "workspace/applyEdit":
                assert params is not None
                self.edits.append(params)
                self.asked.set()
                if self.holds_edits:
                    self._held.append((message["id"], params))
                else:
                    self._edit(message["id"], params)
            case "window/showMessageRequest":
                assert params is not None
                self.questions.append(params)
                self.asked.set()
                self._ask(message["id"])
            case "$/cancelRequest":
                assert params is not None
                self.withdrawn.append(params["id"])
                if self.withdraws_edits:
                    for held in [held for held in self._held if held[0] == params["id"]]:
                        self._held.remove(held)
                        self._fail(held[0], "cancelled")
            case str() if "id" not in message:
                self.messages.append((method, params))
            case _:
                return False
        return True

    def _ask(self, number: Any) -> None:
        if not self.answers:
            self._open_questions.append(number)
            return
        answer = self.answers.pop(0)
        if isinstance(answer, Refusal):
            self._fail(number, str(answer))
        else:
            self._answer(number, None if answer is None else {"title": answer})

    def _edit(self, number: Any, params: dict[str, Any]) -> None:
        self.before_edit()
        if isinstance(self.refuses, Refusal):
            self._fail(number, str(self.refuses))
            return
        try:
            if self.refuses is not None:
                raise _CannotApply(self.refuses)
            if self.makes_edits is None:
                self._apply(params["edit"])
            else:
                self.makes_edits()
        except (_CannotApply, OSError) as error:
            self._answer(number, {"applied": False, "failureReason": str(error)})
        else:
            self.after_edit()
            self._answer(number, {"applied": True})
            if self.answers_twice:
                self._answer(number, {"applied": False, "failureReason": "changed its mind"})
        late, self._late = self._late, []
        for message in late:
            self._send(message)

    def _apply(self, edit: dict[str, Any]) -> None:
        assert not ("changes" in edit and "documentChanges" in edit)
        operations = list(edit.get("documentChanges") or ()) or [
            {"textDocument": {"uri": uri, "version": None}, "edits": edits} for uri, edits in edit["changes"].items()
        ]
        operations = list(self._confirmed(operations, edit.get("changeAnnotations") or {}))
        if not operations:
            raise _CannotApply("discarded")
        fresh = [operation for operation in operations if not self._is_stale(operation)]
        if len(fresh) < len(operations) and not self.skips_stale:
            raise _CannotApply("a document has changed in the meantime")
        for operation in fresh:
            if not self.leaves_out(operation.get("uri") or operation.get("newUri") or operation["textDocument"]["uri"]):
                self._carry_out(operation)

    def _confirmed(self, operations: list[dict[str, Any]], annotations: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for operation in operations:
            ids = {operation.get("annotationId"), *(each.get("annotationId") for each in operation.get("edits", ()))}
            asked = [annotations[each] for each in ids if each is not None]
            if all(self.confirms(each["label"]) for each in asked if each.get("needsConfirmation")):
                yield operation

    def _is_stale(self, operation: dict[str, Any]) -> bool:
        document = operation.get("textDocument")
        if document is None or document["version"] is None:
            return False
        buffer = self.buffers.get(document["uri"])
        return buffer is None or buffer.version != document["version"]

    def _carry_out(self, operation: dict[str, Any]) -> None:
        match operation.get("kind"):
            case "create":
                path = _path(operation["uri"])
                if path.exists():
                    raise _CannotApply(f"{path.name} exists")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
            case "rename":
                self._rename(operation["oldUri"], operation["newUri"])
            case "delete":
                _path(operation["uri"]).unlink()
                if operation["uri"] in self.buffers:
                    self.close(operation["uri"])
            case _:
                self._edit_text(operation["textDocument"]["uri"], operation["edits"])

    def _rename(self, old_uri: str, new_uri: str) -> None:
        old, new = _path(old_uri), _path(new_uri)
        if new.exists():
            raise _CannotApply(f"{new.name} exists")
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)
        buffer = self.buffers.get(old_uri)
        if buffer is not None:
            self.close(old_uri)
            moved = self.buffers[new_uri] = Buffer(new_uri, buffer.text, is_told=buffer.is_told, earlier=buffer.earlier)
            if moved.is_told:
                self._tell_open(moved)

    def _edit_text(self, uri: str, edits: list[dict[str, Any]]) -> None:
        buffer = self.buffers.get(uri)
        if buffer is None:
            buffer = self.buffers[uri] = Buffer(uri, Text(_read(_path(uri)), self.encoding), is_told=self.opens_edited)
            if buffer.is_told:
                self._tell_open(buffer)
        places = [(_position(e["range"]["start"]), _position(e["range"]["end"]), e["newText"]) for e in edits]
        assert all(start <= end for start, end, _ in places)
        assert all(one[1] <= other[0] for one, other in zip(sorted(places), sorted(places)[1:], strict=False))
        # From the last to the first: every place is one of the text before the edit.
        self._change(buffer, sorted(places, reverse=True))
        formatted = self.formats(str(buffer))
        if formatted != str(buffer):
            self.rewrite(uri, formatted)

    def _change(self, buffer: Buffer, places: list[tuple[Position, Position, str]]) -> None:
        buffer.earlier.append(str(buffer))
        for start, end, text in places:
            buffer.text.replace(start, end, text)
        buffer.version += 1
        changes = [{"range": {"start": _wire(start), "end": _wire(end)}, "text": text} for start, end, text in places]
        self._tell_change(buffer, changes)

    def _tell_open(self, buffer: Buffer) -> None:
        item = {"uri": buffer.uri, "languageId": "python", "version": buffer.version, "text": str(buffer)}
        self._notify("textDocument/didOpen", {"textDocument": item})

    def _tell_change(self, buffer: Buffer, changes: list[dict[str, Any]]) -> None:
        if buffer.is_told:
            document = {"uri": buffer.uri, "version": buffer.version}
            self._notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def _notify(self, method: str, params: object) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if self.tells_late:
            self._late.append(message)
        else:
            self._send(message)

    def _answer(self, number: Any, result: object) -> None:
        self._send({"jsonrpc": "2.0", "id": number, "result": result})

    def _fail(self, number: Any, text: str) -> None:
        self._send({"jsonrpc": "2.0", "id": number, "error": {"code": _FAILED, "message": text}})


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _path(uri: str) -> Path:
    path = path_of(uri)
    assert path is not None, uri
    return Path(path)


def _position(place: dict[str, int]) -> Position:
    return Position(place["line"], place["character"])


def _wire(position: Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}
