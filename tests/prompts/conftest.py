"""What the tests of prompts share: openai_harmony's encoding, made from the vocabulary in the fixtures."""

from typing import Any

import pytest

from tests.harmony_vocabulary import published_encoding

__all__ = ["harmony_encoding"]


@pytest.fixture(scope="session")
def harmony_encoding() -> Any:
    """openai_harmony's encoding of GPT-OSS, without a download."""
    return published_encoding()
