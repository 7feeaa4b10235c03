"""Whether a text that is being written has begun to go round in circles: weak models often never come to an end then.

Only exact repetition counts, and much of it. What the code itself repeats may be written as often.
"""

from collections import deque
from collections.abc import Iterable

from harmony_ls.features.line_ends import GrowingLines

__all__ = ["Repetition"]

# A circle is told by so many rounds of at most so many lines, which say something.
_N_ROUNDS = 8
_LONGEST_ROUND = 12
_LEAST_CHARACTERS = 160
# A line without end is looked at whenever it has grown by so much; its circle has at most so many characters.
_LINE_STEP = 1_000
_LONGEST_ROUND_IN_LINE = 250


class Repetition:
    """Follows one text. Lines that are ``known``, from the code that is worked on, are nothing new to be repeated."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = frozenset(line.strip() for line in known)
        self._lines: deque[str] = deque(maxlen=_N_ROUNDS * _LONGEST_ROUND)
        self._text = GrowingLines()
        self._n_looked_at = 0

    def is_in(self, piece: str) -> bool:
        """Take the next piece of the text; return whether it goes round in circles by now."""
        lines = self._text.feed(piece)
        if lines:
            self._n_looked_at = 0
        return any(map(self._is_repeated, lines)) or self._is_endless()

    def _is_repeated(self, line: str) -> bool:
        text = line.strip()
        if not text:
            return False
        self._lines.append(text)
        lines = list(self._lines)
        return any(self._is_circle(lines[-_N_ROUNDS * n :], n) for n in range(1, _LONGEST_ROUND + 1))

    def _is_circle(self, lines: list[str], n: int) -> bool:
        if len(lines) < _N_ROUNDS * n or lines[:-n] != lines[n:] or self._known.issuperset(lines[:n]):
            return False
        return sum(map(len, lines)) >= _LEAST_CHARACTERS

    def _is_endless(self) -> bool:
        rest = self._text.rest
        if len(rest) < self._n_looked_at + _LINE_STEP:
            return False
        self._n_looked_at = len(rest)
        end = rest[-_LINE_STEP:]
        # A run of one character is a ruler or padding as well.
        return any(end[n:] == end[:-n] for n in range(2, _LONGEST_ROUND_IN_LINE + 1)) and len(set(end)) > 1
