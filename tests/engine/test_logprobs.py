"""Log-probabilities are mlx-lm's: after logit bias and penalties, before temperature and all that samples."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from harmony_ls.engine.generation.request import GenerationRequest, Sampling
from tests.engine.engines import collect, loaded
from tests.engine.mlx_lm_alone import mlx_lm_alone
from tests.engine.test_interleaving import prompt_of
from tests.engine.test_sampling import GREEDY


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
@pytest.mark.parametrize("name", ["nothing", "everything"])
@pytest.mark.parametrize("n_top", [1, 5, 20])
async def test_the_likeliest_tokens_are_mlx_lms(
    kind: str, name: str, n_top: int, request: pytest.FixtureRequest
) -> None:
    async with loaded(request.getfixturevalue(kind), prefill_step_tokens=64) as (engine, model):
        wanted = GenerationRequest(prompt_of(4, 150), 30, sampling=GREEDY[name], top_logprobs=n_top)
        reference = await mlx_lm_alone(engine, model, wanted)
        tokens, _ = await collect(engine, model, wanted)
    assert [token.id for token in tokens] == reference.ids
    for token, logprobs in zip(tokens, reference.logprobs, strict=True):
        likeliest = sorted(range(len(logprobs)), key=lambda each: -logprobs[each])[:n_top]
        assert [each for each, _ in token.top] == likeliest
        assert [value for _, value in token.top] == pytest.approx([logprobs[each] for each in likeliest], abs=1e-4)
        assert token.top[0] == (token.id, token.logprob), "greedy takes the likeliest"


async def test_without_being_asked_for_there_are_none_and_the_tokens_are_the_same(tiny_llama: Path) -> None:
    wanted = GenerationRequest(prompt_of(4, 50), 20, sampling=Sampling(temperature=1.2, seed=5))
    async with loaded(tiny_llama, prompt_cache_bytes=0) as (engine, model):
        plain, _ = await collect(engine, model, wanted)
        with_top, _ = await collect(engine, model, replace(wanted, top_logprobs=3))
    assert all(token.top == () for token in plain)
    assert [replace(token, top=()) for token in with_top] == plain


async def test_the_sampler_does_not_change_them(tiny_llama: Path) -> None:
    """The chosen token may be none of the likeliest, and has the probability that the model gave it."""
    async with loaded(tiny_llama, prompt_cache_bytes=0) as (engine, model):
        wanted = GenerationRequest(prompt_of(4, 50), 1, top_logprobs=20)
        (greedy,), _ = await collect(engine, model, wanted)
        for seed in range(8):
            sampling = Sampling(temperature=3.0, top_p=0.9, xtc_probability=0.5, top_k=200, seed=seed)
            (sampled,), _ = await collect(engine, model, replace(wanted, sampling=sampling))
            assert sampled.top == greedy.top
            assert sampled.logprob == pytest.approx(dict(greedy.top).get(sampled.id, sampled.logprob), abs=1e-5)
            assert sampled.logprob <= greedy.top[0][1]


async def test_while_text_is_owed_they_are_among_the_fitting_tokens(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        prompt = tuple(model.tokenizer.encode("def f():\n    "))
        wanted = GenerationRequest(prompt, 6, owed=b"ret", top_logprobs=20)
        tokens, _ = await collect(engine, model, wanted)
        owed = b"ret"
        for token in tokens:
            if not owed:
                break
            spelled = [model.tokenizer.token_bytes(each) for each, _ in token.top]
            assert spelled
            assert all(owed.startswith(each) or each.startswith(owed) for each in spelled)
            assert sum(math.exp(value) for _, value in token.top) <= 1 + 1e-5
            assert token.top[0] == (token.id, token.logprob)
            owed = owed[len(model.tokenizer.token_bytes(token.id)) :]


@pytest.mark.parametrize("n_top", [-1, 21, 1.0])
def test_other_numbers_are_refused(n_top: int) -> None:
    with pytest.raises(ValueError, match="top_logprobs"):
        GenerationRequest((1,), 1, top_logprobs=n_top)
