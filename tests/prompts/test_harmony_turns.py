"""From prompt to answer to the next prompt: the format and its parser agree on names, places and tokens."""

from dataclasses import replace
from functools import cache

import pytest

from harmony_ls.events import ToolCallFinished
from harmony_ls.messages import Conversation, Message, Role, ToolSpec
from harmony_ls.prompts.format import Prompt, PromptFormat
from harmony_ls.prompts.harmony.format import HarmonyFormat
from tests.harmony_vocabulary import PublishedTokenizer, published_encoding

WEATHER = ToolSpec("get-weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
SAME = replace(WEATHER, name="get_weather")
PYTHON = ToolSpec("python", "", {"type": "string"})


@cache
def harmony() -> PromptFormat:
    return HarmonyFormat(PublishedTokenizer(), published_encoding())


def encoded(text: str) -> list[int]:
    tokens: list[int] = published_encoding().encode(text, allowed_special="all")
    return tokens


def decoded(prompt: Prompt) -> str:
    text: str = published_encoding().decode_utf8(prompt.tokens)
    return text


def answer(prompt: Prompt, conversation: Conversation, generated: list[int]) -> Message:
    """The message that a generation makes."""
    parser = harmony().parser(prompt, conversation)
    for token in generated:
        parser.feed(token)
    parser.finish(complete=True)
    return parser.message()


@pytest.mark.parametrize(("told", "name"), [("get_weather_2", "get-weather"), ("get_weather", "get_weather")])
def test_a_changed_name_is_changed_back(told: str, name: str) -> None:
    conversation = Conversation((Message(Role.USER, "Weather?"),), (WEATHER, SAME))
    prompt = harmony().render(conversation)
    assert f"type {told} = (_: {{" in decoded(prompt)
    generated = encoded(
        f'<|channel|>commentary to=functions.{told} <|constrain|>json<|message|>{{"city": "Bonn"}}<|call|>'
    )
    parser = harmony().parser(prompt, conversation)
    events = [event for token in generated for event in parser.feed(token)]
    finished = next(event for event in events if isinstance(event, ToolCallFinished))
    assert (finished.call.name, finished.call.arguments) == (name, '{"city": "Bonn"}')
    said = Message(Role.TOOL, "rain", tool_call_id=finished.call.id)
    following = replace(conversation, messages=(*conversation.messages, parser.message(), said))
    resumed = harmony().resume(prompt, generated, following)
    assert decoded(resumed).endswith(
        f"<|call|><|start|>functions.{told} to=assistant<|channel|>commentary<|message|>rain<|end|><|start|>assistant"
    )


def test_an_open_answer_is_gone_on_with() -> None:
    conversation = Conversation((Message(Role.USER, "Poem!"), Message(Role.ASSISTANT, "Roses")))
    prompt = harmony().render(conversation)
    assert answer(prompt, conversation, encoded(" are red.<|return|>")).content == " are red."
    fresh = Conversation(conversation.messages[:1])
    assert answer(harmony().render(fresh), fresh, encoded(" are red.<|return|>")).content == " are red."


def test_the_next_turn_shows_the_answer_as_it_was_written() -> None:
    conversation = Conversation((Message(Role.USER, "Hello?"),))
    prompt = harmony().render(conversation)
    # No tokenizer would write it so.
    odd = [token for letter in "Hello there!" for token in encoded(letter)]
    generated = [
        *encoded("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"),
        *odd,
        *encoded("<|return|>"),
    ]
    said = answer(prompt, conversation, generated)
    assert (said.content, said.reasoning) == ("Hello there!", "Hm.")
    following = harmony().render(Conversation((*conversation.messages, said, Message(Role.USER, "Yes?"))))
    expected = [*encoded("<|channel|>final<|message|>"), *odd, *encoded("<|end|><|start|>user<|message|>Yes?<|end|>")]
    assert list(following.tokens[len(prompt.tokens) :]) == [*expected, *encoded("<|start|>assistant")]


def test_a_loop_of_calls_never_changes_what_was_read() -> None:
    conversation = Conversation((Message(Role.USER, "Compute."),), (PYTHON,))
    prompt = harmony().render(conversation)
    for number in range(5):
        generated = encoded(
            f"<|channel|>analysis<|message|>step {number}<|end|><|start|>assistant<|channel|>analysis to=python code"
            f"<|message|>print({number})<|call|>"
        )
        said = answer(prompt, conversation, generated)
        (call,) = said.tool_calls
        assert (call.name, call.arguments) == ("python", f"print({number})")
        result = Message(Role.TOOL, str(number), tool_call_id=call.id, name=call.name)
        conversation = replace(conversation, messages=(*conversation.messages, said, result))
        resumed = harmony().resume(prompt, generated, conversation)
        assert resumed.tokens[: len(prompt.tokens) + len(generated)] == (*prompt.tokens, *generated)
        assert resumed.checkpoints[0] == prompt.checkpoints[0]
        prompt = resumed
    # Rendered anew it says the same; only the order inside the headers is openai_harmony's.
    again = decoded(harmony().render(conversation))
    assert again == decoded(prompt).replace("<|channel|>analysis to=python code", " to=python<|channel|>analysis code")
    asked = replace(
        conversation, messages=(*conversation.messages, Message(Role.ASSISTANT, "4"), Message(Role.USER, "!"))
    )
    assert "step" not in decoded(harmony().render(asked))
    assert len(prompt.checkpoints) <= 3
