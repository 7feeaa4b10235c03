"""What models write in Harmony, well and badly, and what is made of it: ``fixtures/harmony/parse-*.txt``.

``--update`` rewrites what is expected; fixtures/harmony/README.md says how a transcript is read.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from tests.prompts.harmony_generations import Parsed, parse

FOLDER = Path(__file__).parent.parent.parent / "fixtures" / "harmony"
PATHS = sorted(FOLDER.glob("parse-*.txt"))
EXPECTED = "\n>>>\n"


def parsed(case: str) -> Parsed:
    """Parse what stands behind ``== generated``, as the lines before it say."""
    head, _, generated = case.partition("== generated\n")
    tools = [line.removeprefix("tool: ") for line in head.splitlines() if line.startswith("tool: ")]
    channel = next((line.removeprefix("channel: ") for line in head.splitlines() if line.startswith("channel: ")), None)
    return parse(generated, tools, complete="\nends: cut off\n" not in head, channel=channel)


def kind_of(event: Event) -> tuple[type[Event], int]:
    return type(event), getattr(event, "index", 0)


def event_lines(events: tuple[Event, ...]) -> Iterator[str]:
    """A line for each event; deltas of one kind in a row are one."""
    for _, group in groupby(events, kind_of):
        run = list(group)
        match run[0]:
            case TextDelta():
                yield f"text {quoted(''.join(event.text for event in run))}"  # type: ignore[union-attr]
            case ReasoningDelta():
                yield f"reasoning {quoted(''.join(event.text for event in run))}"  # type: ignore[union-attr]
            case ToolCallStarted(index, name):
                yield f"call {index} begins: {name}"
            case ToolCallDelta(index):
                yield f"call {index} arguments {quoted(''.join(event.text for event in run))}"  # type: ignore[union-attr]
            case ToolCallFinished(index, call):
                yield f"call {index} is finished: {call.name} {quoted(call.arguments)}"
            case other:
                raise AssertionError(f"a parser makes no such event: {other}")


def lines(outcome: Parsed) -> Iterator[str]:
    yield from event_lines(outcome.events)
    message = outcome.message
    yield f"= content {quoted(message.content)}"
    if message.content:
        yield f"= content tokens {'unknown' if message.content_tokens is None else len(message.content_tokens)}"
    yield f"= reasoning {quoted(message.reasoning)}"
    for call in message.tool_calls:
        yield f"= call {call.id} {call.name} {quoted(call.arguments)}"
    yield f"= {'over' if outcome.is_over else 'not over'}"


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def test_there_are_transcripts() -> None:
    assert len(PATHS) >= 40


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem.removeprefix("parse-"))
def test_transcript(path: Path, update: bool) -> None:
    case, found, expected = path.read_text(encoding="utf-8").partition(EXPECTED)
    if not found:
        assert update, "nothing is expected yet: run with --update, then read what was written"
        case = case.removesuffix("\n")
    outcome = parsed(case)
    actual = "".join(f"{line}\n" for line in lines(outcome))
    if update:
        path.write_text(f"{case}{EXPECTED}{actual}", encoding="utf-8")
        return
    assert actual == expected
    assert (outcome.text, outcome.reasoning) == (outcome.message.content, outcome.message.reasoning)
