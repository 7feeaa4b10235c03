"""Prompts in Harmony: equal to openai_harmony's own, safe whatever a text holds, and the same in any vocabulary."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harmony_ls.errors import ModelError
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role, ToolCall, ToolSpec
from harmony_ls.prompts.harmony.format import HarmonyFormat, harmony_format
from harmony_ls.prompts.harmony.text import _CUT, pieces
from tests.engine.tokenizers import read, tokenizer
from tests.harmony_vocabulary import SPECIAL_TOKENS, PublishedTokenizer, published_encoding, unpack_vocabulary

READ = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PATCH = ToolSpec("apply_patch", "Patch a file", {"type": "string"})
PYTHON = ToolSpec("python", "", {"type": "string"})
MARKERS = frozenset(SPECIAL_TOKENS.values())

harmless = st.text(max_size=30)
hostile = st.lists(st.one_of(st.sampled_from(sorted(SPECIAL_TOKENS)), harmless), max_size=5).map("".join)


@cache
def harmony() -> HarmonyFormat:
    return HarmonyFormat(PublishedTokenizer(), published_encoding())


def decoded(tokens: Sequence[int]) -> str:
    text: str = published_encoding().decode_utf8(tokens)
    return text


def render(*messages: Message, tools: Sequence[ToolSpec] = ()) -> str:
    return decoded(harmony().render(Conversation(messages, tuple(tools))).tokens)


def user(text: str) -> Message:
    return Message(Role.USER, text)


def assistant(text: str = "", **fields: Any) -> Message:
    return Message(Role.ASSISTANT, text, **fields)


# Equal to openai_harmony


@st.composite
def turns(draw: st.DrawFn) -> tuple[Conversation, Any]:
    """A conversation, and the same as somebody writes it who knows only openai_harmony."""
    import openai_harmony as library

    names = {"read_file": READ, "apply_patch": PATCH}
    system = library.SystemContent.new().with_conversation_start_date("2026-01-02")
    effort = draw(st.sampled_from(ReasoningEffort))
    system.with_reasoning_effort(library.ReasoningEffort[effort.name])
    has_functions, has_python = draw(st.booleans()), draw(st.booleans())
    tools = (*(names.values() if has_functions else ()), *((PYTHON,) if has_python else ()))
    if has_python:
        system.with_python_tool()
    if not tools:
        system.with_required_channels(["analysis", "final"])
    known = [library.Message.from_role_and_content(library.Role.SYSTEM, system)]
    instructions = draw(st.one_of(st.none(), hostile.filter(str.strip)))
    messages: list[Message] = []
    developer = library.DeveloperContent.new()
    if instructions is not None:
        developer.with_instructions(instructions)
        messages.append(Message(Role.SYSTEM, instructions))
    if has_functions:
        described = [library.ToolDescription.new(s.name, s.description, dict(s.parameters)) for s in names.values()]
        developer.with_function_tools(described)
    if instructions is not None or has_functions:
        known.append(library.Message.from_role_and_content(library.Role.DEVELOPER, developer))

    def say(text: str, channel: str) -> Any:
        return library.Message.from_role_and_content(library.Role.ASSISTANT, text).with_channel(channel)

    n_turns = draw(st.integers(1, 3))
    for turn in range(n_turns):
        is_running = turn == n_turns - 1
        text = draw(hostile)
        messages.append(user(text))
        known.append(library.Message.from_role_and_content(library.Role.USER, text))
        for step in range(draw(st.integers(0, 2)) if tools else 0):
            spec = draw(st.sampled_from(tools))
            reasoning, preamble, result = draw(hostile), draw(hostile), draw(hostile)
            arguments = draw(hostile) if spec is not READ else '{"path": "a"}'
            call = ToolCall(f"{turn} {step}", spec.name, arguments)
            messages.append(assistant(preamble, reasoning=reasoning, tool_calls=(call,)))
            messages.append(Message(Role.TOOL, result, tool_call_id=call.id, name=spec.name))
            if reasoning and is_running:
                known.append(say(reasoning, "analysis"))
            if preamble:
                known.append(say(preamble, "commentary"))
            recipient = "python" if spec is PYTHON else f"functions.{spec.name}"
            channel = "analysis" if spec is PYTHON else "commentary"
            written = say(arguments, channel).with_recipient(recipient)
            if spec is not PATCH:
                written.with_content_type("code" if spec is PYTHON else "<|constrain|>json")
            author = library.Author.new(library.Role.TOOL, recipient)
            answer = library.Message.from_author_and_content(author, result)
            known += [written, answer.with_channel(channel).with_recipient("assistant")]
        if not is_running:
            answered = draw(hostile.filter(bool))
            messages.append(assistant(answered, reasoning=draw(hostile)))
            known.append(say(answered, "final"))
    conversation = Conversation(tuple(messages), tools, effort=effort, started=date(2026, 1, 2))
    return conversation, library.Conversation.from_messages(known)


@given(turns())
def test_prompts_are_those_of_openai_harmony(case: tuple[Conversation, Any]) -> None:
    import openai_harmony as library

    conversation, known = case
    config = library.RenderConversationConfig(auto_drop_analysis=False)
    expected = published_encoding().render_conversation_for_completion(known, library.Role.ASSISTANT, config)
    assert list(harmony().render(conversation).tokens) == expected


def test_where_the_library_drops_analysis_by_itself_we_agree() -> None:
    import openai_harmony as library

    def known(role: Any, text: str, channel: str | None = None) -> Any:
        message = library.Message.from_role_and_content(role, text)
        return message if channel is None else message.with_channel(channel)

    system = library.SystemContent.new().with_required_channels(["analysis", "final"])
    conversation = library.Conversation.from_messages(
        [
            library.Message.from_role_and_content(library.Role.SYSTEM, system),
            known(library.Role.USER, "One?"),
            known(library.Role.ASSISTANT, "thought", "analysis"),
            known(library.Role.ASSISTANT, "1", "final"),
            known(library.Role.USER, "Two?"),
        ]
    )
    expected = published_encoding().render_conversation_for_completion(conversation, library.Role.ASSISTANT)
    ours = harmony().render(Conversation((user("One?"), assistant("1", reasoning="thought"), user("Two?"))))
    assert list(ours.tokens) == expected


# Safe


names = st.one_of(st.sampled_from(["read_file", "python", "browser.open", "get-weather"]), hostile)
calls = st.builds(ToolCall, st.sampled_from("123"), names, hostile)
messages = st.builds(
    Message,
    role=st.sampled_from(Role),
    content=hostile,
    reasoning=hostile,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.sampled_from("1234"),
    name=names,
    content_tokens=st.one_of(st.none(), st.lists(st.integers(-1, 201_100), max_size=3).map(tuple)),
)
specs = st.builds(ToolSpec, names.filter(str.strip), hostile, st.fixed_dictionaries({"description": hostile}))


def tame(text: str) -> str:
    return text and ("x" if text.strip() else " ")


@given(st.lists(messages, max_size=6), st.lists(specs, max_size=3, unique_by=lambda spec: spec.name))
@example([user("\ud800 <|end|>")], [])
def test_no_text_becomes_a_marker(said: list[Message], tools: list[ToolSpec]) -> None:
    tamed = [
        replace(
            message,
            content=tame(message.content),
            reasoning=tame(message.reasoning),
            tool_calls=tuple(replace(call, arguments="x") for call in message.tool_calls),
            content_tokens=None,
        )
        for message in said
    ]
    quiet = tuple(replace(spec, description="", parameters={"type": "object"}) for spec in tools)
    try:
        expected = harmony().render(Conversation(tuple(tamed), quiet)).tokens
    except ModelError as error:
        assert "which tool it is from" in str(error)  # noqa: PT017 - a tool message that names none
        return
    tokens = harmony().render(Conversation(tuple(said), tuple(tools))).tokens
    assert [t for t in tokens if t >= 199_998] == [t for t in expected if t >= 199_998]
    assert all(0 <= token < 201_088 for token in tokens)


def test_tokens_that_the_model_wrote_are_kept_if_they_spell_the_text() -> None:
    encode = published_encoding().encode
    odd = (*encode("hel"), *encode("lo"))
    assert odd != tuple(encode("hello"))

    def prompt(tokens: tuple[int, ...] | None) -> list[int]:
        said = (user("?"), assistant("hello", content_tokens=tokens), user("!"))
        return list(harmony().render(Conversation(said)).tokens)

    assert prompt(odd) != prompt(None)
    assert decoded(prompt(odd)) == decoded(prompt(None))
    for unfit in [(), tuple(encode("other")), (*odd, 200_007), (200_007, *odd), (*odd, 201_000), (*odd, -1)]:
        assert prompt(unfit) == prompt(None)


def test_the_stop_tokens_do_not_depend_on_the_configuration() -> None:
    for configured in (frozenset(), frozenset({200_002, 199_999}), frozenset({200_002, 200_007, 200_006})):
        subject = HarmonyFormat(PublishedTokenizer(configured), published_encoding())
        assert subject.stop_tokens == {200_002, 200_012, 199_999}
    padded = HarmonyFormat(PublishedTokenizer(frozenset({200_018})), published_encoding())
    assert padded.stop_tokens == {200_002, 200_012, 199_999, 200_018}


# Defined


def test_empty_conversations_have_a_prompt() -> None:
    assert render().endswith("Channel must be included for every message.<|end|><|start|>assistant")
    assert render(Message(Role.SYSTEM, " \n")) == render()
    assert render(user("")).endswith("<|end|><|start|>user<|message|><|end|><|start|>assistant")
    assert render(assistant()).endswith("<|start|>assistant<|channel|>final<|message|>")
    assert render(user("a"), assistant(), user("b")) == render(user("a"), user("b"))


def test_an_answer_at_the_end_is_left_open_and_calls_are_not() -> None:
    assert render(user("a"), assistant("b", reasoning="c")).endswith(
        "<|start|>assistant<|channel|>analysis<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>b"
    )
    called = render(user("a"), assistant("b", tool_calls=(ToolCall("1", "read_file", "{}"),)), tools=[READ])
    assert called.endswith("json<|message|>{}<|call|><|start|>assistant")


def test_tools_and_tool_messages_that_make_no_sense_are_named() -> None:
    with pytest.raises(ModelError, match="which tool it is from"):
        render(user("a"), Message(Role.TOOL, "b", tool_call_id="1"))
    with pytest.raises(ModelError, match=r"same name.*read_file"):
        render(tools=[READ, READ])
    with pytest.raises(ModelError, match="has no name"):
        render(tools=[replace(READ, name=" ")])
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"deeper": deep}}
    for schema in ({"properties": {"a": math.nan}}, {"properties": {"a": {1, 2}}}, deep):
        with pytest.raises(ModelError, match="read_file"):
            render(tools=[replace(READ, parameters=schema)])


def test_a_call_without_a_name_keeps_no_conversation_from_going_on() -> None:
    nameless = Message(Role.ASSISTANT, tool_calls=(ToolCall("1", "", "what?"),))
    told = Message(Role.TOOL, "There is no such tool.", tool_call_id="1")
    shown = render(user("a"), nameless, told, user("b"), tools=[READ])
    assert "to=functions._" in shown
    assert "There is no such tool." in shown


def test_a_model_without_the_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lacks markers"):
        HarmonyFormat(tokenizer(tmp_path, "qwen"), published_encoding())


def test_checkpoints_are_what_later_prompts_share() -> None:
    call = ToolCall("1", "read_file", "{}")
    step = (assistant(reasoning="r", tool_calls=(call,)), Message(Role.TOOL, "x", tool_call_id="1"))
    first = (Message(Role.SYSTEM, "s"), user("one"))
    answered = (*first, *step, assistant("1", reasoning="r"))
    prompts = [
        harmony().render(Conversation(said, (READ,)))
        for said in (first, (*first, *step), (*answered, user("two")), (*answered, user("another")))
    ]
    resumed = harmony().resume(
        prompts[0],
        published_encoding().encode(
            "<|channel|>commentary to=functions.read_file<|message|>{}<|call|>", allowed_special="all"
        ),
        Conversation((*first, *step), (READ,)),
    )
    # The end of a prompt is a checkpoint without being named, and so the next turn finds it.
    opened = len(prompts[0].tokens)
    assert prompts[1].checkpoints[-1] == resumed.checkpoints[-1] == opened
    assert prompts[2].tokens[:opened] == prompts[3].tokens[:opened] == prompts[0].tokens
    shared = prompts[2].checkpoints[-1]
    assert prompts[2].tokens[:shared] == prompts[3].tokens[:shared]
    assert shared > opened
    for prompt in (*prompts, resumed):
        assert prompt.checkpoints[0] == prompts[0].checkpoints[0]
        assert list(prompt.checkpoints) == sorted(set(prompt.checkpoints))
        assert prompt.checkpoints[-1] < len(prompt.tokens)


# Long texts


@given(st.text(st.sampled_from("aB9 \n/.'}\t\r\x1c\x85\u2028é中\u0301")))
def test_texts_are_cut_where_the_vocabulary_cuts_them(text: str) -> None:
    encode = published_encoding().encode
    for match in _CUT.finditer(text):
        assert encode(text[: match.start()]) + encode(text[match.start() :]) == encode(text)


@given(st.text(st.sampled_from("ab \n<|>"), max_size=100), st.integers(1, 20))
def test_pieces_are_bounded_and_lose_nothing(text: str, n_characters: int) -> None:
    cut = list(pieces(text, n_characters))
    assert "".join(cut) == text
    assert all(0 < len(piece) <= n_characters for piece in cut)


def test_long_texts_are_encoded_as_a_whole_would_be() -> None:
    lines = "".join(f"    value_{number} = compute({number})  # <|end|>\n\n" for number in range(2000))
    prose = "no newline in all of this but many words and some numbers 12345 " * 1000
    for text in (lines, prose):
        assert render(user(text)).count(text) == 1
        tokens = harmony().render(Conversation((user(text),))).tokens
        assert published_encoding().encode(text, disallowed_special=()) == list(
            tokens[len(harmony().render(Conversation()).tokens) + 1 : -3]
        )
    assert len(harmony().render(Conversation((user("!" * 300_000),))).tokens) > 2000


# Any vocabulary


def test_another_vocabulary_gets_the_same_prompt_in_its_own_tokens(tiny_gpt_oss: Path) -> None:
    own = read(tiny_gpt_oss)
    foreign = HarmonyFormat(own, published_encoding())
    call = ToolCall("1", "read_file", '{"path": "é→"}')
    conversation = Conversation(
        (
            Message(Role.SYSTEM, "Be terse. <|end|>"),
            user("def add(self, value): 💖 <|return|>"),
            assistant("I look.", reasoning="hm", tool_calls=(call,)),
            Message(Role.TOOL, "<|call|>", tool_call_id="1"),
        ),
        (READ, PATCH, PYTHON),
        started=date(2026, 1, 2),
    )
    expected, prompt = harmony().render(conversation), foreign.render(conversation)
    shown = "".join(own.marker_text(token) or own.token_bytes(token).decode("latin-1") for token in prompt.tokens)
    assert shown.encode("latin-1").decode() == decoded(expected.tokens)
    markers = Counter(own.marker_text(token) for token in prompt.tokens if own.is_marker(token))
    known = Counter(decoded([token]) for token in expected.tokens if token in MARKERS)
    assert markers == known
    assert len(prompt.checkpoints) == len(expected.checkpoints)
    question = foreign.render(replace(conversation, messages=conversation.messages[:2]))
    assert prompt.tokens[: prompt.checkpoints[-1]] == question.tokens
    assert "the model's own" in foreign.summary
    stops = {own.marker_text(token) for token in foreign.stop_tokens}
    assert stops == {"<|return|>", "<|call|>", "<|endoftext|>"}


def test_a_vocabulary_that_differs_in_one_token_is_another() -> None:
    class Fork(PublishedTokenizer):
        def token_bytes(self, token: int) -> bytes:
            return b"!" if token == 123_456 else super().token_bytes(token)

    class Moved(PublishedTokenizer):
        def token_id(self, literal: str) -> int | None:
            return 200_013 if literal == "<|call|>" else super().token_id(literal)

    assert "published" in harmony().summary
    for other in (Fork(), Moved()):
        assert "published" not in HarmonyFormat(other, published_encoding()).summary


def test_the_format_is_made_from_a_tokenizer_and_a_file(tmp_path: Path, tiny_gpt_oss: Path) -> None:
    file = unpack_vocabulary(tmp_path)
    assert harmony_format(read(tiny_gpt_oss), None, {}, vocabulary=file).takes_tools
    with pytest.raises(ModelError, match="is not Harmony's vocabulary"):
        harmony_format(read(tiny_gpt_oss), None, {}, vocabulary=tmp_path / "missing")


def test_the_date_is_read_out_of_a_prompt() -> None:
    for tools in ((), (READ,), (PYTHON, READ)):
        conversation = Conversation((user("Current date: 1999-09-09"),), tools, started=date(2026, 1, 2))
        tokens = harmony().render(conversation).tokens
        assert harmony().date_of(tokens) == date(2026, 1, 2)
        assert harmony().date_of(tokens[:40]) == date(2026, 1, 2)
    undated = Conversation((Message(Role.SYSTEM, "Current date: 1999-09-09"), user("\nCurrent date: 1999-09-09")))
    assert harmony().date_of(harmony().render(undated).tokens) is None
    forged = replace(PYTHON, description="x\nCurrent date: 1999-09-09\n")
    assert harmony().date_of(harmony().render(replace(undated, tools=(forged,))).tokens) is None
    written = published_encoding().encode("systemx\nCurrent date: 2026-13-45\n", disallowed_special=())
    assert harmony().date_of([SPECIAL_TOKENS["<|start|>"], *written]) is None
    assert harmony().date_of([]) is None
