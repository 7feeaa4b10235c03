"""A patch that is still being written, for live previews: what it does so far, by its complete lines alone.

Nothing is applied from here, and no fault is raised: a patch that cannot be read just stops growing, and is refused
when it is whole. Unified diffs have no preview.
"""

import re
from collections.abc import Iterator

from harmony_ls.edits.apply_patch import PatchParser
from harmony_ls.edits.operations import Operation
from harmony_ls.errors import PatchError

__all__ = ["StreamingPatch"]

_BEGIN = re.compile(r"\*\*\*[ \t]*Begin[ \t]+Patch[ \t*]*")
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NO_PREVIEW = "There is no preview of a text that begins like this."
_LONGEST_PREFIX = 4096
_LONGEST_LINE = 1024 * 1024


class StreamingPatch:
    """Takes the text of a tool call in pieces of any size. The patch may be wrapped in JSON."""

    def __init__(self) -> None:
        self._parser = PatchParser()
        # What waits for the end of its line: each piece is looked at once, and put together with the others then.
        self._waiting: list[str] = []
        self._n_waiting = 0
        self._backslash = ""  # at the end of a piece; what it escapes is still to come
        self._has_begun = False
        self._is_json = False
        self._is_string_over = False
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
        if not self._has_begun:
            beginning = self._begun("".join((*self._waiting, piece)))
            if beginning is None:
                return False
            piece = beginning
        n_read = 0
        for line in self._complete_lines(piece):
            n_read += 1
            try:
                self._parser.feed(line)
            except PatchError as error:
                self._stop(str(error))
                return True
        if self._n_waiting > _LONGEST_LINE:
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
                self._parser.feed(self._line())
                self._parser.finish()
        except PatchError as error:
            self._stop(str(error))
        self._is_over = True
        return self.operations != before

    def _begun(self, text: str) -> str | None:
        """The text from the first marker on, once it is known whether it is the inside of a JSON string."""
        begin = _BEGIN.search(text)
        is_whole = begin is not None and text[begin.end() :] not in ("", "\\")
        if begin is None or not is_whole:
            self._waiting = [text]  # more of the line may come
            if len(text) > _LONGEST_PREFIX:
                self._stop(_NO_PREVIEW)
            return None
        self._is_json = text.startswith("\\n", begin.end())
        self._waiting.clear()
        self._has_begun = True
        return text[begin.start() :]

    def _complete_lines(self, piece: str) -> Iterator[str]:
        """The lines that end in a piece; what comes behind them waits. Takes time linear in the piece and the lines."""
        if not self._is_json:
            *ends, rest = piece.split("\n")
            for end in ends:
                self._wait_for_end(end)
                yield self._line()
            self._wait_for_end(rest)
            return
        piece, self._backslash = self._backslash + piece, ""
        start = position = 0
        while not self._is_string_over and (found := _QUOTE_OR_ESCAPE.search(piece, position)) is not None:
            position = found.end() + 1
            if found[0] == '"':
                self._wait_for_end(piece[start : found.start()])
                self._is_string_over = True
            elif found.end() == len(piece):
                self._backslash, piece = "\\", piece[:-1]
            elif piece[found.end()] == "n":
                self._wait_for_end(piece[start : found.start()])
                yield self._line()
                start = position
        if not self._is_string_over:
            self._wait_for_end(piece[start:])

    def _wait_for_end(self, text: str) -> None:
        self._waiting.append(text)
        self._n_waiting += len(text)

    def _line(self) -> str:
        """What waited, as one line, which it no longer does."""
        line = "".join(self._waiting)
        self._waiting.clear()
        self._n_waiting = 0
        return _unescaped(line) if self._is_json else line

    def _stop(self, fault: str) -> None:
        self._fault, self._is_over = fault, True
        self._waiting.clear()


def _unescaped(text: str) -> str:
    """What a part of a JSON string says. Characters that it spells as two halves are put together."""
    halves = re.sub(r"\\u([0-9a-fA-F]{4})|\\(.)", _character, text)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2])
