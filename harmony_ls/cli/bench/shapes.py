"""Model shapes that the bench can make itself: real architectures and sizes, with random weights, or with weights under
which they say a text by heart.

The tokenizer is that of the embedded model with the markers of the family added, so nothing is downloaded.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_ls import embedded
from harmony_ls.cli.bench.chat_templates import CHAT_ML, HARMONY
from harmony_ls.cli.bench.recitation import Recitation, is_marker
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.measuring.random_weights import write_random_weights
from harmony_ls.engine.measuring.recited_weights import write_recited_weights

__all__ = ["SHAPES", "Shape", "write_shape"]

_HARMONY_MARKERS = ("return", "constrain", "channel", "start", "end", "message", "call")
_CHAT_MARKERS = ("im_start", "im_end")


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape: its ``config.json`` without the sizes of the vocabulary, which ``vocab_size`` overrides if it is set."""

    config: Mapping[str, Any]
    mxfp4: bool = False
    vocab_size: int | None = None

    @property
    def is_harmony(self) -> bool:
        """Whether the family speaks Harmony."""
        return bool(self.config["model_type"] == "gpt_oss")


def _gpt_oss(n_layers: int, hidden: int, n_experts: int, n_heads: int) -> dict[str, Any]:
    scaling = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
    return {
        "model_type": "gpt_oss",
        "num_hidden_layers": n_layers,
        "hidden_size": hidden,
        "intermediate_size": hidden,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_heads // 8,
        "head_dim": 64,
        "num_local_experts": n_experts,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * (n_layers // 2),
        "rms_norm_eps": 1e-5,
        "rope_theta": 150_000,
        "rope_scaling": scaling | {"original_max_position_embeddings": 4096},
        "max_position_embeddings": 131_072,
    }


def _llama(n_layers: int, hidden: int, n_heads: int, context: int = 32_768) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": n_layers,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_heads // 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
    }


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape(_llama(n_layers=2, hidden=64, n_heads=2, context=4_096)),
    "llama": Shape(_llama(n_layers=8, hidden=512, n_heads=8)),
    "llama-deep": Shape(_llama(n_layers=40, hidden=512, n_heads=8)),
    "gpt-oss": Shape(_gpt_oss(n_layers=8, hidden=384, n_experts=8, n_heads=8)),
    "gpt-oss-20b": Shape(_gpt_oss(n_layers=24, hidden=2880, n_experts=32, n_heads=64), mxfp4=True, vocab_size=201_088),
}
"""``tiny`` costs next to nothing; ``llama`` and ``gpt-oss`` are small enough for two processor cores; ``llama-deep`` is
``llama`` with five times the layers, so with steps several times as long; ``gpt-oss-20b`` is the published one's size
(its model card: 24 layers, 32 experts of which 4 are active, a window of 128 tokens) and wants a GPU."""


async def write_shape(engine: Engine, shape: Shape, folder: Path, recitation: Recitation | None = None) -> Path:
    """Write a model of a shape into ``folder``: tokenizer, configuration, weights.

    The weights are random, and the model never ends an answer of itself, unless there is a ``recitation``: then it says
    that in every answer.
    """
    if recitation is None:
        silent = await asyncio.to_thread(_write_small_files, shape, folder)
        await write_random_weights(engine, folder, silent, mxfp4=shape.mxfp4)
    else:
        successors = await asyncio.to_thread(_write_recited, shape, folder, recitation)
        await write_recited_weights(engine, folder, successors)
    return folder


def _write_small_files(shape: Shape, folder: Path) -> list[int]:
    """Everything but the weights; returns the tokens that the model shall never write of itself."""
    ids = _write_tokenizer(folder, shape)
    n_tokens = max(ids.values()) + 1
    _write_config(folder, shape, ids, shape.vocab_size or n_tokens)
    # The rest of a padded vocabulary too: the tokenizer knows no text for it.
    return [0, *ids.values(), *range(n_tokens, shape.vocab_size or n_tokens)]


def _write_recited(shape: Shape, folder: Path, recitation: Recitation) -> dict[int, int]:
    """The same with the tokens of a recitation; returns for each of them, and for the end of a prompt, the next one."""
    vocabulary = _base_tokenizer()["model"]["vocab"]
    pieces = recitation.pieces(vocabulary)
    ids = _write_tokenizer(folder, shape, [piece for piece in pieces if not is_marker(piece)])
    _write_config(folder, shape, ids, max(ids.values()) + 1)
    said = [ids[piece] for piece in pieces]
    # With these the templates end a prompt: "assistant", or the line end behind it.
    last = vocabulary["assistant" if shape.is_harmony else "\u010a"]
    successors = dict(zip((last, *said), said, strict=False))
    return successors | ({said[-1]: said[0]} if recitation.is_endless else {})


def _write_config(folder: Path, shape: Shape, ids: Mapping[str, int], n_tokens: int) -> None:
    end = ids["<|return|>"] if shape.is_harmony else ids["<|im_end|>"]
    config = {**shape.config, "vocab_size": n_tokens, "eos_token_id": end}
    if shape.is_harmony:
        config["eos_token_id"] = [end, ids["<|call|>"]]
    if shape.mxfp4:
        config["quantization"] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _base_tokenizer() -> dict[str, Any]:
    """The embedded model's tokenizer."""
    tokenizer: dict[str, Any] = json.loads((embedded.folder() / "tokenizer.json").read_text(encoding="utf-8"))
    return tokenizer


def _write_tokenizer(folder: Path, shape: Shape, pieces: Sequence[str] = ()) -> dict[str, int]:
    """The embedded model's tokenizer with further tokens and the markers of the family; returns the ids of both."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _base_tokenizer()
    vocabulary, like = tokenizer["model"]["vocab"], tokenizer["added_tokens"][0]
    markers = [f"<|{name}|>" for name in (_HARMONY_MARKERS if shape.is_harmony else _CHAT_MARKERS)]
    ids = {token: len(vocabulary) + index for index, token in enumerate((*pieces, *markers))}
    vocabulary |= {piece: ids[piece] for piece in pieces}
    tokenizer["added_tokens"] += [like | {"id": ids[marker], "content": marker} for marker in markers]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = json.loads((embedded.folder() / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = HARMONY if shape.is_harmony else CHAT_ML
    settings["eos_token"] = "<|return|>" if shape.is_harmony else "<|im_end|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return ids
