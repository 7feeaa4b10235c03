"""What the ``@@`` lines of a hunk say about its place: each is sought inside what the one before it opens."""

from bisect import bisect_right
from collections.abc import Sequence

from harmony_ls.edits import failures
from harmony_ls.edits.file_index import FileIndex, Rung
from harmony_ls.edits.operations import Hunk, LineKind

__all__ = ["anchor_places", "candidates_behind"]

_N_ANCHORS = 1000


def anchor_places(file: FileIndex, hunk: Hunk, number: int, *, is_hard: bool = True) -> tuple[int, ...] | None:
    """The lines that the last anchor may mean; None where the hunk has no anchors.

    An anchor that the file does not have is an error, unless it is no more than a hint (``is_hard`` is false).
    """
    if not hunk.anchors:
        return None
    places = _occurrences(file, hunk.anchors[0])
    depth = 0
    while places and depth + 1 < len(hunk.anchors):
        depth += 1
        inside = _occurrences(file, hunk.anchors[depth])
        found: set[int] = set()
        for place in places:
            end = file.block_ends[place]
            i = bisect_right(inside, place)
            found |= {inside[i]} if i < len(inside) and inside[i] < end else set()
        places = sorted(found)
    if not places and is_hard:
        raise failures.anchor_not_found(file, hunk, depth, number)
    return tuple(places) or None


def _occurrences(file: FileIndex, anchor: str) -> list[int]:
    for rung in Rung:
        if found := file.find_all((anchor,), rung, _N_ANCHORS):
            return found
    # ``@@ def area`` is often written for ``def area(width, height):``.
    return file.beginning_with(anchor, _N_ANCHORS)


def candidates_behind(file: FileIndex, anchors: Sequence[int], hunk: Hunk, rung: Rung) -> list[int]:
    """The places that match and lie inside what an anchor opens, or are the only ones behind it."""
    old_lines = hunk.old_lines
    repeats_anchor = bool(hunk.lines) and hunk.lines[0].kind is LineKind.CONTEXT
    inside: set[int] = set()
    behind: set[int] = set()
    place, following = 0, 0
    for anchor in anchors:
        end = file.block_ends[anchor]
        is_at_anchor = file.stands_at(old_lines, rung, anchor)
        if is_at_anchor and repeats_anchor:
            inside.add(anchor)
            continue
        # The anchors are in the order of the file: what was found behind the last one is often behind this one too.
        if 0 <= place <= anchor:
            place = file.find(old_lines, rung, anchor + 1)
        if place < 0:
            inside |= {anchor} if is_at_anchor else set()
        elif place == anchor + 1:
            inside.add(place)
        elif place < end:
            inside.add(place)
            if 0 <= following <= place:
                following = file.find(old_lines, rung, place + 1)
            inside |= {following} if 0 <= following < end else set()
        else:
            behind.add(place)
    if inside or not behind:
        return sorted(inside)
    return sorted(behind) if len(file.find_all(old_lines, rung, 2)) == 1 else []
