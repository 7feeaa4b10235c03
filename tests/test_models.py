"""The models that the tests stand on: mlx-lm loads them, they do not end early, and the script is followed exactly."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
from tokenizers import Tokenizer

from tests.mlx_thread import run_with_mlx
from tests.models import (
    FAMILY_MARKERS,
    QWEN_MARKERS,
    ModelKind,
    Rule,
    TokenizerRecipe,
    WeightType,
    build_model,
    write_tokenizer,
)

CODE = "def add(self, value):\n    return self.value\n"


def generate(folder: Path, prompt: str, max_tokens: int) -> tuple[list[int], str]:
    """The tokens and the text of a greedy generation by mlx-lm itself.

    The tokenizers library decodes them: mlx-lm's own detokenizer drops a space at the start.
    """

    def body() -> list[int]:
        from mlx_lm import load, stream_generate

        model, tokenizer = load(str(folder), trust_remote_code=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        return [response.token for response in stream_generate(model, tokenizer, ids, max_tokens=max_tokens)]

    tokens = run_with_mlx(body)
    return tokens, Tokenizer.from_file(str(folder / "tokenizer.json")).decode(tokens)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_oss"])
def test_random_models_wander_and_do_not_end(kind: ModelKind, tmp_path: Path) -> None:
    tokens, _ = generate(build_model(tmp_path, kind), CODE, 150)
    assert len(tokens) == 150
    assert len(set(tokens)) > 15


@pytest.mark.parametrize("weight_type", ["float16", "bfloat16"])
def test_weights_can_be_stored_in_half_precision(weight_type: WeightType, tmp_path: Path) -> None:
    tokens, _ = generate(build_model(tmp_path, "llama", weight_type=weight_type), CODE, 8)
    assert len(tokens) == 8


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights_are_the_plain_ones_rounded(bits: Literal[4, 8], tmp_path: Path) -> None:
    plain = build_model(tmp_path / "plain", "llama")
    quantised = build_model(tmp_path / "quantised", "llama", bits=bits, weight_type="float16")
    assert len(generate(quantised, CODE, 8)[0]) == 8

    def largest_error() -> float:
        import mlx.core as mx

        name = "model.layers.0.mlp.up_proj"
        expected = mx.load(str(plain / "model.safetensors"))[f"{name}.weight"]
        packed = mx.load(str(quantised / "model.safetensors"))
        parts = [packed[f"{name}.{part}"] for part in ("weight", "scales", "biases")]
        return float(mx.abs(mx.dequantize(*parts, group_size=64, bits=bits) - expected).max().item())

    assert run_with_mlx(largest_error) < {4: 0.06, 8: 0.005}[bits]


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    files = [
        (build_model(tmp_path / str(n), "llama", seed=seed) / "model.safetensors").read_bytes()
        for n, seed in enumerate((1, 1, 2))
    ]
    assert files[0] == files[1] != files[2]


PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("def add(a, b):\n    return ", id="no markers"),
        pytest.param(f"{PREFIX}def add(a, b):\n    return {SUFFIX}\nx{MIDDLE}", id="prefix, suffix, middle"),
        pytest.param(f"{PREFIX}def add(a, b):\n{SUFFIX}\nx{MIDDLE}    return ", id="line after middle"),
        pytest.param(f"{PREFIX}{SUFFIX}\nx{MIDDLE}def add(a, b):\n    return ", id="Qwen's suffix first"),
        pytest.param(f"{SUFFIX}\nx{PREFIX}def add(a, b):\n    return ", id="suffix, prefix"),
        pytest.param(f"{PREFIX}def add(a, b):\n{SUFFIX}\nx{MIDDLE}    return a +", id="in the middle of the reply"),
    ],
)
def test_a_scripted_model_replies_whatever_the_layout(
    scripted_model: Callable[[Sequence[Rule]], Path], prompt: str
) -> None:
    reply = "a + b  # π\n"
    folder = scripted_model([Rule("return ", "wrong"), Rule("(a, b):\n    return ", reply)])
    already_written = "a +" if prompt.endswith("a +") else ""
    assert generate(folder, prompt, 64)[1] == reply.removeprefix(already_written)


def test_a_scripted_model_without_a_rule_ends_at_once(scripted_model: Callable[[Sequence[Rule]], Path]) -> None:
    assert generate(scripted_model([Rule("x", "y")]), "nothing", 8)[1] == ""


@pytest.mark.parametrize("family", FAMILY_MARKERS)
def test_every_marker_is_one_token(family: str, tmp_path: Path) -> None:
    markers = FAMILY_MARKERS[family]
    tokenizer = write_tokenizer(tmp_path, TokenizerRecipe(special=markers, eos=markers[0]))
    for marker in markers:
        assert len(tokenizer.encode(marker, add_special_tokens=False).ids) == 1
    assert tokenizer.decode(tokenizer.encode(CODE + "héé→ 🙂").ids) == CODE + "héé→ 🙂"


def test_qwen_declares_its_markers_as_ordinary_tokens(tiny_qwen2: Path) -> None:
    added = Tokenizer.from_file(str(tiny_qwen2 / "tokenizer.json")).get_added_tokens_decoder().values()
    assert {token.content for token in added if not token.special} == set(QWEN_MARKERS)


def test_a_metaspace_tokenizer_falls_back_to_bytes(tmp_path: Path) -> None:
    recipe = TokenizerRecipe(special=("▁<PRE>", "▁<SUF>"), eos="</s>", bos="<s>", metaspace=True)
    tokenizer = write_tokenizer(tmp_path, recipe)
    encoding = tokenizer.encode("def f(é):\n    return 1")
    assert encoding.tokens[0] == "<s>"
    assert {"<0xC3>", "<0xA9>", "<0x0A>", "▁return"} <= set(encoding.tokens)
    assert tokenizer.decode(encoding.ids) == "def f(é):\n    return 1"
