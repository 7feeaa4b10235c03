"""A draft model changes how fast a model writes and nothing of what it writes; where it would, it is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import FinishReason, GenerationRequest, GenerationStats, Sampling
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.engine.worker.worker import Job, Priority
from harmony_ls.errors import ModelError, ModelTooLargeError
from tests.engine.engines import Watched, all_ended, collect, held, on_worker, watch
from tests.engine.test_interleaving import prompt_of
from tests.models import CODE_LLAMA_MARKERS, RECIPES, ModelKind, Rule, build_model, build_scripted_model

KINDS: tuple[ModelKind, ...] = ("llama", "qwen2")
DRAFTS = ("itself", "a rounded copy", "another")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """For each kind of model: itself, a draft that is mostly right, and one that is mostly wrong."""
    root = tmp_path_factory.mktemp("drafts")
    return {
        (kind, draft): build_model(
            root / f"{kind} {draft}",
            kind,
            seed=1 if draft == "another" else 0,
            bits=8 if draft == "a rounded copy" else None,
        )
        for kind in KINDS
        for draft in DRAFTS
    }


async def written(
    engine: Engine, spec: ModelSpec, *requests: GenerationRequest
) -> tuple[list[list[int]], list[GenerationStats]]:
    """The tokens of each request in turn, and the figures."""
    model = await engine.load(spec)
    results = [await collect(engine, model, request) for request in requests]
    return [[token.id for token in tokens] for tokens, _ in results], [stats for _, stats in results]


SAMPLINGS = {
    "greedy": Sampling(),
    "drawn": Sampling(temperature=0.8, seed=5),
    "drawn hot": Sampling(temperature=1.5, top_p=0.9, min_p=0.01, top_k=40, seed=6),
    "penalties": Sampling(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5, logit_bias=((77, 3.0),)),
    "everything": Sampling(
        temperature=1.0, repetition_penalty=1.2, xtc_probability=0.5, xtc_threshold=0.05, top_k=60, seed=7
    ),
}


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_written_is_what_the_model_writes_alone(
    kind: str, draft: str, folders: dict[tuple[str, str], Path]
) -> None:
    folder = folders[kind, "itself"]
    async with Engine() as engine:
        alone = await engine.load(ModelSpec(str(folder)))
        model = await engine.load(ModelSpec(str(folder), draft=str(folders[kind, draft])))
        for name, sampling in SAMPLINGS.items():
            request = GenerationRequest(prompt_of(1, 70), 48, sampling=sampling, top_logprobs=3)
            expected, _ = await collect(engine, alone, request)
            tokens, stats = await collect(engine, model, request)
            assert [token.id for token in tokens] == [token.id for token in expected], name
            for token, plain in zip(tokens, expected, strict=True):
                assert token.logprob == pytest.approx(plain.logprob, abs=1e-3)
                assert [candidate for candidate, _ in token.top] == [candidate for candidate, _ in plain.top]
            assert stats.generated_tokens == 48
            # Of each four tokens three can be guessed. Where tokens are drawn they are guessed nearly as often.
            assert (
                stats.n_draft_accepted in {"itself": [36], "a rounded copy": range(20, 37), "another": range(8)}[draft]
            )


@pytest.mark.parametrize("n_draft_tokens", [1, 2, 5, 32])
async def test_any_number_of_guesses_ends_at_max_tokens(
    n_draft_tokens: int, folders: dict[tuple[str, str], Path]
) -> None:
    folder, draft = folders["llama", "itself"], folders["llama", "a rounded copy"]
    requests = [GenerationRequest(prompt_of(n, 40), n) for n in (1, 2, 3, 7, 8)]
    async with Engine() as engine:
        expected, _ = await written(engine, ModelSpec(str(folder)), *requests)
        spec = ModelSpec(str(folder), draft=str(draft), n_draft_tokens=n_draft_tokens)
        tokens, stats = await written(engine, spec, *requests)
    assert tokens == expected
    assert {one.finish_reason for one in stats} == {FinishReason.LENGTH}
    assert all(one.n_draft_accepted < one.generated_tokens for one in stats)


async def test_a_stop_token_is_the_last_one(folders: dict[tuple[str, str], Path]) -> None:
    """Also where the draft model has guessed on beyond it."""
    folder = folders["llama", "itself"]
    async with Engine() as engine:
        for position in (0, 1, 2, 3, 4, 9):
            await stop_and_go_on(engine, folder, position)


async def stop_and_go_on(engine: Engine, folder: Path, position: int) -> None:
    spec = ModelSpec(str(folder), draft=str(folder))
    free = GenerationRequest(prompt_of(position, 40), 14, cache_owner="chat")
    (ids,), _ = await written(engine, ModelSpec(str(folder)), free)
    stop = ids[position]
    expected = ids[: ids.index(stop) + 1]
    (tokens,), (stats,) = await written(engine, spec, replace(free, stop_tokens=frozenset({stop})))
    assert tokens == expected
    assert stats.finish_reason is FinishReason.STOP
    # The next turn goes on from what was written.
    turn = replace(free, prompt=(*free.prompt, *tokens, *prompt_of(2, 20)))
    plain, _ = await written(engine, ModelSpec(str(folder)), turn)
    again, (stats,) = await written(engine, spec, turn)
    assert again == plain
    assert stats.reused_tokens >= len(free.prompt) + len(tokens) - 2


@pytest.mark.parametrize("draft", DRAFTS)
async def test_prompt_caches_serve_both_networks(draft: str, folders: dict[tuple[str, str], Path]) -> None:
    """A conversation, a step back, another branch, another owner: always what the model alone writes."""
    folder = folders["qwen2", "itself"]
    spec = ModelSpec(str(folder), draft=str(folders["qwen2", draft]))
    first = GenerationRequest(prompt_of(1, 300), 12, cache_owner="chat")
    async with Engine() as engine:
        (answer,), _ = await written(engine, ModelSpec(str(folder)), first)
    async with Engine(prefill_step_tokens=64) as engine:
        second = replace(first, prompt=(*first.prompt, *answer, *prompt_of(2, 30)))
        branch = replace(first, prompt=(*first.prompt[:200], *prompt_of(3, 50)), cache_owner="other")
        requests = (first, second, branch, first, second)
        expected, plain_stats = await written(engine, ModelSpec(str(folder)), *requests)
        tokens, stats = await written(engine, spec, *requests)
    assert tokens == expected
    for one, plain in zip(stats, plain_stats, strict=True):
        # A cache ends where the shorter of the two ends, up to a round of guesses earlier.
        assert one.reused_tokens >= plain.reused_tokens - 4
        assert one.computed_tokens + one.reused_tokens == one.prompt_tokens


async def test_owed_text_is_spelled_first(folders: dict[tuple[str, str], Path]) -> None:
    folder = folders["qwen2", "itself"]
    requests = [
        GenerationRequest(prompt_of(1, 40), 20, owed=owed.encode(), priority=Priority.INLINE)
        for owed in ("retu", " value", "é", "xyzzy(", "retu")
    ]
    async with Engine() as engine:
        expected, _ = await written(engine, ModelSpec(str(folder)), *requests)
        tokens, stats = await written(engine, ModelSpec(str(folder), draft=str(folder)), *requests)
    assert tokens == expected
    assert all(one.n_draft_accepted > 0 for one in stats)


@pytest.mark.parametrize("draft", DRAFTS)
async def test_generations_run_through_each_other(draft: str, folders: dict[tuple[str, str], Path]) -> None:
    folder = folders["llama", "itself"]
    requests = [
        GenerationRequest(prompt_of(1, 200), 30),
        GenerationRequest(prompt_of(2, 90), 30, sampling=Sampling(temperature=1.0, seed=3)),
        GenerationRequest(prompt_of(3, 40), 30, priority=Priority.BACKGROUND),
        GenerationRequest(prompt_of(4, 60), 8, priority=Priority.INLINE),
    ]
    async with Engine(prefill_step_tokens=64) as engine:
        expected, _ = await written(engine, ModelSpec(str(folder)), *requests)
        model = await engine.load(ModelSpec(str(folder), draft=str(folders["llama", draft])))
        order: list[str] = []
        async with held(engine._worker):
            # The inline completion is of a person who types, so the others take small steps.
            running = [watch(engine, model, request, order, str(index)) for index, request in enumerate(requests)]
        await all_ended(running)
    assert [one.ids for one in running] == expected
    first = order.index("3")
    assert order[first : first + running[3].n_steps] == ["3"] * running[3].n_steps, "nothing steps before a completion"
    assert {"0", "1"} <= set(order[order.index("0") : order.index("0") + 6]), "equals take turns"


@pytest.mark.parametrize("draft", ["itself", "a rounded copy"])
async def test_a_cancelled_generation_leaves_a_sound_cache(draft: str, folders: dict[tuple[str, str], Path]) -> None:
    """In prefill, between two guesses, between the tokens of one round: it takes no further step."""
    folder = folders["llama", "itself"]
    async with Engine(prefill_step_tokens=64) as engine:
        model = await engine.load(ModelSpec(str(folder), draft=str(folders["llama", draft])))
        for n_steps in (1, 3, *range(5, 15), 20):
            wanted = GenerationRequest(prompt_of(n_steps, 300), 30)
            (expected,), _ = await written(engine, ModelSpec(str(folder)), wanted)

            watched = await cancelled_at(engine, model, wanted, n_steps)
            assert watched.error is None
            assert watched.n_steps == n_steps
            assert watched.progress.stats.finish_reason is FinishReason.CANCELLED
            tokens, offsets = (await entries(engine, model))[-1]
            assert tokens == [*wanted.prompt, *expected][: len(tokens)]
            assert offsets == {len(tokens)}, "the layers of both networks hold the same tokens"
            again, stats = await collect(engine, model, wanted)
            assert [token.id for token in again] == expected
            assert stats.reused_tokens >= min(64 * n_steps, 299)


async def test_a_step_that_is_cancelled_between_its_slices_leaves_no_guess(
    folders: dict[tuple[str, str], Path],
) -> None:
    """While somebody types a step is cut into slices; both networks then hold guesses that nobody has checked."""
    folder = folders["llama", "itself"]
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(folder), draft=str(folders["llama", "another"])))
        wanted = GenerationRequest(prompt_of(1, 40), 30)
        (expected,), _ = await written(engine, ModelSpec(str(folder)), wanted)
        for n_steps in range(1, 40):
            engine._worker.submit(Job(Priority.INLINE, iter(()), lambda _item: None, lambda _error: None))
            assert engine._worker.is_typing()
            await cancelled_at(engine, model, wanted, n_steps)
            for tokens, offsets in await entries(engine, model):
                assert tokens == [*wanted.prompt, *expected][: len(tokens)]
                assert offsets == {len(tokens)}


async def cancelled_at(engine: Engine, model: Model, request: GenerationRequest, n_steps: int) -> Watched:
    """The request after so many steps and no more."""

    def at_step(step: int) -> None:
        if step == n_steps:
            assert watched.job is not None
            engine._worker.cancel(watched.job)

    async with held(engine._worker):
        watched = watch(engine, model, request, [], "job", at_step)
    await watched.ended.wait()
    return watched


async def entries(engine: Engine, model: Model) -> list[tuple[list[int], set[int]]]:
    """The caches at rest: the tokens, and how many tokens the layers hold."""
    cache = engine._contexts[id(model)].prompt_cache
    return await on_worker(
        engine, lambda: [(entry.tokens.tolist(), {layer.offset for layer in entry.layers}) for entry in cache._entries]
    )


@pytest.mark.parametrize("n_more", [-64, 64], ids=["smaller", "larger"])
async def test_a_padded_vocabulary_may_have_another_size(n_more: int, tmp_path: Path) -> None:
    """Random models write tokens of the padding too, which the other network may not have."""
    size = json.loads((build_model(tmp_path / "plain", "llama") / "config.json").read_text())["vocab_size"]
    target = build_model(tmp_path / "target", "llama", config={"vocab_size": size + 128})
    draft = build_model(tmp_path / "draft", "llama", config={"vocab_size": size + 128 + n_more})
    request = GenerationRequest(prompt_of(1, 40), 60, sampling=Sampling(temperature=2.0, seed=1))
    biased = replace(request, sampling=Sampling(logit_bias=((size + 127, 1.0),)))
    async with Engine() as engine:
        expected, _ = await written(engine, ModelSpec(str(target)), request, biased)
        tokens, _ = await written(engine, ModelSpec(str(target), draft=str(draft)), request, biased)
    assert tokens == expected
    assert max(tokens[0]) >= size + 64


@pytest.mark.parametrize("start", [0, 50])
async def test_quantised_caches_are_trimmed_too(start: int, tmp_path: Path) -> None:
    folder = build_model(tmp_path / "model", "llama", config={"hidden_size": 128, "head_dim": 32})
    options = CacheOptions(kv_bits=8, kv_group_size=32, quantized_kv_start=start)
    requests = [GenerationRequest(prompt_of(1, 70), 40, cache_owner="chat")]
    requests.append(replace(requests[0], prompt=(*requests[0].prompt, *prompt_of(2, 30))))
    async with Engine() as engine:
        expected, _ = await written(engine, ModelSpec(str(folder), cache_options=options), *requests)
        spec = ModelSpec(str(folder), cache_options=options, draft=str(folder))
        tokens, stats = await written(engine, spec, *requests)
        kinds = await on_worker(
            engine,
            lambda: {
                type(layer).__name__
                for context in engine._contexts.values()
                for entry in context.prompt_cache._entries
                for layer in entry.layers
            },
        )
    assert tokens == expected
    assert stats[0].n_draft_accepted > 0
    assert kinds == {"QuantizedKVCache"}


@pytest.mark.parametrize("start", [70, 80])
@pytest.mark.parametrize("draft", ["itself", "another"])
async def test_caches_are_quantised_where_the_model_alone_would_do_it(start: int, draft: str, tmp_path: Path) -> None:
    """A step with guesses must not pass that place, nor be trimmed back across it."""
    config = {"hidden_size": 128, "head_dim": 32}
    folder = build_model(tmp_path / "model", "llama", config=config)
    draft_folder = folder if draft == "itself" else build_model(tmp_path / "draft", "llama", config=config, seed=3)
    options = CacheOptions(kv_bits=2, kv_group_size=32, quantized_kv_start=start)
    wanted = GenerationRequest(prompt_of(1, 70), 40)
    async with Engine() as engine:
        expected, _ = await written(engine, ModelSpec(str(folder), cache_options=options), wanted)
        spec = ModelSpec(str(folder), cache_options=options, draft=str(draft_folder))
        tokens, _ = await written(engine, spec, wanted)
    assert tokens == expected


async def test_both_count_against_the_memory_budget(folders: dict[tuple[str, str], Path]) -> None:
    folder, draft = folders["llama", "itself"], folders["llama", "another"]
    async with Engine() as engine:
        alone = await engine.load(ModelSpec(str(folder)))
        await engine.unload(alone)
        needed = alone.n_bytes + (draft / "model.safetensors").stat().st_size
        spec = ModelSpec(str(folder), draft=str(draft), memory_budget_bytes=needed - 1)
        with pytest.raises(ModelTooLargeError, match="other models take"):
            await engine.load(spec)
        assert engine.models == ()
        both = await engine.load(replace(spec, memory_budget_bytes=needed))
        assert both.n_bytes == 2 * alone.n_bytes
        with pytest.raises(ModelTooLargeError, match="other models take"):
            await engine.load(ModelSpec(str(draft), memory_budget_bytes=needed))


async def test_models_that_differ_in_an_option_are_two(folders: dict[tuple[str, str], Path]) -> None:
    folder = str(folders["llama", "itself"])
    specs = [ModelSpec(folder), ModelSpec(folder, draft=folder), ModelSpec(folder, draft=folder, n_draft_tokens=2)]
    async with Engine() as engine:
        models = [await engine.load(spec) for spec in specs]
        assert len(set(map(id, models))) == 3
        assert engine.models == tuple(models)
        assert await engine.load(ModelSpec(folder, draft=folder, n_draft_tokens=3)) is models[1]


async def refused(spec: ModelSpec, words: str) -> None:
    async with Engine() as engine:
        with pytest.raises(ModelError) as caught:
            await engine.load(spec)
        assert engine.models == ()
    message = str(caught.value)
    assert words in message
    assert len(message) < 700


async def test_caches_that_cannot_be_trimmed_are_refused(tiny_gpt_oss: Path, tmp_path: Path) -> None:
    words = "cannot be trimmed from the caches of tiny-gpt-oss (RotatingKVCache)"
    await refused(ModelSpec(str(tiny_gpt_oss), draft=str(tiny_gpt_oss)), words)
    llama = build_model(tmp_path / "llama", "llama", recipe=RECIPES["gpt_oss"])
    await refused(ModelSpec(str(llama), draft=str(tiny_gpt_oss)), words)
    options = CacheOptions(max_kv_size=64)
    await refused(ModelSpec(str(llama), draft=str(llama), cache_options=options), "max_kv_size")


RECIPE = RECIPES["llama"]


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPE, special=("<|endoftext|>", "<|im_end|>", "<|im_start|>")),
        replace(RECIPE, plain=("<|fim_prefix|>",)),
        replace(RECIPE, merged=(*RECIPE.merged, "other")),
        replace(RECIPE, merged=tuple(reversed(RECIPE.merged))),
        replace(RECIPE, special=(*RECIPE.special, "<s>", "</s>", *CODE_LLAMA_MARKERS), metaspace=True),
    ],
    ids=["markers in another order", "a marker more", "a word more", "words in another order", "another kind"],
)
async def test_another_vocabulary_is_refused(recipe: Any, tmp_path: Path, tiny_llama: Path) -> None:
    draft = build_model(tmp_path / "draft", "llama", recipe=recipe)
    await refused(ModelSpec(str(tiny_llama), draft=str(draft)), "their vocabularies differ")


async def test_a_draft_model_that_is_not_there_or_not_trusted(tiny_llama: Path, tmp_path: Path) -> None:
    await refused(ModelSpec(str(tiny_llama), draft=str(tmp_path / "nothing")), "There is no model folder")
    scripted = build_scripted_model(tmp_path / "scripted", [Rule("x", "y")])
    await refused(ModelSpec(str(tiny_llama), draft=str(scripted)), "trustRemoteCode")


@pytest.mark.parametrize("n_draft_tokens", [0, -1, 33])
def test_a_number_of_guesses_that_makes_no_sense(n_draft_tokens: int) -> None:
    with pytest.raises(ValueError, match="n_draft_tokens"):
        ModelSpec("model", draft="draft", n_draft_tokens=n_draft_tokens)
