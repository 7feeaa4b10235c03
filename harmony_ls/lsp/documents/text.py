"""The text of one open document as LSP sees it: lines, positions in the client's encoding, and edits.

Only ``\\n``, ``\\r\\n`` and ``\\r`` end a line, as LSP demands; ``str.splitlines`` (which pygls uses) also splits at
form feeds, U+2028 and others, and then every later edit lands in the wrong place. Offsets count Unicode code points.
It knows nothing of documents' names, versions or messages.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

__all__ = ["Position", "PositionEncoding", "Text", "split_lines"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class PositionEncoding(StrEnum):
    """What ``Position.character`` counts: bytes of UTF-8, units of UTF-16 (LSP's default), or code points."""

    UTF_8 = "utf-8"
    UTF_16 = "utf-16"
    UTF_32 = "utf-32"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two characters: a line, and so many units of the client's encoding into it, both from 0."""

    line: int
    character: int


class Text:
    """A text that is edited by ranges. Its lines are spliced, so an edit costs the edited lines, not the document.

    Positions outside the text are clamped as LSP says: a character beyond the end of a line means the end of the line
    before its terminator, a line beyond the last means the end of the text. A position inside a character (in the
    middle of a surrogate pair or of a UTF-8 sequence) means the place before that character.

    ``n_characters`` is its length, known without putting it together.
    """

    __slots__ = ("_joined", "_lines", "_starts", "encoding", "n_characters")

    def __init__(self, text: str, encoding: PositionEncoding = PositionEncoding.UTF_16) -> None:
        self.encoding = encoding
        self.n_characters = 0
        self._lines: list[str] = []
        self._joined: str | None = None
        self._starts: list[int] | None = None
        self.replace_all(text)

    @property
    def n_lines(self) -> int:
        """The number of lines. A text that ends with a terminator has an empty last line; an empty text has one."""
        return len(self._lines)

    def line(self, number: int) -> str:
        """Return a line without its terminator."""
        line = self._lines[number]
        return line[: _content_length(line)]

    def __str__(self) -> str:
        if self._joined is None:
            self._joined = "".join(self._lines)
        return self._joined

    def replace_all(self, text: str) -> None:
        """Take a new text in place of the old one."""
        text = _join_surrogates(text)
        self._lines = split_lines(text)
        self.n_characters = len(text)
        self._joined = text
        self._starts = None

    def replace(self, start: Position, end: Position, text: str) -> None:
        """Replace the range from ``start`` to ``end``. A reversed range means the same range."""
        start_line, start_column = self._locate(start)
        end_line, end_column = self._locate(end)
        if (start_line, start_column) > (end_line, end_column):
            start_line, start_column, end_line, end_column = end_line, end_column, start_line, start_column
        # One line more on each side: a lone "\r" before the edit, or an edit that ends in one, may now stand beside
        # a "\n" and become a single terminator.
        first, after = max(start_line - 1, 0), min(end_line + 2, len(self._lines))
        before_edit = "".join(self._lines[first:start_line]) + self._lines[start_line][:start_column]
        after_edit = self._lines[end_line][end_column:] + "".join(self._lines[end_line + 1 : after])
        region = _join_surrogates(before_edit + text + after_edit)
        self.n_characters += len(region) - sum(map(len, self._lines[first:after]))
        lines = split_lines(region)
        if after < len(self._lines) and lines[-1] == "":
            lines.pop()  # the empty line after the last terminator is the line that follows the region
        self._lines[first:after] = lines
        self._joined = None
        self._starts = None

    def offset_at(self, position: Position) -> int:
        """Return the offset of ``position``."""
        line, column = self._locate(position)
        return self._line_starts()[line] + column

    def position_at(self, offset: int) -> Position:
        """Return the position of ``offset``; one outside the text is clamped to its ends."""
        starts = self._line_starts()
        line = bisect_right(starts, max(offset, 0)) - 1
        text = self._lines[line]
        column = min(max(offset, 0) - starts[line], len(text))
        return Position(line, _n_units(text[:column], self.encoding))

    def contains(self, position: Position) -> bool:
        """Say whether ``position`` lies inside the text, so that nothing had to be clamped."""
        if position.line >= len(self._lines):
            return False
        return position.character <= _n_units(self.line(position.line), self.encoding)

    def _locate(self, position: Position) -> tuple[int, int]:
        if position.line >= len(self._lines):
            return len(self._lines) - 1, len(self._lines[-1])
        line = self._lines[position.line]
        column = _n_characters(line, position.character, self.encoding)
        return position.line, min(column, _content_length(line))

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            self._starts = [0, *accumulate(map(len, self._lines[:-1]))]
        return self._starts


def split_lines(text: str) -> list[str]:
    """Split ``text`` into lines that keep their terminators. The last line is the one without a terminator."""
    if "\r" in text:
        lines = _LINE.findall(text)
        if not lines or lines[-1][-1] in "\r\n":
            lines.append("")
        return lines
    lines = text.split("\n")
    last = lines.pop()
    return [*(line + "\n" for line in lines), last]


def _content_length(line: str) -> int:
    if line.endswith("\r\n"):
        return len(line) - 2
    return len(line) - line.endswith(("\n", "\r"))


def _n_units(text: str, encoding: PositionEncoding) -> int:
    if encoding is PositionEncoding.UTF_32 or text.isascii():
        return len(text)
    if encoding is PositionEncoding.UTF_16:
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    if _SURROGATE.search(text):
        return sum(map(_n_octets, text))
    return len(text.encode())


def _n_characters(line: str, n_units: int, encoding: PositionEncoding) -> int:
    """Count the whole characters in the first ``n_units`` units of ``line``."""
    if encoding is PositionEncoding.UTF_32 or line.isascii():
        return min(n_units, len(line))
    start = line[:n_units]  # no character is less than one unit
    if encoding is PositionEncoding.UTF_16:
        units = start.encode("utf-16-le", "surrogatepass")
        if len(units) <= 2 * n_units:
            return len(start)
        characters = units[: 2 * n_units].decode("utf-16-le", "surrogatepass")
        # Half of a pair may have been left at the end.
        return len(characters) - (characters[-1] != line[len(characters) - 1])
    if _SURROGATE.search(start):
        return bisect_right(list(accumulate(map(_n_octets, start))), n_units)
    octets = start.encode()
    if len(octets) <= n_units:
        return len(start)
    while octets[n_units] & 0xC0 == 0x80:
        n_units -= 1
    return len(octets[:n_units].decode())


def _n_octets(character: str) -> int:
    """Count the bytes of a character in the client's UTF-8.

    A byte that was no UTF-8 came in as a low surrogate (``surrogateescape``) and counts as the one byte that it is.
    """
    if "\udc80" <= character <= "\udcff":
        return 1
    return len(character.encode("utf-8", "surrogatepass"))


def _join_surrogates(text: str) -> str:
    """Make one character of a high and a low surrogate that came in two edits, as they are in the client's text."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
