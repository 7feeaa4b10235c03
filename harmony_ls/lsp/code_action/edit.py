"""From what a model wrote for a code action to a workspace edit, in the positions and with the means of the client."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.tests_location import path_of_tests
from harmony_ls.lsp.documents.documents import Document, path_of
from harmony_ls.lsp.documents.edits import creation, document_edit, text_edits
from harmony_ls.lsp.documents.naming import folder_around
from harmony_ls.lsp.documents.text import Text
from harmony_ls.lsp.services import Services
from harmony_ls.lsp.workspace.edit import EditMeans

if TYPE_CHECKING:
    from harmony_ls.features.code_actions.writing import Job
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
    files = _below(folder, await workspace.list_files())
    relative, exists = path_of_tests(Path(path).relative_to(folder).as_posix(), job.document.language_id, files)
    target = folder / relative
    # A file can be there without being listed: where there are very many, or in a folder that is a link.
    is_new = not exists and await _is_free(services, target)
    text = ""
    if is_new:  # the client that creates it does not ask
        await asyncio.to_thread(workspace.gate.pass_through, str(target))
    else:
        text = (await workspace.read(str(target))).text
    changes = await added_tests(job, relative, text, chat_model, settings)
    if is_new and await _is_free(services, target):
        uri = target.as_uri()
        edits = text_edits(Text("", services.documents.encoding), changes)
        return types.WorkspaceEdit(document_changes=[creation(uri), document_edit(uri, None, edits)])
    # The model has taken its time. A file that is not open has no version by which an editor could refuse the edit.
    if is_new or (await workspace.read(str(target))).text != text:
        raise UserError(f"{relative} was changed in the meantime. Nothing was changed; try again.")
    opened = _open_document(services, target)
    uri, version = (target.as_uri(), None) if opened is None else (opened.uri, opened.version)
    edits = text_edits(Text(text, services.documents.encoding), changes)
    return types.WorkspaceEdit(document_changes=[document_edit(uri, version, edits)])


async def _is_free(services: Services, target: Path) -> bool:
    """Whether there is nothing under a name, neither in the editor nor on disk."""
    return _open_document(services, target) is None and not await asyncio.to_thread(os.path.lexists, target)


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


def _open_document(services: Services, path: Path) -> Document | None:
    return next((document for document in services.documents if path_of(document.uri) == str(path)), None)
