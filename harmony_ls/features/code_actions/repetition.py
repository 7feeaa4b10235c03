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
# Prose goes round in lines that break elsewhere each time, or in one without end. Whenever the text has grown by so
# much, its end is looked at whatever its lines are; a round has at most so many characters.
_STEP = 1_000
_LONGEST_TEXT = 250


class Repetition:
    """Follows one text. Lines that are ``known``, from the code that is worked on, are nothing new to be repeated."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        lines = [line.strip() for line in known]
        self._known = frozenset(lines)
        self._known_words = " ".join(" ".join(lines).split())
        self._lines: deque[str] = deque(maxlen=_N_ROUNDS * _LONGEST_ROUND)
        self._text = GrowingLines()
        self._end = ""
        self._n_new = 0

    def is_in(self, piece: str) -> bool:
        """Take the next piece of the text; return whether it goes round in circles by now."""
        return any(map(self._is_repeated, self._text.feed(piece))) or self._is_endless(piece)

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

    def _is_endless(self, piece: str) -> bool:
        self._end += piece
        self._n_new += len(piece)
        if self._n_new < _STEP:
            return False
        self._n_new = 0
        # Rounds of the longest text, with as many blanks between their words as it takes to break and indent lines.
        self._end = self._end[-2 * _N_ROUNDS * _LONGEST_TEXT :]
        words = " ".join(self._end.split())
        return any(self._is_round(words, n) for n in range(2, _LONGEST_TEXT + 1))

    def _is_round(self, words: str, n: int) -> bool:
        """Whether a text ends in rounds of so many characters. A run of one is a ruler or padding as well."""
        n_told = max(_STEP, _N_ROUNDS * n)
        end = words[-n_told:]
        if len(end) < n_told or end[n:] != end[:-n] or len(set(end[:n])) == 1:
            return False
        return end[: 2 * n] not in self._known_words
