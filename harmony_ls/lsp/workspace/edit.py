"""From planned changes to one ``WorkspaceEdit``, by the means that the client has. Nothing is verified or sent here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from lsprotocol import types

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange, apply_text_changes
from harmony_ls.edits.diff import visible
from harmony_ls.errors import WorkspaceError
from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.documents.edits import creation, document_edit, text_edits
from harmony_ls.lsp.documents.text import PositionEncoding, Text

if TYPE_CHECKING:
    from harmony_ls.lsp.workspace.plan import PlannedChange

__all__ = ["EditMeans", "label_of", "taken_back", "workspace_edit"]

_OPERATIONS: Final[Mapping[ChangeKind, str]] = {
    ChangeKind.CREATE: "create",
    ChangeKind.RENAME: "rename",
    ChangeKind.DELETE: "delete",
}
_N_NAMED = 3

DocumentChange = types.TextDocumentEdit | types.CreateFile | types.RenameFile | types.DeleteFile


@dataclass(frozen=True, slots=True)
class EditMeans:
    """How a client lets a server change files.

    ``is_asked``: by ``workspace/applyEdit`` at all. ``has_versions``: by ``documentChanges``, which name the version
    that they are meant for. ``is_whole``: an edit that fails on the way leaves nothing changed. ``can_confirm``: a
    person may look the edit over and choose.
    """

    is_asked: bool = False
    has_versions: bool = False
    operations: frozenset[str] = frozenset()
    is_whole: bool = False
    can_confirm: bool = False

    @staticmethod
    def of(connection: Connection) -> "EditMeans":
        """The means of a server's client. Neovim takes ``documentChanges`` and declares only the operations in it."""
        support = connection.client_can("workspace.workspace_edit")
        declared = getattr(support, "resource_operations", None) or ()
        operations = frozenset(str(getattr(each, "value", each)) for each in declared)
        whole = (types.FailureHandlingKind.Transactional, types.FailureHandlingKind.Undo)
        return EditMeans(
            is_asked=bool(connection.client_can("workspace.apply_edit")),
            has_versions=bool(operations) or bool(getattr(support, "document_changes", None)),
            operations=operations,
            is_whole=getattr(support, "failure_handling", None) in whole,
            can_confirm=getattr(support, "change_annotation_support", None) is not None,
        )

    def refuse_others(self, changes: Sequence[FileChange]) -> None:
        """Raise WorkspaceError for changes that the client does not let a server make."""
        if not self.is_asked:
            raise WorkspaceError(
                "This editor lets no server change files (it lacks workspace/applyEdit). Nothing was changed; show the "
                "change, so that a person can make it by hand."
            )
        for change in changes:
            operation = _OPERATIONS.get(change.kind)
            if operation is not None and operation not in self.operations:
                raise WorkspaceError(
                    f"{change.path}: this editor lets no server {operation} files. Nothing was changed; a person can "
                    f"{operation} the file by hand."
                )

    def edit_of(
        self, operations: Sequence[DocumentChange], annotations: Mapping[str, types.ChangeAnnotation] | None = None
    ) -> types.WorkspaceEdit:
        """The edit that does all of this; with nothing but changes of text where the client knows no versions."""
        if self.has_versions:
            return types.WorkspaceEdit(document_changes=operations, change_annotations=annotations or None)
        return types.WorkspaceEdit(
            changes={
                each.text_document.uri: [edit for edit in each.edits if isinstance(edit, types.TextEdit)]
                for each in operations
                if isinstance(each, types.TextDocumentEdit)
            }
        )


def label_of(changes: Sequence[FileChange]) -> str:
    """One line that an editor shows for the edit, in its undo list for one."""
    named = [visible(change.final_path) for change in changes[:_N_NAMED]]
    more = f" and {len(changes) - _N_NAMED} more" if len(changes) > _N_NAMED else ""
    return f"harmony-ls: {', '.join(named)}{more}"


def workspace_edit(
    planned: "Sequence[PlannedChange]", means: EditMeans, encoding: PositionEncoding, *, confirmed: bool = False
) -> types.WorkspaceEdit | None:
    """The edit; None where there is nothing to do. ``confirmed``: the person is asked for each file by the editor.

    A file's text changes in one piece, so that one undo takes it back. A file that is moved is changed before: then its
    version is still known.
    """
    operations: list[DocumentChange] = []
    annotations: dict[str, types.ChangeAnnotation] = {}
    for number, each in enumerate(planned):
        annotation = None
        if confirmed:
            annotation = f"harmony-ls-{number}"
            annotations[annotation] = _annotation(each.change)
        operations += _operations(each, encoding, annotation)
    return means.edit_of(operations, annotations) if operations else None


def taken_back(change: FileChange) -> FileChange:
    """The change that takes one back, in the same places and nowhere else."""
    inverse = change.inverse()
    if change.kind not in (ChangeKind.UPDATE, ChangeKind.RENAME):
        return inverse
    shifts = accumulate((len(each.text) - (each.end - each.start) for each in change.changes), initial=0)
    changes = tuple(
        TextChange(each.start + shift, each.start + shift + len(each.text), change.old_text[each.start : each.end])
        for each, shift in zip(change.changes, shifts, strict=False)
    )
    return replace(inverse, changes=changes)


def _annotation(change: FileChange) -> types.ChangeAnnotation:
    verbs = {
        ChangeKind.CREATE: "Create", ChangeKind.UPDATE: "Change", ChangeKind.DELETE: "Delete", ChangeKind.RENAME: "Move"
    }  # fmt: skip
    to = f" to {visible(change.final_path)}" if change.kind is ChangeKind.RENAME else ""
    return types.ChangeAnnotation(
        label=f"{verbs[change.kind]} {visible(change.path)}{to}",
        needs_confirmation=True,
        description="proposed by harmony-ls",
    )


def _operations(planned: "PlannedChange", encoding: PositionEncoding, annotation: str | None) -> list[DocumentChange]:
    change, old, new = planned.change, planned.old, planned.new
    if old is None:
        assert new is not None, "a file is created somewhere"
        created = creation(new.uri, annotation)
        if not change.new_text:
            return [created]
        edits = text_edits(Text("", encoding), [TextChange(0, 0, change.new_text)], annotation)
        return [created, document_edit(new.uri, None, edits)]
    if new is None:
        deletion = types.DeleteFileOptions(recursive=False, ignore_if_not_exists=False)
        return [*_guard(planned), types.DeleteFile(uri=old.uri, options=deletion, annotation_id=annotation)]
    operations: list[DocumentChange] = []
    edits = text_edits(Text(change.old_text, encoding), _changes(change), annotation)
    if edits:
        version = planned.buffer.version if planned.buffer is not None else None
        operations.append(document_edit(old.uri, version, edits))
    if planned.moves:
        operations += [] if edits else _guard(planned)
        renaming = types.RenameFileOptions(overwrite=False, ignore_if_exists=False)
        operations.append(
            types.RenameFile(old_uri=old.uri, new_uri=new.uri, options=renaming, annotation_id=annotation)
        )
    return operations


def _guard(planned: "PlannedChange") -> list[DocumentChange]:
    """An edit of nothing, which has a version: nothing else in LSP says which text of a document a deletion means.

    VS Code refuses the whole edit where the version is not its own any more. Neovim passes over this part alone.
    """
    if planned.old is None or planned.buffer is None:
        return []
    return [document_edit(planned.old.uri, planned.buffer.version, [])]


def _changes(change: FileChange) -> tuple[TextChange, ...]:
    """The changes of a file's text; the whole text as one where they do not lead to the new one."""
    if change.old_text == change.new_text:
        return ()
    if apply_text_changes(change.old_text, change.changes) == change.new_text:
        return change.changes
    return (TextChange(0, len(change.old_text), change.new_text),)
