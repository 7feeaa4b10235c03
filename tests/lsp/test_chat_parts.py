"""From events to parts: paragraphs of a turn, and previews of patches, whatever becomes of the calls."""

from typing import Any

import pytest

from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted, Usage
from harmony_ls.lsp.chat.parts import PartMaker, parts_of_messages
from harmony_ls.lsp.messages.chat_messages import TextPart, ToolCallPart
from harmony_ls.messages import Message, Role, ToolCall

PATCH = "*** Begin Patch\n*** Add File: a.py\n+x = 1\n*** End Patch"


def parts_of(*events: Event) -> list[Any]:
    maker = PartMaker()
    return [part for event in events if (part := maker.part_of(event)) is not None]


def joined(parts: list[Any], kind: str) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


@pytest.mark.parametrize(
    ("passes", "text"),
    [
        ([["One", " two."], ["Three."]], "One two.\n\nThree."),
        ([["One.\n"], ["Two."]], "One.\n\nTwo."),
        ([["One.", "\n", "\n"], ["Two."]], "One.\n\nTwo."),
        ([[], ["Two."], [], ["Three."]], "Two.\n\nThree."),
        ([["One."], ["", "Two."]], "One.\n\nTwo."),
    ],
)
def test_each_pass_is_a_paragraph_of_its_own_streamed_or_stored(passes: list[list[str]], text: str) -> None:
    events: list[Event] = []
    for pieces in passes:
        events += [ReasoningDelta("Hm."), *map(TextDelta, pieces), Usage()]
    parts = parts_of(*events)
    assert joined(parts, "text") == text
    assert joined(parts, "reasoning") == "\n\n".join(["Hm."] * len(passes))
    messages = [Message(Role.ASSISTANT, "".join(pieces), reasoning="Hm.") for pieces in passes]
    stored = parts_of_messages(messages)
    assert joined(stored, "text") == text
    assert joined(stored, "reasoning") == joined(parts, "reasoning")


def test_what_was_shown_stands_for_what_was_written() -> None:
    messages = [Message(Role.ASSISTANT, "One【0†L1】."), Message(Role.ASSISTANT), Message(Role.ASSISTANT, "Two.")]
    assert parts_of_messages(messages, ("One ([a](b)).", "", "Two.")) == [
        TextPart("One ([a](b))."),
        TextPart("\n\nTwo."),
    ]
    assert joined(parts_of_messages(messages, ("One.",)), "text") == "One.\n\nTwo."


def test_a_preview_is_whole_at_the_end_and_of_its_own_call() -> None:
    call = ToolCall("1", "apply_patch", PATCH)
    cut, whole = PATCH[:40], PATCH
    parts = parts_of(
        ToolCallStarted(0, "apply_patch"),
        ToolCallDelta(0, cut),
        Usage(),
        ToolCallStarted(0, "python"),
        ToolCallDelta(0, "+y = 2\n+z = 3\n"),
        ToolCallFinished(0, ToolCall("2", "python", "")),
        ToolCallStarted(0, "apply_patch"),
        ToolCallDelta(0, whole),
        ToolCallFinished(0, call),
    )
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    assert [part.call for part in calls] == [1, 1, 2, 2, 2, 3, 3, 3]
    assert [part.preview for part in calls if part.name == "python"] == [None] * 3
    preview = calls[-1].preview
    assert preview is not None
    assert [(file.operation, file.path, file.added) for file in preview] == [("create", "a.py", 1)]
