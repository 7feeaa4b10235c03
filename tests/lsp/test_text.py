"""The text of a document against LSP's rules, spelled out once more in `tests.lsp.reference`.

Tests named d77 to d94 are numbered robustness cases.
"""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text
from tests.lsp.reference import reference_offset, reference_replace

# What ends lines, what looks as if it did (\f \v \x1c \x85 U+2028 U+2029), wide characters, combining ones.
ALPHABET = "ab \t\r\n\f\v\x1c\x85\u2028\u2029\0é→字e\u0301👍🏽"
texts = st.text(st.sampled_from(ALPHABET), max_size=30)
positions = st.builds(Position, st.integers(0, 8), st.integers(0, 12)) | st.builds(
    Position, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)
)
encodings = st.sampled_from(PositionEncoding)
edits = st.lists(st.tuples(positions, positions, texts), max_size=8)


@given(texts, edits, encodings)
def test_edits_are_what_lsp_says(
    text: str, changes: list[tuple[Position, Position, str]], encoding: PositionEncoding
) -> None:
    ours, expected = Text(text, encoding), text
    for start, end, new in changes:
        ours.replace(start, end, new)
        expected = reference_replace(expected, start, end, new, encoding)
        assert str(ours) == expected
        assert str(Text(expected, encoding)) == expected
        assert ours.n_characters == len(expected)
        assert ours.n_lines == len(re.findall(r"\r\n|\r|\n", expected)) + 1


@given(texts, positions, encodings)
def test_positions_are_what_lsp_says(text: str, position: Position, encoding: PositionEncoding) -> None:
    assert Text(text, encoding).offset_at(position) == reference_offset(text, position, encoding)


@given(texts, encodings)
def test_offsets_come_back(text: str, encoding: PositionEncoding) -> None:
    ours = Text(text, encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] == "\r\n":
            continue  # no position is between the two
        position = ours.position_at(offset)
        assert ours.offset_at(position) == offset
        assert ours.contains(position)


@given(st.text(max_size=40), edits, encodings)
def test_nothing_raises(text: str, changes: list[tuple[Position, Position, str]], encoding: PositionEncoding) -> None:
    ours = Text(text, encoding)
    for start, end, new in changes:
        ours.replace(start, end, new)
        ours.contains(start)
        assert ours.position_at(ours.offset_at(end)) <= end or end.line >= ours.n_lines or not ours.contains(end)


@given(texts, st.integers(-5, 50), encodings)
def test_offsets_outside_are_clamped(text: str, offset: int, encoding: PositionEncoding) -> None:
    ours = Text(text, encoding)
    assert ours.offset_at(ours.position_at(offset)) in range(len(text) + 1)


@pytest.mark.parametrize(
    ("text", "position", "encoding", "offset"),
    [
        pytest.param("abc\ndef", Position(1, 99), "utf-16", 7, id="beyond the end of the last line"),
        pytest.param("abc\r\ndef", Position(0, 99), "utf-16", 3, id="beyond the end of a line, before its terminator"),
        pytest.param("abc\ndef", Position(9, 1), "utf-16", 7, id="beyond the last line"),
        pytest.param("a👍b", Position(0, 2), "utf-16", 1, id="in the middle of a surrogate pair"),
        pytest.param("a👍b", Position(0, 3), "utf-16", 2, id="after a surrogate pair"),
        pytest.param("a👍b", Position(0, 4), "utf-8", 1, id="in the middle of four bytes"),
        pytest.param("aéb", Position(0, 2), "utf-8", 1, id="in the middle of two bytes"),
        pytest.param("e\u0301x", Position(0, 1), "utf-16", 1, id="before a combining character"),
        pytest.param("a\fb\u2028c", Position(0, 4), "utf-16", 4, id="form feed and U+2028 are in the line"),
        pytest.param("a\rb", Position(1, 1), "utf-16", 3, id="a lone carriage return ends a line"),
    ],
)
def test_d85_positions(text: str, position: Position, encoding: str, offset: int) -> None:
    assert Text(text, PositionEncoding(encoding)).offset_at(position) == offset


def test_terminators_join_and_part() -> None:
    text = Text("a\rb")
    text.replace(Position(1, 0), Position(1, 0), "\n")
    assert (str(text), text.n_lines, text.n_characters) == ("a\r\nb", 2, 4)
    text.replace(Position(0, 0), Position(1, 0), "x\r")
    assert (str(text), text.n_lines, text.n_characters) == ("x\rb", 2, 3)


def test_d85_lone_surrogates() -> None:
    """Halves of a pair that are typed one after the other make the character that the client has."""
    text = Text("ab", PositionEncoding.UTF_16)
    text.replace(Position(0, 1), Position(0, 1), "\ud83d")
    assert text.offset_at(Position(0, 2)) == 2
    text.replace(Position(0, 2), Position(0, 2), "\ude00")
    assert str(text) == "a😀b"
    assert text.offset_at(Position(0, 3)) == 2


def test_bytes_that_are_no_utf8_count_as_bytes() -> None:
    line = b"caf\xe9 = 1".decode("utf-8", "surrogateescape")
    text = Text(line, PositionEncoding.UTF_8)
    assert text.offset_at(Position(0, 4)) == 4
    assert text.position_at(len(line)) == Position(0, len(line))


def test_edits_of_a_long_document_are_quick() -> None:
    """50,000 lines: an edit splices a few lines. Measured against reading the document once, so on any machine."""
    content = "result = [value for value in values]  # é\n" * 50_000
    started = time.perf_counter()
    text = Text(content)
    once = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(500):
        text.replace(Position(40_000, 4), Position(40_000, 4 + number % 2), "xy")
    per_edit = (time.perf_counter() - started) / 500
    assert per_edit < once / 10
