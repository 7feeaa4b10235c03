"""From old lines to new ones by as few edits as a bounded effort finds: what an editor is sent of a rewritten text.

Lines that stay are not touched, so that cursors, marks and folds in them stay too. No patch is read here.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

from harmony_ls.edits.changes import LineEdit

__all__ = ["line_edits", "n_same"]

# Comparing lines that are much alike takes this product of their numbers many times over: beyond it, what differs is
# replaced in one piece.
_MOST_COMPARED = 250_000


def line_edits(old: Sequence[str], new: Sequence[str], start: int = 0) -> tuple[LineEdit, ...]:
    """The edits that lead from ``old`` lines to ``new`` ones: ordered, without overlap, none where both are equal.

    ``start`` is the number of the first old line in the text that the edits are meant for.
    """
    n_before = n_same(old, new)
    old, new = old[n_before:], new[n_before:]
    n_after = n_same(old[::-1], new[::-1])
    old, new = old[: len(old) - n_after], new[: len(new) - n_after]
    start += n_before
    if not old and not new:
        return ()
    if len(old) * len(new) > _MOST_COMPARED:
        return (LineEdit(start, start + len(old), tuple(new)),)
    return tuple(
        LineEdit(start + old_start, start + old_end, tuple(new[new_start:new_end]))
        for name, old_start, old_end, new_start, new_end in SequenceMatcher(
            None, old, new, autojunk=False
        ).get_opcodes()
        if name != "equal"
    )


def n_same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines, or characters, both begin with."""
    return next(
        (n for n, (each, another) in enumerate(zip(one, other, strict=False)) if each != another),
        min(len(one), len(other)),
    )
