"""A patch that is still being written, for live previews: what it does so far, by its complete lines alone.

Nothing is applied from here, and no fault is raised: a patch that cannot be read just stops growing, and is refused
when it is whole. Unified diffs have no preview.
"""

import re

from harmony_ls.edits.apply_patch import PatchParser
from harmony_ls.edits.operations import Operation
from harmony_ls.errors import PatchError

__all__ = ["StreamingPatch"]

_BEGIN = re.compile(r"\*\*\*[ \t]*Begin[ \t]+Patch[ \t*]*")
_INSIDE_STRING = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NO_PREVIEW = "There is no preview of a text that begins like this."
_LONGEST_PREFIX = 4096
_LONGEST_LINE = 1024 * 1024


class StreamingPatch:
    """Takes the text of a tool call in pieces of any size. The patch may be wrapped in JSON."""

    def __init__(self) -> None:
        self._parser = PatchParser()
        self._waiting = ""
        self._has_begun = False
        self._is_json = False
        self._is_over = False
        self._fault = ""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations so far; the last one may still grow."""
        return self._parser.operations

    @property
    def n_hunks(self) -> int:
        """How many hunks there are, new and deleted files counting as one each. It never decreases."""
        return self._parser.n_hunks

    @property
    def fault(self) -> str:
        """Why the preview does not grow any more; the empty string while it does."""
        return self._fault

    def feed(self, piece: str) -> bool:
        """Take more of the text; whether a line was completed by it."""
        if self._is_over:
            return False
        self._waiting += piece
        if not self._has_begun and not self._begin():
            return False
        n_read = 0
        for line in self._complete_lines():
            n_read += 1
            try:
                self._parser.feed(line)
            except PatchError as error:
                self._stop(str(error))
                break
        if len(self._waiting) > _LONGEST_LINE:
            self._stop("A line is too long to be shown.")
        return n_read > 0

    def finish(self) -> bool:
        """The text is over; whether something came to light by that. What was shown stays, and ``fault`` says what is
        wrong with the whole of it.

        The text may lack the end of its last line, which counts then. One that was cut off (the tokens were used up, a
        person stopped it) is not finished: it ends in the middle of a line, and nobody knows what that was going to be.
        """
        if self._is_over:
            return False
        before = self.operations
        try:
            if not self._has_begun:
                self._stop(_NO_PREVIEW)
            else:
                self._parser.feed(self._last_line())
                self._parser.finish()
        except PatchError as error:
            self._stop(str(error))
        self._is_over, self._waiting = True, ""
        return self.operations != before

    def _last_line(self) -> str:
        """What waits for its end: up to the quote that ends a JSON string, if it is inside one."""
        if not self._is_json:
            return self._waiting
        inside = _INSIDE_STRING.match(self._waiting)
        return _unescaped(inside[0]) if inside is not None else ""

    def _begin(self) -> bool:
        """Find the first marker, and whether what follows is the inside of a JSON string."""
        begin = _BEGIN.search(self._waiting)
        if begin is None:
            if len(self._waiting) > _LONGEST_PREFIX:
                self._stop(_NO_PREVIEW)
            return False
        if self._waiting[begin.end() :] in ("", "\\"):
            return False  # more of the line may come
        self._is_json = self._waiting.startswith("\\n", begin.end())
        self._waiting = self._waiting[begin.start() :]
        self._has_begun = True
        return True

    def _complete_lines(self) -> list[str]:
        """The lines that are whole; what comes behind them goes on waiting. Takes time linear in what waits."""
        if not self._is_json:
            *lines, self._waiting = self._waiting.split("\n")
            return lines
        lines, start = [], 0
        while (end := _json_line_end(self._waiting, start)) is not None:
            lines.append(_unescaped(self._waiting[start:end]))
            start = end + 2
        self._waiting = self._waiting[start:]
        return lines

    def _stop(self, fault: str) -> None:
        self._fault, self._is_over, self._waiting = fault, True, ""


def _json_line_end(text: str, start: int) -> int | None:
    """Where the first escaped newline from ``start`` on is; None where there is none, or the string ends before."""
    i = start
    while i + 1 < len(text):
        if text[i] == '"':
            return None
        if text[i] == "\\":
            if text[i + 1] == "n":
                return i
            i += 1
        i += 1
    return None


def _unescaped(text: str) -> str:
    """What a part of a JSON string says. Characters that it spells as two halves are put together."""
    halves = re.sub(r"\\u([0-9a-fA-F]{4})|\\(.)", _character, text)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2])
