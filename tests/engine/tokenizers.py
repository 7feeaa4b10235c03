"""Tokenizers of every kind, as the engine wraps them, from recipes alone: no model, no MLX array."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from tests.models import CODE_LLAMA_MARKERS, FAMILY_MARKERS, QWEN_MARKERS, TokenizerRecipe, write_tokenizer

__all__ = ["KINDS", "read", "tokenizer", "with_template"]

EMBEDDED_SPLIT = r"(?:[ \t]*\r?\n)+[ \t]*|[ \t]{2,}| ?[\p{L}\p{N}_]+| ?[^\s\p{L}\p{N}_]+|\s"

KINDS = {
    **{family: TokenizerRecipe(special=markers, eos=markers[0]) for family, markers in FAMILY_MARKERS.items()},
    "qwen plain": TokenizerRecipe(special=("<|endoftext|>", "<|im_end|>"), plain=QWEN_MARKERS),
    "overlapping": TokenizerRecipe(
        special=("<|endoftext|>", "<|", "<|fim", "<|fim_prefix|>", "|>", "<|<|", "aa", "aaa"), plain=("fim_", "a<|")
    ),
    "metaspace": TokenizerRecipe(special=CODE_LLAMA_MARKERS, eos="</s>", bos="<s>", metaspace=True),
    "metaspace plain": TokenizerRecipe(
        special=(), plain=(*CODE_LLAMA_MARKERS, "[INST]"), eos="</s>", bos="<s>", metaspace=True
    ),
    "metaspace without newline": TokenizerRecipe(special=CODE_LLAMA_MARKERS, eos="</s>", metaspace=True),
    "metaspace, newer": TokenizerRecipe(special=CODE_LLAMA_MARKERS, eos="</s>", bos="<s>", metaspace=True),
    "metaspace with newlines": TokenizerRecipe(special=CODE_LLAMA_MARKERS, eos="</s>", metaspace=True),
    "newline and indentation": TokenizerRecipe(special=("<|endoftext|>", *QWEN_MARKERS)),
    "prefix space": TokenizerRecipe(special=("<|endoftext|>", *QWEN_MARKERS)),
    "normalised": TokenizerRecipe(special=("<|endoftext|>",)),
    "letters and HTML": TokenizerRecipe(special=("<|endoftext|>",), plain=("ü", "<td>", "</td>", "  ", "<think>")),
}
"""The tokenizers of the kit for every family, and variations on them that are made in ``tokenizer``."""


def read(folder: Path, **config: Any) -> Tokenizer:
    """The tokenizer of a folder."""
    from mlx_lm.utils import load_tokenizer

    return Tokenizer(load_tokenizer(folder, tokenizer_config_extra=config))


def with_template(folder: Path, template: str | None) -> Tokenizer:
    """A tokenizer with Qwen's markers and a chat template, or none, written to a folder and read from it."""
    recipe = TokenizerRecipe(special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), chat_template=template)
    write_tokenizer(folder, recipe)
    return read(folder)


def tokenizer(folder: Path, kind: str) -> Tokenizer:
    """The tokenizer of a kind, written to a folder and read from it."""
    backend = write_tokenizer(folder, KINDS[kind])
    if kind == "metaspace, newer":
        # As newer conversions of SentencePiece are: no normaliser, and a metaspace that splits nothing.
        backend.normalizer = None  # type: ignore[assignment]
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif kind == "metaspace with newlines":
        backend = with_newline_tokens(backend)
    elif kind == "metaspace without newline":
        backend = without_bytes(backend)
    elif kind == "newline and indentation":
        split = pre_tokenizers.Split(Regex(EMBEDDED_SPLIT), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    elif kind == "prefix space":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
    elif kind == "normalised":
        backend.normalizer = normalizers.NFKC()
        backend.add_tokens([AddedToken("<|fim_prefix|>", normalized=True, special=False)])
    backend.save(str(folder / "tokenizer.json"))
    return read(folder)


def with_newline_tokens(backend: Backend) -> Backend:
    """The same with newlines in the vocabulary that merge, as Gemma has them, in place of bytes UTF-8 has not."""
    content = json.loads(backend.to_str())
    names = {"<0xF8>": "\n", "<0xF9>": "\n\n", "<0xFA>": "\n\n\n", "<0xFB>": "\nd"}
    content["model"]["vocab"] = {names.get(token, token): id for token, id in content["model"]["vocab"].items()}
    content["model"]["merges"] += [["\n", "\n"], ["\n\n", "\n"], ["\n", "d"]]
    return Backend.from_str(json.dumps(content))


def without_bytes(backend: Backend) -> Backend:
    """The same without a newline: it is unknown, like every character that the vocabulary lacks."""
    content = json.loads(backend.to_str())
    content["model"]["byte_fallback"] = False
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {
        chr(0xE000 + id) if token.startswith("<0x") else token: id for token, id in vocabulary.items()
    }
    return Backend.from_str(json.dumps(content))
