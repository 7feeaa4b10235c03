"""The three line ends that the protocol knows: as one, and in a text that comes in pieces."""

import re

__all__ = ["GrowingLines", "with_plain_line_ends"]

# Where a piece ends in a carriage return, nobody knows yet whether that is all of the line end.
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")


def with_plain_line_ends(text: str) -> str:
    """The text with ``\\n`` for every ``\\r\\n`` and ``\\r``."""
    return text if "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")


class GrowingLines:
    """The lines of a text that is still being written. ``rest`` is what was written of the one that is not over yet."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, piece: str) -> list[str]:
        """Take what was written next; return the lines that it ends."""
        *lines, self.rest = _LINE_END.split(self.rest + piece)
        return lines
