"""Tokens are chosen as mlx-lm chooses them, by all that it offers, and a seed decides alone."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.generation.request import GenerationRequest, Sampling
from tests.engine.engines import collect, loaded
from tests.engine.mlx_lm_alone import mlx_lm_alone
from tests.engine.test_interleaving import prompt_of
from tests.mlx_thread import run_with_mlx

BIAS = tuple((token, 4.0 if token % 2 else -3.5) for token in range(40, 120, 3))
GREEDY = {
    "nothing": Sampling(),
    "logit bias": Sampling(logit_bias=BIAS),
    "repetition": Sampling(repetition_penalty=1.7),
    "repetition of all": Sampling(repetition_penalty=1.3, repetition_context_size=0),
    "presence": Sampling(presence_penalty=1.5, presence_context_size=50),
    "frequency": Sampling(frequency_penalty=0.8, frequency_context_size=400),
    "rewarded repetition": Sampling(repetition_penalty=0.6, presence_penalty=-2.0, frequency_penalty=-2.0),
    "everything": Sampling(
        logit_bias=BIAS,
        repetition_penalty=1.2,
        repetition_context_size=7,
        presence_penalty=0.4,
        presence_context_size=0,
        frequency_penalty=0.3,
        frequency_context_size=64,
    ),
}


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
@pytest.mark.parametrize("name", GREEDY)
async def test_greedy_tokens_are_mlx_lms(kind: str, name: str, request: pytest.FixtureRequest) -> None:
    async with loaded(request.getfixturevalue(kind), prefill_step_tokens=64) as (engine, model):
        for n_prompt in (1, 12, 300):
            wanted = GenerationRequest(prompt_of(3, n_prompt), 40, sampling=GREEDY[name])
            reference = await mlx_lm_alone(engine, model, wanted)
            for warmth in ("cold", "warm"):
                tokens, _ = await collect(engine, model, wanted)
                assert [token.id for token in tokens] == reference.ids, warmth
                assert [token.logprob for token in tokens] == pytest.approx(reference.chosen, abs=1e-4), warmth


async def test_penalties_and_bias_change_what_is_written(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        written = {
            name: tuple(
                token.id
                for token in (
                    await collect(engine, model, GenerationRequest(prompt_of(3, 300), 40, sampling=sampling))
                )[0]
            )
            for name, sampling in GREEDY.items()
        }
    assert len(set(written.values())) == len(GREEDY)


async def test_the_cached_part_of_a_prompt_is_penalised_too(tiny_llama: Path) -> None:
    """All but the last token of the prompt comes from the cache, and the penalty looks at all of it."""
    sampling = Sampling(presence_penalty=2.0, presence_context_size=0)
    wanted = GenerationRequest(prompt_of(5, 200), 1, sampling=sampling, top_logprobs=20)
    async with loaded(tiny_llama) as (engine, model):
        (cold,), _ = await collect(engine, model, wanted)
        (warm,), stats = await collect(engine, model, wanted)
        (unpenalised,), _ = await collect(engine, model, replace(wanted, sampling=Sampling()))
    assert stats.reused_tokens == 199
    assert [token for token, _ in warm.top] == [token for token, _ in cold.top]
    assert [value for _, value in warm.top] == pytest.approx([value for _, value in cold.top], abs=1e-4)
    assert cold.top != unpenalised.top


LOGITS = [2.0, 1.7, 1.5, 1.0, 0.9, 0.3, 0.1, -0.4, -0.8, -1.5, -2.2, -4.0]
SAMPLED = {
    "temperature": Sampling(temperature=0.7),
    "top_p": Sampling(temperature=1.0, top_p=0.6),
    "top_p off": Sampling(temperature=1.0, top_p=0.0),
    "min_p": Sampling(temperature=1.0, min_p=0.4),
    "min_p that keeps some": Sampling(temperature=1.0, min_p=1.0, min_tokens_to_keep=5),
    "min_p that keeps all": Sampling(temperature=1.0, min_p=1.0, min_tokens_to_keep=12),
    "top_k": Sampling(temperature=1.3, top_k=3),
    "top_k of more than there are": Sampling(temperature=1.3, top_k=100),
    "certain xtc": Sampling(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.1),
    "likely xtc": Sampling(temperature=1.0, xtc_probability=0.6, xtc_threshold=0.1),
    "xtc that spares a token": Sampling(temperature=1.0, xtc_probability=1.0, xtc_special_tokens=(1,)),
    "everything": Sampling(
        temperature=0.9, top_p=0.9, min_p=0.05, xtc_probability=0.5, xtc_threshold=0.15, top_k=4, logit_bias=((6, 1.0),)
    ),
}
N_DRAWS = 3000


def mlx_lms_distribution(sampling: Sampling) -> list[float]:
    """The probabilities that mlx-lm's functions leave, in the order of its ``make_sampler``."""
    import mlx.core as mx
    from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, apply_xtc

    def distribution(xtc_probability: float) -> list[float]:
        biased = [logit + dict(sampling.logit_bias).get(token, 0) for token, logit in enumerate(LOGITS)]
        logits = mx.array([biased])
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        if 0 < sampling.top_p < 1:
            logprobs = apply_top_p(logprobs, sampling.top_p)
        if sampling.min_p > 0 and sampling.min_tokens_to_keep < len(LOGITS):
            logprobs = apply_min_p(logprobs, sampling.min_p, sampling.min_tokens_to_keep)
        if xtc_probability > 0:
            special = list(sampling.xtc_special_tokens)
            logprobs = apply_xtc(logprobs, xtc_probability, sampling.xtc_threshold, special)
        if 0 < sampling.top_k < len(LOGITS):
            logprobs = apply_top_k(logprobs, sampling.top_k)
        probabilities: Any = mx.softmax(logprobs / sampling.temperature, axis=-1)[0].tolist()
        return list(probabilities)

    without, applied, share = distribution(0), distribution(1), sampling.xtc_probability
    return [(1 - share) * left + share * right for left, right in zip(without, applied, strict=True)]


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_tokens_have_the_distribution_of_mlx_lms(name: str) -> None:
    sampling = replace(SAMPLED[name], seed=11)

    def draw() -> tuple[list[float], Counter[int]]:
        import mlx.core as mx

        from harmony_ls.engine.generation.sampling import Chooser

        chooser = Chooser(sampling, [], 0)
        choices = [chooser.choose(mx.array([LOGITS])) for _ in range(N_DRAWS)]
        return mlx_lms_distribution(sampling), Counter(choice.read().id for choice in choices)

    expected, drawn = run_with_mlx(draw)
    for token, probability in enumerate(expected):
        # Five standard deviations; a token that is left out is never drawn.
        allowed = 5 * math.sqrt(probability * (1 - probability) / N_DRAWS)
        assert abs(drawn[token] / N_DRAWS - probability) <= allowed + 1e-9, (token, expected)


@pytest.mark.parametrize("seed", [0, 1, -1, -(1 << 63), (1 << 64) - 1])
async def test_a_seed_repeats(tiny_llama: Path, seed: int) -> None:
    sampling = Sampling(temperature=1.5, xtc_probability=0.5, xtc_threshold=0.01, presence_penalty=0.5, seed=seed)
    wanted = GenerationRequest(prompt_of(1, 30), 30, sampling=sampling)
    async with loaded(tiny_llama) as (engine, model):
        first, _ = await collect(engine, model, wanted)
        again, stats = await collect(engine, model, wanted)
    assert stats.reused_tokens == 29
    assert [token.id for token in again] == [token.id for token in first]


async def test_owed_text_is_chosen_with_bias_and_samplers(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        prompt = tuple(model.tokenizer.encode("def f():\n    "))
        whole = [
            token for token in range(model.tokenizer.vocabulary_size) if model.tokenizer.token_bytes(token) == b"r"
        ]
        plain = Sampling(temperature=1.0, top_p=0.9, top_k=400, min_p=0.01, min_tokens_to_keep=400, seed=3)
        xtc = replace(plain, xtc_probability=1.0, xtc_threshold=0.0, xtc_special_tokens=(whole[0],))
        for sampling in (plain, xtc):
            # A bias that outweighs everything decides which of the fitting tokens comes first.
            biased = replace(sampling, logit_bias=tuple((token, 100.0) for token in whole))
            tokens, _ = await collect(
                engine, model, GenerationRequest(prompt, 8, owed=b"return", sampling=biased, top_logprobs=2)
            )
            assert tokens[0].id == whole[0]
            written = b"".join(model.tokenizer.token_bytes(token.id) for token in tokens)
            assert written.startswith(b"return")


async def test_a_token_that_the_model_does_not_have_is_refused(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        size = model.config["vocab_size"]
        for sampling in (
            Sampling(logit_bias=((size, 1.0),)),
            Sampling(temperature=1, xtc_probability=1, xtc_special_tokens=(1 << 40,)),
        ):
            with pytest.raises(ValueError, match=f"is no token of .*, which has the tokens 0 to {size - 1}"):
                await collect(engine, model, GenerationRequest(prompt_of(1, 9), 2, sampling=sampling))
        last = Sampling(logit_bias=((size - 1, 100.0),))
        tokens, _ = await collect(engine, model, GenerationRequest(prompt_of(1, 9), 2, sampling=last))
        assert [token.id for token in tokens] == [size - 1] * 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.0}, "top_k"),
        ({"min_tokens_to_keep": 0}, "min_tokens_to_keep"),
        ({"xtc_probability": 1.01}, "xtc_probability"),
        ({"xtc_threshold": 0.51}, "xtc_threshold"),
        ({"xtc_special_tokens": (-1,)}, "xtc_special_tokens"),
        ({"repetition_penalty": -1.0}, "repetition_penalty"),
        ({"repetition_context_size": -1}, "repetition_context_size"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"presence_context_size": 1.5}, "presence_context_size"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"frequency_context_size": True}, "frequency_context_size"),
        ({"logit_bias": ((3, 101.0),)}, "logit_bias of token 3"),
        ({"logit_bias": ((-3, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((3, 1.0), (3, 2.0))}, "twice"),
        ({"seed": 1 << 64}, "seed"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Sampling(**options)
