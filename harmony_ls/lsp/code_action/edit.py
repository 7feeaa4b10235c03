"""From what a model wrote for a code action to a workspace edit, in the positions and with the means of the client."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.tests_location import path_of_tests
from harmony_ls.lsp.documents.documents import Document
from harmony_ls.lsp.documents.edits import creation, document_edit, text_edits
from harmony_ls.lsp.documents.naming import folder_around
from harmony_ls.lsp.documents.text import Text
from harmony_ls.lsp.services import Services
from harmony_ls.lsp.workspace.edit import EditMeans

if TYPE_CHECKING:
    from harmony_ls.features.code_actions.writing import Job
    from harmony_ls.lsp.workspace.workspace import EditorWorkspace
    from harmony_ls.session.chat_model import ChatModel
    from harmony_ls.settings.models import ChatSettings

__all__ = ["edit_of_document", "edit_of_tests"]


async def edit_of_document(
    services: Services, document: Document, job: "Job", chat_model: "ChatModel", settings: "ChatSettings"
) -> types.WorkspaceEdit:
    """The edit of the document itself. Raises what `changes_for` raises."""
    from harmony_ls.features.code_actions.writing import changes_for

    changes = await changes_for(job, chat_model, settings)
    edits = text_edits(document.text, changes)
    return EditMeans.of(services).edit_of([document_edit(document.uri, document.version, edits)])


async def edit_of_tests(
    services: Services, job: "Job", chat_model: "ChatModel", settings: "ChatSettings"
) -> types.WorkspaceEdit:
    """The edit that puts new tests where those of the document are: into a file that there is, or a new one.

    Raises UserError where there is no place for them, and what `added_tests` raises.
    """
    from harmony_ls.features.code_actions.writing import added_tests

    path = job.document.path
    folder = None if path is None else folder_around(path, services.configuration.folders)
    workspace = await services.editor_workspace()
    if isinstance(workspace, str) or folder is None or path is None:
        raise UserError("Tests are written into a folder of the workspace, and the document lies in none.")
    job.tell("Looking for the tests' file")
    relative, exists = await asyncio.to_thread(
        _path_of_tests, Path(path), folder, job.document.language_id, await workspace.list_files()
    )
    target = str(folder / relative)
    # A file can be there without being listed: where there are very many, or in a folder that is a link.
    is_new = not exists and await _free_uri(workspace, target) is not None
    text = "" if is_new else (await workspace.buffer_of(target)).text
    changes = await added_tests(job, relative, text, chat_model, settings)
    edits = text_edits(Text(text, services.documents.encoding), changes)
    # The model has taken its time. A file that is not open has no version by which an editor could refuse the edit.
    if is_new and (uri := await _free_uri(workspace, target)) is not None:
        return types.WorkspaceEdit(document_changes=[creation(uri), document_edit(uri, None, edits)])
    if is_new or (buffer := await workspace.buffer_of(target)).text != text:
        raise UserError(f"{relative} was changed in the meantime. Nothing was changed; try again.")
    return types.WorkspaceEdit(document_changes=[document_edit(buffer.uri, buffer.version, edits)])


async def _free_uri(workspace: "EditorWorkspace", path: str) -> str | None:
    """The URI for a new file; None where something has that name in the editor or on disk. Raises WorkspaceError where
    nothing may be put there: the client that creates a file does not ask."""
    place = await workspace.place_of(path)
    return None if place.is_open or await asyncio.to_thread(os.path.lexists, path) else place.uri


def _path_of_tests(path: Path, folder: Path, language_id: str, files: Sequence[str]) -> tuple[str, bool]:
    return path_of_tests(path.relative_to(folder).as_posix(), language_id, _below(folder, files))


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
