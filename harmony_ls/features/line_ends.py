"""The three line ends that the protocol knows: as one, and in a text that comes in pieces."""

import re

__all__ = ["GrowingLines", "with_plain_line_ends"]

# Where a piece ends in a carriage return, nobody knows yet whether that is all of the line end.
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")


def with_plain_line_ends(text: str) -> str:
    """The text with ``\\n`` for every ``\\r\\n`` and ``\\r``."""
    return text if "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")


class GrowingLines:
    """The lines of a text that is still being written. What is not over yet is put together once, when it is."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def feed(self, piece: str) -> list[str]:
        """Take what was written next; return the lines that it ends."""
        if not piece:
            return []
        if self._pieces and self._pieces[-1].endswith("\r"):
            piece = self._pieces.pop() + piece
        *lines, rest = _LINE_END.split(piece)
        if lines:
            lines[0] = "".join((*self._pieces, lines[0]))
            self._pieces.clear()
        self._pieces.append(rest)
        return lines

    def take_rest(self) -> str:
        """What was written of the line that is not over yet. It is over by that."""
        rest = "".join(self._pieces)
        self._pieces.clear()
        return rest.removesuffix("\r")
