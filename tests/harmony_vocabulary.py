"""The published vocabulary of Harmony, unpacked from the fixtures, and a tokenizer that is nothing but its ranks."""

import base64
import functools
import lzma
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony_ls.prompts.harmony.vocabulary import FILE_NAME, load_encoding

__all__ = ["SPECIAL_TOKENS", "PublishedTokenizer", "published_encoding", "published_ranks", "unpack_vocabulary"]

PACKED = Path(__file__).parent.parent / "fixtures" / "harmony" / f"{FILE_NAME}.xz"

NAMED = {
    199998: "startoftext",
    199999: "endoftext",
    200002: "return",
    200003: "constrain",
    200005: "channel",
    200006: "start",
    200007: "end",
    200008: "message",
    200012: "call",
    200018: "endofprompt",
}
SPECIAL_TOKENS = {f"<|{NAMED.get(token, f'reserved_{token}')}|>": token for token in range(199998, 200019)}
"""The special tokens of GPT-OSS and their ids."""


def unpack_vocabulary(folder: Path, name: str = FILE_NAME) -> Path:
    """Write the vocabulary into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(lzma.decompress(PACKED.read_bytes()))
    return path


@functools.cache
def published_encoding() -> Any:
    """openai_harmony's encoding, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        return load_encoding(unpack_vocabulary(Path(folder)))


@functools.cache
def published_ranks() -> tuple[bytes, ...]:
    """The bytes of every token but the special ones."""
    lines = lzma.decompress(PACKED.read_bytes()).splitlines()
    return tuple(base64.b64decode(line.split()[0]) for line in lines)


class PublishedTokenizer:
    """The tokenizer of a GPT-OSS model without the model: the published ranks and special tokens."""

    def __init__(self, eos_token_ids: frozenset[int] = frozenset({200002, 199999})) -> None:
        self.eos_token_ids = eos_token_ids
        self.bos_token_id = None
        self.has_chat_template = False
        self.vocabulary_size = 200019

    def token_id(self, literal: str) -> int | None:
        return SPECIAL_TOKENS.get(literal)

    def token_bytes(self, token: int) -> bytes:
        return published_ranks()[token] if token < len(published_ranks()) else b""

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = published_encoding().encode(text, disallowed_special=())
        return tokens

    def encode_conversation(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        raise NotImplementedError("it has no chat template")
