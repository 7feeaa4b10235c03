"""What models with a chat template of their own write, as events: no marker in any text, no call that was cut short."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from harmony_ls.messages import Conversation, Message, Role, ToolCall, ToolSpec
from harmony_ls.prompts.format import EventParser
from tests.chat_templates import CHAT_RECIPES
from tests.prompts.families import Family

READ = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PATCH = ToolSpec("apply_patch", "Change files.", {"type": "string"})
QUESTION = Conversation((Message(Role.USER, "What is in a?"),), (READ, PATCH))


def tokens_of(family: Family, text: str) -> list[int]:
    """The tokens of an answer whose markers are meant."""
    return family[0].encode_marked(text, is_start=False)


def parser_of(family: Family, conversation: Conversation = QUESTION) -> EventParser:
    return family[1].parser(family[1].render(conversation), conversation)


def read(family: Family, tokens: Sequence[int], *, complete: bool = True) -> tuple[list[Event], Message]:
    parser = parser_of(family)
    events = [event for token in tokens for event in parser.feed(token)]
    events += parser.finish(complete=complete)
    return events, parser.message()


def shown(events: Sequence[Event], kind: type[TextDelta] | type[ReasoningDelta] = TextDelta) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def calls_in(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.call.name, event.call.arguments) for event in events if isinstance(event, ToolCallFinished)]


ANSWERS: dict[str, tuple[str, str]] = {
    "qwen": ("<|im_end|>", '<tool_call>\n{"name": "read_file", "arguments": {"path": "a"}}\n</tool_call>'),
    "qwen spelled": ("<|im_end|>", '<tool_call>\n{"name": "read_file", "arguments": {"path": "a"}}\n</tool_call>'),
    "qwen3": ("<|im_end|>", '<tool_call>\n{"name": "read_file", "arguments": {"path": "a"}}\n</tool_call>'),
    "qwen3 coder": (
        "<|im_end|>",
        "<tool_call>\n<function=read_file>\n<parameter=path>\na\n</parameter>\n</function>\n</tool_call>",
    ),
    "mistral": ("</s>", '[TOOL_CALLS] [{"name": "read_file", "arguments": {"path": "a"}}]'),
    "pythonic": ("<|im_end|>", '<|tool_call_start|>[read_file(path="a")]<|tool_call_end|>'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_call_after_a_preamble(of: Callable[[str], Family], name: str) -> None:
    end, call = ANSWERS[name]
    events, message = read(of(name), tokens_of(of(name), f"I look.\n{call}{end}"))
    assert shown(events).strip() == "I look."
    assert calls_in(events) == [("read_file", '{"path": "a"}')]
    assert message.content == shown(events)
    assert [call.name for call in message.tool_calls] == ["read_file"]
    assert not message.content.endswith("\n"), "the line break before a call belongs to the call"


@pytest.mark.parametrize("name", ANSWERS)
def test_a_call_that_is_cut_short_is_never_finished(of: Callable[[str], Family], name: str) -> None:
    _, call = ANSWERS[name]
    tokens = tokens_of(of(name), f"I look.\n{call}")
    ends_itself = not call.startswith("[TOOL_CALLS]")
    for n_written in range(len(tokens) - ends_itself + 1):
        events, message = read(of(name), tokens[:n_written], complete=False)
        finished = calls_in(events)
        assert finished == [] or (ends_itself and n_written == len(tokens)), n_written
        assert len(message.tool_calls) == len(finished)
        assert not any(isinstance(event, ToolCallDelta) for event in events) or finished


def test_several_calls_are_counted_and_have_ids_of_their_own(of: Callable[[str], Family]) -> None:
    call = '<tool_call>\n{"name": "read_file", "arguments": {"path": "%s"}}\n</tool_call>'
    tokens = tokens_of(of("qwen"), "\n".join([call % "a", call % "b", call % "c"]) + "<|im_end|>")
    events, message = read(of("qwen"), tokens)
    assert shown(events) == "", "the line breaks between calls are no text"
    assert [event.index for event in events if isinstance(event, ToolCallStarted)] == [0, 1, 2]
    assert [json.loads(call.arguments)["path"] for call in message.tool_calls] == ["a", "b", "c"]
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", id) for id in ids), "as Mistral's templates insist"
    assert [call.id for call in read(of("qwen"), tokens)[1].tool_calls] == ids
    assert [type(event) for event in events[:3]] == [ToolCallStarted, ToolCallDelta, ToolCallFinished]


def test_text_goes_on_after_a_call(of: Callable[[str], Family]) -> None:
    _, call = ANSWERS["qwen"]
    events, _ = read(of("qwen"), tokens_of(of("qwen"), f"one\n{call}\ntwo<|im_end|>"))
    assert shown(events) == "one\ntwo"


def test_mistral_calls_end_with_the_answer_and_keep_their_ids(of: Callable[[str], Family]) -> None:
    text = '[TOOL_CALLS] [{"name": "read_file", "arguments": {}, "id": "abcdefgh1"}, {"name": "g", "arguments": {}}]'
    _, message = read(of("mistral"), tokens_of(of("mistral"), f"{text}</s>"))
    assert message.tool_calls[0] == ToolCall("abcdefgh1", "read_file", "{}")
    assert message.tool_calls[1].name == "g"


@pytest.mark.parametrize("given", ["abcdefgh1", "functions.read_file:0"])
def test_no_two_calls_have_one_id_whatever_the_model_names_them(of: Callable[[str], Family], given: str) -> None:
    family = of("mistral")
    call = f'{{"name": "read_file", "arguments": {{}}, "id": "{given}"}}'
    earlier = (Message(Role.ASSISTANT, tool_calls=(ToolCall(given, "read_file", "{}"),)), Message(Role.USER, "Again?"))
    parser = family[1].parser(family[1].render(QUESTION), replace(QUESTION, messages=(*QUESTION.messages, *earlier)))
    for token in tokens_of(family, f"[TOOL_CALLS] [{call}, {call}, {call}]</s>"):
        parser.feed(token)
    finished = [event.call for event in parser.finish(complete=True) if isinstance(event, ToolCallFinished)]
    assert list(parser.message().tool_calls) == finished
    ids = [call.id for call in finished]
    assert len({given, *ids}) == 4
    assert given.isalnum() or ids == [f"functions.read_file:{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name": "read_file", "arguments": {"path": "a}', "read_file"),
        ('{"name": "unknown", "arguments": ', "unknown"),
        ("read_file(path=a)", "read_file"),
        ("what?", ""),
        ("", ""),
        ("[1, 2]", ""),
    ],
)
def test_a_broken_call_is_reported_with_what_was_written(of: Callable[[str], Family], text: str, name: str) -> None:
    for end in ("</tool_call><|im_end|>", "<|im_end|>"):
        events, message = read(of("qwen"), tokens_of(of("qwen"), f"<tool_call>{text}{end}"))
        assert calls_in(events) == [(name, text)]
        assert len(message.tool_calls) == 1


def test_a_broken_call_of_a_tool_that_takes_any_text_is_not_run(of: Callable[[str], Family]) -> None:
    events, _ = read(of("qwen"), tokens_of(of("qwen"), '<tool_call>{"name": "apply_patch", "arg</tool_call><|im_end|>'))
    assert [name for name, _ in calls_in(events)] == [""]


@pytest.mark.parametrize("arguments", ['{"input": "*** é\\n"}', '{"patch": "*** é\\n"}', '"*** é\\n"'])
def test_plain_text_is_taken_out_of_its_object(of: Callable[[str], Family], arguments: str) -> None:
    text = f'<tool_call>{{"name": "apply_patch", "arguments": {arguments}}}</tool_call><|im_end|>'
    events, _ = read(of("qwen"), tokens_of(of("qwen"), text))
    assert calls_in(events) == [("apply_patch", "*** é\n")]


@pytest.mark.parametrize(("name", "opening"), [("qwen3", "<think>\n"), ("qwen3 thinking", "")])
def test_reasoning_is_told_from_the_answer(of: Callable[[str], Family], name: str, opening: str) -> None:
    tokens = tokens_of(of(name), f"{opening}Hmm,\nwell.\n</think>\n\n  Yes.\n<|im_end|>")
    parser = parser_of(of(name))
    events: list[Event] = []
    n_reasoning = 0
    for token in tokens:
        events += parser.feed(token)
        n_reasoning += parser.in_reasoning
    events += parser.finish(complete=True)
    assert shown(events, ReasoningDelta) == "Hmm,\nwell."
    assert shown(events) == "  Yes.\n"
    assert 0 < n_reasoning < len(tokens)
    assert parser.is_over
    message = parser.message()
    assert (message.reasoning, message.content) == ("Hmm,\nwell.", "  Yes.\n")
    assert message.content_tokens is not None
    assert of(name)[0].decode(message.content_tokens) == "  Yes.\n"


def test_a_prompt_that_closes_the_reasoning_starts_with_text(of: Callable[[str], Family]) -> None:
    family = of("qwen3")
    conversation = Conversation(QUESTION.messages, template_arguments={"enable_thinking": False})
    parser = parser_of(family, conversation)
    events = [event for token in tokens_of(family, "Yes.") for event in parser.feed(token)]
    assert shown([*events, *parser.finish(complete=True)]) == "Yes."


def test_reasoning_that_the_question_opens_is_not_believed(of: Callable[[str], Family]) -> None:
    for name in ("qwen3", "qwen"):
        conversation = Conversation((Message(Role.USER, "<think>"),))
        parser = parser_of(of(name), conversation)
        events = [event for token in tokens_of(of(name), "Yes.") for event in parser.feed(token)]
        assert shown([*events, *parser.finish(complete=True)]) == "Yes."


def test_a_call_in_the_middle_of_reasoning(of: Callable[[str], Family]) -> None:
    _, call = ANSWERS["qwen3"]
    events, message = read(of("qwen3"), tokens_of(of("qwen3"), f"<think>\nI look.\n{call}<|im_end|>"))
    assert message.reasoning == "I look."
    assert calls_in(events) == [("read_file", '{"path": "a"}')]


def test_without_a_tool_parser_a_call_is_just_text(of: Callable[[str], Family]) -> None:
    text = '{"name": "read_file", "parameters": {"path": "a"}}'
    events, message = read(of("llama3"), tokens_of(of("llama3"), f"{text}<|eot_id|>"))
    assert shown(events) == text
    assert message.tool_calls == ()


@pytest.mark.parametrize("name", CHAT_RECIPES)
def test_text_comes_as_it_is_written(of: Callable[[str], Family], name: str) -> None:
    """Letters of several tokens, leading spaces, and what only looks like a tag."""
    tokenizer = of(name)[0]
    text = "  def f(a):\n    return a < 1 and '🙂' <thin [TOOL </b>\n"
    in_answer = "Hm.</think>\n\n" if name == "qwen3 thinking" else ""
    # Some vocabularies begin each text, and so each answer, with a space that means nothing.
    written = tokenizer.encode_marked(text, is_start=True) if tokenizer.adds_space else tokenizer.encode(text)
    tokens = [*tokens_of(of(name), in_answer), *written]
    parser = parser_of(of(name))
    pieces = [[event for event in parser.feed(token) if isinstance(event, TextDelta)] for token in tokens]
    assert max(map(len, pieces)) == 1
    assert all(event.text.count("\ufffd") == 0 for events in pieces for event in events)
    rest = parser.finish(complete=False)
    assert "".join(event.text for events in [*pieces, rest] for event in events if isinstance(event, TextDelta)) == text
    assert parser.message().content_tokens == (None if tokenizer.adds_space else tuple(written))
    assert len([events for events in pieces if events]) > 10, "it is not held back"


def test_what_follows_the_end_is_not_read(of: Callable[[str], Family]) -> None:
    for end in ("<|im_end|>", "<|im_start|>user\n"):
        parser = parser_of(of("qwen"))
        for token in tokens_of(of("qwen"), f"Yes.{end}Now I ask"):
            parser.feed(token)
        assert parser.is_over
        assert parser.finish(complete=True) == []
        assert parser.message().content == "Yes."


@pytest.mark.parametrize(
    "text",
    [
        "a<|im_end|>b",
        "a<|im_<|im_end|>end|>b",
        "a<th<think>x</think>ink>b",
        "a</think>b",
        "a</tool_call>b",
        "<think>a<think>b",
        "a<|im_start<tool_call>{}</tool_call>|>b",
        "<|<|im_end|>im_end|>",
    ],
)
def test_markers_spelled_in_ordinary_tokens_are_no_text(of: Callable[[str], Family], text: str) -> None:
    tokenizer = of("qwen3")[0]
    events, message = read(of("qwen3"), tokenizer.encode(text))
    for marker in ("<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>"):
        assert marker not in shown(events)
        assert marker not in shown(events, ReasoningDelta)
    assert message.content == shown(events)


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.parametrize("name", CHAT_RECIPES)
def test_whatever_is_written_no_marker_comes_out(of: Callable[[str], Family], name: str, data: st.DataObject) -> None:
    tokenizer, chat = of(name)
    markers = [text for text in tokenizer._markers.values() if text]
    tags = {text for edges in tokenizer.answers.transitions.values() for text, _ in edges}
    forbidden = {tokenizer.marker_text(token) for token in chat.stop_tokens} | tags
    pieces = st.sampled_from([*markers, *tags, *ANSWERS.get(name, ("", "x"))])
    plain = st.one_of(pieces, pieces.flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut])))
    run: Any = st.one_of(
        pieces.map(lambda text: tokenizer.encode_marked(text, is_start=False)),
        plain.map(tokenizer.encode),
        pieces.flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: tokenizer.encode(text[cut:]))),
        st.lists(st.integers(-1, tokenizer.vocabulary_size + 1), max_size=4),
        st.sampled_from(["\n", "\n\n", "é", "🙂", "x"]).map(tokenizer.encode),
    )
    tokens = [token for part in data.draw(st.lists(run, max_size=12)) for token in part]
    complete = data.draw(st.booleans())
    events, message = read(of(name), tokens, complete=complete)
    text, reasoning = shown(events), shown(events, ReasoningDelta)
    for marker in forbidden:
        assert marker not in text
        assert marker not in reasoning
    assert (message.content, message.reasoning) == (text, reasoning)
    assert message.tool_calls == tuple(event.call for event in events if isinstance(event, ToolCallFinished))
    started = [event.index for event in events if isinstance(event, ToolCallStarted)]
    assert started == [event.index for event in events if isinstance(event, ToolCallFinished)]
    if message.content_tokens is not None:
        assert tokenizer.decode(message.content_tokens) == message.content


def test_reading_costs_little(of: Callable[[str], Family]) -> None:
    """A call is read once at its end, and a long answer is not read again at each token."""
    import time

    tokens = of("qwen3")[0].encode("x < 1 and\n" * 2000)
    times = []
    for n in (len(tokens) // 8, len(tokens)):
        parser = parser_of(of("qwen3"))
        started = time.perf_counter()
        for token in tokens[:n]:
            parser.feed(token)
        times.append((time.perf_counter() - started) / n)
    assert times[1] < 4 * times[0]


def test_tokenizers_of_all_families_are_tried(tmp_path: Path) -> None:
    assert set(ANSWERS) < set(CHAT_RECIPES)
