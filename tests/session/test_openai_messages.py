"""OpenAI's JSON form read into messages, and what is said of what cannot be read."""

from typing import Any

import pytest

from harmony_ls.errors import UserError
from harmony_ls.messages import Message, Role, ToolCall
from harmony_ls.session.openai_messages import messages_of


def test_a_whole_conversation() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    assert messages_of(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look "}, {"type": "text", "text": "there."}]},
            {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "a tree"},
            {"role": "assistant", "content": "A tree."},
        ]
    ) == (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "Look there."),
        Message(Role.ASSISTANT, reasoning="Hm.", tool_calls=(ToolCall("c1", "look", '{"at": 1}'),)),
        Message(Role.TOOL, "a tree", tool_call_id="c1", name="look"),
        Message(Role.ASSISTANT, "A tree."),
    )


def test_a_text_is_a_users_message_behind_the_system_message() -> None:
    assert messages_of("Hi", "Be brief.") == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))


def test_arguments_that_come_as_an_object_are_json() -> None:
    call = {"id": "c1", "function": {"name": "look", "arguments": {"far": True}}}
    message = messages_of([{"role": "assistant", "tool_calls": [call]}])[0]
    assert message.tool_calls[0].arguments == '{"far": true}'


def test_our_own_messages_pass() -> None:
    message = Message(Role.USER, "Hi")
    assert messages_of([message])[0] is message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no messages"),
        (["Hi"], "messages[0] must be an object"),
        ([{"content": "Hi"}], "messages[0].role is ''"),
        ([{"role": "USER", "content": "Hi"}], "'USER'"),
        ([{"role": "user", "content": 3}], "messages[0].content must be text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "no pictures"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "function.name"),
        ([{"role": "assistant", "tool_calls": 5}], "messages[0].tool_calls must be a list"),
        (5, "messages must be a list"),
    ],
)
def test_what_is_no_message_is_named(given: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        messages_of(given)
    assert words in str(caught.value)
