"""JSON in slices is the standard library's JSON, and no single step of it grows with the document."""

import json
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.session.sliced_json import members, parsed, written

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)
DEPTHS = st.integers(0, 5)


@given(VALUES, DEPTHS, st.sampled_from((None, 1, "\r\n \t")))
def test_what_is_read_is_what_the_standard_library_reads(value: Any, depth: int, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    assert parsed(f" {text}\n", depth) == json.loads(text)


@given(VALUES, DEPTHS)
def test_what_is_written_can_be_read(value: Any, depth: int) -> None:
    assert json.loads("".join(written(value, depth))) == value


@given(st.text(alphabet='{}[]",: 1a\\', max_size=12), DEPTHS)
def test_what_is_no_json_is_refused_as_the_standard_library_does(text: str, depth: int) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            parsed(text, depth)
    else:
        assert parsed(text, depth) == expected


def test_the_first_members_need_no_more_than_they_take() -> None:
    text = json.dumps({"title": "One", "said": [1, 2], "conversation": {"turns": ["long"] * 1000}})
    assert list(islice(members(text[:40]), 2)) == [("title", "One"), ("said", [1, 2])]
    for cut in range(1, len(text) - 1):
        with pytest.raises(ValueError, match=r".+"):
            list(members(text[:cut]))
    assert dict(members(text)) == json.loads(text)


def test_half_a_surrogate_pair_is_kept_in_ascii() -> None:
    text = "".join(written({"half \ud800": ["\ud800é"]}))
    assert text.isascii()
    assert parsed(text) == {"half \ud800": ["\ud800é"]}


def test_each_step_is_one_message_at_most() -> None:
    document = {"conversation": {"turns": [[{"content": "x" * 10}] * 2] * 500}}
    assert max(map(len, written(document))) < 50
