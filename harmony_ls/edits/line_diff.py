"""From an old text to a new one by as few changed lines as a bounded effort finds: what an editor is sent.

Lines that stay are not touched, so that cursors, marks and folds in them stay too. No patch is read here.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from harmony_ls.edits.changes import TextChange
from harmony_ls.edits.text_file import split_lines

__all__ = ["line_changes"]

# Comparing lines that are much alike takes this product of their numbers many times over: beyond it, what differs is
# replaced in one piece.
_MOST_COMPARED = 250_000


def line_changes(old: str, new: str, offset: int = 0) -> tuple[TextChange, ...]:
    """The changes of whole lines that lead from ``old`` to ``new``: ordered, without overlap, none for equal texts.

    ``offset`` is where ``old`` stands in the text that the changes are meant for.
    """
    old_lines, new_lines = _lines(old), _lines(new)
    old_starts, new_starts = _starts(old_lines), _starts(new_lines)
    return tuple(
        TextChange(
            offset + old_starts[start], offset + old_starts[end], new[new_starts[new_start] : new_starts[new_end]]
        )
        for start, end, new_start, new_end in _different(old_lines, new_lines)
    )


def _lines(text: str) -> list[str]:
    lines = split_lines(text)
    return [body + end for body, end in zip(lines.bodies, lines.ends, strict=True)]


def _starts(lines: Sequence[str]) -> list[int]:
    return [0, *accumulate(map(len, lines))]


def _different(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """The runs of lines that differ: from and up to in the old text, from and up to in the new one."""
    n_same_before = _n_same(old, new)
    old, new = old[n_same_before:], new[n_same_before:]
    n_same_after = _n_same(old[::-1], new[::-1])
    old, new = old[: len(old) - n_same_after], new[: len(new) - n_same_after]
    if not old and not new:
        return
    if len(old) * len(new) > _MOST_COMPARED:
        runs = [("replace", 0, len(old), 0, len(new))]
    else:
        runs = list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    for name, start, end, new_start, new_end in runs:
        if name != "equal":
            yield tuple(place + n_same_before for place in (start, end, new_start, new_end))  # type: ignore[misc]


def _n_same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    n_same = 0
    for line, other_line in zip(one, other, strict=False):
        if line != other_line:
            break
        n_same += 1
    return n_same
