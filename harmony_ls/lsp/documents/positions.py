"""Positions of the protocol as positions in a `harmony_ls.lsp.documents.text.Text`."""

from lsprotocol import types

from harmony_ls.lsp.documents.text import Position

__all__ = ["position_of"]


def position_of(position: types.Position) -> Position:
    """Translate a position."""
    return Position(position.line, position.character)
