"""Adapters: a model with one writes what mlx-lm writes with it, and one that does not fit is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError, ModelTooLargeError
from tests.engine.engines import collect
from tests.mlx_thread import run_with_mlx
from tests.models import build_model

PROMPT = (*range(40, 90), 7, 99)
N_TOKENS = 24
CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"


def write_adapter(
    folder: Path, model: Path, *, kind: str = "lora", n_layers: int = 2, keys: Any = None, scale: float = 10.0
) -> Path:
    """An adapter as `mlx_lm.lora` writes it, with random matrices that change what the model says."""

    def write() -> None:
        import mlx.core as mx
        from mlx.utils import tree_flatten
        from mlx_lm.tuner.utils import linear_to_lora_layers
        from mlx_lm.utils import load_model

        mx.random.seed(0)
        network, _ = load_model(model)
        network.freeze()
        parameters = {"rank": 4, "scale": scale, "dropout": 0.1, **({} if keys is None else {"keys": keys})}
        config = {"fine_tune_type": kind, "num_layers": n_layers, "lora_parameters": parameters, "model": "somewhere"}
        if kind == "full":
            for layer in network.layers[-n_layers:]:
                layer.unfreeze()
        else:
            linear_to_lora_layers(network, n_layers, parameters, use_dora=kind == "dora")
        key = mx.random.key(3)
        tensors = {}
        for name, tensor in tree_flatten(network.trainable_parameters()):
            key, own = mx.random.split(key)
            size = 1.0 if name.endswith(".m") else 0.3
            tensors[name] = tensor + size * mx.random.normal(tensor.shape, key=own).astype(tensor.dtype)
        folder.mkdir(exist_ok=True)
        mx.save_safetensors(str(folder / WEIGHTS), tensors)
        (folder / CONFIG).write_text(json.dumps(config))

    run_with_mlx(write)
    return folder


def mlx_lm_tokens(model: Path, adapter: Path | None) -> list[int]:
    """What mlx-lm alone writes, greedily."""

    def generate() -> list[int]:
        import mlx.core as mx
        from mlx_lm import load
        from mlx_lm.generate import generate_step

        network, _ = load(str(model), adapter_path=None if adapter is None else str(adapter))[:2]
        steps = generate_step(mx.array(PROMPT), network, max_tokens=N_TOKENS)
        return [int(token) for token, _ in steps]

    return run_with_mlx(generate)


async def engine_tokens(engine: Engine, model: Path, adapter: Path | None) -> list[int]:
    spec = ModelSpec(str(model), adapter_path=None if adapter is None else str(adapter))
    tokens, _ = await collect(engine, await engine.load(spec), GenerationRequest(PROMPT, N_TOKENS))
    return [token.id for token in tokens]


@pytest.mark.parametrize(
    ("kind", "bits"), [("lora", None), ("lora", 8), ("dora", None), ("dora", 8), ("full", None)], ids=str
)
async def test_an_adapter_acts_as_in_mlx_lm(kind: str, bits: Any, tmp_path: Path) -> None:
    model = build_model(tmp_path / "model", "llama", bits=bits)
    adapter = write_adapter(tmp_path / "adapter", model, kind=kind)
    expected = mlx_lm_tokens(model, adapter)
    base = mlx_lm_tokens(model, None)
    assert expected != base
    async with Engine() as engine:
        assert await engine_tokens(engine, model, adapter) == expected
        assert await engine_tokens(engine, model, None) == base
        names = [resident.name for resident in engine.models]
        assert names == ["model with adapter", "model"], "with and without it are two models"


async def test_an_adapter_of_experts_acts_as_in_mlx_lm(tmp_path: Path, tiny_gpt_oss: Path) -> None:
    keys = ["self_attn.q_proj", "mlp.experts.gate_proj", "mlp.experts.down_proj"]
    adapter = write_adapter(tmp_path / "adapter", tiny_gpt_oss, n_layers=4, keys=keys)
    async with Engine() as engine:
        tokens = await engine_tokens(engine, tiny_gpt_oss, adapter)
    assert tokens == mlx_lm_tokens(tiny_gpt_oss, adapter) != mlx_lm_tokens(tiny_gpt_oss, None)


async def test_weights_that_stay_as_they_are_stored_keep_the_adapter_beside_them(tmp_path: Path) -> None:
    """A budget that float32 would break: nothing is fused, as on a GPU."""
    model = build_model(tmp_path / "model", "llama", weight_type="bfloat16")
    adapter = write_adapter(tmp_path / "adapter", model)
    n_bytes = (model / "model.safetensors").stat().st_size + (adapter / WEIGHTS).stat().st_size
    async with Engine() as engine:
        spec = ModelSpec(str(model), adapter_path=str(adapter), memory_budget_bytes=n_bytes + 1000)
        loaded = await engine.load(spec)
        assert "float32 does not fit" in loaded.precision
        tokens, _ = await collect(engine, loaded, GenerationRequest(PROMPT, N_TOKENS))
        assert [token.id for token in tokens] == mlx_lm_tokens(model, adapter)
        with pytest.raises(ModelTooLargeError):
            await engine.load(ModelSpec(str(model), adapter_path=str(adapter), memory_budget_bytes=n_bytes - 1000))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without_a_matrix(file: Path) -> None:
    data = file.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    header.pop(next(name for name in header if name.endswith("lora_b")))
    new = json.dumps(header).encode()
    file.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + n_header :])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: f.rename(f.with_name("elsewhere")), "There is no adapter folder"),
    "no config": (lambda f: (f / CONFIG).unlink(), "it has no adapter_config.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "it has no adapters.safetensors"),
    "broken JSON": (lambda f: (f / CONFIG).write_text("{"), "cannot be read"),
    "a list": (lambda f: (f / CONFIG).write_text("[]"), "holds no settings"),
    "an adapter of PEFT": (lambda f: edit(f / CONFIG, peft_type="LORA"), "of the PEFT library"),
    "weights cut short": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-100]), "cut short by 100"),
    "no parameters": (lambda f: edit(f / CONFIG, lora_parameters=None), "does not fit model"),
    "another rank": (
        lambda f: edit(f / CONFIG, lora_parameters={"rank": 8, "scale": 1.0, "dropout": 0.0}),
        "does not match model parameter shape",
    ),
    "fewer layers": (lambda f: edit(f / CONFIG, num_layers=1), "not an adapter parameter in the model"),
    "a matrix is missing": (lambda f: without_a_matrix(f / WEIGHTS), "1 of its 28 matrices are missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_named_with_its_remedy(fault: str, tmp_path: Path) -> None:
    model = build_model(tmp_path / "model", "llama")
    adapter = write_adapter(tmp_path / "adapter", model)
    damage, words = FAULTS[fault]
    damage(adapter)
    await refused(model, adapter, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 128, "head_dim": 32}, "does not match model parameter shape"),
        ({"num_hidden_layers": 4}, "not an adapter parameter in the model"),
    ],
    ids=["wider", "deeper"],
)
async def test_an_adapter_of_another_model_is_refused(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = build_model(tmp_path / "model", "llama")
    other = build_model(tmp_path / "other", "llama", config=config)
    await refused(other, write_adapter(tmp_path / "adapter", model), words)


async def test_the_base_model_loads_after_an_adapter_was_refused(tmp_path: Path, tiny_llama: Path) -> None:
    async with Engine() as engine:
        with pytest.raises(ModelError):
            await engine.load(ModelSpec(str(tiny_llama), adapter_path=str(tmp_path / "nothing")))
        assert await engine_tokens(engine, tiny_llama, None) == mlx_lm_tokens(tiny_llama, None)


async def test_no_program_of_an_adapter_runs(tmp_path: Path, tiny_llama: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", tiny_llama)
    witness = tmp_path / "witness"
    for name in ("evil.py", "__init__.py", "adapters.py"):
        (adapter / name).write_text(f"open({str(witness)!r}, 'w').close()")
    edit(adapter / CONFIG, model_file="evil.py", auto_map={"AutoModel": "evil.Evil"}, trust_remote_code=True)
    async with Engine() as engine:
        assert await engine_tokens(engine, tiny_llama, adapter) == mlx_lm_tokens(tiny_llama, adapter)
    assert not witness.exists()


async def refused(model: Path, adapter: Path, words: str) -> None:
    async with Engine() as engine:
        with pytest.raises(ModelError) as caught:
            await engine.load(ModelSpec(str(model), adapter_path=str(adapter)))
        assert engine.models == ()
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 700
    assert any(remedy in message for remedy in ("Name a folder", "Choose", "again")), message
