"""LSP's rules for text, spelled out in the plainest way: one character at a time, nothing remembered."""

import re

from harmony_ls.lsp.documents.text import Position, PositionEncoding

__all__ = ["reference_offset", "reference_replace"]

UNITS = {
    PositionEncoding.UTF_8: lambda text: len(text.encode("utf-8", "surrogatepass")),
    PositionEncoding.UTF_16: lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,
    PositionEncoding.UTF_32: len,
}


def reference_offset(text: str, position: Position, encoding: PositionEncoding) -> int:
    """The offset of a position."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    if position.line >= len(starts):
        return len(text)
    offset, units = starts[position.line], 0
    while offset < len(text) and text[offset] not in "\r\n":
        units += UNITS[encoding](text[offset])
        if units > position.character:
            break
        offset += 1
    return offset


def reference_replace(text: str, start: Position, end: Position, new: str, encoding: PositionEncoding) -> str:
    """The text after an edit."""
    first, last = sorted((reference_offset(text, start, encoding), reference_offset(text, end, encoding)))
    return text[:first] + new + text[last:]
