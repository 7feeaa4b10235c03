"""From what a client attaches, in places of documents, to the text that goes with a message.

Open documents are read as the client has them at this moment, saved or not; other files through the workspace's gate.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmony_ls.errors import UserError
from harmony_ls.features.chat.attachments import Attachment, refuse_too_much
from harmony_ls.features.chat.diff import repository_diff, repository_of
from harmony_ls.features.diagnostics import MOST_DIAGNOSTICS, DiagnosticNote, diagnostics_text
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.exclusion import exclusion, first_match
from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.features.syntax.symbols import symbol_at
from harmony_ls.lsp.connection.reading import SEVERITY_NAMES
from harmony_ls.lsp.documents.documents import Document, path_of, targets_of
from harmony_ls.lsp.documents.naming import name_of
from harmony_ls.lsp.documents.positions import position_of
from harmony_ls.lsp.documents.text import PositionEncoding, Text
from harmony_ls.lsp.messages.chat_messages import AttachmentParam
from harmony_ls.lsp.services import Services

__all__ = ["attachments_of"]

_N_AROUND = 5
_MOST_ATTACHMENTS = 50
_CHANGES = "Changes since the last commit"


async def attachments_of(services: Services, params: Sequence[AttachmentParam]) -> tuple[Attachment, ...]:
    """The attachments of a message. Raises UserError for what cannot be attached.

    Open documents are looked at before this first waits, so that they are as the client saw them.
    """
    if len(params) > _MOST_ATTACHMENTS:
        raise UserError(f"{len(params)} attachments are too many; {_MOST_ATTACHMENTS} is the limit.")
    opened = [_opened(services, each) for each in params]
    await services.configured()  # what is excluded, for one
    resolved: list[Attachment] = []
    for param, each in zip(params, opened, strict=True):
        if param.kind == "diff":
            resolved += await _diff(services, param, params)
        else:
            resolved += await _resolve(services, param, each)
        refuse_too_much("", resolved)
    return tuple(resolved)


def _opened(services: Services, param: AttachmentParam) -> tuple[Document, DocumentSnapshot] | None:
    document = services.documents.get(param.uri) if param.uri is not None else None
    if document is None:
        return None
    if not document.in_sync:
        name = name_of(document.uri, services.configuration.folders)
        raise UserError(f"An edit of {name} could not be read. Close the document and open it.")
    return document, document.snapshot()


async def _resolve(
    services: Services, param: AttachmentParam, opened: tuple[Document, DocumentSnapshot] | None
) -> list[Attachment]:
    if param.kind not in ("selection", "file", "symbol", "diagnostics"):
        raise UserError(f"{param.kind!r} is no kind of attachment: selection, file, symbol, diagnostics, diff are.")
    if not param.uri:
        raise UserError(f"An attachment of the kind {param.kind} needs a uri.")
    if opened is None:
        snapshot = await _from_disk(services, param.uri)
    else:
        document, snapshot = opened
        await _refuse_excluded(services, document)
    name = name_of(param.uri, services.configuration.folders)
    match param.kind:
        case "file":
            return [Attachment(f"`{name}`", snapshot.text, snapshot.language_id)]
        case "selection":
            return [await asyncio.to_thread(_selection, param, snapshot, name, services.documents.encoding)]
        case "symbol":
            return [await _symbol(param, snapshot, name)]
        case _:
            return await asyncio.to_thread(_diagnostics, param, snapshot, name)


async def _from_disk(services: Services, uri: str) -> DocumentSnapshot:
    workspace = await services.editor_workspace()
    if isinstance(workspace, str):
        raise UserError(f"{uri} is not open, and {workspace[:1].lower()}{workspace[1:]}")
    path = path_of(uri)
    if path is None:
        raise UserError(f"{uri} is not open.")
    file = await workspace.read(path)
    return DocumentSnapshot(uri, path, "", None, file.text)


async def _refuse_excluded(services: Services, document: Document) -> None:
    exclude = services.configuration.settings.inline_completion.exclude
    located = replace(document.bare(), link_targets=await targets_of(document))
    if excluded := exclusion(located, exclude):
        name = name_of(document.uri, services.configuration.folders)
        raise UserError(f"{name} is not shown to the model: {excluded}.")


def _selection(param: AttachmentParam, snapshot: DocumentSnapshot, name: str, encoding: PositionEncoding) -> Attachment:
    if param.range is None:
        raise UserError("A selection needs a range.")
    text = Text(snapshot.text, encoding)
    start = text.offset_at(position_of(param.range.start))
    end = text.offset_at(position_of(param.range.end))
    start, end = min(start, end), max(start, end)
    first, last = text.position_at(start), text.position_at(end)
    if start == end:  # nothing is selected: the line with the cursor is meant
        return _lines(snapshot, _lines_of(snapshot), name, first.line, first.line + 1)
    # A selection that ends before the first character of a line does not reach into it.
    last_line = last.line if last.character or last.line == first.line else last.line - 1
    return Attachment(_label(name, first.line, last_line + 1), snapshot.text[start:end], snapshot.language_id)


async def _symbol(param: AttachmentParam, snapshot: DocumentSnapshot, name: str) -> Attachment:
    if param.position is None:
        raise UserError("A symbol needs a position.")
    symbol = await symbol_at(snapshot.text, param.position.line, snapshot.language_id)
    if symbol is None:
        raise UserError(f"There is no function, class or block around line {param.position.line + 1} of {name}.")
    lines = await asyncio.to_thread(_lines_of, snapshot)
    return _lines(snapshot, lines, name, symbol.start, symbol.end)


def _diagnostics(param: AttachmentParam, snapshot: DocumentSnapshot, name: str) -> list[Attachment]:
    """The diagnostics with the lines around them. Fields that other servers leave out are done without."""
    notes = [_note(each) for each in param.diagnostics or ()]
    if not notes:
        raise UserError(f"There are no diagnostics of {name} to attach.")
    lines = _lines_of(snapshot)
    places = (min(note.line, len(lines)) for note in notes[:MOST_DIAGNOSTICS])
    shown = [_lines(snapshot, lines, name, start, end) for start, end in _surroundings(places)]
    if len(shown) > 1:  # what lies between is of no interest
        return [*shown, Attachment(f"Diagnostics of `{name}`", diagnostics_text(notes))]
    text = shown[0].text if shown[0].text.endswith("\n") else f"{shown[0].text}\n"
    return [Attachment(f"Diagnostics of {shown[0].label}", f"{text}\n{diagnostics_text(notes)}", shown[0].language)]


def _surroundings(lines: Iterable[int]) -> list[tuple[int, int]]:
    """The lines around these, which are counted from 1: pieces that touch are one."""
    pieces: list[tuple[int, int]] = []
    for line in sorted(set(lines)):
        start, end = max(0, line - 1 - _N_AROUND), line + _N_AROUND
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = pieces[-1][0], end
        else:
            pieces.append((start, end))
    return pieces


def _note(diagnostic: Mapping[str, Any]) -> DiagnosticNote:
    start = _mapping(_mapping(diagnostic, "range"), "start").get("line")
    message = diagnostic.get("message")
    if isinstance(message, Mapping):  # MarkupContent, since LSP 3.18
        message = message.get("value")
    severity, source = diagnostic.get("severity"), diagnostic.get("source")
    return DiagnosticNote(
        line=start + 1 if isinstance(start, int) and start >= 0 else 1,
        message=message if isinstance(message, str) and message.strip() else "no message",
        severity=SEVERITY_NAMES.get(severity, "") if isinstance(severity, int) else "",
        source=source if isinstance(source, str) else "",
    )


async def _diff(services: Services, param: AttachmentParam, params: Sequence[AttachmentParam]) -> list[Attachment]:
    """What has changed: in the one file that is named; else in the repositories of what else is attached; else in all
    of the workspace."""
    folders = services.configuration.folders
    if not folders:
        raise UserError("There are no changes to attach: no folder is open.")
    exclude = services.configuration.settings.inline_completion.exclude

    def is_hidden(name: str) -> bool:
        return first_match(DocumentSnapshot("", name, "", None, ""), exclude) is not None

    path: Path | None = None
    if param.uri:
        path = await asyncio.to_thread(_place_of, param.uri, folders)
        if path is None:
            raise UserError(f"{param.uri} is outside the workspace, so its changes are not shown to the model.")
        folders = (await asyncio.to_thread(_folder_of, path),)
    elif len(folders) > 1:
        others = [each.uri for each in params if each.uri]
        folders = await asyncio.to_thread(_folders_of, others, folders) or folders
    limits = services.configuration.folders if path is None else (path,)
    if len(folders) == 1:
        return [Attachment(_CHANGES, await repository_diff(folders[0], limits, is_hidden), "diff")]
    return await _diffs(folders, limits, is_hidden)


async def _diffs(folders: Sequence[Path], limits: Sequence[Path], is_hidden: Callable[[str], bool]) -> list[Attachment]:
    """The changes of each of the folders' repositories, under its name; those without any are passed over.

    Raises UserError where there is nothing to show in any of them, and why in the first.
    """
    repositories: dict[Path, str] = {}
    problems: list[UserError] = []
    for folder in folders:
        try:
            repository = await repository_of(folder)
            if repository not in repositories:
                repositories[repository] = ""
                repositories[repository] = await repository_diff(folder, limits, is_hidden)
        except UserError as error:
            problems.append(error)
    changed = {repository: text for repository, text in repositories.items() if text}
    if not changed:
        raise problems[0]
    return [Attachment(f"{_CHANGES} in `{each.name}`", text, "diff") for each, text in changed.items()]


def _folders_of(uris: Sequence[str], folders: Sequence[Path]) -> tuple[Path, ...]:
    """The folders in which documents are, each once."""
    paths = [path for path in (_place_of(uri, folders) for uri in uris) if path is not None]
    return tuple(dict.fromkeys(map(_folder_of, paths)))


def _folder_of(path: Path) -> Path:
    """The nearest folder around a path that is there, which may be itself: the document may be new, or its folder
    deleted."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _place_of(uri: str, folders: Sequence[Path]) -> Path | None:
    """Where a document is, if that is inside the workspace."""
    written = path_of(uri)
    return None if written is None else _inside(Path(os.path.normpath(written)), folders)


def _inside(path: Path, folders: Sequence[Path]) -> Path | None:
    """The path without links, where that lies in one of the folders or is one of them. What a file that is a link leads
    to is not asked: git tells of the link itself."""
    real = Path(os.path.realpath(path)) if path.is_dir() else Path(os.path.realpath(path.parent), path.name)
    return real if any(real.is_relative_to(os.path.realpath(folder)) for folder in folders) else None


def _lines_of(snapshot: DocumentSnapshot) -> list[str]:
    return with_plain_line_ends(snapshot.text).split("\n")


def _lines(snapshot: DocumentSnapshot, lines: Sequence[str], name: str, start: int, end: int) -> Attachment:
    """Lines ``start`` to ``end`` of a document, counted from 0."""
    start, end = min(start, len(lines) - 1), min(end, len(lines))
    return Attachment(_label(name, start, end), "\n".join(lines[start:end]), snapshot.language_id)


def _label(name: str, start: int, end: int) -> str:
    return f"`{name}`, line {start + 1}" if end - start <= 1 else f"`{name}`, lines {start + 1} to {end}"


def _mapping(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = owner.get(name)
    return value if isinstance(value, Mapping) else {}
