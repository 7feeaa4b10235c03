"""What prompts need of a tokenizer. The engine's tokenizer satisfies it; nothing here loads one."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Tokenizer"]


class Tokenizer(Protocol):
    """Text to tokens, for prompts that are token ids from end to end."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a generation."""

    @property
    def bos_token_id(self) -> int | None:
        """The token that every prompt starts with, if there is one."""

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

    def encode(self, text: str) -> list[int]:
        """The tokens of plain text; never a marker, whatever the text holds."""

    def encode_conversation(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """The tokens of (role, text) messages in the chat template, up to where the assistant's message starts.

        Raises ModelError when the template fails.
        """
