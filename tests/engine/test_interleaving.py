"""Jobs that pre-empt each other give, token for token, what each gives alone."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest, Sampling
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.worker.worker import Priority
from tests.engine.engines import all_ended, collect, held, loaded, watch

KINDS = ["tiny_llama", "tiny_qwen2", "tiny_gpt_oss"]
SAMPLED = Sampling(temperature=0.9, top_p=0.95, top_k=40, min_p=0.01, seed=7)
PENALISED = replace(
    SAMPLED,
    seed=-3,
    xtc_probability=0.5,
    xtc_threshold=0.02,
    repetition_penalty=1.3,
    presence_penalty=0.5,
    presence_context_size=0,
    frequency_penalty=0.25,
    frequency_context_size=300,
    logit_bias=((65, 3.0), (66, -2.0), (70, 1.5)),
)
PENALISED_GREEDY = replace(PENALISED, temperature=0.0)


def prompt_of(seed: int, length: int) -> tuple[int, ...]:
    """A prompt of random text tokens: the first 256 ids of all tiny tokenizers are bytes."""
    random = Random(seed)
    return tuple(random.randrange(32, 127) for _ in range(length))


def requests(owner: str = "") -> list[GenerationRequest]:
    """Short and long prompts, past the sliding window and past several chunks, all priorities and samplings."""
    shapes = [
        (700, 24, Priority.BACKGROUND, Sampling()),
        (130, 30, Priority.INTERACTIVE, SAMPLED),
        (1, 20, Priority.INTERACTIVE, Sampling()),
        (333, 12, Priority.INLINE, Sampling()),
        (16, 40, Priority.BACKGROUND, SAMPLED),
        (260, 18, Priority.INLINE, SAMPLED),
        (520, 30, Priority.BACKGROUND, PENALISED),
        (9, 25, Priority.INTERACTIVE, PENALISED),
        (150, 20, Priority.INTERACTIVE, PENALISED_GREEDY),
    ]
    return [
        GenerationRequest(prompt_of(index, length), n, sampling=sampling, priority=priority, cache_owner=owner)
        for index, (length, n, priority, sampling) in enumerate(shapes)
    ]


async def alone(engine: Engine, model: Model, request: GenerationRequest) -> list[tuple[int, float]]:
    tokens, _ = await collect(engine, model, request)
    return [(token.id, token.logprob) for token in tokens]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.mark.parametrize("cache_bytes", [0, 1 << 28], ids=["no prompt cache", "prompt cache"])
async def test_interleaved_generations_are_as_alone(folder: Path, cache_bytes: int) -> None:
    wanted = requests()
    async with loaded(folder, prefill_step_tokens=64, prompt_cache_bytes=0) as (engine, model):
        expected = [await alone(engine, model, request) for request in wanted]
    async with loaded(folder, prefill_step_tokens=64, prompt_cache_bytes=cache_bytes) as (engine, model):
        for _ in range(2):  # the second round finds the caches of the first, where there are any
            order: list[str] = []
            async with held(engine._worker):
                running = [watch(engine, model, request, order, str(index)) for index, request in enumerate(wanted)]
            await all_ended(running)
            assert [one.ids for one in running] == [[token for token, _ in tokens] for tokens in expected]
            for one, tokens in zip(running, expected, strict=True):
                logprobs = [token.logprob for token in one.tokens]
                assert logprobs == pytest.approx([value for _, value in tokens], abs=1e-4)
            switches = sum(left != right for left, right in pairwise(order))
            assert switches > len(wanted), "they did run one through another"


@pytest.mark.parametrize("step", [1, 3, 11, 13, 20], ids=lambda step: f"at step {step}")
async def test_a_pre_empted_generation_goes_on_as_if_nothing_had_happened(folder: Path, step: int) -> None:
    """Steps 1 to 11 are prefill chunks of 64 tokens, the later ones tokens."""
    slow = GenerationRequest(
        prompt_of(1, 700), 16, sampling=PENALISED, priority=Priority.BACKGROUND, cache_owner="chat"
    )
    urgent = GenerationRequest(prompt_of(2, 200), 8, priority=Priority.INLINE, cache_owner="file")
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        expected = [[token for token, _ in await alone(engine, model, request)] for request in (slow, urgent)]
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        order: list[str] = []

        def at_step(n_steps: int) -> None:
            if n_steps == step:
                order.append("now")
                engine._worker.submit(urgent_job)

        async with held(engine._worker):
            first = watch(engine, model, slow, order, "slow", at_step)
            second = watch(engine, model, urgent, order, "urgent")
            # Taken back out of the queue: the slow one submits it at its step.
            assert second.job is not None
            engine._worker._jobs.remove(second.job)
            urgent_job = second.job
        await all_ended([first, second])
        assert first.ids == expected[0]
        assert second.ids == expected[1]
        after = order[order.index("now") + 1 :]
        n_urgent = second.n_steps
        assert after[:n_urgent] == ["urgent"] * n_urgent, "it waited for nothing"


@pytest.mark.parametrize("prefix", [1, 60, 127, 128, 129, 200, 420])
async def test_a_warm_start_equals_a_cold_one(folder: Path, prefix: int) -> None:
    """Whatever part of an earlier prompt a new one shares, and whatever is left of it in the caches."""
    first = prompt_of(1, 420)
    second = first[:prefix] + prompt_of(2, 90)
    wanted = GenerationRequest(second, 20, cache_owner="file", checkpoints=(prefix,))
    async with loaded(folder, prompt_cache_bytes=0) as (engine, model):
        expected = await alone(engine, model, wanted)
    async with loaded(folder) as (engine, model):
        await collect(engine, model, GenerationRequest(first, 25, cache_owner="file", checkpoints=(prefix,)))
        tokens, stats = await collect(engine, model, wanted)
    assert [token.id for token in tokens] == [token for token, _ in expected]
    # A prompt is prefilled to its last token but one, so no checkpoint is at its very end.
    assert stats.reused_tokens in (prefix, min(prefix, len(first) - 1))
    assert stats.reused_tokens + stats.computed_tokens == len(second)
