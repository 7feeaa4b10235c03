"""The lines of one file, made searchable exactly and ever more loosely. A search costs time linear in the file.

Each distinct line becomes one character, so that a run of lines is found as a substring: the search of `str` is linear
even in the worst case, where comparing line by line would take minutes for a hostile patch.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import islice

from harmony_ls.edits.text_file import Lines, split_lines
from harmony_ls.errors import PatchError

__all__ = ["FileIndex", "Rung", "fold"]

_MOST_LINES = 1_000_000
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

    def __len__(self) -> int:
        return len(self.lines)

    def find(self, wanted: Sequence[str], rung: Rung, start: int = 0) -> int:
        """The first line from ``start`` on at which the lines stand; -1 where there is none."""
        return self._rung(rung).find([_KEYS[rung](line) for line in wanted], start)

    def find_all(self, wanted: Sequence[str], rung: Rung, n_most: int) -> list[int]:
        """The first places at which the lines stand, at most ``n_most``."""
        searchable, keys = self._rung(rung), [_KEYS[rung](line) for line in wanted]
        found: list[int] = []
        place = searchable.find(keys, 0)
        while place >= 0 and len(found) < n_most:
            found.append(place)
            place = searchable.find(keys, place + 1)
        return found

    def stands_at(self, wanted: Sequence[str], rung: Rung, place: int) -> bool:
        """Whether the lines stand just there."""
        if place < 0 or place + len(wanted) > len(self):
            return False
        key = _KEYS[rung]
        return all(key(line) == key(self.lines.bodies[place + i]) for i, line in enumerate(wanted))

    def places(self, line: str, n_most: int) -> list[int]:
        """Where a line stands, compared as loosely as there is; at most ``n_most`` places."""
        return self.find_all((line,), Rung.PUNCTUATION, n_most)

    def beginning_with(self, beginning: str, n_most: int) -> list[int]:
        """The lines that begin with a text and go on with something else than a letter, a digit or ``_``."""
        wanted = beginning.strip()
        if not wanted or wanted not in self.text:
            return []
        pattern = re.compile(re.escape(wanted) + (r"(?!\w)" if wanted[-1].isalnum() or wanted[-1] == "_" else ""))
        matching = (i for i, body in enumerate(self.lines.bodies) if wanted in body and pattern.match(body.lstrip()))
        return list(islice(matching, n_most))

    def _rung(self, rung: Rung) -> "_Searchable":
        if rung is Rung.PUNCTUATION and self.text.isascii():
            rung = Rung.INDENTATION  # folding makes no difference to the file, only to what is looked for
        if rung not in self._rungs:
            self._rungs[rung] = self._build(rung)
        return self._rungs[rung]

    def _build(self, rung: Rung) -> "_Searchable":
        bodies = self.lines.bodies
        if rung is Rung.EXACT:
            return _LinesAsText(self.text, len(self)) if "\r" not in self.text else _LinesAsCharacters(bodies)
        keys = tuple(map(_KEYS[rung], bodies))
        return self._rung(Rung.EXACT) if keys == bodies else _LinesAsCharacters(keys)


class _LinesAsText:
    """Lines that end with ``\n`` are found in the text as it is, which needs no preparation."""

    def __init__(self, text: str, n_lines: int) -> None:
        self._text = f"\n{text}" if text.endswith("\n") else f"\n{text}\n"
        self._n_lines = n_lines
        self._known = (0, 0)
        """A line and where its preceding line end is, so that a search that goes on need not count from the top."""

    def find(self, wanted: Sequence[str], start: int) -> int:
        if start + len(wanted) > self._n_lines:
            return -1
        offset = self._text.find("\n".join(("", *wanted, "")), self._offset(start))
        if offset < 0:
            return -1
        line, known = self._known if self._known[1] <= offset else (0, 0)
        place = line + self._text.count("\n", known, offset)
        self._known = (place, offset)
        return place if place + len(wanted) <= self._n_lines else -1

    def _offset(self, line: int) -> int:
        known_line, offset = self._known if self._known[0] <= line else (0, 0)
        for _ in range(line - known_line):
            offset = self._text.index("\n", offset + 1)
        self._known = (line, offset)
        return offset


class _LinesAsCharacters:
    """Each distinct line is one character, and a run of lines a substring."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._characters = {key: chr(i) for i, key in enumerate(dict.fromkeys(keys))}
        self._haystack = "".join(map(self._characters.__getitem__, keys))

    def find(self, wanted: Sequence[str], start: int) -> int:
        found = [self._characters.get(key) for key in wanted]
        if None in found:
            return -1
        return self._haystack.find("".join(character for character in found if character is not None), start)


_Searchable = _LinesAsText | _LinesAsCharacters
