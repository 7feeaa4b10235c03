"""From what a model wrote for a code action to a workspace edit, in the positions and with the means of the client."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.edits.changes import TextChange, apply_text_changes
from harmony_ls.errors import UserError, WorkspaceError
from harmony_ls.features.code_actions.tests_location import path_of_tests
from harmony_ls.lsp.documents.documents import Document, path_of
from harmony_ls.lsp.documents.text import Position, Text
from harmony_ls.workspace.gate import PathGate

if TYPE_CHECKING:
    from harmony_ls.features.code_actions.writing import Job
    from harmony_ls.lsp.server import HarmonyServer
    from harmony_ls.session.chat_model import ChatModel
    from harmony_ls.settings.models import ChatSettings

__all__ = ["edit_of_document", "edit_of_tests", "folder_of", "name_of"]


def folder_of(server: "HarmonyServer", path: str) -> Path | None:
    """The innermost folder of the workspace that a path lies in."""
    around = [folder for folder in server.configuration.folders if Path(path).is_relative_to(folder)]
    return max(around, key=lambda folder: len(folder.parts), default=None)


def name_of(server: "HarmonyServer", uri: str) -> str:
    """A document as a model is told of it: its path below a folder of the workspace, else its name."""
    path = path_of(uri)
    if path is None:
        return uri.rpartition("/")[2] or uri
    folder = folder_of(server, path)
    return Path(path).name if folder is None else Path(path).relative_to(folder).as_posix()


async def edit_of_document(
    server: "HarmonyServer", document: Document, job: "Job", chat_model: "ChatModel", settings: "ChatSettings"
) -> types.WorkspaceEdit:
    """The edit of the document itself. Raises what `changes_for` raises."""
    from harmony_ls.features.code_actions.writing import changes_for

    changes = await changes_for(job, chat_model, settings)
    edits = _text_edits(document.text, changes)
    if _takes_document_changes(server):
        return types.WorkspaceEdit(document_changes=[_document_edit(document.uri, document.version, edits)])
    return types.WorkspaceEdit(changes={document.uri: edits})


async def edit_of_tests(
    server: "HarmonyServer", job: "Job", chat_model: "ChatModel", settings: "ChatSettings"
) -> types.WorkspaceEdit:
    """The edit that puts new tests where those of the document are: into a file that there is, or a new one.

    Raises UserError where there is no place for them, and what `added_tests` raises.
    """
    from harmony_ls.features.code_actions.writing import added_tests

    path = job.document.path
    folder = None if path is None else folder_of(server, path)
    workspace = server.chat.workspace()
    if isinstance(workspace, str) or folder is None or path is None:
        raise UserError("Tests are written into a folder of the workspace, and the document lies in none.")
    job.tell("Looking for the tests' file")
    files = _below(folder, await workspace.list_files())
    relative, exists = path_of_tests(Path(path).relative_to(folder).as_posix(), job.document.language_id, files)
    target = folder / relative
    opened = _open_document(server, target)
    text = ""
    if exists or opened is not None:
        text = (await workspace.read(str(target))).text
    else:
        exclude = server.configuration.settings.inline_completion.exclude
        await asyncio.to_thread(_refuse_to_create, folder, target, exclude)
    changes = await added_tests(job, relative, text, chat_model, settings)
    if opened is None and not exists:
        return _creation(server, target.as_uri(), "".join(change.text for change in changes))
    if opened is not None and opened.snapshot().text != text:
        raise UserError(f"{relative} was changed in the meantime. Nothing was changed; try again.")
    edits = _text_edits(Text(text, server.documents.encoding), changes)
    uri, version = (target.as_uri(), None) if opened is None else (opened.uri, opened.version)
    return types.WorkspaceEdit(document_changes=[_document_edit(uri, version, edits)])


def _refuse_to_create(folder: Path, target: Path, exclude: Sequence[str]) -> None:
    """Raise WorkspaceError where a new file may not be put; the client that creates it does not ask."""
    if PathGate((folder,), exclude=exclude).pass_through(str(target)).real.exists():
        raise WorkspaceError(f"{target.name} exists already, and is not among the files that may be changed.")


def _below(folder: Path, files: Sequence[str]) -> list[str]:
    """The files of a folder, relative to it; a workspace of several folders names them by whole paths."""
    roots = (folder, folder.resolve())
    relative = []
    for file in map(Path, files):
        if not file.is_absolute():
            relative.append(file.as_posix())
        elif (root := next((root for root in roots if file.is_relative_to(root)), None)) is not None:
            relative.append(file.relative_to(root).as_posix())
    return relative


def _open_document(server: "HarmonyServer", path: Path) -> Document | None:
    return next((document for document in server.documents if path_of(document.uri) == str(path)), None)


def _creation(server: "HarmonyServer", uri: str, text: str) -> types.WorkspaceEdit:
    options = types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
    edits = _text_edits(Text("", server.documents.encoding), [TextChange(0, 0, text)])
    return types.WorkspaceEdit(
        document_changes=[types.CreateFile(uri=uri, options=options), _document_edit(uri, None, edits)]
    )


def _document_edit(uri: str, version: int | None, edits: Sequence[types.TextEdit]) -> types.TextDocumentEdit:
    identifier = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
    return types.TextDocumentEdit(text_document=identifier, edits=list(edits))


def _text_edits(text: Text, changes: Sequence[TextChange]) -> list[types.TextEdit]:
    """The changes in positions; all in one where a place is inside a line's end, which no position can say."""
    offsets = [offset for change in changes for offset in (change.start, change.end)]
    if any(text.offset_at(text.position_at(offset)) != offset for offset in offsets):
        whole = str(text)
        changes = [TextChange(0, len(whole), apply_text_changes(whole, changes))]
    return [types.TextEdit(range=_range(text, change), new_text=change.text) for change in changes]


def _range(text: Text, change: TextChange) -> types.Range:
    start, end = text.position_at(change.start), text.position_at(change.end)
    if not text.n_characters:
        # Neovim takes the end of an empty text for the end of an empty line, and would leave that below what it
        # inserts. To others, as in LSP, a line after the last is the end of the text.
        end = Position(1, 0)
    return types.Range(
        start=types.Position(line=start.line, character=start.character),
        end=types.Position(line=end.line, character=end.character),
    )


def _takes_document_changes(server: "HarmonyServer") -> bool:
    """Whether an edit can name the version that it is meant for. Neovim takes one, and declares operations alone."""
    support = server.client_can("workspace.workspace_edit")
    return support is not None and bool(support.document_changes or support.resource_operations)
