"""Train the tokenizer: byte-level BPE over a split in which newline and indentation are one unit.

BPE never merges across two units of the split, so a prompt cut at the start of a unit has the same tokens as the
uncut text: that is what token healing relies on. Writes `tokenizer.json` and `tokenizer_config.json`.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"
FIM_PREFIX = "<|fim_prefix|>"
FIM_SUFFIX = "<|fim_suffix|>"
FIM_MIDDLE = "<|fim_middle|>"
FIM_PAD = "<|fim_pad|>"
SPECIAL_TOKENS = [END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD]

# In this order: line ends with the indentation after them; runs of blanks; a word or a run of punctuation with at
# most one space before it; whatever blank is left.
SPLIT = r"(?:[ \t]*\r?\n)+[ \t]*|[ \t]{2,}| ?[\p{L}\p{N}_]+| ?[^\s\p{L}\p{N}_]+|\s"


def read_corpus(path: Path) -> Iterator[str]:
    """The files of a corpus, one by one."""
    with lzma.open(path, "rt", encoding="utf-8", newline="") as corpus:
        rest = ""
        while block := corpus.read(1 << 24):
            *files, rest = (rest + block).split("\0")
            yield from files


def build() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.txt.xz of collect.py")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--every", type=int, default=6, help="train on every n-th file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tokenizer's two files")
    arguments = parser.parse_args()

    tokenizer = build()
    trainer = trainers.BpeTrainer(
        vocab_size=arguments.vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    sample = (text for number, text in enumerate(read_corpus(arguments.corpus)) if number % arguments.every == 0)
    tokenizer.train_from_iterator(sample, trainer)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": FIM_PAD,
        "additional_special_tokens": [FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (arguments.out / "tokenizer_config.json").write_text(json.dumps(configuration, indent=2) + "\n")

    probe = "def f(x):\n\n    return  {'a_b': [1, 2]}  # caf\u00e9\n"
    encoding = tokenizer.encode(probe)
    if tokenizer.decode(encoding.ids, skip_special_tokens=False) != probe:
        raise SystemExit("the tokenizer does not give back what it was given")
    print(f"{tokenizer.get_vocab_size()} tokens; probe: {encoding.tokens}")


if __name__ == "__main__":
    main()
