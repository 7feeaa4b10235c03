"""A conversation as the messages of Harmony: who says what to whom on which channel, and what of it is left out.

No token is in here but those that a model wrote itself. `harmony_ls.prompts.harmony.format` renders what comes out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from harmony_ls.errors import ModelError
from harmony_ls.messages import Message, Role, ToolCall
from harmony_ls.prompts.harmony.tools import ToolTable

__all__ = ["HarmonyMessage", "instructions_of", "last_user_index", "messages_of", "tool_message"]


@dataclass(frozen=True, slots=True)
class HarmonyMessage:
    """One message between ``<|start|>`` and its end.

    ``author`` is a role, or what a tool is called by where ``is_tool``. ``content_tokens`` are those of ``content`` as
    a model wrote them, if they are known. ``is_open`` is a message that the model shall go on with.
    """

    author: str
    content: str
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    is_tool: bool = False
    is_open: bool = False
    content_tokens: tuple[int, ...] | None = None


def instructions_of(messages: Sequence[Message]) -> tuple[str, int]:
    """The text of the system messages at the start of a conversation, and how many they are."""
    leading = list(takewhile(lambda message: message.role is Role.SYSTEM, messages))
    return "\n\n".join(message.content for message in leading if message.content.strip()), len(leading)


def last_user_index(messages: Sequence[Message]) -> int | None:
    """Where the running turn begins; None where no user has said anything."""
    indexes = [index for index, message in enumerate(messages) if message.role is Role.USER]
    return indexes[-1] if indexes else None


def messages_of(messages: Sequence[Message], table: ToolTable) -> Iterator[tuple[int, HarmonyMessage]]:
    """The Harmony messages of a conversation without its leading instructions, each with the index of its origin.

    Reasoning is left out once the turn that it belongs to has its answer, or another turn has begun: GPT-OSS was
    trained so, and inside a turn it needs its reasoning for the next tool call. A message of the assistant at the end
    is left open, for the model to go on with. Raises ModelError for a tool message that does not say what it answers.
    """
    keeps_reasoning_from = _first_of_running_turn(messages)
    calls: dict[str, ToolCall] = {}
    for index, message in enumerate(messages):
        match message.role:
            case Role.SYSTEM:
                if message.content.strip():
                    yield index, HarmonyMessage("developer", f"# Instructions\n\n{message.content}")
            case Role.USER:
                yield index, HarmonyMessage("user", message.content)
            case Role.ASSISTANT:
                calls |= {call.id: call for call in message.tool_calls}
                reasoning = message.reasoning if index >= keeps_reasoning_from else ""
                is_last = index == len(messages) - 1
                for part in _assistant_messages(message, reasoning, table, is_last=is_last):
                    yield index, part
            case Role.TOOL:
                yield index, tool_message(message, calls, table)


def tool_message(
    message: Message, calls: Mapping[str, ToolCall], table: ToolTable, channels: Mapping[str, str] | None = None
) -> HarmonyMessage:
    """The answer of a tool: from where the call went, on the channel of the call (``channels``, by the call's id)."""
    call = calls.get(message.tool_call_id)
    name = call.name if call is not None else message.name
    # A call that another model made may have no name: it was too broken to tell which tool was meant.
    if call is None and not name:
        raise ModelError(
            "A tool message does not say which tool it is from: it needs the id of a call of this conversation "
            "(tool_call_id), or the tool's name."
        )
    address = table.address(name)
    channel = (channels or {}).get(message.tool_call_id, address.channel)
    return HarmonyMessage(address.recipient, message.content, channel, "assistant", is_tool=True)


def _first_of_running_turn(messages: Sequence[Message]) -> int:
    """The index from which reasoning is kept: behind the last user message, and behind an answer that follows it."""
    ends = [
        index
        for index, message in enumerate(messages)
        if message.role is Role.USER or (_is_answer(message) and index < len(messages) - 1)
    ]
    return ends[-1] + 1 if ends else 0


def _is_answer(message: Message) -> bool:
    return message.role is Role.ASSISTANT and not message.tool_calls and bool(message.content)


def _assistant_messages(
    message: Message, reasoning: str, table: ToolTable, *, is_last: bool
) -> Iterator[HarmonyMessage]:
    if reasoning:
        yield HarmonyMessage("assistant", reasoning, "analysis")
    is_open = is_last and not message.tool_calls
    # A message that says nothing (it was stopped while the model reasoned) would teach the model to say nothing.
    if message.content or is_open:
        channel = "commentary" if message.tool_calls else "final"
        yield HarmonyMessage(
            "assistant", message.content, channel, is_open=is_open, content_tokens=message.content_tokens
        )
    for call in message.tool_calls:
        address = table.address(call.name)
        yield HarmonyMessage(
            "assistant", call.arguments, address.channel, address.recipient, address.content_type(call.arguments)
        )
