"""What the tests of prompts share: openai_harmony's encoding, and families of models with their chat templates."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from harmony_ls.prompts.chat.format import chat_format
from tests.chat_templates import chat_tokenizer
from tests.harmony_vocabulary import published_encoding
from tests.prompts.families import Family

__all__ = ["harmony_encoding", "of"]


@pytest.fixture(scope="session")
def harmony_encoding() -> Any:
    """openai_harmony's encoding of GPT-OSS, without a download."""
    return published_encoding()


@pytest.fixture(scope="session")
def of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """The tokenizer and the format of a family."""

    @cache
    def make(family: str) -> Family:
        tokenizer = chat_tokenizer(tmp_path_factory.mktemp("tokenizer"), family)
        return tokenizer, chat_format(tokenizer)

    return make
