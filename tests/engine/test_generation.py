"""Generations as callers see them: stop, length, cancel, close, failure, token healing."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import FinishReason, GenerationRequest, Sampling
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.errors import EngineClosedError, PromptTooLongError
from tests.engine.engines import bytes_at_rest, collect, held, loaded, on_worker, watch
from tests.engine.test_interleaving import prompt_of
from tests.models import Rule, build_model


async def test_it_ends_at_max_tokens_and_says_so(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        tokens, stats = await collect(engine, model, GenerationRequest(prompt_of(1, 40), 7))
    assert len(tokens) == stats.generated_tokens == 7
    assert stats.finish_reason is FinishReason.LENGTH
    assert (stats.prompt_tokens, stats.reused_tokens, stats.computed_tokens) == (40, 0, 40)
    assert stats.first_token_ms is not None
    assert all(token.logprob <= 0 for token in tokens)


@pytest.mark.parametrize("owed", [b"", b"abc"])
async def test_it_ends_where_the_context_is_full(tmp_path: Path, owed: bytes) -> None:
    folder = build_model(tmp_path / "short", "llama", config={"max_position_embeddings": 48})
    async with loaded(folder) as (engine, model):
        tokens, stats = await collect(engine, model, GenerationRequest(prompt_of(1, 40), 1000, owed=owed))
        assert len(tokens) == stats.generated_tokens == 8
        assert stats.finish_reason is FinishReason.LENGTH
        # Exactly as much as there is room for is not cut.
        _, exact = await collect(engine, model, GenerationRequest(prompt_of(1, 40), 8, owed=owed))
        assert (exact.generated_tokens, exact.finish_reason) == (8, FinishReason.LENGTH)


async def test_one_that_is_cancelled_before_its_first_step_says_so(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        async with held(engine._worker):
            generation = engine.generate(model, GenerationRequest(prompt_of(1, 40), 7))
            assert generation.stats.finish_reason is None
            generation.cancel()
        assert [token async for token in generation] == []
        assert generation.stats.finish_reason is FinishReason.CANCELLED
        assert generation.stats.generated_tokens == generation.stats.computed_tokens == 0


@pytest.mark.parametrize("position", [0, 1, 5])
async def test_a_stop_token_is_the_last_one(tiny_llama: Path, position: int) -> None:
    async with loaded(tiny_llama) as (engine, model):
        free, _ = await collect(engine, model, GenerationRequest(prompt_of(1, 40), 12))
        ids = [token.id for token in free]
        stop = ids[position]
        tokens, stats = await collect(
            engine, model, GenerationRequest(prompt_of(1, 40), 12, stop_tokens=frozenset({stop}))
        )
    assert [token.id for token in tokens] == ids[: ids.index(stop) + 1]
    assert stats.finish_reason is FinishReason.STOP


async def test_a_seed_decides_and_its_absence_does_not_repeat(tiny_llama: Path) -> None:
    async def sample(seed: int | None) -> list[int]:
        request = GenerationRequest(prompt_of(1, 20), 24, sampling=Sampling(temperature=1.5, seed=seed))
        tokens, _ = await collect(engine, model, request)
        return [token.id for token in tokens]

    async with loaded(tiny_llama) as (engine, model):
        assert await sample(1) == await sample(1) != await sample(2)
        assert await sample(None) != await sample(None)


@pytest.mark.parametrize("n_steps", [1, 4, 10, 11, 12, 20])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
async def test_a_cancelled_generation_takes_no_further_step(
    kind: str, n_steps: int, request: pytest.FixtureRequest
) -> None:
    """Steps 1 to 11 are chunks of the prompt. What was computed is kept, and the same prompt starts from it."""
    wanted = GenerationRequest(prompt_of(1, 700), 30, priority=Priority.BACKGROUND, checkpoints=(640,))
    async with loaded(request.getfixturevalue(kind), prefill_step_tokens=64) as (engine, model):
        expected, _ = await collect(engine, model, wanted)
    async with loaded(request.getfixturevalue(kind), prefill_step_tokens=64) as (engine, model):

        def at_step(step: int) -> None:
            if step == n_steps:
                assert watched.job is not None
                engine._worker.cancel(watched.job)

        async with held(engine._worker):
            watched = watch(engine, model, wanted, [], "job", at_step)
        await watched.ended.wait()
        assert watched.error is None
        assert watched.n_steps == n_steps
        assert watched.progress.stats.finish_reason is FinishReason.CANCELLED
        entries = await on_worker(
            engine, lambda: [e.tokens.tolist() for e in engine._contexts[id(model)].prompt_cache._entries]
        )
        whole = [*wanted.prompt, *watched.ids]
        assert entries
        for entry in entries:
            assert entry == whole[: len(entry)], "a cache holds the prompt and what was yielded, nothing else"
        assert max(map(len, entries)) >= min(64 * n_steps, 699)
        tokens, stats = await collect(engine, model, wanted)
        assert [token.id for token in tokens] == [token.id for token in expected]
        assert stats.reused_tokens > 0 or kind == "tiny_gpt_oss"


async def test_tokens_that_are_there_come_out_before_a_cancelled_iteration_ends(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        generation = engine.generate(model, GenerationRequest(prompt_of(1, 10), 4000))
        first = await anext(generation)
        generation.cancel()
        await generation.ended()
        rest = [token async for token in generation]
        assert [token async for token in generation] == []
        assert 1 + len(rest) == generation.stats.generated_tokens
        assert first.id >= 0


async def test_closing_ends_generations_in_prefill_and_in_decode(tiny_llama: Path) -> None:
    engine = Engine(prefill_step_tokens=16)
    model = await engine.load(ModelSpec(str(tiny_llama)))
    decoding = engine.generate(model, GenerationRequest(prompt_of(1, 10), 4000))
    await anext(decoding)
    prefilling = engine.generate(model, GenerationRequest(prompt_of(2, 4000), 50, priority=Priority.BACKGROUND))
    assert await engine.close(60)
    assert decoding.stats.generated_tokens < 4000
    assert [token async for token in prefilling] == []
    async for _ in decoding:
        pass
    with pytest.raises(EngineClosedError):
        engine.generate(model, GenerationRequest(prompt_of(1, 10), 1))
    with pytest.raises(EngineClosedError):
        await engine.load(ModelSpec(str(tiny_llama)))
    assert await engine.close(), "closing twice does nothing"


async def test_an_engine_that_was_never_used_closes() -> None:
    assert await Engine().close()


async def test_unloading_ends_the_generations_of_that_model_alone(tiny_llama: Path, tiny_qwen2: Path) -> None:
    async with loaded(tiny_llama) as (engine, llama):
        qwen2 = await engine.load(ModelSpec(str(tiny_qwen2)))
        assert engine.models == (llama, qwen2)
        doomed = engine.generate(llama, GenerationRequest(prompt_of(1, 10), 4000))
        spared = engine.generate(qwen2, GenerationRequest(prompt_of(1, 10), 30))
        await anext(doomed)
        await engine.unload(llama)
        await doomed.ended()
        assert doomed.stats.finish_reason is FinishReason.CANCELLED
        assert len([token async for token in spared]) == 30
        assert engine.models == (qwen2,)
        assert await on_worker(engine, lambda: list(engine._contexts)) == [id(qwen2)]
        with pytest.raises(ValueError, match="not resident"):
            engine.generate(llama, GenerationRequest(prompt_of(1, 10), 1))
        await engine.unload(llama)


async def test_a_model_is_freed_although_nobody_waits_for_it_any_more(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        async with held(engine._worker):
            unloading = asyncio.create_task(engine.unload(model))
            await asyncio.wait([unloading], timeout=0)
            unloading.cancel()
            await asyncio.wait([unloading])
        assert unloading.cancelled()
        assert await on_worker(engine, lambda: list(engine._contexts)) == []


async def test_unloading_twice_leaves_alone_what_is_being_loaded_anew(tiny_llama: Path) -> None:
    spec = ModelSpec(str(tiny_llama))
    async with Engine() as engine:
        old = await engine.load(spec)
        await engine.unload(old)
        loading = asyncio.create_task(engine.load(spec))
        await asyncio.wait([loading], timeout=0)
        await engine.unload(old)
        assert await engine.load(spec) is await loading
        assert len(await on_worker(engine, lambda: list(engine._contexts))) == 1


async def test_ids_that_are_no_tokens_of_the_model_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    """MLX looks at no index: it would end the process, or answer from memory of something else."""
    async with loaded(tiny_llama) as (engine, model):
        last = model.vocabulary_size - 1
        assert last == model.config["vocab_size"] - 1
        for prompt in ((1, last + 1), (-1, 1), (1 << 70,)):
            with pytest.raises(ValueError, match=f"is no token of .* 0 to {last}"):
                engine.generate(model, GenerationRequest(prompt, 1))
            with pytest.raises(ValueError, match="no token"):
                await engine.save_prompt_cache(model, tmp_path / "cache.safetensors", prompt)
        for sampling in (
            Sampling(logit_bias=((last + 1, 1.0),)),
            Sampling(temperature=1, xtc_probability=1, xtc_special_tokens=(last + 1,)),
        ):
            with pytest.raises(ValueError, match=f"{last + 1} is no token"):
                engine.generate(model, GenerationRequest((1,), 1, sampling=sampling))
        tokens, _ = await collect(engine, model, GenerationRequest((last, 0), 2))
        assert len(tokens) == 2


async def test_a_failure_ends_its_own_generation(tiny_llama: Path) -> None:
    async with loaded(tiny_llama, prefill_step_tokens=64) as (engine, model):
        wanted = GenerationRequest(prompt_of(1, 200), 6, cache_owner="file")
        expected, _ = await collect(engine, model, wanted)
        steps: list[str] = []

        def at_step(step: int) -> None:
            if step == 2:
                raise MemoryError

        broken = watch(engine, model, GenerationRequest(prompt_of(3, 300), 6), steps, "broken", at_step)
        fine = watch(engine, model, GenerationRequest(prompt_of(4, 300), 6), steps, "fine")
        await broken.ended.wait()
        await fine.ended.wait()
        assert isinstance(broken.error, MemoryError)
        assert fine.error is None
        assert len(fine.ids) == 6
        tokens, _ = await collect(engine, model, wanted)
        assert tokens == expected


async def test_a_seed_that_mlx_refuses_is_an_error_of_that_generation(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        with pytest.raises((ValueError, TypeError, OverflowError, RuntimeError)):
            await collect(
                engine, model, GenerationRequest(prompt_of(1, 9), 2, sampling=Sampling(temperature=1, seed=-(1 << 70)))
            )
        tokens, _ = await collect(engine, model, GenerationRequest(prompt_of(1, 9), 2))
        assert len(tokens) == 2
        assert await bytes_at_rest(engine, model) > 0


async def test_a_prompt_that_fills_the_context_is_refused(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        with pytest.raises(PromptTooLongError, match="4096"):
            engine.generate(model, GenerationRequest(prompt_of(1, 4096), 1))


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        GenerationRequest((), 1)
    with pytest.raises(ValueError, match="max_tokens"):
        GenerationRequest((1,), 0)


@pytest.mark.parametrize("owed", ["retu", " value", "é", "→", "xyzzy(", "    ", "\n\n"])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
async def test_owed_text_is_spelled_first(kind: str, owed: str, request: pytest.FixtureRequest) -> None:
    async with loaded(request.getfixturevalue(kind)) as (engine, model):
        wanted = GenerationRequest(tuple(model.tokenizer.encode("def f():\n    ")), 24, owed=owed.encode())
        tokens, stats = await collect(engine, model, wanted)
        written = b"".join(model.tokenizer.token_bytes(token.id) for token in tokens)
        assert written.startswith(owed.encode())
        assert len(tokens) == 24
        # The cache that healing leaves behind is as good as any.
        again, stats = await collect(engine, model, wanted)
        assert [token.id for token in again] == [token.id for token in tokens]
        assert stats.reused_tokens > 0


async def test_healing_takes_the_longer_word_where_the_model_wants_it(
    scripted_model: Callable[[Sequence[Rule]], Path],
) -> None:
    folder = scripted_model([Rule("x = ", "value + 1")])
    async with loaded(folder) as (engine, model):
        request = GenerationRequest(tuple(model.tokenizer.encode("x = ")), 32, owed=b"val")
        tokens, _ = await collect(engine, model, request)
    assert model.tokenizer.decode(token.id for token in tokens[:-1]) == "value + 1"


async def test_generations_leave_no_arrays_behind_on_other_threads(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        generation = engine.generate(model, GenerationRequest(prompt_of(1, 10), 4000))
        await anext(generation)
        generation.cancel()
        await generation.ended()
        assert generation._job.steps.gi_frame is None  # type: ignore[attr-defined]
        del generation
        gc.collect()
    await asyncio.sleep(0)
