"""Where a hunk belongs in a file: a ladder of ever looser comparisons, and never an edit where two places would do.

The rungs: exact; without blanks at line ends; without indentation (what is added is then indented as the file is);
with plain dashes, quotes and spaces; and last, a slip in a line of context, if all lines to remove are as the patch
has them and no other place comes near. ``@@`` lines narrow the search one inside the other, line numbers choose among
places that match, ``*** End of File`` ties the old lines to the end.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harmony_ls.edits import failures
from harmony_ls.edits.anchors import MOST_ANCHORS, anchor_places, candidates_behind
from harmony_ls.edits.changes import LineEdit
from harmony_ls.edits.file_index import FileIndex, Rung
from harmony_ls.edits.indentation import reindent
from harmony_ls.edits.nearest import similarity
from harmony_ls.edits.operations import Hunk, HunkLine, LineKind

__all__ = ["HunkPlace", "locate"]

_N_CANDIDATES = 50
_FUZZY_RATIO = 0.85
_FUZZY_SHARE = 4
_LONGEST_FUZZY = 400
_WORK_OF_A_COMPARISON = 100
_LONGEST_COMPARED = 400
_N_RARE_LINES = 8
_N_RARE_PLACES = 20


@dataclass(frozen=True, slots=True)
class HunkPlace:
    """Where a hunk belongs: its old lines are those from ``start`` up to ``end``, and ``edits`` change them."""

    start: int
    end: int
    edits: tuple[LineEdit, ...]


class _Taken:
    """The lines that the hunks so far change, in order. None overlap, so their ends are in order too."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, edits: Sequence[LineEdit]) -> None:
        """Take note of what a further hunk changes."""
        for edit in edits:
            i = max(bisect_right(self._starts, edit.start), bisect_right(self._ends, edit.end))
            if self._starts[i - 1 : i] == [edit.start] and edit.start == edit.end < self._ends[i - 1]:
                i -= 1  # lines put in front of lines that are changed
            self._starts.insert(i, edit.start)
            self._ends.insert(i, edit.end)

    def leaves(self, start: int, end: int) -> bool:
        """Whether nothing is changed between these lines. Hunks may share lines that stay."""
        i = bisect_right(self._ends, start)
        return i == len(self._starts) or self._starts[i] >= end


def locate(file: FileIndex, hunks: Sequence[Hunk]) -> tuple[HunkPlace, ...]:
    """The places of all hunks of a file. Raises PatchError for the first that has none, or more than one."""
    places: list[HunkPlace] = []
    taken = _Taken()
    drift = 0
    for number, hunk in enumerate(hunks, 1):
        place = _locate(file, hunk, places, taken, drift, number)
        if hunk.line_hint is not None and hunk.old_lines:
            drift = place.start + 1 - hunk.line_hint
        places.append(place)
        taken.add(place.edits)
    return tuple(places)


def _locate(
    file: FileIndex, hunk: Hunk, earlier: Sequence[HunkPlace], taken: _Taken, drift: int, number: int
) -> HunkPlace:
    if not hunk.old_lines:
        return _insertion(file, hunk, taken, number)
    anchors = _telling(anchor_places(file, hunk, number))
    # A blank line at the end of a hunk is as often the end of a paragraph of the patch as a line of the file.
    for variant in _without_blank_ends(hunk):
        n_old = len(variant.old_lines)
        for rung in Rung:
            for hinted in _hinted(file, variant, rung, anchors, drift):
                if taken.leaves(hinted, hinted + n_old):
                    return _place(file, variant, hinted, rung, number)
            candidates = _candidates(file, variant, rung, anchors)
            found = [place for place in candidates if taken.leaves(place, place + n_old)]
            if candidates and not found:
                # A looser look would only find what comes near, and that is not meant.
                raise failures.overlap(file, hunk, candidates[0], number)
            if not found:
                continue
            are_all = len(candidates) < _N_CANDIDATES
            chosen = _chosen(file, variant, rung, found, earlier, are_all=are_all)
            if chosen is None:
                raise failures.ambiguous(file, hunk, found, number, are_all=are_all)
            return _place(file, variant, chosen, rung, number)
    fuzzy = _fuzzy(file, hunk, anchors)
    if fuzzy is not None and taken.leaves(fuzzy, fuzzy + len(hunk.old_lines)):
        return _place(file, hunk, fuzzy, Rung.PUNCTUATION, number)
    raise failures.not_found(file, hunk, anchors, number)


def _telling(anchors: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The anchors; None where they are so many that they tell nothing."""
    return None if anchors is None or len(anchors) > MOST_ANCHORS else anchors


def _without_blank_ends(hunk: Hunk) -> list[Hunk]:
    lines = hunk.lines
    n_blank = 0
    while (
        n_blank < len(lines) and lines[-1 - n_blank].kind is LineKind.CONTEXT and not lines[-1 - n_blank].text.strip()
    ):
        n_blank += 1
    if all(line.kind is LineKind.ADDED for line in lines[: len(lines) - n_blank]):
        n_blank -= 1  # something of the file must be left to look for
    # One blank line, or all of them: what lies between means nothing else and would cost time.
    left_out = sorted({min(1, n_blank), n_blank} - {0, -1})
    return [hunk, *(replace(hunk, lines=lines[: len(lines) - n]) for n in left_out)]


def _hinted(file: FileIndex, hunk: Hunk, rung: Rung, anchors: tuple[int, ...] | None, drift: int) -> list[int]:
    """The places that match at the line which the patch names. They are looked at first: a file may have more places
    that match than are ever listed."""
    if hunk.line_hint is None or hunk.at_end or not _changes(hunk):
        return []
    return [
        place
        for place in dict.fromkeys((hunk.line_hint - 1 + drift, hunk.line_hint - 1))
        if file.stands_at(hunk.old_lines, rung, place)
        and (anchors is None or any(anchor <= place < file.block_ends[anchor] for anchor in anchors))
    ]


def _candidates(file: FileIndex, hunk: Hunk, rung: Rung, anchors: tuple[int, ...] | None) -> list[int]:
    """The places that match at a rung and lie where the anchors say, ``*** End of File`` included.

    They are all that there are, unless they are as many as are ever listed.
    """
    old_lines = hunk.old_lines
    if hunk.at_end:
        last = len(file) - len(old_lines)
        return [last] if file.stands_at(old_lines, rung, last) else []
    if anchors is None:
        return file.find_all(old_lines, rung, _N_CANDIDATES)
    return candidates_behind(file, anchors, hunk, rung, _N_CANDIDATES)[:_N_CANDIDATES]


def _chosen(
    file: FileIndex, hunk: Hunk, rung: Rung, found: Sequence[int], earlier: Sequence[HunkPlace], *, are_all: bool
) -> int | None:
    """The one place that is meant; None where that cannot be known, as when there are more than those ``found``."""
    if (len(found) == 1 and are_all) or not _changes(hunk):
        return found[0]
    if hunk.section:
        anchored = _telling(anchor_places(file, replace(hunk, anchors=(hunk.section,)), 0, is_hard=False))
        behind = [] if anchored is None else candidates_behind(file, anchored, hunk, rung, 2)
        if len(behind) == 1 and behind[0] in found:
            return behind[0]
    if not are_all:
        return None
    # Hunks come in the order of the file: what lies before the last one is not meant if something lies behind it.
    behind = [place for place in found if earlier and place >= earlier[-1].end]
    return behind[0] if len(behind) == 1 else None


def _changes(hunk: Hunk) -> bool:
    return any(line.kind is not LineKind.CONTEXT for line in hunk.lines)


def _insertion(file: FileIndex, hunk: Hunk, taken: _Taken, number: int) -> HunkPlace:
    """Lines without context: behind the ``@@`` line if there is one, else at the end of the file, as codex has it."""
    lines = hunk.new_lines
    if hunk.line_hint is not None and not hunk.anchors and not hunk.at_end:
        if hunk.line_hint not in (0, len(file)) or (hunk.line_hint == 0 and len(file)):
            raise failures.insertion_by_number(file, hunk, number)
    elif hunk.anchors and not hunk.at_end:
        anchors = anchor_places(file, hunk, number) or ()
        if len(anchors) != 1:
            raise failures.ambiguous_anchor(file, hunk, anchors, number)
        place = anchors[0] + 1
        if not taken.leaves(place, place):
            raise failures.overlap(file, hunk, anchors[0], number)
        return HunkPlace(place, place, (LineEdit(place, place, lines),))
    end = len(file)
    return HunkPlace(end, end, (LineEdit(end, end, lines),))


def _place(file: FileIndex, hunk: Hunk, start: int, rung: Rung, number: int) -> HunkPlace:
    """The edits of a hunk whose old lines start at a line of the file. Lines of context stay as the file has them."""
    added = [line.text for line in hunk.lines if line.kind is LineKind.ADDED]
    if rung >= Rung.INDENTATION:
        real = file.lines.bodies[start : start + len(hunk.old_lines)]
        moved = reindent(added, zip(hunk.old_lines, real, strict=True))
        if moved is None:
            raise failures.indentation(file, hunk, start, number)
        added = list(moved)
    edits: list[LineEdit] = []
    first = position = start
    new: list[str] = []
    n_added = 0

    def flush() -> None:
        if new or position > first:
            edits.append(LineEdit(first, position, tuple(new)))

    for line in hunk.lines:
        match line.kind:
            case LineKind.ADDED:
                new.append(added[n_added])
                n_added += 1
            case LineKind.REMOVED:
                position += 1
            case LineKind.CONTEXT:
                flush()
                new.clear()
                position += 1
                first = position
    flush()
    return HunkPlace(start, start + len(hunk.old_lines), tuple(edits))


def _fuzzy(file: FileIndex, hunk: Hunk, anchors: tuple[int, ...] | None) -> int | None:
    """The one place where only a slip in the context is between the hunk and the file; None where there is not one."""
    old = [line for line in hunk.lines if line.kind is not LineKind.ADDED]
    if not _FUZZY_SHARE < len(old) <= _LONGEST_FUZZY or hunk.at_end or not _changes(hunk):
        return None
    starts: set[int] = set()
    telling = sorted((i for i, line in enumerate(old) if line.text.strip()), key=lambda i: -len(old[i].text))
    for i in telling[:_N_RARE_LINES]:
        starts.update(place - i for place in file.places(old[i].text, _N_RARE_PLACES))
    near = [start for start in sorted(starts) if 0 <= start <= len(file) - len(old) and _is_near(file, old, start)]
    if anchors is not None:
        near = [start for start in near if any(anchor <= start for anchor in anchors)]
    return near[0] if len(near) == 1 else None


def _is_near(file: FileIndex, old: Sequence[HunkLine], start: int) -> bool:
    n_slips = 0
    for i, line in enumerate(old):
        if file.stands_at((line.text,), Rung.PUNCTUATION, start + i):
            continue
        n_slips += 1
        if line.kind is LineKind.REMOVED or n_slips * _FUZZY_SHARE > len(old):
            return False
        file.spend(_WORK_OF_A_COMPARISON * min(len(line.text), _LONGEST_COMPARED) ** 2)
        if similarity(line.text, file.lines.bodies[start + i]) < _FUZZY_RATIO:
            return False
    return True
