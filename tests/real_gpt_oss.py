"""A random GPT-OSS at the real vocabulary: the files are those of a downloaded model, the network is tiny.

    build_real_gpt_oss(folder, published_ranks())

Its tokenizer knows all tokens and no merges: a word that is a token is that token, any other is spelled in bytes. Text
is thus encoded otherwise than by the real one, which its merges would take a quarter of a minute to build.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from tests.harmony_vocabulary import SPECIAL_TOKENS
from tests.models import write_model
from tests.tiny_tokenizers import byte_characters

__all__ = ["build_real_gpt_oss", "write_real_tokenizer"]

VOCABULARY_SIZE = 201_088
END_TOKENS = ("<|return|>", "<|endoftext|>", "<|call|>")

# How o200k_base cuts text into words (tiktoken, openai_public.py).
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
WORDS = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SUFFIX}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SUFFIX}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def build_real_gpt_oss(folder: Path, ranks: Sequence[bytes], *, seed: int = 0) -> Path:
    """Write a random GPT-OSS with the vocabulary of the real one. Its weights take 100 MB."""
    write_real_tokenizer(folder, ranks)
    end_ids = [SPECIAL_TOKENS[token] for token in END_TOKENS]
    return write_model(folder, "gpt_oss", VOCABULARY_SIZE, end_ids, seed=seed)


def write_real_tokenizer(folder: Path, ranks: Sequence[bytes]) -> Path:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` with all tokens of the real model; return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = byte_characters()
    vocabulary = {"".join(map(alphabet.__getitem__, token)): rank for rank, token in enumerate(ranks)}
    tokenizer = Tokenizer(BPE(vocabulary, [], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|return|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path
