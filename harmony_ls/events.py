"""What happens in a turn, one frozen value after another. Parsers and sessions make them, front ends show them."""

from dataclasses import dataclass

from harmony_ls.messages import FinishReason, ToolCall

__all__ = [
    "Event",
    "Notice",
    "ReasoningDelta",
    "TextDelta",
    "ToolCallDelta",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolResult",
    "TurnFinished",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the text that is written for the person: the answer, or a preamble before a tool call."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model has begun to call a tool. ``index`` counts the calls of one generation from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the arguments of the call that began with this ``index``."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallFinished:
    """A call is complete. A call that was cut short never gets this event, and is never run."""

    index: int
    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to a call; ``is_error`` where it could not do what was asked."""

    call: ToolCall
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know and the model did not say: dropped turns, a reached limit."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The figures of one pass of the model, or of a whole turn when added up.

    ``computed_tokens`` of the ``prompt_tokens`` were prefilled, the rest came from a prompt cache. ``first_token_ms``
    is the time to the first token, ``decode_seconds`` the time from the first token to the last.
    """

    prompt_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    first_token_ms: float | None = None
    decode_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        first = self.first_token_ms if self.first_token_ms is not None else other.first_token_ms
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.computed_tokens + other.computed_tokens,
            self.generated_tokens + other.generated_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            first,
            self.decode_seconds + other.decode_seconds,
        )


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The last event of every turn, however it ended."""

    reason: FinishReason
    usage: Usage


Event = (
    TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallFinished
    | ToolResult
    | Notice
    | Usage
    | TurnFinished
)
