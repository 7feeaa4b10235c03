"""The lines of one file, made searchable exactly and ever more loosely. A search costs time linear in the file.

A run of lines is sought as a substring, since the search of `str` is linear even in the worst case; comparing line by
line would take minutes for a hostile patch. Many searches for many hunks add up all the same, so the work is counted,
and a patch that takes too much of it is refused.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from itertools import accumulate, islice

from harmony_ls.edits.indentation import indentation_of
from harmony_ls.edits.text_file import Lines, split_lines
from harmony_ls.errors import PatchError

__all__ = ["WORK_OF_A_LINE", "FileIndex", "Rung", "fold"]

_MOST_LINES = 1_000_000
# Work is counted in characters that are searched: about 1.5 seconds of it on a slow machine, or 64 times a large file.
_MOST_WORK = 600_000_000
_MOST_SEARCHES = 64
WORK_OF_A_LINE = 300
_WORK_OF_A_GLANCE = 30
_CLOSING = (")", "]", "}")
_FOLDED = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
    | dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
)


class Rung(IntEnum):
    """How loosely two lines are compared; each rung includes the ones above it."""

    EXACT = 0
    TRAILING_BLANKS = 1
    INDENTATION = 2
    PUNCTUATION = 3


def fold(line: str) -> str:
    """The line without indentation, with plain dashes, quotes and spaces, and with composed accents."""
    if line.isascii():
        return line.strip()
    return unicodedata.normalize("NFC", line.translate(_FOLDED)).strip()


_KEYS: dict[Rung, Callable[[str], str]] = {
    Rung.EXACT: str,
    Rung.TRAILING_BLANKS: str.rstrip,
    Rung.INDENTATION: str.strip,
    Rung.PUNCTUATION: fold,
}


class FileIndex:
    """The text of a file with its lines, indexed once for each rung that is needed."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.lines: Lines = split_lines(text)
        if len(self.lines) > _MOST_LINES:
            raise PatchError(f"{path} has {len(self.lines):,} lines; files of at most {_MOST_LINES:,} can be patched.")
        self._rungs: dict[Rung, _Searchable] = {}
        self._work_left = _MOST_WORK + _MOST_SEARCHES * len(text)

    def __len__(self) -> int:
        return len(self.lines)

    def spend(self, work: int) -> None:
        """Take note of work, in characters. Raises PatchError where the patch took too much of it."""
        self._work_left -= work
        if self._work_left < 0:
            raise PatchError(
                f"The patch has too many hunks for a file as large as {self.path}: finding their places takes too "
                "long. Send smaller patches."
            )

    def find(self, wanted: Sequence[str], rung: Rung, start: int = 0) -> int:
        """The first line from ``start`` on at which the lines stand; -1 where there is none."""
        place = self._rung(rung).find([_KEYS[rung](line) for line in wanted], start)
        # Lines are counted and not their characters, which is exact enough.
        share = max((len(self) if place < 0 else place) - start, 1) / max(len(self), 1)
        self.spend(int(share * len(self.text)) + WORK_OF_A_LINE * len(wanted))
        return place

    def find_all(self, wanted: Sequence[str], rung: Rung, n_most: int) -> list[int]:
        """The first places at which the lines stand, at most ``n_most``."""
        self.spend(len(self.text) + WORK_OF_A_LINE * len(wanted))
        return list(islice(self._rung(rung).places([_KEYS[rung](line) for line in wanted]), n_most))

    def stands_at(self, wanted: Sequence[str], rung: Rung, place: int) -> bool:
        """Whether the lines stand just there."""
        if place < 0 or place + len(wanted) > len(self):
            return False
        self.spend(WORK_OF_A_LINE * (len(wanted) + 4))
        key = _KEYS[rung]
        return all(key(line) == key(self.lines.bodies[place + i]) for i, line in enumerate(wanted))

    def places(self, line: str, n_most: int) -> list[int]:
        """Where a line stands, compared as loosely as there is; at most ``n_most`` places."""
        return self.numbers(line, Rung.PUNCTUATION)[:n_most]

    def numbers(self, line: str, rung: Rung) -> list[int]:
        """All places where a line stands, in order. The list is the index's own."""
        return self._rung(rung).numbers.get(_KEYS[rung](line), [])

    @cached_property
    def block_ends(self) -> tuple[int, ...]:
        """For each line the one that ends the block which it opens, by indentation; a line that opens none, such as a
        heading, reaches to the end of the file. Lines that only close something end nothing."""
        n_lines = len(self)
        ends = [n_lines] * n_lines
        depths: list[int] = []  # of the lines below, each smaller than the next, whose numbers are ``places``
        places: list[int] = []
        depth_below = -1
        for i in range(n_lines - 1, -1, -1):
            body = self.lines.bodies[i]
            if not body.strip():
                continue
            depth = len(indentation_of(body))
            nearest = bisect_right(depths, depth) - 1
            if depth_below > depth and nearest >= 0:
                ends[i] = places[nearest]
            if not body.lstrip().startswith(_CLOSING):
                kept = bisect_left(depths, depth)
                del depths[kept:], places[kept:]
                depths.append(depth)
                places.append(i)
            depth_below = depth
        return tuple(ends)

    def beginning_with(self, beginning: str) -> list[int]:
        """The lines that begin with a text and go on with something else than a letter, a digit or ``_``."""
        wanted = beginning.strip()
        self.spend(len(self.text))
        if not wanted or wanted not in self.text:
            return []
        self.spend(_WORK_OF_A_GLANCE * len(self))
        pattern = re.compile(re.escape(wanted) + (r"(?!\w)" if wanted[-1].isalnum() or wanted[-1] == "_" else ""))
        return [i for i, body in enumerate(self.lines.bodies) if wanted in body and pattern.match(body.lstrip())]

    def _rung(self, rung: Rung) -> "_Searchable":
        if rung not in self._rungs:
            self._rungs[rung] = self._build(rung)
        return self._rungs[rung]

    def _build(self, rung: Rung) -> "_Searchable":
        if rung is Rung.EXACT:
            return _Searchable(self.lines.bodies)
        # Each rung goes on from the one above, and mostly finds nothing to do.
        above = self._rung(Rung(rung - 1))
        if rung is Rung.PUNCTUATION:
            keys = tuple([key if key.isascii() else fold(key) for key in above.keys])
        else:
            keys = tuple(map(_KEYS[rung], above.keys))
        return above if keys == above.keys else _Searchable(keys)


class _Searchable:
    """Lines, as a text with one of them in each line, whatever ended them in the file."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        self._text = "\n".join(("", *keys, ""))
        self._starts: tuple[int, ...] = ()

    @cached_property
    def numbers(self) -> dict[str, list[int]]:
        """Where each line stands, in order."""
        numbers: dict[str, list[int]] = {}
        for number, key in enumerate(self.keys):
            numbers.setdefault(key, []).append(number)
        return numbers

    def places(self, wanted: Sequence[str]) -> Iterator[int]:
        """The lines at which the wanted ones stand, in order."""
        needle = "\n".join(("", *wanted, ""))
        place, counted = 0, 0
        offset = self._text.find(needle)
        while offset >= 0:
            place += self._text.count("\n", counted, offset)
            counted = offset
            yield place
            offset = self._text.find(needle, offset + 1)

    def find(self, wanted: Sequence[str], start: int) -> int:
        """The first such line from ``start`` on; -1 where there is none."""
        if start <= 0:
            return next(self.places(wanted), -1)
        if start >= len(self.keys):
            return -1
        if not self._starts:
            self._starts = (0, *accumulate(len(key) + 1 for key in self.keys))
        offset = self._text.find("\n".join(("", *wanted, "")), self._starts[start])
        return offset if offset < 0 else bisect_left(self._starts, offset)
