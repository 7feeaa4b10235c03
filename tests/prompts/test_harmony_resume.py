"""Going on inside a turn: what the model has seen and written stays, token for token, and is ended as it should be."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.messages import Conversation, Message, Role, ToolCall, ToolSpec
from harmony_ls.prompts.harmony.format import HarmonyFormat
from tests.harmony_vocabulary import SPECIAL_TOKENS, PublishedTokenizer, published_encoding

READ = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PYTHON = ToolSpec("python", "", {"type": "string"})
ASKED = Conversation((Message(Role.USER, "Look."),), (READ, PYTHON))
OPENING = "<|start|>assistant"


@cache
def harmony() -> HarmonyFormat:
    return HarmonyFormat(PublishedTokenizer(), published_encoding())


def encoded(text: str) -> list[int]:
    tokens: list[int] = published_encoding().encode(text, allowed_special="all")
    return tokens


def called(name: str = "read_file", arguments: str = "{}") -> Message:
    return Message(Role.ASSISTANT, tool_calls=(ToolCall("1", name, arguments),))


def resumed(generated: str, *later: Message, asked: Conversation = ASKED) -> str:
    """What `resume` puts behind the prompt."""
    prompt = harmony().render(asked)
    following = replace(asked, messages=(*asked.messages, *later))
    tokens = harmony().resume(prompt, encoded(generated), following).tokens
    text: str = published_encoding().decode_utf8(tokens)
    before: str = published_encoding().decode_utf8(prompt.tokens)
    assert text.startswith(before)
    return text.removeprefix(before)


def test_a_spelling_that_is_openai_harmonys_gives_the_same_prompt_as_rendering() -> None:
    generated = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant to=functions.read_file<|channel|>commentary <|constrain|>json<|message|>"
        '{"path": "a"}<|call|>'
    )
    call = ToolCall("1", "read_file", '{"path": "a"}')
    said = Message(Role.ASSISTANT, "I look.", reasoning="Hm.", tool_calls=(call,))
    answer = Message(Role.TOOL, "print()", tool_call_id="1", name="read_file")
    following = replace(ASKED, messages=(*ASKED.messages, said, answer))
    prompt = harmony().render(ASKED)
    assert harmony().resume(prompt, encoded(generated), following) == harmony().render(following)


ANSWER = Message(Role.TOOL, "x", tool_call_id="1")
HEADER = "<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{}"
ANSWERED = "<|start|>functions.read_file to=assistant<|channel|>commentary<|message|>x<|end|>" + OPENING

ENDED = {
    "by the call": (f"{HEADER}<|call|>", f"{HEADER}<|call|>"),
    "by the end of the text": (f"{HEADER}<|return|>", f"{HEADER}<|call|>"),
    "by nothing": (HEADER, f"{HEADER}<|call|>"),
    "twice": (f"{HEADER}<|call|><|return|>", f"{HEADER}<|call|>"),
    "twice alike": (f"{HEADER}<|end|><|end|>", f"{HEADER}<|end|>"),
    "and then a header": (f"{HEADER}<|call|>{OPENING}<|channel|>ana", f"{HEADER}<|call|>"),
    "and then an opening": (f"{HEADER}<|end|><|start|>", f"{HEADER}<|end|>"),
    "and then another's message": (f"{HEADER}<|end|><|start|>user<|message|>Thanks", f"{HEADER}<|end|>"),
    "and then more": (
        f"{HEADER}<|end|>{OPENING}<|channel|>analysis<|message|>so",
        f"{HEADER}<|end|>{OPENING}<|channel|>analysis<|message|>so<|end|>",
    ),
}


@pytest.mark.parametrize("how", ENDED)
def test_a_call_is_ended_and_answered(how: str) -> None:
    generated, kept = ENDED[how]
    assert resumed(generated, called(), ANSWER) == kept + ANSWERED


@pytest.mark.parametrize("channel", ["analysis", "commentary", "final"])
def test_the_answer_comes_on_the_channel_of_the_call(channel: str) -> None:
    # The order of a header's parts does not matter.
    for header in (f" to=functions.read_file<|channel|>{channel}", f"<|channel|>{channel} to=functions.read_file"):
        generated = f"{header} json<|message|>{{}}<|call|>"
        expected = ANSWERED.replace("commentary", channel)
        assert resumed(generated, called(), ANSWER) == generated + expected


def test_two_calls_are_answered_on_their_channels() -> None:
    generated = (
        f"<|channel|>analysis to=python code<|message|>1<|end|>{OPENING}<|channel|>analysis to=functions.read_file"
        "<|message|>{}<|call|>"
    )
    calls = (ToolCall("1", "python", "1"), ToolCall("2", "read_file", "{}"))
    answers = [Message(Role.TOOL, text, tool_call_id=text) for text in "12"]
    assert resumed(generated, Message(Role.ASSISTANT, tool_calls=calls), *answers) == (
        f"{generated}<|start|>python to=assistant<|channel|>analysis<|message|>1<|end|>"
        f"<|start|>functions.read_file to=assistant<|channel|>analysis<|message|>2<|end|>{OPENING}"
    )


def test_a_tool_that_does_not_exist_answers_under_the_name_that_was_called() -> None:
    generated = "<|channel|>commentary to=container.exec json<|message|>{}<|call|>"
    assert resumed(generated, called("container.exec"), ANSWER) == (
        f"{generated}<|start|>container.exec to=assistant<|channel|>commentary<|message|>x<|end|>{OPENING}"
    )


def test_what_a_person_says_in_between_comes_behind_the_answer() -> None:
    said = resumed(f"{HEADER}<|call|>", called(), ANSWER, Message(Role.USER, "Stop."))
    assert said.endswith(f"x<|end|><|start|>user<|message|>Stop.<|end|>{OPENING}")


def test_a_message_without_a_call_is_followed_by_the_next() -> None:
    generated = "<|channel|>analysis<|message|>Hm.<|call|>"
    assert resumed(generated, Message(Role.ASSISTANT, reasoning="Hm.")) == generated + OPENING


def test_an_answer_that_was_gone_on_with_is_ended() -> None:
    asked = replace(ASKED, messages=(*ASKED.messages, Message(Role.ASSISTANT, "Roses")))
    whole = Message(Role.ASSISTANT, "Roses are red.")
    for generated in (" are red.<|return|>", " are red.", " are red.<|end|>"):
        assert resumed(generated, whole, asked=asked) == f" are red.<|end|>{OPENING}"
    assert resumed("<|return|>", asked=asked) == f"<|end|>{OPENING}"


@pytest.mark.parametrize(
    "generated", ["", "<|return|>", "<|channel|>", "<|channel|>commentary to=functions.read", "Hi"]
)
def test_where_nothing_was_said_nothing_is_made_up(generated: str) -> None:
    prompt = harmony().render(ASKED)
    following = replace(ASKED, messages=(*ASKED.messages, called(), ANSWER))
    tokens = harmony().resume(prompt, encoded(generated), following).tokens
    text: str = published_encoding().decode_utf8(tokens)
    assert text.endswith("Look.<|end|>" + ANSWERED)


anything = st.one_of(st.sampled_from(sorted(SPECIAL_TOKENS.values())), st.integers(0, 201_087))


@given(st.lists(anything, max_size=30), st.booleans())
def test_whatever_was_written_the_prompt_goes_on(generated: Sequence[int], goes_on: bool) -> None:
    asked = replace(ASKED, messages=(*ASKED.messages, Message(Role.ASSISTANT, "a"))) if goes_on else ASKED
    prompt = harmony().render(asked)
    following = replace(ASKED, messages=(*ASKED.messages, called(), ANSWER))
    tokens = harmony().resume(prompt, generated, following).tokens
    answer = encoded(ANSWERED)
    channels = [
        answer,
        encoded(ANSWERED.replace("commentary", "analysis")),
        encoded(ANSWERED.replace("commentary", "final")),
    ]
    assert list(tokens[-len(answer) :]) in channels
    kept = tokens[: -len(answer)]
    assert kept[-1] in (200_007, 200_012)
    n_said = len(kept) - len(prompt.tokens)
    assert tuple(generated[: max(0, n_said - 1)]) == kept[len(prompt.tokens) :][: max(0, n_said - 1)]
