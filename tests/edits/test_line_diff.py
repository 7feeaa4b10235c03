"""Changes of lines between two texts: they lead there, touch nothing else, and huge inputs take bounded time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.edits.changes import TextChange, apply_text_changes
from harmony_ls.edits.line_diff import line_changes

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "\f", "\u2028"]), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    text = "".join(line + draw(ENDS) for line in draw(LINES))
    return text + draw(st.sampled_from(["", "last"]))


@given(texts(), texts(), st.integers(0, 5))
def test_the_changes_lead_from_one_text_to_the_other(old: str, new: str, offset: int) -> None:
    changes = line_changes(old, new, offset)
    before = "x" * offset
    assert apply_text_changes(before + old, changes) == before + new
    assert all(one.end < other.start for one, other in pairwise(changes))
    assert all(old[change.start - offset : change.end - offset] != change.text for change in changes)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("one\ntwo\nthree\n", "one\n2\nthree\n", [TextChange(4, 8, "2\n")]),
        ("one\ntwo\n", "one\ntwo\n", []),
        ("one\ntwo\n", "one\n", [TextChange(4, 8, "")]),
        ("one\n", "zero\none\nand\n", [TextChange(0, 0, "zero\n"), TextChange(4, 4, "and\n")]),
        ("a\nb\nc\nd\n", "A\nb\nc\nD\n", [TextChange(0, 2, "A\n"), TextChange(6, 8, "D\n")]),
        ("one", "one\n", [TextChange(0, 3, "one\n")]),
    ],
)
def test_only_lines_that_differ_are_changed(old: str, new: str, changes: list[TextChange]) -> None:
    assert list(line_changes(old, new)) == changes


def test_what_is_too_long_to_compare_is_replaced_in_one_piece() -> None:
    old = "same\n" + "".join(f"old {number}\n" for number in range(20_000)) + "end\n"
    new = "same\n" + "".join(f"new {number}\n" for number in range(20_000)) + "end\n"
    [change] = line_changes(old, new)
    assert change.start == len("same\n")
    assert change.end == len(old) - len("end\n")
    assert apply_text_changes(old, [change]) == new
