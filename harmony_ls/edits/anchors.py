"""What the ``@@`` lines of a hunk say about its place: each is sought inside what the one before it opens."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from harmony_ls.edits import failures
from harmony_ls.edits.file_index import WORK_OF_A_LINE, FileIndex, Rung
from harmony_ls.edits.operations import Hunk, LineKind

__all__ = ["MOST_ANCHORS", "anchor_places", "candidates_behind"]

MOST_ANCHORS = 1000


def anchor_places(file: FileIndex, hunk: Hunk, number: int, *, is_hard: bool = True) -> tuple[int, ...] | None:
    """The lines that the last anchor may mean, in order; None where the hunk has no anchors.

    They are all that there are, unless they are more than ``MOST_ANCHORS``: then they say nothing of the place.

    An anchor that the file does not have is an error, unless it is no more than a hint (``is_hard`` is false).
    """
    if not hunk.anchors:
        return None
    places = _occurrences(file, hunk.anchors[0])
    depth = 0
    while places and depth + 1 < len(hunk.anchors):
        depth += 1
        places = _inside(file, places, _occurrences(file, hunk.anchors[depth]))
    if not places and is_hard:
        raise failures.anchor_not_found(file, hunk, depth, number)
    return tuple(places[: MOST_ANCHORS + 1]) or None


def _occurrences(file: FileIndex, anchor: str) -> list[int]:
    for rung in Rung:
        if found := file.numbers(anchor, rung):
            return found
    # ``@@ def area`` is often written for ``def area(width, height):``.
    return file.beginning_with(anchor)


def _inside(file: FileIndex, outer: Sequence[int], inner: Sequence[int]) -> list[int]:
    """Those of the ``inner`` lines that stand inside what one of the ``outer`` ones opens. All are in order."""
    file.spend(WORK_OF_A_LINE * len(outer))
    found: list[int] = []
    n_passed = 0
    for place in outer:
        first = max(n_passed, bisect_right(inner, place))
        n_passed = max(n_passed, bisect_left(inner, file.block_ends[place]))
        found += inner[first:n_passed]
    return found


def candidates_behind(file: FileIndex, anchors: Sequence[int], hunk: Hunk, rung: Rung, n_most: int) -> list[int]:
    """The places that match and lie inside what an anchor opens, or are the only ones behind it.

    They are all that there are, unless they are ``n_most``.
    """
    matches = _Matches(file, hunk, rung)
    repeats_anchor = bool(hunk.lines) and hunk.lines[0].kind is LineKind.CONTEXT
    inside: set[int] = set()
    behind: set[int] = set()
    searched = 0  # all places before this line are known
    for anchor in anchors:
        if len(inside) >= n_most:
            break
        end = file.block_ends[anchor]
        if file.stands_at(hunk.old_lines, rung, anchor):
            inside.add(anchor)
            if repeats_anchor:
                continue
        place = matches.first(max(anchor + 1, searched))
        if place >= end:
            behind.add(place)
        elif place >= 0:
            while 0 <= place < end and len(inside) < n_most:
                inside.add(place)
                place = matches.first(place + 1)
            searched = max(searched, end)
    if inside or not behind:
        return sorted(inside)
    return sorted(behind) if len(file.find_all(hunk.old_lines, rung, 2)) == 1 else []


class _Matches:
    """The places of a hunk, sought from lines that mostly come in order: one answer then serves many of them."""

    def __init__(self, file: FileIndex, hunk: Hunk, rung: Rung) -> None:
        self._file = file
        self._old_lines = hunk.old_lines
        self._rung = rung
        self._start, self._place = 0, 0  # as if the first line were one; the first answer is sought behind it

    def first(self, start: int) -> int:
        """The first place from a line on; -1 where there is none. ``start`` is not the first line of the file."""
        if start < self._start or 0 <= self._place < start:
            self._start, self._place = start, self._file.find(self._old_lines, self._rung, start)
        return self._place
