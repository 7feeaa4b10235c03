"""Messages in OpenAI's JSON form, as programs have them, read into ours. What cannot be read is named."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harmony_ls.errors import UserError
from harmony_ls.messages import Message, Role, ToolCall

__all__ = ["messages_of"]


def messages_of(
    given: Sequence[Message | Mapping[str, Any]] | str, system_message: str | None = None
) -> tuple[Message, ...]:
    """The messages of a conversation; a text is the one message of a user. ``system_message`` comes first.

    Tool messages get the name of the tool whose call they answer. Raises UserError for what is no message.
    """
    if isinstance(given, str):
        return messages_of([Message(Role.USER, given)], system_message)
    if not isinstance(given, Sequence):
        raise UserError(f"messages must be a list of messages, not {type(given).__name__}.")
    messages = [_message(each, index) for index, each in enumerate(given)]
    if not messages:
        raise UserError("There are no messages. Name at least one, for example {'role': 'user', 'content': '...'}.")
    if system_message is not None:
        messages.insert(0, Message(Role.SYSTEM, system_message))
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return tuple(_named(message, names) for message in messages)


def _named(message: Message, names: Mapping[str, str]) -> Message:
    """A tool message with the name of its tool, which OpenAI's form leaves to the call."""
    if message.role is not Role.TOOL or message.name:
        return message
    return replace(message, name=names.get(message.tool_call_id, ""))


def _message(given: Any, index: int) -> Message:
    if isinstance(given, Message):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"messages[{index}] must be an object with role and content, not {type(given).__name__}.")
    role = str(given.get("role", ""))
    role = "system" if role == "developer" else role
    if role not in set(Role):
        raise UserError(
            f"messages[{index}].role is {role[:40]!r}; it must be system, developer, user, assistant or tool."
        )
    return Message(
        Role(role),
        _text(given.get("content"), f"messages[{index}].content"),
        _text(given.get("reasoning") or given.get("reasoning_content"), f"messages[{index}].reasoning"),
        _tool_calls(given.get("tool_calls") or (), f"messages[{index}].tool_calls"),
        str(given.get("tool_call_id") or ""),
        str(given.get("name") or ""),
    )


def _tool_calls(given: Any, where: str) -> tuple[ToolCall, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UserError(f"{where} must be a list of calls, not {type(given).__name__}.")
    return tuple(_tool_call(call, where) for call in given)


def _tool_call(given: Any, where: str) -> ToolCall:
    function = given.get("function") if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise UserError(f"{where} holds a call without function.name.")
    arguments = function.get("arguments") or ""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(str(given.get("id") or ""), function["name"], text)


def _text(content: object, where: str) -> str:
    """The text of a content, which may come in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise UserError(f"{where} must be text, or a list of parts with text; harmony-ls reads no pictures or sounds.")
