"""Messages and tools in the form in which chat templates take them: OpenAI's, as plain dictionaries.

What a template can take is not decided here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harmony_ls.messages import Message, Role, ToolCall, ToolSpec
from harmony_ls.prompts.chat.calls import CallForm

__all__ = ["can_join", "function_of", "in_openai_form", "joined"]

# Stands where a chat template wants a text and there is none: it cannot be told from none.
_NO_WORDS = " "
# The one argument of a tool that takes plain text, where a chat template wants an object.
_PLAIN_TEXT_ARGUMENT = "input"


def function_of(tool: ToolSpec) -> dict[str, Any]:
    """A tool in OpenAI's form. One that takes plain text gets an object around it, since templates expect one."""
    parameters: Mapping[str, Any] = tool.parameters
    if tool.takes_text:
        parameters = {
            "type": "object",
            "properties": {_PLAIN_TEXT_ARGUMENT: dict(tool.parameters)},
            "required": [_PLAIN_TEXT_ARGUMENT],
        }
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": dict(parameters)},
    }


def in_openai_form(
    messages: Sequence[Message], tools: Sequence[ToolSpec] = (), call_form: CallForm | None = None
) -> list[dict[str, Any]]:
    """Messages as chat templates expect them: arguments are an object where the model wrote one.

    What the ``call_form`` does not take is told otherwise: text gets an object around it, an object becomes text, and
    no text becomes a blank.
    """
    plain_text_tools = {tool.name for tool in tools if tool.takes_text}
    form = call_form or CallForm()
    return [_message_in_openai_form(message, plain_text_tools, form) for message in messages]


def _message_in_openai_form(message: Message, plain_text_tools: set[str], call_form: CallForm) -> dict[str, Any]:
    content = message.content or ("" if call_form.takes_no_words else _NO_WORDS)
    form: dict[str, Any] = {"role": message.role.value, "content": content}
    if message.role is Role.TOOL:
        return {**form, "tool_call_id": message.tool_call_id, "name": message.name}
    if message.reasoning:
        form["reasoning_content"] = message.reasoning
    if message.tool_calls:
        form["tool_calls"] = [_call_in_openai_form(call, plain_text_tools, call_form) for call in message.tool_calls]
    return form


def _call_in_openai_form(call: ToolCall, plain_text_tools: set[str], form: CallForm) -> dict[str, Any]:
    arguments: Any = call.arguments
    if call.name in plain_text_tools:
        arguments = {_PLAIN_TEXT_ARGUMENT: call.arguments}
    else:
        try:
            values = json.loads(call.arguments)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            arguments = values
        elif not form.takes_text:
            arguments = {_PLAIN_TEXT_ARGUMENT: call.arguments} if call.arguments else {}
    if not form.takes_objects and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": arguments}}


def can_join(first: Message, second: Message) -> bool:
    """Whether two messages of one speaker can be one message."""
    if first.role is not second.role or first.role not in (Role.USER, Role.ASSISTANT):
        return False
    return not first.tool_calls and not second.tool_calls


def joined(first: Message, second: Message) -> Message:
    """Two messages as one. Its tokens are not known."""
    reasoning = "\n\n".join(text for text in (first.reasoning, second.reasoning) if text)
    content = "\n\n".join(text for text in (first.content, second.content) if text)
    return replace(first, content=content, reasoning=reasoning, content_tokens=None)
