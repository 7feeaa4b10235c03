"""Edits between two lists of lines: they lead there, touch nothing else, and huge inputs take bounded time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.edits.changes import LineEdit, apply_text_changes, replace_lines
from harmony_ls.edits.line_diff import line_edits
from harmony_ls.edits.text_file import split_lines

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "\f", "\u2028"]), max_size=12)


def after(old: list[str], edits: tuple[LineEdit, ...], start: int = 0) -> list[str]:
    lines = ["before"] * start + old
    for edit in reversed(edits):
        lines[edit.start : edit.end] = edit.lines
    return lines[start:]


@given(LINES, LINES, st.integers(0, 5))
def test_the_edits_lead_from_one_text_to_the_other(old: list[str], new: list[str], start: int) -> None:
    edits = line_edits(old, new, start)
    assert after(old, edits, start) == new
    assert all(one.end < other.start for one, other in pairwise(edits))
    assert all(tuple(old[edit.start - start : edit.end - start]) != edit.lines for edit in edits)


@pytest.mark.parametrize(
    ("old", "new", "edits"),
    [
        ("one two three", "one 2 three", [LineEdit(1, 2, ("2",))]),
        ("one two", "one two", []),
        ("one two", "one", [LineEdit(1, 2, ())]),
        ("one", "zero one and", [LineEdit(0, 0, ("zero",)), LineEdit(1, 1, ("and",))]),
        ("a b c d", "A b c D", [LineEdit(0, 1, ("A",)), LineEdit(3, 4, ("D",))]),
    ],
)
def test_only_lines_that_differ_are_edited(old: str, new: str, edits: list[LineEdit]) -> None:
    assert list(line_edits(old.split(), new.split())) == edits


def test_lines_that_stay_keep_their_ends() -> None:
    text = "one\r\ntwo\nthree\r\nfour"
    lines = split_lines(text)
    new_text, changes = replace_lines(text, lines, line_edits(lines.bodies, ("one", "two", "3", "four")))
    assert new_text == "one\r\ntwo\n3\r\nfour" == apply_text_changes(text, changes)


def test_what_is_too_long_to_compare_is_replaced_in_one_piece() -> None:
    old = ["same", *(f"old {number}" for number in range(20_000)), "end"]
    new = ["same", *(f"new {number}" for number in range(20_000)), "end"]
    [edit] = line_edits(old, new)
    assert (edit.start, edit.end) == (1, 20_001)
    assert after(old, (edit,)) == new
