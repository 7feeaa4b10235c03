"""What the ``@@`` lines of a hunk say about its place: each is sought inside what the one before it opens."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from harmony_ls.edits import failures
from harmony_ls.edits.file_index import FileIndex, Rung
from harmony_ls.edits.indentation import indentation_of
from harmony_ls.edits.operations import Hunk, LineKind

__all__ = ["anchor_places", "candidates_behind"]

_N_ANCHORS = 1000
_CLOSING = (")", "]", "}")


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
        for place, end in zip(places, _block_ends(file, places), strict=True):
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
    for anchor, end in zip(anchors, _block_ends(file, anchors), strict=True):
        is_at_anchor = file.stands_at(old_lines, rung, anchor)
        if is_at_anchor and repeats_anchor:
            inside.add(anchor)
            continue
        place = file.find(old_lines, rung, anchor + 1)
        if place < 0:
            inside |= {anchor} if is_at_anchor else set()
        elif place == anchor + 1:
            inside.add(place)
        elif place < end:
            inside.add(place)
            following = file.find(old_lines, rung, place + 1)
            inside |= {following} if 0 <= following < end else set()
        else:
            behind.add(place)
    if inside or not behind:
        return sorted(inside)
    return sorted(behind) if len(file.find_all(old_lines, rung, 2)) == 1 else []


def _block_ends(file: FileIndex, anchors: Sequence[int]) -> list[int]:
    """For each anchor (in the order of the file) the line that ends the block which it opens, by indentation. An
    anchor that opens none, such as a heading, reaches to the end of the file."""
    bodies = file.lines.bodies
    ends = dict.fromkeys(anchors, len(bodies))
    waiting = deque(anchors)
    opened: list[tuple[int, int]] = []
    unopened: list[tuple[int, int]] = []
    for i in range(anchors[0], len(bodies)) if anchors else ():
        if not opened and not unopened and not waiting:
            break
        body = bodies[i]
        if body.strip():
            depth = len(indentation_of(body))
            opened += [(line, outer) for line, outer in unopened if outer < depth]
            unopened.clear()
            while opened and opened[-1][1] >= depth and not body.lstrip().startswith(_CLOSING):
                ends[opened.pop()[0]] = i
            if waiting and waiting[0] == i:
                unopened.append((i, depth))
        if waiting and waiting[0] == i:
            waiting.popleft()
    return [ends[anchor] for anchor in anchors]
