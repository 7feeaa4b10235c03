"""The lines of a file that come nearest to those of a hunk: for messages, and for a match that a slip would prevent.

The work is bounded whatever the file and the hunk hold.
"""

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from harmony_ls.edits.file_index import FileIndex, fold

__all__ = ["first_difference", "numbered", "similar_place", "similarity"]

_WORD = re.compile(r"\w{2,}")
_N_SOUGHT = 12
_N_PLACES = 40
_N_COMPARED = 400
_MOST_CELLS = 4_000_000
_LONGEST_COMPARED = 400
_LONGEST_SHOWN = 160
_N_SHOWN = 12
_N_AROUND = 2


def numbered(file: FileIndex, start: int, end: int) -> str:
    """Lines of the file with their numbers, as a message quotes them."""
    end = min(end, start + _N_SHOWN, len(file))
    width = len(str(end))
    return "\n".join(f"{i + 1:>{width}}| {_cut(file.lines.bodies[i])}" for i in range(max(start, 0), end))


def similar_place(file: FileIndex, wanted: Sequence[str]) -> tuple[int, int] | None:
    """The range of lines that is nearest to the wanted ones, with a little around; None where nothing is near."""
    start = _by_equal_lines(file, wanted)
    if start is None:
        start = _by_similar_line(file, wanted)
    if start is None:
        return None
    start = max(0, start - _N_AROUND)
    return start, min(len(file), start + len(wanted) + 2 * _N_AROUND)


def similarity(first: str, second: str) -> float:
    """How alike two lines are, from 0 to 1, without regard to indentation and kinds of quotes."""
    return SequenceMatcher(None, _comparable(first), _comparable(second), False).ratio()


def _comparable(line: str) -> str:
    return fold(line.lstrip()[:_LONGEST_COMPARED])


def _by_equal_lines(file: FileIndex, wanted: Sequence[str]) -> int | None:
    """Where most of the wanted lines stand in their order; rare lines say more than frequent ones."""
    votes: Counter[int] = Counter()
    sought = sorted((i for i, line in enumerate(wanted) if line.strip()), key=lambda i: -len(wanted[i].strip()))
    for i in sought[:_N_SOUGHT]:
        places = file.places(wanted[i], _N_PLACES)
        for place in places:
            votes[place - i] += _N_PLACES // len(places)
    if not votes:
        return None
    most = max(votes.values())
    return max(0, min(start for start, n in votes.items() if n == most))


def _by_similar_line(file: FileIndex, wanted: Sequence[str]) -> int | None:
    """Where a line stands that shares words with the most telling of the wanted ones."""
    i = max(range(len(wanted)), key=lambda i: len(set(_WORD.findall(wanted[i][:_LONGEST_COMPARED]))), default=None)
    words = set(_WORD.findall(wanted[i][:_LONGEST_COMPARED])) if i is not None else set()
    if i is None or not words:
        return None
    pattern = re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)[:_N_SOUGHT]))
    scores: list[tuple[int, int]] = []
    for place, body in enumerate(file.lines.bodies):
        if pattern.search(body):
            scores.append((len(words.intersection(_WORD.findall(body[:_LONGEST_COMPARED]))), -place))
    scores.sort(reverse=True)
    # Long lines that are much alike take longest; of those fewer are compared.
    n_cells = min(len(wanted[i]), _LONGEST_COMPARED) ** 2
    n_compared = min(_N_COMPARED, max(1, _MOST_CELLS // n_cells))
    best = max(
        ((similarity(file.lines.bodies[-place], wanted[i]), place) for _, place in scores[:n_compared]), default=None
    )
    return None if best is None or best[0] < 0.5 else max(0, -best[1] - i)


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def first_difference(file: FileIndex, wanted: Sequence[str]) -> str:
    """The first of the wanted lines that the file has nowhere; the empty string where it has them all."""
    return next((line for line in wanted if line.strip() and not file.places(line, 1)), "")
