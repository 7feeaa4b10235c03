"""A tokenizer and the format that its chat template gives, and what a prompt of the two looks like."""

from pathlib import Path
from typing import Any

from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.messages import Conversation, Message
from harmony_ls.prompts.chat.format import ChatFormat, chat_format
from tests.chat_templates import spelled
from tests.engine.tokenizers import with_template

__all__ = ["Family", "family_of", "text_of"]

Family = tuple[Tokenizer, ChatFormat]


def family_of(folder: Path, template: str) -> Family:
    """The family of a template, with Qwen's markers."""
    tokenizer = with_template(folder, template)
    return tokenizer, chat_format(tokenizer)


def text_of(family: Family, *messages: Message, **fields: Any) -> str:
    """The prompt of a conversation, whose other ``fields`` are given by name, as a person reads it."""
    return spelled(family[0], family[1].render(Conversation(messages, **fields)).tokens)
