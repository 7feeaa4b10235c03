"""The window stays where it is from key to key, and what it shows is the document's text around the cursor."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.features.completion_model import completion_model
from harmony_ls.features.inline.window import PromptWindow, Window, WindowLimits
from harmony_ls.settings.models import InlineCompletionSettings
from tests.features.support import tokenizer_model

LIMITS = WindowLimits(before=1200, after=400)
SOURCE = (Path(__file__).parents[2] / "harmony_ls" / "engine" / "worker" / "worker.py").read_text()


def lines(n: int, start: int = 0) -> str:
    return "".join(f"value_{number} = compute({number})\n" for number in range(start, start + n))


def keys(text: str, start: int, end: int) -> list[tuple[str, int]]:
    """The documents and cursors of somebody who types ``text[start:end]``, the rest being there already."""
    return [(text[:position] + text[end:], position) for position in range(start, end + 1)]


def test_it_shows_the_text_around_the_cursor() -> None:
    text = "a = 1\nb = 2\nc = 3\nd = 4\n"
    window = PromptWindow().place(text, text.index("= 3"), LIMITS)
    assert window == Window("a = 1\nb = 2\n", "c ", "d = 4\n")
    window = PromptWindow().place(text, text.index("= 3"), LIMITS, rest_of_line=True)
    assert window == Window("a = 1\nb = 2\n", "c ", "= 3\nd = 4\n")


@pytest.mark.parametrize("text", ["", "x", "\n", "\n\n", "\0", "🙂", "x\r\n", "\r"])
def test_small_documents(text: str) -> None:
    for offset in range(len(text) + 1):
        for rest in (False, True):
            window = PromptWindow().place(text, offset, LIMITS, rest_of_line=rest)
            assert (window.before + window.line) == text[:offset].replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=200)
@given(
    text=st.text(st.sampled_from("ab \n\r\t🙂\0é"), max_size=120),
    data=st.data(),
    rest=st.booleans(),
    sized=st.booleans(),
)
def test_any_text_any_place(text: str, data: st.DataObject, rest: bool, sized: bool) -> None:
    """Never more than the limits, never a carriage return, always the end of what precedes the cursor."""
    window = PromptWindow()
    limits = WindowLimits(10, 10) if sized else LIMITS
    for _ in range(3):
        offset = data.draw(st.integers(0, len(text)))
        placed = window.place(text, offset, limits, rest_of_line=rest)
        plain = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
        assert plain.endswith(placed.before + placed.line)
        assert "\n" not in placed.line
        assert "\r" not in placed.before + placed.line + placed.after
        assert len(placed.before) <= limits.before
        assert len(placed.after) <= limits.after


def test_the_anchor_stays_and_jumps_by_half() -> None:
    text = lines(400)
    window, starts = PromptWindow(), []
    for number in range(20, 400):
        offset = text.index(f"value_{number} ")
        shown = window.place(text[:offset], offset, LIMITS)
        assert len(shown.before) <= LIMITS.before
        starts.append(offset - len(shown.before))
    jumps = [(left, right) for left, right in pairwise(starts) if left != right]
    assert starts == sorted(starts)
    assert 10 < len(jumps) < 25, "once in some twenty lines, not at each"
    assert all(right - left >= LIMITS.before // 3 for left, right in jumps)


def test_an_edit_above_the_window_moves_it_along() -> None:
    text = lines(200)
    window = PromptWindow()
    offset = text.index("value_150 ")
    shown = window.place(text, offset, LIMITS)
    edited = "import os\n" * 7 + text
    assert window.place(edited, offset + 70, LIMITS) == shown
    removed = text[200:]
    assert window.place(removed, offset - 200, LIMITS) == shown


def test_a_jump_within_the_window_keeps_it_while_enough_is_shown() -> None:
    text = lines(200)
    window = PromptWindow()
    far = window.place(text, text.index("value_150 "), LIMITS)
    start = text.index(far.before)
    near = window.place(text, text.index("value_145 "), LIMITS)
    assert text.index(near.before) == start
    nearer = window.place(text, start + 30, LIMITS)
    assert len(nearer.before) >= LIMITS.before // 4, "at its very start the window would show nothing"


def test_far_jumps_show_what_is_there() -> None:
    text = lines(500)
    window = PromptWindow()
    for number in (400, 3, 250, 499, 0, 100):
        offset = text.index(f"value_{number} ")
        shown = window.place(text, offset, LIMITS)
        assert text[:offset].endswith(shown.before)
        assert len(shown.before) >= min(offset, LIMITS.before // 4)
        assert shown.after.startswith(f"value_{number + 1} ") or number == 499


def test_the_suffix_is_pinned_through_small_changes_below() -> None:
    window = PromptWindow()
    below = lines(20, 100)
    first = window.place("x = 1\n" + below, 5, LIMITS)
    changed = below.replace("compute(102)", "compute(1)")
    assert window.place("x = 1\n" + changed, 5, LIMITS).after == first.after
    other = lines(20, 300)
    assert window.place("x = 1\n" + other, 5, LIMITS).after.startswith("value_300 ")
    assert window.place("x = 1\n", 5, LIMITS).after == ""
    assert window.place("x = 1\n  \n\n", 5, LIMITS).after == "", "blank lines tell nothing"


def test_brackets_that_the_editor_closes_do_not_change_the_prompt() -> None:
    below = lines(9)
    window = PromptWindow()
    plain = window.place("f\n" + below, 1, LIMITS)
    assert window.place("f()\n" + below, 2, LIMITS).after == plain.after


def test_smaller_limits_hold_at_once() -> None:
    text = lines(100)
    window = PromptWindow()
    offset = text.index("value_50 ")
    window.place(text, offset, LIMITS)
    small = window.place(text, offset, WindowLimits(100, 60))
    assert len(small.before) <= 100
    assert 0 < len(small.after) <= 60


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_make_the_same_prompt(end: str) -> None:
    text = lines(30)
    offset = text.index("value_20 ") + 6
    strange = text.replace("\n", end)
    there = offset + 20 * (len(end) - 1)
    assert PromptWindow().place(strange, there, LIMITS) == PromptWindow().place(text, offset, LIMITS)


def test_of_an_endless_line_the_end_is_shown_and_stays() -> None:
    text = "x = [" + "1, " * 2000
    window, starts = PromptWindow(), set()
    for offset in range(3000, 4000):
        line = window.place(text, offset, LIMITS).line
        assert text[:offset].endswith(line)
        assert 400 < len(line) <= 1000
        starts.add(offset - len(line))
    assert len(starts) <= 4
    above = window.place(text + "\ny", len(text) + 2, WindowLimits(20_000, 10))
    assert above.before == text[:1000] + "\n"


def test_a_document_of_one_line_end_kind_is_no_single_line() -> None:
    text = "\r".join("x" * 30 for _ in range(50_000))
    shown = PromptWindow().place(text, len(text), LIMITS)
    assert len(shown.before) <= LIMITS.before
    assert len(shown.line) == 30


@pytest.mark.parametrize(
    ("kind", "layout", "model_type"),
    [
        ("newline and indentation", "spm", "llama"),
        ("qwen", "spm", "qwen2"),
        ("qwen", "lineAfterMiddle", "qwen2"),
        ("metaspace", "lineAfterMiddle", "llama"),
        ("seedcoder", "auto", "llama"),
    ],
)
@pytest.mark.parametrize("start", [0, 3000], ids=["top of the file", "middle of the file"])
def test_a_key_changes_the_end_of_the_prompt_alone(
    tmp_path: Path, kind: str, layout: str, model_type: str, start: int
) -> None:
    """Tokens that a key makes the model compute anew, in a real file, without any cache but the last prompt."""
    model = tokenizer_model(tmp_path, kind, model_type, context_length=2048)
    settings_ = InlineCompletionSettings.model_validate({"layout": layout})
    subject = completion_model(model, settings_, trained=True)
    window, last, recomputed, within_line = PromptWindow(), (), [], []
    begin = SOURCE.rfind("\n", 0, start) + 1
    for text, offset in keys(SOURCE, begin, begin + 2500):
        plan = subject.plan(window.place(text, offset, subject.limits), "python")
        shared = 0
        for left, right in zip(last, plan.tokens, strict=False):
            if left != right:
                break
            shared += 1
        shared = min(shared, len(plan.tokens) - 1)
        recomputed.append(len(plan.tokens) - shared)
        if text[offset - 1 : offset] != "\n":
            within_line.append(recomputed[-1])
        last = plan.tokens
    recomputed, within_line = sorted(recomputed[1:]), sorted(within_line[1:])
    assert recomputed[len(recomputed) // 2] <= 2
    assert within_line[len(within_line) * 95 // 100] <= 64
