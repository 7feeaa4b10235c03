"""What prompts need of a tokenizer. The engine's tokenizer satisfies it; nothing here loads one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["AnswerSyntax", "RenderedChat", "Tokenizer"]


class AnswerSyntax(Protocol):
    """How a model's answers are divided into parts, in the words of mlx-lm's server."""

    @property
    def start(self) -> str:
        """The part in which an answer begins: ``normal``, unless the model writes headers first."""

    @property
    def transitions(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """For each part the texts that end it, each with the part that follows. ``normal`` is what a person reads,
        ``reasoning`` and ``tool`` are what they are called, and the text of any other part is dropped."""

    @property
    def thinking(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The tokens that begin reasoning, and those that end it."""

    @property
    def thinking_markers(self) -> tuple[str, str] | None:
        """The texts that begin and end reasoning."""

    @property
    def tool_call_markers(self) -> tuple[str, str] | None:
        """The texts that begin and end a tool call; the second is empty where a call ends with the generation."""


class RenderedChat(Protocol):
    """A rendered chat template, before it becomes tokens."""

    @property
    def text(self) -> str:
        """The prompt. A marker that stood in a caller's text is a placeholder here."""

    def after(self, slot: str) -> "RenderedChat":
        """What follows the first ``slot``; nothing where it does not occur."""

    def encode(self, splices: Mapping[str, Sequence[int]] | None = None) -> list[int]:
        """The tokens; ``splices`` are texts that stand for tokens. Only the template's own markers become markers."""


class Tokenizer(Protocol):
    """Text to tokens, for prompts that are token ids from end to end."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a generation."""

    @property
    def bos_token_id(self) -> int | None:
        """The token that every prompt starts with, if there is one."""

    @property
    def adds_space(self) -> bool:
        """Whether a space that means nothing is put in front of a text, so that answers begin with one too."""

    @property
    def has_chat_template(self) -> bool:
        """Whether the model has a chat template of its own."""

    def token_id(self, literal: str) -> int | None:
        """The id of the one token that is spelled ``literal``."""

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens that the tokenizer knows."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for markers and for ids that the tokenizer does not know."""

    def is_marker(self, token: int) -> bool:
        """Whether ``token`` is a control token rather than text."""

    def marker_text(self, token: int) -> str:
        """How a marker is spelled; empty for a token that is none."""

    def encode(self, text: str) -> list[int]:
        """The tokens of plain text; never a marker, whatever the text holds."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of whole tokens; bytes that are no UTF-8 become U+FFFD."""

    def encode_conversation(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """The tokens of (role, text) messages in the chat template, up to where the assistant's message starts.

        Raises ModelError when the template fails.
        """

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] | None = None,
        *,
        opens_answer: bool = True,
    ) -> RenderedChat:
        """The chat template over messages and tools in OpenAI's form; ``arguments`` go to it as they are.

        ``opens_answer``: the assistant's next message is begun. Raises ModelError when the template fails.
        """

    @property
    def answers(self) -> AnswerSyntax:
        """How the model's answers are divided into text, reasoning and tool calls."""

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
        """The calls in what stands between the markers of a tool call: name, arguments as text, and id or "".

        Raises ValueError for what cannot be read.
        """
