"""Stop strings are found wherever the pieces of a text are cut, and nothing before them is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.engine.generation.stop_strings import StopStrings


def feed_all(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """The text that comes out, what is flushed included, and whether it was stopped."""
    finder = StopStrings(stops)
    released, is_stopped = "", False
    for piece in pieces:
        text, is_stopped = finder.feed(piece)
        released += text
    return released + finder.flush(), is_stopped


def test_text_without_a_stop_string_is_released_at_once() -> None:
    finder = StopStrings(["END"])
    assert finder.feed("hello ") == ("hello ", False)
    assert finder.feed("world") == ("world", False)
    assert finder.flush() == ""


def test_a_stop_string_ends_the_text_before_it() -> None:
    finder = StopStrings(["\n\n", "END"])
    assert finder.feed("one END two") == ("one ", True)
    assert finder.feed("three") == ("", True)
    assert finder.flush() == ""


def test_a_possible_beginning_is_held_back_until_it_is_known() -> None:
    finder = StopStrings(["</answer>"])
    assert finder.feed("a </ans") == ("a ", False)
    assert finder.feed("wer") == ("", False)
    assert finder.feed(" no") == ("</answer no", False)
    assert finder.feed("</") == ("", False)
    assert finder.flush() == "</"
    assert finder.feed("</answer") == ("", False)
    assert finder.feed("> rest") == ("", True)


def test_the_first_to_be_complete_wins() -> None:
    assert StopStrings(["c", "abcd"]).feed("xabcd") == ("xab", True)
    assert StopStrings(["d", "bcd", "cd"]).feed("xabcd") == ("xa", True), "the longest of those that end together"
    assert StopStrings(["two", "one"]).feed("one two") == ("", True)


def test_a_beginning_within_a_beginning_is_held_back() -> None:
    finder = StopStrings(["aab"])
    assert finder.feed("aaa") == ("a", False)
    assert finder.feed("b") == ("", True)


def test_no_stop_strings_hold_nothing_back() -> None:
    assert StopStrings([]).feed("text") == ("text", False)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])


texts = st.text("abc→", max_size=40)


@given(texts, st.lists(st.text("abc→", min_size=1, max_size=5), max_size=4), st.data())
def test_cuts_make_no_difference(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    # The definition: read on until some stop string is complete, and take off the longest that is.
    expected = (text, False)
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            expected = (text[: end - max(map(len, complete))], True)
            break
    assert feed_all(stops, pieces) == expected


@given(st.lists(texts), st.lists(st.text("abc→", min_size=1, max_size=5), max_size=4))
def test_nothing_is_held_back_longer_than_it_must_be(pieces: list[str], stops: list[str]) -> None:
    finder = StopStrings(stops)
    fed = released = ""
    for piece in pieces:
        fed += piece
        text, is_stopped = finder.feed(piece)
        released += text
        if is_stopped:
            return
        held = fed[len(released) :]
        assert fed == released + held
        assert not held or any(stop.startswith(held) for stop in stops)
