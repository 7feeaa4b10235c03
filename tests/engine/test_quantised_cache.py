"""Quantised and bounded key-value caches: what mlx-lm generates with them, and a reason where it could not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError
from tests.engine.engines import all_ended, collect, held, on_worker, watch
from tests.engine.mlx_lm_alone import mlx_lm_alone
from tests.engine.test_interleaving import prompt_of
from tests.models import build_model

STEP = 64
WITHOUT_WINDOWS = """
from mlx_lm.models import gpt_oss
from mlx_lm.models.cache import KVCache
from mlx_lm.models.gpt_oss import ModelArgs


class Model(gpt_oss.Model):
    def make_cache(self):
        return [KVCache() for _ in self.model.layers]
"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose heads are wide enough to be quantised."""
    return build_model(tmp_path_factory.mktemp("models") / "wide-llama", "llama", config={"head_dim": 64})


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "wide-qwen2", "qwen2", config={"hidden_size": 256})


def spec_of(folder: Path, **options: Any) -> ModelSpec:
    return ModelSpec(str(folder), trust_remote_code=True, cache_options=CacheOptions(**options))


async def kinds_at_rest(engine: Engine, model: Any) -> set[str]:
    """The kinds of the layers that the prompt cache holds."""
    cache = engine._contexts[id(model)].prompt_cache
    found: set[str] = await on_worker(
        engine, lambda: {type(layer).__name__ for entry in cache._entries for layer in entry.layers}
    )
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("bits", "group_size", "start"),
    [(8, 64, 0), (4, 64, 0), (6, 32, 0), (3, 32, 0), (2, 64, 0), (8, 32, 100), (4, 64, 210), (8, 64, 5000)],
)
async def test_tokens_are_mlx_lms(
    kind: str, bits: int, group_size: int, start: int, request: pytest.FixtureRequest
) -> None:
    """Quantised from the first chunk on, from a later chunk on, while writing, and not yet."""
    options = {"kv_bits": bits, "kv_group_size": group_size, "quantized_kv_start": start}
    async with Engine(prefill_step_tokens=STEP) as engine:
        model = await engine.load(spec_of(request.getfixturevalue(kind), **options))
        for n_prompt in (1, 200):
            wanted = GenerationRequest(prompt_of(n_prompt, n_prompt), 32)
            reference = await mlx_lm_alone(engine, model, wanted, **options)
            tokens, _ = await collect(engine, model, wanted)
            assert [token.id for token in tokens] == reference.ids
            assert [token.logprob for token in tokens] == pytest.approx(reference.chosen, abs=1e-4)
        kinds = {"KVCache"} if start == 5000 else {"QuantizedKVCache"} | ({"KVCache"} if start else set())
        assert await kinds_at_rest(engine, model) == kinds


@pytest.mark.parametrize("n_shared", [100, 160], ids=["before the start", "in the chunk of the start"])
async def test_a_cache_that_was_quantised_later_does_not_stand_in_for_a_shorter_one(n_shared: int, llama: Path) -> None:
    """A fresh run of the second prompt is whole where it parts from the first, and so writes other tokens."""
    options = {"kv_bits": 2, "quantized_kv_start": 150}
    long, short = prompt_of(2, 200), (*prompt_of(2, n_shared), *prompt_of(3, 20))
    async with Engine(prefill_step_tokens=STEP) as engine:
        model = await engine.load(spec_of(llama, **options))
        await collect(engine, model, GenerationRequest(long, 8))
        assert "QuantizedKVCache" in await kinds_at_rest(engine, model)
        wanted = GenerationRequest(short, 20)
        reference = await mlx_lm_alone(engine, model, wanted, **options)
        tokens, stats = await collect(engine, model, wanted)
        assert [token.id for token in tokens] == reference.ids
        assert stats.reused_tokens == 0


async def test_quantised_caches_are_trimmed_and_continued_as_mlx_lm_does(llama: Path) -> None:
    options = {"kv_bits": 4, "quantized_kv_start": 0}
    first, rest = prompt_of(2, 200), prompt_of(3, 70)
    second = first[:150] + rest
    async with Engine(prefill_step_tokens=STEP) as engine:
        model = await engine.load(spec_of(llama, **options))

        def continued() -> list[int]:
            import mlx.core as mx
            from mlx_lm.generate import generate_step
            from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

            network = engine._contexts[id(model)].network
            cache = make_prompt_cache(network)
            step: Any = {"prompt_cache": cache, "prefill_step_size": STEP, **options}
            n_written = len([0 for _ in generate_step(mx.array(list(first)), network, max_tokens=9, **step)])
            trim_prompt_cache(cache, cache[0].offset - 150)
            assert n_written == 9
            return [int(token) for token, _ in generate_step(mx.array(list(rest)), network, max_tokens=25, **step)]

        expected = await on_worker(engine, continued)
        await collect(engine, model, GenerationRequest(first, 9, cache_owner="chat"))
        tokens, stats = await collect(engine, model, GenerationRequest(second, 25, cache_owner="chat"))
        assert stats.reused_tokens == 150
        assert [token.id for token in tokens] == expected
        assert await kinds_at_rest(engine, model) == {"QuantizedKVCache"}


async def test_another_owners_copy_leaves_the_original_alone(llama: Path) -> None:
    first = GenerationRequest(prompt_of(2, 200), 20, cache_owner="one")
    async with Engine(prefill_step_tokens=STEP) as engine:
        model = await engine.load(spec_of(llama, kv_bits=8, quantized_kv_start=0))
        await collect(engine, model, first)
        warm, _ = await collect(engine, model, first)
        other = GenerationRequest(first.prompt[:90] + prompt_of(4, 120), 20, cache_owner="other")
        _, stats = await collect(engine, model, other)
        assert stats.reused_tokens == 90
        again, stats = await collect(engine, model, first)
        assert stats.reused_tokens == 199
        assert again == warm


async def test_bytes_at_rest_are_those_of_the_quantised_layers(llama: Path) -> None:
    wanted = GenerationRequest(prompt_of(2, 250), 4)

    async def n_bytes(engine: Engine, spec: ModelSpec) -> tuple[int, int]:
        """What the prompt cache counts, and what the arrays of its layers take."""
        model = await engine.load(spec)
        await collect(engine, model, wanted)
        cache = engine._contexts[id(model)].prompt_cache

        def measure() -> tuple[int, int]:
            import mlx.core as mx
            from mlx.utils import tree_flatten

            state: Any = [layer.state for entry in cache._entries for layer in entry.layers]
            arrays = [array for _, array in tree_flatten(state) if isinstance(array, mx.array)]
            return cache.n_bytes, sum(array.nbytes for array in arrays)

        counted: tuple[int, int] = await on_worker(engine, measure)
        return counted

    async with Engine(prefill_step_tokens=STEP) as engine:
        whole, whole_arrays = await n_bytes(engine, spec_of(llama))
        quantised, quantised_arrays = await n_bytes(engine, spec_of(llama, kv_bits=8, quantized_kv_start=0))
    assert whole == whole_arrays
    assert quantised == quantised_arrays
    # Float32 values as bytes, and two float32 numbers for 64 of them.
    assert quantised / whole == pytest.approx((8 + 2 * 32 / 64) / 32)


async def test_interleaved_quantised_generations_are_as_alone(llama: Path) -> None:
    wanted = [GenerationRequest(prompt_of(seed, 60 * seed), 20) for seed in (1, 2, 3)]
    async with Engine(prefill_step_tokens=STEP, prompt_cache_bytes=0) as engine:
        model = await engine.load(spec_of(llama, kv_bits=4, quantized_kv_start=50))
        alone = [[token.id for token in (await collect(engine, model, each))[0]] for each in wanted]
        order: list[str] = []
        async with held(engine._worker):
            running = [watch(engine, model, each, order, str(index)) for index, each in enumerate(wanted)]
        await all_ended(running)
    assert [each.ids for each in running] == alone


async def test_a_bounded_cache_is_mlx_lms(qwen2: Path) -> None:
    wanted = GenerationRequest(prompt_of(2, 200), 60)
    async with Engine(prefill_step_tokens=STEP) as engine:
        model = await engine.load(spec_of(qwen2, max_kv_size=100))
        reference = await mlx_lm_alone(engine, model, wanted, max_kv_size=100)
        tokens, _ = await collect(engine, model, wanted)
        again, stats = await collect(engine, model, replace(wanted, prompt=(*wanted.prompt[:-1], tokens[0].id)))
        whole = await engine.load(spec_of(qwen2))
        free, _ = await collect(engine, whole, wanted)
    assert [token.id for token in tokens] == reference.ids
    assert [token.id for token in tokens] != [token.id for token in free], "it does forget"
    assert stats.reused_tokens == 199, "it left a checkpoint at the end of the prompt"
    assert len(again) == 60


async def refusal(folder: Path, **options: Any) -> str:
    async with Engine() as engine:
        with pytest.raises(ModelError) as caught:
            await engine.load(spec_of(folder, **options))
        assert engine.models == ()
        assert await on_worker(engine, lambda: list(engine._contexts)) == []
    return str(caught.value)


async def test_what_a_model_cannot_do_is_refused_with_the_reason(
    tiny_llama: Path, tiny_gpt_oss: Path, llama: Path, qwen2: Path, tmp_path: Path
) -> None:
    assert "cannot quantise the rotating key-value caches of tiny-gpt-oss" in await refusal(tiny_gpt_oss, kv_bits=8)
    assert "would ignore max_kv_size" in await refusal(tiny_gpt_oss, max_kv_size=100)
    assert "would ignore max_kv_size" in await refusal(llama, max_kv_size=100)
    assert "(max_kv_size)" in await refusal(qwen2, max_kv_size=100, kv_bits=8)
    assert "No group size" in await refusal(tiny_llama, kv_bits=8)
    message = await refusal(llama, kv_bits=8, kv_group_size=128)
    assert "kv_group_size 128 does not divide the head dimension of wide-llama (64). Set it to 32 or 64." in message
    # A GPT-OSS whose windows were no matter: its attention still reads no quantised keys.
    (tmp_path / "unbounded.py").write_text(WITHOUT_WINDOWS)
    unbounded = build_model(tmp_path, "gpt_oss", config={"model_file": "unbounded.py", "head_dim": 64})
    assert "attention sinks" in await refusal(unbounded, kv_bits=8)


@pytest.mark.parametrize(
    "options",
    [
        {"kv_bits": 5},
        {"kv_bits": 16},
        {"kv_group_size": 48},
        {"quantized_kv_start": -1},
        {"max_kv_size": 4},
    ],
)
def test_options_that_mlx_does_not_know_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CacheOptions(**options)
