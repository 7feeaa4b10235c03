"""The contract between a model family and everyone who talks to it: conversations in, token ids out, and events back.

`harmony_ls.prompts.harmony.format` and `harmony_ls.prompts.chat.format` fulfil it. Nothing here loads or runs a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from harmony_ls.events import Event
from harmony_ls.messages import Conversation, Message

__all__ = ["EventParser", "Prompt", "PromptFormat"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    ``checkpoints`` are positions (counts of tokens) that later prompts of the same conversation, or of others, will
    share with this one; the end of the prompt is one without being named.
    """

    tokens: tuple[int, ...]
    checkpoints: tuple[int, ...] = ()


class EventParser(Protocol):
    """Turns the tokens of one generation into events, and into the assistant's message. It never raises.

    Whatever the model writes, no marker of a format is in any text that comes out.
    """

    @property
    def is_over(self) -> bool:
        """Whether nothing that the model could still write belongs to this answer: the generation should be stopped."""

    @property
    def in_reasoning(self) -> bool:
        """Whether the token that was fed last belongs to the reasoning."""

    def feed(self, token: int) -> list[Event]:
        """The events that ``token`` completes; text that may still turn out to be part of a marker is held back."""

    def finish(self, *, complete: bool) -> list[Event]:
        """The events at the end. ``complete`` is false for an answer that was cut short (length, cancel): a tool call
        that is unfinished then is never reported as finished. Called once, after the last token."""

    def message(self) -> Message:
        """The assistant's message so far: content, reasoning, and the tool calls that are finished."""


class PromptFormat(Protocol):
    """How one model is spoken to."""

    @property
    def summary(self) -> str:
        """What this format is and how that is known, for people."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""

    @property
    def takes_tools(self) -> bool:
        """Whether the model can be told of tools."""

    @property
    def takes_effort(self) -> bool:
        """Whether the reasoning effort of a conversation makes a difference to the prompt."""

    def render(self, conversation: Conversation) -> Prompt:
        """The prompt of a whole conversation, up to where the assistant begins to write.

        Reasoning of finished turns is left out where the family was trained that way. Raises ModelError where the
        model cannot be spoken to like this (a chat template that fails).
        """

    def resume(self, prompt: Prompt, generated: Sequence[int], conversation: Conversation) -> Prompt:
        """The next prompt inside a turn: what the model has seen and written stays token for token.

        ``generated`` are the tokens written after ``prompt``, a stop token at their end included; the last messages of
        ``conversation`` are the assistant's message that they make and the tool messages that answer its calls.
        """

    def date_of(self, tokens: Sequence[int]) -> date | None:
        """The date that a prompt which begins with ``tokens`` tells the model; None where it is not known to tell one.

        A conversation with that date in ``started`` begins with the same tokens.
        """

    def parser(self, prompt: Prompt, conversation: Conversation) -> EventParser:
        """A parser for one generation that goes on from ``prompt``."""
