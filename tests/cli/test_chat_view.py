"""What a turn looks like on a terminal and on paper: everything once, nothing dangerous, whatever the width."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from harmony_ls.cli.chat.plain_view import PlainView
from harmony_ls.cli.chat.rendering import shortened, usage_text
from harmony_ls.cli.chat.view import TerminalView, View
from harmony_ls.events import (
    Event,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolResult,
    TurnFinished,
    Usage,
)
from harmony_ls.messages import FinishReason, ToolCall
from harmony_ls.tools.tool import ApprovalRequest
from tests.cli.screen import Screen

USAGE = Usage(100, 40, 21, 5, 30.0, 2.0)
PATCH = "*** Begin Patch\n*** Delete File: old.py\n*** End Patch\n"
CALL = ToolCall("1", "apply_patch", PATCH)


def show(view: View, events: Sequence[Event], reason: FinishReason = FinishReason.STOP) -> None:
    view.begin()
    for event in [*events, TurnFinished(reason, USAGE)]:
        view.show(event)
    view.end()


def terminal(*, width: int = 60, height: int = 12, hides_reasoning: bool = False) -> tuple[Console, TerminalView]:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        color_system="truecolor",
        no_color=False,  # whatever the environment of the tests says
        legacy_windows=False,
    )
    return console, TerminalView(console, hides_reasoning=hides_reasoning)


def screen_of(console: Console) -> Screen:
    assert isinstance(console.file, io.StringIO)
    screen = Screen()
    screen.feed(console.file.getvalue())
    return screen


def drawn(events: Sequence[Event], reason: FinishReason = FinishReason.STOP, **options: int) -> str:
    """What stands on the terminal at the end, without the line of figures."""
    console, view = terminal(**options)  # type: ignore[arg-type]
    show(view, events, reason)
    lines = screen_of(console).text.split("\n")
    figures = next(index for index, line in enumerate(lines) if line.startswith("21 tokens"))
    return "\n".join(lines[:figures]).rstrip("\n")


def letters(text: str) -> list[Event]:
    return [TextDelta(letter) for letter in text]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_long_answer_stands_there_once(width: int) -> None:
    """It is taller than the screen, and was redrawn all the time."""
    answer = "\n\n".join(f"Paragraph {n} of many, and it is a long one that takes two lines." for n in range(40))
    words = drawn(letters(answer), width=width).split()
    assert words == answer.split()


def test_only_the_end_of_what_is_unfinished_is_redrawn() -> None:
    console, view = terminal(height=12)
    view.begin()
    for letter in "word " * 400:
        view.show(TextDelta(letter))
        view._refresh()
    moves = screen_of(console).n_moves_up
    assert moves <= 2000 * 9
    view.end()
    assert screen_of(console).text.split() == ["word"] * 400


def test_reasoning_comes_before_the_answer() -> None:
    events = [ReasoningDelta("They gr"), ReasoningDelta("eet.\nSo do I."), *letters("Hello *you*!")]
    assert drawn(events) == "They greet.\nSo do I.\n\nHello you!"


def test_hidden_reasoning_is_counted() -> None:
    events = [*(ReasoningDelta("word ") for _ in range(120)), TextDelta("Hello")]
    assert drawn(events, hides_reasoning=True) == "thinking… 120 tokens\n\nHello"


def test_a_call_is_shown_with_its_result() -> None:
    events = [
        TextDelta("I delete it."),
        ToolCallStarted(0, "apply_patch"),
        *(ToolCallDelta(0, letter) for letter in PATCH),
        ToolCallFinished(0, CALL),
        ToolResult(CALL, "Success.\nD old.py"),
        TextDelta("Done."),
    ]
    assert drawn(events) == (
        "I delete it.\n\napply_patch\n*** Begin Patch\n*** Delete File: old.py\n*** End Patch\n\n"
        "Success.\nD old.py\n\nDone."
    )


def test_a_question_shows_what_would_be_done() -> None:
    """The diff says it; the model's own words for it would say it twice."""
    console, view = terminal()
    view.begin()
    view.show(ToolCallFinished(0, CALL))
    view.pause(ApprovalRequest(CALL, "Delete old.py", "--- a/old.py\n+++ /dev/null\n-print()\n", is_sensitive=True))
    assert screen_of(console).text == (
        "apply_patch Delete old.py\n--- a/old.py\n+++ /dev/null\n-print()\n"
        "Look closely: this is asked each time, whatever was allowed\nbefore."
    )
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[31m-print()" in console.file.getvalue()
    view.show(ToolResult(CALL, "Success."))
    view.show(TurnFinished(FinishReason.STOP, USAGE))
    view.end()
    assert "Begin Patch" not in console.file.getvalue()


def test_a_call_that_was_cut_short_is_told_as_such() -> None:
    events = [ToolCallStarted(0, "apply_patch"), ToolCallDelta(0, "*** Begin")]
    shown = drawn(events, FinishReason.LENGTH)
    assert shown == "apply_patch\n*** Begin\nThis call was not made."


def test_of_a_call_without_a_result_nothing_is_claimed() -> None:
    """It may have been running."""
    shown = drawn([ToolCallFinished(0, CALL)], FinishReason.CANCELLED)
    assert shown.startswith(f"apply_patch\n{PATCH}\nThis call was not answered.\n")


def test_a_stopped_answer_is_kept_and_told() -> None:
    assert drawn(letters("Half an ans"), FinishReason.CANCELLED) == "Half an ans\n\nStopped. What was written is kept."


def test_what_is_waited_for_is_told_while_it_is_waited_for() -> None:
    """Nothing is read any more once the model writes: not between two parts of its answer, nor after the last one."""
    console, view = terminal()
    file = console.file
    assert isinstance(file, io.StringIO)

    def drawn_by(*events: Event) -> str:
        start = len(file.getvalue())
        for event in events:
            view.show(event)
            view._refresh()
        return file.getvalue()[start:]

    view.begin()
    view._refresh()
    assert "reading" in file.getvalue()
    writes = drawn_by(ReasoningDelta("Hm."), TextDelta("I delete it."), Notice("One more thing."), TextDelta("Now."))
    assert "reading" not in writes
    assert "running apply_patch" in drawn_by(ToolCallStarted(0, "apply_patch"), ToolCallFinished(0, CALL))
    assert "reading" in drawn_by(ToolResult(CALL, "Success."))
    ends = drawn_by(TextDelta("Done."), Notice("The answer was cut off."), TurnFinished(FinishReason.LENGTH, USAGE))
    view.end()
    assert "reading" not in ends


@pytest.mark.parametrize(
    "events", [[], [TextDelta("Half")], [TextDelta("Half"), Notice("!")], [ToolCallFinished(0, CALL)]]
)
def test_that_an_answer_is_being_stopped_is_told_until_it_has(events: list[Event]) -> None:
    console, view = terminal()
    view.begin()
    for event in events:
        view.show(event)
    view.stop()
    view._refresh()
    assert screen_of(console).text.endswith("stopping…")
    view.show(TurnFinished(FinishReason.CANCELLED, USAGE))
    view.end()
    assert "stopping…" not in screen_of(console).text


DANGEROUS = "a\x1b[2Jb\x1b]52;c;aGk=\x07c\x9b31md\u202ee\x00f\r\x08g [red]h[/red] :smile:"
HARMLESS = "a[2Jb]52;c;aGk=c31mdefg [red]h[/red] :smile:"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([TextDelta(DANGEROUS)], id="answer"),
        pytest.param([TextDelta(f"```\n{DANGEROUS}\n```")], id="code"),
        pytest.param([ReasoningDelta(DANGEROUS)], id="reasoning"),
        pytest.param([Notice(DANGEROUS)], id="notice"),
        pytest.param([ToolCallStarted(0, DANGEROUS), ToolCallDelta(0, DANGEROUS)], id="half a call"),
        pytest.param([ToolCallFinished(0, ToolCall("1", "x", DANGEROUS))], id="call"),
        pytest.param([ToolResult(CALL, DANGEROUS)], id="result"),
    ],
)
def test_nothing_a_stranger_wrote_speaks_to_the_terminal(events: list[Event]) -> None:
    """`Screen` knows no such sequence and would raise."""
    assert HARMLESS in drawn(events)
    paper = io.StringIO()
    console = Console(file=paper, color_system=None)
    show(PlainView(console, console, hides_reasoning=False), events)
    if not isinstance(events[0], ToolCallFinished):  # its arguments came in pieces before
        assert HARMLESS in paper.getvalue()
    assert not set(paper.getvalue()) & set("\x1b\x07\x9b\u202e\x00\r\x08")


def test_on_paper_answers_and_the_rest_are_apart() -> None:
    answers, aside = io.StringIO(), io.StringIO()
    view = PlainView(Console(file=answers), Console(file=aside), hides_reasoning=False)
    events = [
        ReasoningDelta("Hm."),
        TextDelta("I **delete** it."),
        ToolCallStarted(0, "apply_patch"),
        ToolCallDelta(0, PATCH),
        ToolCallFinished(0, CALL),
        ToolResult(CALL, "Success."),
        TextDelta("Done"),
        Notice("One more thing."),
    ]
    show(view, events)
    assert answers.getvalue() == "I **delete** it.\nDone\n"
    assert aside.getvalue().startswith(
        f"thinking:\nHm.\napply_patch:\n{PATCH}apply_patch answers:\nSuccess.\nOne more thing.\n[21 tokens"
    )


def test_on_paper_two_answers_of_one_tool_are_apart() -> None:
    paper = io.StringIO()
    console = Console(file=paper)
    show(PlainView(console, console, hides_reasoning=False), [ToolResult(CALL, "Success."), ToolResult(CALL, "No.")])
    assert paper.getvalue().startswith("apply_patch answers:\nSuccess.\napply_patch answers:\nNo.\n[21 tokens")


def test_a_terse_view_of_an_answer_is_the_answer() -> None:
    answers, aside = io.StringIO(), io.StringIO()
    view = PlainView(Console(file=answers), Console(file=aside), hides_reasoning=True, is_terse=True)
    show(view, [ReasoningDelta("Hm."), TextDelta("Yes.")])
    assert (answers.getvalue(), aside.getvalue()) == ("Yes.\n", "")


def test_the_figures_of_a_turn() -> None:
    text = usage_text(USAGE, 3.25)
    assert text == "21 tokens · 10 tokens/s · 5 of them thinking · 40 of 100 prompt tokens computed · 3.2 s"
    assert usage_text(Usage(1, 1, 1), 0) == "1 token · 1 of 1 prompt token computed · 0.0 s"


def test_long_results_are_shortened() -> None:
    text = "\n".join(map(str, range(20)))
    assert shortened(text) == "0\n1\n2\n3\n4\n5\n6\n7\n… 12 more lines"
    assert shortened("x" * 1000) == "x" * 200 + "…"
