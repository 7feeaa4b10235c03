"""Small models in real formats, built in milliseconds: folders that ``mlx_lm.load`` reads like any downloaded model.

    build_model(folder, "llama" | "qwen2" | "gpt_oss")   random weights at a real architecture
    build_scripted_model(folder, rules)                  a model that answers from a table (fixtures/models/scripted)
    write_tokenizer(folder, TokenizerRecipe(...))        a tokenizer alone, with the markers of some family

Weights are written with numpy, so nothing here starts MLX. They are large enough that greedy decoding wanders through
the vocabulary instead of repeating one token, and the rows of the end tokens are zero, so that a random model does not
end of itself before a test has seen the tokens it asked for.

Run ``python -m tests.models KIND FOLDER`` to have one outside pytest.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from tests.tiny_tokenizers import (
    CODE_LLAMA_MARKERS,
    FAMILY_MARKERS,
    HARMONY_MARKERS,
    QWEN_MARKERS,
    TokenizerRecipe,
    write_tokenizer,
)

__all__ = [
    "CODE_LLAMA_MARKERS",
    "FAMILY_MARKERS",
    "HARMONY_MARKERS",
    "QWEN_MARKERS",
    "ModelKind",
    "Rule",
    "TokenizerRecipe",
    "WeightType",
    "build_model",
    "build_scripted_model",
    "write_model",
    "write_tokenizer",
]

ModelKind = Literal["llama", "qwen2", "gpt_oss"]
WeightType = Literal["float32", "float16", "bfloat16"]

GROUP_SIZE = 64
"""How many values share a scale in a quantised matrix."""

SCRIPTED_ARCHITECTURE = Path(__file__).parent.parent / "fixtures" / "models" / "scripted" / "scripted.py"

CHATML_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HARMONY_TEMPLATE = (
    "{%- for message in messages %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|start|>assistant{% endif %}"
)


CHATML = TokenizerRecipe(
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>", chat_template=CHATML_TEMPLATE
)
RECIPES: Mapping[ModelKind, TokenizerRecipe] = {
    "llama": CHATML,
    "qwen2": replace(CHATML, plain=QWEN_MARKERS, tokenizer_class="Qwen2Tokenizer"),
    "gpt_oss": TokenizerRecipe(
        special=HARMONY_MARKERS, eos="<|return|>", bos="<|startoftext|>", chat_template=HARMONY_TEMPLATE
    ),
}


def build_model(
    folder: Path,
    kind: ModelKind,
    *,
    seed: int = 0,
    recipe: TokenizerRecipe | None = None,
    weight_type: WeightType = "float32",
    bits: Literal[4, 8] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a random model of an architecture, quantised to ``bits`` where they are given.

    ``config`` overrides keys of ``config.json``, sizes included.
    """
    recipe = recipe or RECIPES[kind]
    tokenizer = write_tokenizer(folder, recipe)
    eos_ids = _end_ids(tokenizer, recipe)
    n_tokens = tokenizer.get_vocab_size()
    return write_model(folder, kind, n_tokens, eos_ids, seed=seed, weight_type=weight_type, bits=bits, config=config)


def write_model(
    folder: Path,
    kind: ModelKind,
    vocabulary_size: int,
    eos_ids: Sequence[int],
    *,
    seed: int = 0,
    weight_type: WeightType = "float32",
    bits: Literal[4, 8] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write the random weights and the configuration of a model, beside a tokenizer that is already there."""
    full_config = _architecture(kind) | {
        "vocab_size": vocabulary_size,
        "eos_token_id": eos_ids[0],
        **({"quantization": {"group_size": GROUP_SIZE, "bits": bits, "mode": "affine"}} if bits else {}),
        **(config or {}),
    }
    _write_json(folder / "config.json", full_config)
    _write_json(folder / "generation_config.json", {"eos_token_id": list(eos_ids)})
    shapes = _tensor_shapes(full_config)
    tensors = _random_tensors(shapes, seed, eos_ids)
    _write_weights(folder / "model.safetensors", _quantised(tensors, bits) if bits else tensors, weight_type)
    return folder


@dataclass(frozen=True)
class Rule:
    """One line of a script: where the text before the cursor ends in ``after``, the model writes ``reply``.

    Both may hold the markers of the tokenizer. ``probability`` is what the model claims for every token of the reply.
    """

    after: str
    reply: str
    probability: float = 0.999


SCRIPTED_RECIPE = replace(RECIPES["qwen2"], merged=(), eos="<|endoftext|>", tokenizer_class="PreTrainedTokenizerFast")
"""One token per byte, so that the ids of a text do not depend on what stands beside it."""


def build_scripted_model(
    folder: Path,
    rules: Iterable[Rule],
    *,
    recipe: TokenizerRecipe = SCRIPTED_RECIPE,
    markers: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model that answers by ``rules``. To load it, remote code must be trusted."""
    tokenizer = write_tokenizer(folder, recipe)
    if markers is None:
        markers = {"prefix": "<|fim_prefix|>", "suffix": "<|fim_suffix|>", "middle": "<|fim_middle|>"}

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    script = [{"after": ids(rule.after), "reply": ids(rule.reply), "probability": rule.probability} for rule in rules]
    marker_ids = {name: tokenizer.token_to_id(token) for name, token in markers.items()}
    full_config = {
        "model_type": "scripted",
        "model_file": SCRIPTED_ARCHITECTURE.name,
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": tokenizer.token_to_id(recipe.eos),
        "max_position_embeddings": 4096,
        "markers": {name: marker for name, marker in marker_ids.items() if marker is not None},
        "script": script,
        **(config or {}),
    }
    _write_json(folder / "config.json", full_config)
    _write_weights(folder / "model.safetensors", {"anchor": np.zeros(1, np.float32)}, "float32")
    shutil.copyfile(SCRIPTED_ARCHITECTURE, folder / SCRIPTED_ARCHITECTURE.name)
    return folder


def _end_ids(tokenizer: Tokenizer, recipe: TokenizerRecipe) -> list[int]:
    """The end tokens, the tokenizer's own first."""
    ends = (recipe.eos, "<|endoftext|>", "<|return|>", "<|call|>")
    ids = [tokenizer.token_to_id(token) for token in dict.fromkeys(ends)]
    return [token for token in ids if token is not None]


# Weights


def _architecture(kind: ModelKind) -> dict[str, Any]:
    common = {
        "model_type": kind,
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "max_position_embeddings": 4096,
        "torch_dtype": "float32",
    }
    match kind:
        case "llama":
            return common | {"architectures": ["LlamaForCausalLM"], "head_dim": 16, "tie_word_embeddings": False}
        case "qwen2":
            return common | {"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True}
        case "gpt_oss":
            scaling = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0}
            return common | {
                "architectures": ["GptOssForCausalLM"],
                "num_hidden_layers": 4,
                "head_dim": 16,
                "intermediate_size": 64,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "sliding_window": 128,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "rope_theta": 150_000,
                "rope_scaling": scaling | {"original_max_position_embeddings": 4096, "truncate": False},
                "tie_word_embeddings": False,
            }


def _tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The names and shapes that the architecture's module in mlx-lm expects."""
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim", hidden // n_heads)
    rows = {"q_proj": n_heads * head, "k_proj": n_kv_heads * head, "v_proj": n_kv_heads * head, "o_proj": hidden}
    with_bias = {"llama": (), "qwen2": ("q_proj", "k_proj", "v_proj"), "gpt_oss": tuple(rows)}[kind]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        for name, n_rows in rows.items():
            shapes[f"{layer}.self_attn.{name}.weight"] = (n_rows, n_heads * head if name == "o_proj" else hidden)
            if name in with_bias:
                shapes[f"{layer}.self_attn.{name}.bias"] = (n_rows,)
        linear = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        if kind != "gpt_oss":
            shapes |= {f"{layer}.mlp.{name}.weight": shape for name, shape in linear.items()}
            continue
        n_experts = config["num_local_experts"]
        shapes[f"{layer}.self_attn.sinks"] = (n_heads,)
        shapes[f"{layer}.mlp.router.weight"] = (n_experts, hidden)
        shapes[f"{layer}.mlp.router.bias"] = (n_experts,)
        for name, shape in linear.items():
            shapes[f"{layer}.mlp.experts.{name}.weight"] = (n_experts, *shape)
            shapes[f"{layer}.mlp.experts.{name}.bias"] = (n_experts, shape[0])
    return shapes


def _random_tensors(
    shapes: Mapping[str, tuple[int, ...]], seed: int, silent_rows: Sequence[int]
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        if "norm" in name:
            tensors[name] = np.ones(shape, np.float32)
            continue
        scale = 1.5 / np.sqrt(shape[-1]) if name.endswith("weight") else 0.5
        tensors[name] = (random.standard_normal(shape) * scale).astype(np.float32)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name][list(silent_rows)] = 0
    return tensors


def _quantised(tensors: Mapping[str, np.ndarray], bits: int) -> dict[str, np.ndarray]:
    """The matrices as mlx packs them: a scale and a bias per group, the values in 32-bit words, low bits first."""
    packed: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 1 or not name.endswith(".weight"):
            packed[name] = tensor
            continue
        groups = tensor.reshape(*tensor.shape[:-1], -1, GROUP_SIZE)
        lowest, highest = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
        scales = np.maximum(highest - lowest, 1e-6) / (2**bits - 1)
        values = np.rint((groups - lowest) / scales).astype(np.uint32).reshape(*tensor.shape[:-1], -1, 32 // bits)
        shifts = np.arange(0, 32, bits, dtype=np.uint32)
        packed[name] = np.bitwise_or.reduce(values << shifts, axis=-1)
        packed[name.replace(".weight", ".scales")] = scales[..., 0].astype(np.float32)
        packed[name.replace(".weight", ".biases")] = lowest[..., 0].astype(np.float32)
    return packed


def _write_weights(path: Path, tensors: Mapping[str, np.ndarray], weight_type: WeightType) -> None:
    """Write a safetensors file: header length, header, data. By hand, since numpy knows no bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    chunks: list[bytes] = []
    end = 0
    for name, tensor in tensors.items():
        match "words" if tensor.dtype == np.uint32 else weight_type:
            case "words":
                type_name, chunk = "U32", tensor.tobytes()
            case "float32":
                type_name, chunk = "F32", tensor.tobytes()
            case "float16":
                type_name, chunk = "F16", tensor.astype(np.float16).tobytes()
            case "bfloat16":
                type_name, chunk = "BF16", (tensor.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        start, end = end, end + len(chunk)
        header[name] = {"dtype": type_name, "shape": tensor.shape, "data_offsets": [start, end]}
        chunks.append(chunk)
    header_bytes = json.dumps(header).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)
    path.write_bytes(len(header_bytes).to_bytes(8, "little") + header_bytes + b"".join(chunks))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    requested_kind, folder_name = sys.argv[1:3]
    if requested_kind == "scripted":
        replies = json.loads(sys.stdin.read())
        build_scripted_model(Path(folder_name), [Rule(**reply) for reply in replies])
    else:
        build_model(Path(folder_name), requested_kind)  # type: ignore[arg-type]
