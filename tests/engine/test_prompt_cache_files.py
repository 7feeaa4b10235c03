"""Prompt caches in files: exchanged with mlx-lm both ways, found by prefix, refused where they do not belong."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.errors import PromptTooLongError, UserError
from tests.engine.engines import collect, loaded, on_worker
from tests.engine.mlx_lm_alone import mlx_lm_alone
from tests.engine.test_interleaving import prompt_of
from tests.mlx_thread import run_with_mlx
from tests.models import build_model

KINDS = ["tiny_llama", "tiny_qwen2", "tiny_gpt_oss"]
HELD, MORE = prompt_of(1, 300), prompt_of(2, 40)


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


async def ids(engine: Engine, model: Model, prompt: tuple[int, ...]) -> tuple[list[int], int]:
    """What is written after a prompt, and how many of its tokens came from a cache."""
    tokens, stats = await collect(engine, model, GenerationRequest(prompt, 20))
    return [token.id for token in tokens], stats.reused_tokens


def mlx_lm_cache_prompt(folder: Path, text: str, file: Path) -> None:
    """mlx-lm's own program, with the text on its standard input."""
    command = ["--model", str(folder), "--prompt", "-", "--prompt-cache-file", str(file)]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mlx_lm", "cache_prompt", *command],
        input=text.encode(),
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("n_held", [1, 100, 300])
async def test_a_saved_cache_serves_another_engine(folder: Path, tmp_path: Path, n_held: int) -> None:
    file = tmp_path / "cache.safetensors"
    held = HELD[:n_held]
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        expected, _ = await ids(engine, model, held + MORE)
        # It held more than is wanted, less, and the very tokens.
        for _ in range(2):
            await engine.save_prompt_cache(model, file, held)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [file.name]
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        assert await engine.load_prompt_cache(model, file) == held
        assert await ids(engine, model, held + MORE) == (expected, n_held)


async def test_mlx_lm_goes_on_from_a_saved_cache(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        reference = await mlx_lm_alone(engine, model, GenerationRequest(HELD + MORE, 20))
        await engine.save_prompt_cache(model, file, HELD)

        def continued() -> tuple[list[int], dict[str, str]]:
            import mlx.core as mx
            from mlx_lm.generate import generate_step
            from mlx_lm.models.cache import load_prompt_cache

            cache, metadata = load_prompt_cache(str(file), return_metadata=True)
            network = engine._contexts[id(model)].network
            steps = generate_step(mx.array(list(MORE)), network, max_tokens=20, prompt_cache=cache)
            return [int(token) for token, _ in steps], metadata

        written, metadata = await on_worker(engine, continued)
    assert written == reference.ids
    assert json.loads(metadata["tokens"]) == list(HELD)
    assert metadata["model"] == str(folder)
    assert metadata["model_type"] == model.model_type


async def test_a_file_of_mlx_lm_cache_prompt_is_loaded(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    text = "def add(left, right):\n    return left + right\n" * 6
    mlx_lm_cache_prompt(folder, text, file)
    messages = [{"role": "user", "content": text}]
    async with loaded(folder) as (engine, model):
        held = tuple(
            model.tokenizer._wrapper.apply_chat_template(
                messages, add_generation_prompt=False, continue_final_message=True
            )
        )
        expected, _ = await ids(engine, model, held + MORE)
    async with loaded(folder) as (engine, model):
        with pytest.raises(UserError, match="does not say which tokens"):
            await engine.load_prompt_cache(model, file)
        with pytest.raises(UserError, match=f"holds {len(held)} tokens, and {len(held) - 1} are named"):
            await engine.load_prompt_cache(model, file, held[:-1])
        assert await engine.load_prompt_cache(model, file, held) == held
        assert await ids(engine, model, held + MORE) == (expected, len(held))


async def test_a_prompt_tells_what_a_file_without_tokens_holds(folder: Path, tmp_path: Path) -> None:
    """Every token counts, also behind those by which the model is known."""
    file = tmp_path / "cache.safetensors"
    async with loaded(folder) as (engine, model):
        expected, _ = await ids(engine, model, HELD + MORE)
        await engine.save_prompt_cache(model, file, HELD)
    rewrite(file, lambda layers, metadata: (layers, {}))
    async with loaded(folder) as (engine, model):
        for place in (100, 299):
            other = (*HELD[:place], HELD[place] + 1, *HELD[place + 1 :], *MORE)
            with pytest.raises(UserError, match="holds other tokens"):
                await engine.load_prompt_cache(model, file, prompt=other)
        with pytest.raises(UserError, match="holds 300, and the prompt has 299"):
            await engine.load_prompt_cache(model, file, prompt=HELD[:-1])
        assert await engine.load_prompt_cache(model, file, prompt=HELD + MORE) == HELD
        assert await ids(engine, model, HELD + MORE) == (expected, len(HELD))


async def test_a_quantised_file_without_tokens_is_known_by_its_prompt(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "wide-llama", "llama", config={"head_dim": 64})
    options = CacheOptions(kv_bits=2, quantized_kv_start=0)
    file = tmp_path / "cache.safetensors"
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(folder), cache_options=options))
        await engine.save_prompt_cache(model, file, HELD)
    rewrite(file, lambda layers, metadata: (layers, {}))
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(folder), cache_options=options))
        with pytest.raises(UserError, match="holds other tokens"):
            await engine.load_prompt_cache(model, file, prompt=(*HELD[:150], HELD[150] + 1, *HELD[151:]))
        assert await engine.load_prompt_cache(model, file, prompt=HELD + MORE) == HELD


async def test_which_caches_can_be_cut_is_known(tiny_llama: Path, tiny_gpt_oss: Path) -> None:
    async with Engine() as engine:
        assert await engine.can_cut_prompt_caches(await engine.load(ModelSpec(str(tiny_llama))))
        assert not await engine.can_cut_prompt_caches(await engine.load(ModelSpec(str(tiny_gpt_oss))))


async def test_a_saved_cache_leaves_those_at_rest_alone(tiny_llama: Path, tmp_path: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await collect(engine, model, GenerationRequest(HELD, 10, cache_owner="chat"))
        before = await engine._call(lambda: engine._contexts[id(model)].prompt_cache.n_bytes)
        await engine.save_prompt_cache(model, tmp_path / "cache.safetensors", HELD[:50])
        cache = engine._contexts[id(model)].prompt_cache
        assert await on_worker(engine, lambda: [(e.owner, len(e.tokens)) for e in cache._entries]) == [("chat", 309)]
        assert await on_worker(engine, lambda: cache.n_bytes) == before
        whole, reused = await ids(engine, model, HELD + MORE)
        assert reused == 300
    # Neither what was trimmed nor the room behind it is written: keys and values of 2 layers, 2 heads of 16 float32.
    n_values = 50 * 2 * 2 * 2 * 16 * 4
    assert n_values < (tmp_path / "cache.safetensors").stat().st_size < n_values + 4000
    assert len(whole) == 20


async def test_a_quantised_cache_is_loaded_with_the_same_options_only(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "wide-llama", "llama", config={"head_dim": 64})
    file = tmp_path / "cache.safetensors"

    def spec(**options: Any) -> ModelSpec:
        return ModelSpec(str(folder), cache_options=CacheOptions(**options))

    quantised = spec(kv_bits=4, quantized_kv_start=0)
    async with Engine(prefill_step_tokens=64) as engine:
        model = await engine.load(quantised)
        await engine.save_prompt_cache(model, file, HELD)
        expected, _ = await ids(engine, model, HELD + MORE)
    async with Engine(prefill_step_tokens=64) as engine:
        model = await engine.load(quantised)
        await engine.load_prompt_cache(model, file)
        assert await ids(engine, model, HELD + MORE) == (expected, 300)
        for options in ({}, {"kv_bits": 8}, {"kv_bits": 4, "kv_group_size": 32}):
            other = await engine.load(spec(**options))
            with pytest.raises(UserError, match=r"Load wide-llama with kv_bits=4 and kv_group_size=64"):
                await engine.load_prompt_cache(other, file)


async def test_a_bounded_cache_is_loaded_past_its_bound(tiny_qwen2: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"

    def spec(size: int) -> ModelSpec:
        return ModelSpec(str(tiny_qwen2), cache_options=CacheOptions(max_kv_size=size))

    async with Engine(prefill_step_tokens=64) as engine:
        model = await engine.load(spec(100))
        expected, _ = await ids(engine, model, HELD + MORE)
        await engine.save_prompt_cache(model, file, HELD)
    async with Engine(prefill_step_tokens=64) as engine:
        model = await engine.load(spec(100))
        await engine.load_prompt_cache(model, file)
        assert await ids(engine, model, HELD + MORE) == (expected, 300)
        other = await engine.load(spec(90))
        with pytest.raises(UserError, match=r"RotatingKVCache of 100 tokens .* RotatingKVCache of 90 tokens"):
            await engine.load_prompt_cache(other, file)


async def test_a_cache_of_another_model_is_refused(tiny_llama: Path, tiny_gpt_oss: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    async with loaded(tiny_llama) as (engine, model):
        await engine.save_prompt_cache(model, file, HELD)
    others = {
        "model_type": tiny_gpt_oss,
        "n_layers": build_model(tmp_path / "deeper", "llama", config={"num_hidden_layers": 3}),
        "config_sha256": build_model(tmp_path / "other", "llama", config={"rope_theta": 20_000.0}),
        "weights_sample_sha256": build_model(tmp_path / "tuned", "llama", seed=1),
    }
    for key, other in others.items():
        async with loaded(other) as (engine, model):
            with pytest.raises(UserError, match=rf"is not {other.name} as it is here: {key} differs"):
                await engine.load_prompt_cache(model, file)
            assert (await ids(engine, model, HELD + MORE))[1] == 0


async def test_without_a_word_on_the_model_the_values_tell(tiny_llama: Path, tmp_path: Path) -> None:
    """Files of mlx-lm name no model that could be compared; the keys of another one would be continued silently."""
    file = tmp_path / "cache.safetensors"
    async with loaded(tiny_llama) as (engine, model):
        await engine.save_prompt_cache(model, file, HELD)
    rewrite(file, lambda layers, metadata: (layers, {}))
    others = {
        "its values are others": build_model(tmp_path / "tuned", "llama", seed=1),
        "other layers": build_model(tmp_path / "deeper", "llama", config={"num_hidden_layers": 3}),
        "its heads are others": build_model(tmp_path / "wider", "llama", config={"head_dim": 32}),
    }
    for fault, other in others.items():
        async with loaded(other) as (engine, model):
            with pytest.raises(UserError, match=fault):
                await engine.load_prompt_cache(model, file, HELD)
    async with loaded(tiny_llama) as (engine, model):
        with pytest.raises(UserError, match="its values are others"):
            await engine.load_prompt_cache(model, file, HELD[::-1])
        assert await engine.load_prompt_cache(model, file, HELD) == HELD


def rewrite(file: Path, change: Callable[[list[Any], dict[str, str]], tuple[list[Any], dict[str, str]]]) -> None:
    """Change the layers or the metadata of a file."""

    def run() -> None:
        from mlx_lm.models.cache import load_prompt_cache, save_prompt_cache

        layers, metadata = change(*load_prompt_cache(str(file), return_metadata=True))
        changed = file.with_name("changed.safetensors")
        save_prompt_cache(str(changed), layers, metadata)
        changed.replace(file)

    run_with_mlx(run)


def without_some_keys(layers: list[Any], metadata: dict[str, str]) -> tuple[list[Any], dict[str, str]]:
    layers[1].keys = layers[1].keys[:, :, :200]
    return layers, metadata


def in_half_precision(layers: list[Any], metadata: dict[str, str]) -> tuple[list[Any], dict[str, str]]:
    import mlx.core as mx

    for layer in layers:
        layer.keys, layer.values = layer.keys.astype(mx.float16), layer.values.astype(mx.float16)
    return layers, metadata


def of_no_keys(layers: list[Any], metadata: dict[str, str]) -> tuple[list[Any], dict[str, str]]:
    layers[0].keys = None
    return layers, metadata


def with_tokens(tokens: str) -> Callable[[list[Any], dict[str, str]], tuple[list[Any], dict[str, str]]]:
    return lambda layers, metadata: (layers, metadata | {"tokens": tokens})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def of_text(file: Path) -> None:
    file.write_text("This is no cache. " * 100)


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (cut, "damaged"),
    (emptied, "damaged"),
    (of_text, "damaged"),
    (Path.unlink, "cannot be read"),
    (lambda file: rewrite(file, without_some_keys), "lacks some of its tokens"),
    (lambda file: rewrite(file, in_half_precision), "holds float16, and tiny-llama runs in float32 here"),
    (lambda file: rewrite(file, of_no_keys), "damaged"),
    (lambda file: rewrite(file, with_tokens("[1, 2")), "its tokens cannot be read"),
    (lambda file: rewrite(file, with_tokens("[]")), "its tokens are none"),
    (lambda file: rewrite(file, with_tokens('["a"]')), "its tokens are none"),
    (lambda file: rewrite(file, with_tokens("[999999]")), "other layers or tokens"),
    (lambda file: rewrite(file, with_tokens("[32, 33]")), "holds 300 tokens, and 2 are named"),
]


@pytest.mark.parametrize(("damage", "fault"), FAULTS)
async def test_a_file_that_cannot_be_used_is_refused_and_nothing_is_lost(
    tiny_llama: Path, tmp_path: Path, damage: Callable[[Path], object], fault: str
) -> None:
    file = tmp_path / "cache.safetensors"
    async with loaded(tiny_llama) as (engine, model):
        await engine.save_prompt_cache(model, file, HELD)
        expected, _ = await ids(engine, model, HELD + MORE)
        damage(file)
        with pytest.raises(UserError, match=fault):
            await engine.load_prompt_cache(model, file)
        assert await ids(engine, model, HELD + MORE) == (expected, 339)


async def test_other_safetensors_files_are_no_caches(tiny_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    shutil.copyfile(tiny_llama / "model.safetensors", file)
    async with loaded(tiny_llama) as (engine, model):
        with pytest.raises(UserError, match="not a prompt cache"):
            await engine.load_prompt_cache(model, file)
        with pytest.raises(UserError, match=r"must end in \.safetensors"):
            await engine.load_prompt_cache(model, tmp_path / "cache.npz")


async def test_what_cannot_be_written_leaves_the_old_file_as_it_was(tiny_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    file.mkdir()
    async with loaded(tiny_llama) as (engine, model):
        with pytest.raises(UserError, match="cannot be written"):
            await engine.save_prompt_cache(model, file, HELD)
        with pytest.raises(UserError, match="cannot be written"):
            await engine.save_prompt_cache(model, tmp_path / "nowhere" / "cache.safetensors", HELD)
        with pytest.raises(UserError, match=r"must end in \.safetensors"):
            await engine.save_prompt_cache(model, tmp_path / "cache", HELD)
        with pytest.raises(ValueError, match="empty"):
            await engine.save_prompt_cache(model, tmp_path / "empty.safetensors", ())
        with pytest.raises(PromptTooLongError):
            await engine.save_prompt_cache(model, tmp_path / "long.safetensors", HELD * 20)
    assert os.listdir(tmp_path) == [file.name]


async def test_a_budget_that_is_too_small_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "cache.safetensors"
    async with loaded(tiny_llama) as (engine, model):
        await engine.save_prompt_cache(model, file, HELD)
    async with loaded(tiny_llama, prompt_cache_bytes=1000) as (engine, model):
        with pytest.raises(UserError, match=r"Raise engine\.promptCacheMb"):
            await engine.load_prompt_cache(model, file)
        with pytest.raises(UserError, match=r"Raise engine\.promptCacheMb"):
            await engine.save_prompt_cache(model, file, HELD)
