"""``textDocument/did…`` and ``notebookDocument/did…``: what the client says about its documents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.lsp.documents.documents import Change
from harmony_ls.lsp.documents.text import Position

if TYPE_CHECKING:
    from harmony_ls.lsp.server import HarmonyServer

__all__ = [
    "did_change",
    "did_change_notebook",
    "did_close",
    "did_close_notebook",
    "did_open",
    "did_open_notebook",
    "position_of",
]


async def did_open(server: "HarmonyServer", params: types.DidOpenTextDocumentParams) -> None:
    """``textDocument/didOpen``. The first document is what starts the engine."""
    _open(server, params.text_document)
    server.protocol.spawn(server.warm_up())


async def did_change(server: "HarmonyServer", params: types.DidChangeTextDocumentParams) -> None:
    """``textDocument/didChange``."""
    _change(server, params.text_document, params.content_changes)


async def did_close(server: "HarmonyServer", params: types.DidCloseTextDocumentParams) -> None:
    """``textDocument/didClose``."""
    _close(server, params.text_document)


async def did_open_notebook(server: "HarmonyServer", params: types.DidOpenNotebookDocumentParams) -> None:
    """``notebookDocument/didOpen``: each cell is a document."""
    for cell in params.cell_text_documents:
        _open(server, cell)
    server.documents.open_cells(params.notebook_document.uri, [cell.uri for cell in params.cell_text_documents])
    server.protocol.spawn(server.warm_up())


async def did_change_notebook(server: "HarmonyServer", params: types.DidChangeNotebookDocumentParams) -> None:
    """``notebookDocument/didChange``: cells come, go, and change."""
    cells = params.change.cells
    if cells is None:
        return
    if cells.structure is not None:
        notebook, gone, come = params.notebook_document.uri, cells.structure.did_close, cells.structure.did_open
        for cell in gone or ():
            _close(server, cell)
        for opened in come or ():
            _open(server, opened)
        server.documents.close_cells(notebook, [cell.uri for cell in gone or ()])
        server.documents.open_cells(notebook, [cell.uri for cell in come or ()])
    for content in cells.text_content or ():
        _change(server, content.document, content.changes)


async def did_close_notebook(server: "HarmonyServer", params: types.DidCloseNotebookDocumentParams) -> None:
    """``notebookDocument/didClose``."""
    for cell in params.cell_text_documents:
        _close(server, cell)
    server.documents.close_cells(params.notebook_document.uri, [cell.uri for cell in params.cell_text_documents])


def position_of(position: types.Position) -> Position:
    """Translate a position."""
    return Position(position.line, position.character)


def _open(server: "HarmonyServer", item: types.TextDocumentItem) -> None:
    language_id = item.language_id.value if isinstance(item.language_id, types.LanguageKind) else item.language_id
    server.documents.open(item.uri, language_id, item.version, item.text)


def _change(
    server: "HarmonyServer",
    document: types.VersionedTextDocumentIdentifier,
    events: Sequence[types.TextDocumentContentChangeEvent],
) -> None:
    changes = [
        Change(event.text, position_of(event.range.start), position_of(event.range.end))
        if isinstance(event, types.TextDocumentContentChangePartial)
        else Change(event.text)
        for event in events
    ]
    server.documents.change(document.uri, document.version, changes)


def _close(server: "HarmonyServer", document: types.TextDocumentIdentifier) -> None:
    server.documents.close(document.uri)
    server.forget(document.uri)
