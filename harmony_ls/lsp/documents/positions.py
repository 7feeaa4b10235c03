"""Positions of the protocol as positions in a `harmony_ls.lsp.documents.text.Text`, and back."""

from lsprotocol import types

from harmony_ls.lsp.documents.text import Position

__all__ = ["position_of", "range_between"]


def position_of(position: types.Position) -> Position:
    """Translate a position."""
    return Position(position.line, position.character)


def range_between(start: Position, end: Position) -> types.Range:
    """The protocol's range from one position to another."""
    return types.Range(
        start=types.Position(line=start.line, character=start.character),
        end=types.Position(line=end.line, character=end.character),
    )
