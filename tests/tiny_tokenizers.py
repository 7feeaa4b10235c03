"""Small tokenizers in real formats: byte-level as GPT and Qwen have them, metaspace as CodeLlama and Mistral do.

They know the 256 bytes, some common words of code, and the added tokens that a test asks for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

__all__ = [
    "CODE_LLAMA_MARKERS",
    "FAMILY_MARKERS",
    "HARMONY_MARKERS",
    "MERGED",
    "QWEN_MARKERS",
    "TokenizerRecipe",
    "byte_characters",
    "write_tokenizer",
]

# How Qwen and GPT-4 cut text into words before merging bytes.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

MERGED = (
    *("def", "return", "import", "self", "print", "class", "for", "in", "if", "the", "value", "result", "add", "get"),
    *(" return", " self", " import", " =", " ==", " +", " in", " the", " value", " result", " if", " for", " None"),
    *("\n\n", "    ", "        ", "   ", "       ", "):", "()", "():", " (", "__", "//", "==", '"""', "é", "→"),
)

QWEN_MARKERS = (
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
HARMONY_MARKERS = (
    *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>"),
    *("<|message|>", "<|call|>", "<|endofprompt|>"),
)
CODE_LLAMA_MARKERS = ("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")

STARCODER_MARKERS = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")

FAMILY_MARKERS: Mapping[str, tuple[str, ...]] = {
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *QWEN_MARKERS),
    "starcoder": ("<|endoftext|>", *STARCODER_MARKERS, "<filename>", "<gh_stars>", "<reponame>"),
    "starcoder2": ("<|endoftext|>", *STARCODER_MARKERS, "<repo_name>", "<file_sep>"),
    "santacoder": ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"),
    "deepseek": ("<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "codellama": ("<s>", "</s>", *CODE_LLAMA_MARKERS),
    "codestral": ("<s>", "</s>", "[INST]", "[/INST]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"),
    "codegemma": ("<eos>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"),
    "granite4": ("<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    "seedcoder": ("<[end▁of▁sentence]>", "<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>"),
    "glm": ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"),
    "falcon": ("<|end_of_text|>", "<|prefix|>", "<|suffix|>", "<|middle|>"),
    "llama": ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
    "harmony": HARMONY_MARKERS,
}
"""The added tokens that models of each family really have; the end of text comes first or second."""


@dataclass(frozen=True)
class TokenizerRecipe:
    """What a tokenizer has beyond the 256 bytes.

    ``special`` are added tokens that are declared special, ``plain`` those declared ``special: false``, as Qwen does
    with its fill-in-the-middle markers. ``metaspace`` makes a tokenizer as CodeLlama and Mistral have one: spaces are
    ``▁``, one is put before the text, and what the vocabulary lacks falls back to bytes.
    """

    special: tuple[str, ...]
    plain: tuple[str, ...] = ()
    eos: str = "<|endoftext|>"
    bos: str | None = None
    merged: tuple[str, ...] = MERGED
    metaspace: bool = False
    chat_template: str | None = None
    tokenizer_class: str = "PreTrainedTokenizerFast"


def write_tokenizer(folder: Path, recipe: TokenizerRecipe) -> Tokenizer:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; return the same as the tokenizers library has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _metaspace_tokenizer(recipe) if recipe.metaspace else _byte_level_tokenizer(recipe)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in recipe.special])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in recipe.plain])
    if recipe.metaspace and recipe.bos:
        bos = (recipe.bos, tokenizer.token_to_id(recipe.bos))
        tokenizer.post_processor = processors.TemplateProcessing(f"{recipe.bos} $A", f"{recipe.bos} $A $B", [bos])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": recipe.tokenizer_class,
        "eos_token": recipe.eos,
        "bos_token": recipe.bos,
        "unk_token": "<unk>" if recipe.metaspace else None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": recipe.chat_template,
    }
    content = {key: value for key, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return tokenizer


def byte_characters() -> list[str]:
    """The printable character by which byte-level tokenizers write each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _byte_level_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    alphabet = byte_characters()
    words = ["".join(alphabet[byte] for byte in text.encode()) for text in recipe.merged]
    vocabulary, merges = _with_merges({character: byte for byte, character in enumerate(alphabet)}, words)
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _metaspace_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    control = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    characters = ["▁", *(chr(code) for code in range(33, 127))]
    words = [text.replace(" ", "▁") for text in recipe.merged if set(text.replace(" ", "▁")) <= set(characters)]
    base = {token: index for index, token in enumerate([*control, *characters])}
    vocabulary, merges = _with_merges(base, words)
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def _with_merges(base: dict[str, int], words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of ``base`` and all prefixes of ``words``, with every merge that spells them."""
    vocabulary, merges = dict(base), []
    for word in words:
        for length in range(2, len(word) + 1):
            token = word[:length]
            if token not in vocabulary:
                vocabulary[token] = len(vocabulary)
                splits = ((token[:cut], token[cut:]) for cut in range(1, length))
                merges += [(left, right) for left, right in splits if left in vocabulary and right in vocabulary]
    return vocabulary, merges
