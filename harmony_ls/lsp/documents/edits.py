"""From changes of a text to edits as LSP has them, in the positions of the client. Nothing is sent here."""

from collections.abc import Sequence

from lsprotocol import types

from harmony_ls.edits.changes import TextChange, apply_text_changes
from harmony_ls.lsp.documents.positions import range_between
from harmony_ls.lsp.documents.text import Position, Text

__all__ = ["creation", "document_edit", "range_of", "text_edits"]


def text_edits(
    text: Text, changes: Sequence[TextChange], annotation: str | None = None
) -> list[types.TextEdit | types.AnnotatedTextEdit]:
    """The changes of a text as edits; all in one where a place is inside a line's end, which no position can say.

    ``annotation`` is the id of what the person is asked before.
    """
    offsets = [offset for change in changes for offset in (change.start, change.end)]
    if any(text.offset_at(text.position_at(offset)) != offset for offset in offsets):
        whole = str(text)
        changes = [TextChange(0, len(whole), apply_text_changes(whole, changes))]
    if annotation is None:
        return [types.TextEdit(range=range_of(text, change), new_text=change.text) for change in changes]
    return [
        types.AnnotatedTextEdit(range=range_of(text, change), new_text=change.text, annotation_id=annotation)
        for change in changes
    ]


def range_of(text: Text, change: TextChange) -> types.Range:
    """The range that a change replaces."""
    start, end = text.position_at(change.start), text.position_at(change.end)
    if not text.n_characters:
        # Neovim takes the end of an empty text for the end of an empty line, and would leave that below what it
        # inserts. To others, as in LSP, a line after the last is the end of the text.
        end = Position(1, 0)
    return range_between(start, end)


def document_edit(
    uri: str, version: int | None, edits: Sequence[types.TextEdit | types.AnnotatedTextEdit]
) -> types.TextDocumentEdit:
    """Edits of one document; ``version`` is the one that they are meant for, None for a file that is not open."""
    identifier = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
    return types.TextDocumentEdit(text_document=identifier, edits=list(edits))


def creation(uri: str, annotation: str | None = None) -> types.CreateFile:
    """A new, empty file, where there is none yet."""
    options = types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
    return types.CreateFile(uri=uri, options=options, annotation_id=annotation)
