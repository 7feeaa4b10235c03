"""``textDocument/did…`` and ``notebookDocument/did…``: what the client says about its documents."""

from collections.abc import Sequence

from lsprotocol import types

from harmony_ls.lsp.documents.documents import Change
from harmony_ls.lsp.documents.positions import position_of
from harmony_ls.lsp.services import Services

__all__ = ["did_change", "did_change_notebook", "did_close", "did_close_notebook", "did_open", "did_open_notebook"]


async def did_open(services: Services, params: types.DidOpenTextDocumentParams) -> None:
    """``textDocument/didOpen``. The first document is what starts the engine."""
    _open(services, params.text_document)
    services.protocol.spawn(services.warm_up())


async def did_change(services: Services, params: types.DidChangeTextDocumentParams) -> None:
    """``textDocument/didChange``."""
    _change(services, params.text_document, params.content_changes)


async def did_close(services: Services, params: types.DidCloseTextDocumentParams) -> None:
    """``textDocument/didClose``."""
    _close(services, params.text_document)


async def did_open_notebook(services: Services, params: types.DidOpenNotebookDocumentParams) -> None:
    """``notebookDocument/didOpen``: each cell is a document."""
    for cell in params.cell_text_documents:
        _open(services, cell)
    services.documents.open_cells(params.notebook_document.uri, [cell.uri for cell in params.cell_text_documents])
    services.protocol.spawn(services.warm_up())


async def did_change_notebook(services: Services, params: types.DidChangeNotebookDocumentParams) -> None:
    """``notebookDocument/didChange``: cells come, go, and change."""
    cells = params.change.cells
    if cells is None:
        return
    if cells.structure is not None:
        notebook, gone, come = params.notebook_document.uri, cells.structure.did_close, cells.structure.did_open
        for cell in gone or ():
            _close(services, cell)
        for opened in come or ():
            _open(services, opened)
        services.documents.close_cells(notebook, [cell.uri for cell in gone or ()])
        services.documents.open_cells(notebook, [cell.uri for cell in come or ()])
    for content in cells.text_content or ():
        _change(services, content.document, content.changes)


async def did_close_notebook(services: Services, params: types.DidCloseNotebookDocumentParams) -> None:
    """``notebookDocument/didClose``."""
    for cell in params.cell_text_documents:
        _close(services, cell)
    services.documents.close_cells(params.notebook_document.uri, [cell.uri for cell in params.cell_text_documents])


def _open(services: Services, item: types.TextDocumentItem) -> None:
    language_id = item.language_id.value if isinstance(item.language_id, types.LanguageKind) else item.language_id
    services.documents.open(item.uri, language_id, item.version, item.text)


def _change(
    services: Services,
    document: types.VersionedTextDocumentIdentifier,
    events: Sequence[types.TextDocumentContentChangeEvent],
) -> None:
    changes = [
        Change(event.text, position_of(event.range.start), position_of(event.range.end))
        if isinstance(event, types.TextDocumentContentChangePartial)
        else Change(event.text)
        for event in events
    ]
    services.documents.change(document.uri, document.version, changes)


def _close(services: Services, document: types.TextDocumentIdentifier) -> None:
    services.documents.close(document.uri)
    services.forget(document.uri)
