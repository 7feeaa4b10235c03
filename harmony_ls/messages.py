"""What a conversation is made of, in OpenAI's words: messages, tool calls, tools. Plain frozen values.

Harmony's channels are derived from these and never stored: ``reasoning`` is the analysis channel, ``content`` of an
assistant message is the final channel, or a preamble on the commentary channel where the message calls tools.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

__all__ = ["Conversation", "FinishReason", "Message", "ReasoningEffort", "Role", "ToolCall", "ToolSpec"]


class Role(StrEnum):
    """Who speaks. OpenAI's ``developer`` is the same as ``system`` here: instructions that stand above the user's."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ReasoningEffort(StrEnum):
    """How much a reasoning model shall think before it answers (Harmony, system message)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class FinishReason(StrEnum):
    """Why a generation or a turn ended, in OpenAI's words plus ``cancelled`` and ``limit``.

    ``limit`` is a turn that used up the tool calls or the time that it was given.
    """

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it.

    ``parameters`` is the JSON schema of its arguments; a schema of type ``string`` stands for a tool that takes plain
    text (a patch, a program) and not JSON.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @property
    def takes_text(self) -> bool:
        """Whether the tool is given plain text and no JSON."""
        return bool(self.parameters.get("type") == "string")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model made. ``arguments`` is the text as the model wrote it: JSON, or plain text for some tools."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    A tool message answers ``tool_call_id`` and carries the tool's ``name``. ``content_tokens`` are the token ids of
    ``content`` as the model wrote them, so that the next prompt is what the model saw, and not what a tokenizer would
    make of the same text; None for text that no model of this session wrote. ``is_untrusted`` marks a tool message
    whose text comes from strangers, ``is_error`` one that tells of a failure; people are shown that, models are not.
    """

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    content_tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)
    is_untrusted: bool = False
    is_error: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that a prompt is rendered from.

    ``started`` is the date that the model is told; it belongs to the conversation and not to the day, so that the
    prompt stays the same past midnight. ``template_arguments`` go to a chat template as they are (``enable_thinking``).
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    effort: ReasoningEffort = ReasoningEffort.MEDIUM
    started: date | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
