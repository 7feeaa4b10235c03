"""Which prompts share a cache, what is kept under the budget, and that nothing of one prompt reaches another."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.models.model import Model
from tests.engine.engines import bytes_at_rest, collect, loaded, on_worker
from tests.engine.test_interleaving import prompt_of
from tests.models import build_model

# Attention as Llama 4 has it: to the tokens of one's own chunk alone, in a cache that lets go of what came before.
CHUNKED = """
import mlx.core as mx
from mlx_lm.models import llama
from mlx_lm.models.cache import ChunkedKVCache
from mlx_lm.models.llama import ModelArgs

CHUNK = 64


class Model(llama.Model):
    def make_cache(self):
        return [ChunkedKVCache(CHUNK) for _ in self.model.layers]

    def __call__(self, inputs, cache=None):
        for layer_cache in cache:
            layer_cache.maybe_trim_front()
        offset = cache[0].offset
        keys = mx.arange(cache[0].start_position, offset + inputs.shape[1])
        queries = mx.arange(offset, offset + inputs.shape[1])[:, None]
        mask = (keys // CHUNK == queries // CHUNK) & (keys <= queries)
        hidden = self.model.embed_tokens(inputs)
        for layer, layer_cache in zip(self.model.layers, cache):
            hidden = layer(hidden, mask, cache=layer_cache)
        return self.lm_head(self.model.norm(hidden))
"""


async def reused(engine: Engine, model: Model, prompt: tuple[int, ...], owner: str = "", n: int = 4) -> int:
    _, stats = await collect(engine, model, GenerationRequest(prompt, n, cache_owner=owner))
    return stats.reused_tokens


async def entries(engine: Engine, model: Model) -> list[tuple[str, int]]:
    """The owners and lengths of the caches at rest, the least recently used first."""
    cache = engine._contexts[id(model)].prompt_cache
    found: list[tuple[str, int]] = await on_worker(engine, lambda: [(e.owner, len(e.tokens)) for e in cache._entries])
    return found


A, B = prompt_of(1, 300), prompt_of(2, 300)


async def test_the_longest_common_prefix_is_reused(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        assert await reused(engine, model, A[:200], "one") == 0
        assert await reused(engine, model, A[:50] + B[:200], "two") == 50
        assert await reused(engine, model, A[:90] + B[:9], "three") == 90
        assert await reused(engine, model, A[:50] + B[:180], "four") == 229
        assert await reused(engine, model, A[:80], "five") == 79, "the last token is computed: its logits are needed"


async def test_a_prompt_goes_on_after_what_was_generated(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        tokens, _ = await collect(engine, model, GenerationRequest(A[:40], 6))
        written = tuple(token.id for token in tokens)
        assert await reused(engine, model, A[:40] + written + B[:10]) == 45, "the last token was never fed back"


async def test_its_owner_takes_a_cache_over_and_trims_it(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await reused(engine, model, A, "file")
        assert await reused(engine, model, A[:200] + B[:10], "file") == 200
        assert await entries(engine, model) == [("file", 213)]


async def test_another_owner_gets_a_copy_unless_little_is_left(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await reused(engine, model, A, "file")
        assert await reused(engine, model, A[:200] + B[:10], "other") == 200
        assert await entries(engine, model) == [("file", 303), ("other", 213)]
        assert await reused(engine, model, A, "file") == 299
        assert await reused(engine, model, A[:290] + B[:5], "third") == 290
        assert await entries(engine, model) == [("other", 213), ("third", 298)]


async def test_a_jump_to_another_place_keeps_the_cache_of_the_first(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await reused(engine, model, A, "file")
        assert await reused(engine, model, A[:20] + B, "file") == 20
        assert await reused(engine, model, A, "file") == 299
        assert await reused(engine, model, A[:20] + B, "file") == 319


async def test_equal_prefixes_prefer_the_own_cache(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await reused(engine, model, A[:100] + B[:100], "mine")
        await reused(engine, model, A[:100] + B[100:200], "other")
        assert await reused(engine, model, A[:100] + A[:30], "mine") == 100
        assert ("other", 203) in await entries(engine, model)


async def test_a_sliding_window_goes_on_only_from_checkpoints(tiny_gpt_oss: Path) -> None:
    async with loaded(tiny_gpt_oss) as (engine, model):
        await collect(engine, model, GenerationRequest(A, 4, cache_owner="chat", checkpoints=(200, 250)))
        assert await reused(engine, model, A[:240] + B[:30], "x") == 200
        assert await reused(engine, model, A[:260] + B[:30], "y") == 250
        assert await reused(engine, model, A[:190] + B[:30], "z") == 0
        assert await reused(engine, model, A[:240] + B[:30], "x") == 269, "the end of a prompt is a checkpoint too"
        assert await reused(engine, model, A[:200] + A[:9], "w") == 200, "checkpoints are copied, never used up"


async def test_a_sliding_window_is_trimmed_while_it_is_not_full(tiny_gpt_oss: Path) -> None:
    async with loaded(tiny_gpt_oss) as (engine, model):
        request = GenerationRequest(A[:90], 4, cache_owner="chat", checkpoints=(60,))
        await collect(engine, model, request)
        longer = GenerationRequest(A[:60] + B[:200], 4, cache_owner="chat", checkpoints=(60,))
        assert (await collect(engine, model, longer))[1].reused_tokens == 60
        # The short cache grew beyond the window; its checkpoint was kept before.
        assert await reused(engine, model, A[:60] + A[100:250], "chat") == 60


async def test_a_chunked_cache_that_let_go_of_tokens_goes_on_only_from_checkpoints(tmp_path: Path) -> None:
    """Trimmed, it would lack the beginning of the chunk that is gone back to, and write other tokens."""
    (tmp_path / "chunked.py").write_text(CHUNKED)
    folder = build_model(tmp_path, "llama", config={"model_file": "chunked.py"})
    first = GenerationRequest(A[:250], 20, cache_owner="chat", checkpoints=(205,))
    back = GenerationRequest(A[:230] + B[:5], 20, cache_owner="chat")
    far_back = GenerationRequest(A[:150] + B[:5], 20, cache_owner="chat")
    async with loaded(folder) as (engine, model), loaded(folder, prompt_cache_bytes=0) as (cold_engine, cold_model):
        await collect(engine, model, first)
        for wanted, n_reused in ((back, 205), (far_back, 0)):
            expected, _ = await collect(cold_engine, cold_model, wanted)
            tokens, stats = await collect(engine, model, wanted)
            assert [token.id for token in tokens] == [token.id for token in expected]
            assert stats.reused_tokens == n_reused


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
async def test_without_a_budget_nothing_is_kept(kind: str, request: pytest.FixtureRequest) -> None:
    async with loaded(request.getfixturevalue(kind), prompt_cache_bytes=0) as (engine, model):
        assert await reused(engine, model, A) == 0
        assert await reused(engine, model, A) == 0
        assert await bytes_at_rest(engine, model) == 0


async def test_the_budget_holds_and_the_least_recently_used_go(tiny_llama: Path) -> None:
    async with loaded(tiny_llama) as (engine, model):
        await reused(engine, model, A)
        one = await bytes_at_rest(engine, model)
    async with loaded(tiny_llama, prompt_cache_bytes=3 * one) as (engine, model):
        for seed in range(10, 13):
            await reused(engine, model, prompt_of(seed, 300), str(seed))
        await reused(engine, model, prompt_of(10, 300), "10")
        await reused(engine, model, prompt_of(13, 300), "13")
        assert [owner for owner, _ in await entries(engine, model)] == ["12", "10", "13"]
        assert await bytes_at_rest(engine, model) <= 3 * one
        await reused(engine, model, prompt_of(14, 3000), "huge")
        assert [owner for owner, _ in await entries(engine, model)] == ["12", "10", "13"], "too large to be kept"


@st.composite
def conversations(draw: st.DrawFn) -> list[GenerationRequest]:
    """Prompts that share beginnings of all lengths, by a few owners, some with checkpoints."""
    trunk = prompt_of(draw(st.integers(0, 2)), 400)
    requests = []
    for index in range(draw(st.integers(2, 5))):
        shared = draw(st.integers(0, 300))
        prompt = trunk[:shared] + prompt_of(100 + index, draw(st.integers(1, 150)))
        checkpoints = tuple(draw(st.lists(st.integers(0, len(prompt) + 5), max_size=2)))
        owner = draw(st.sampled_from("ab"))
        requests.append(GenerationRequest(prompt, draw(st.integers(1, 8)), cache_owner=owner, checkpoints=checkpoints))
        if draw(st.booleans()):
            trunk = prompt + trunk[len(prompt) :]
    return requests


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
async def test_no_conversation_leaks_into_another(kind: str, request: pytest.FixtureRequest) -> None:
    """Any sequence of prompts gives what each gives alone, whatever caches and cancellations came before."""
    folder = request.getfixturevalue(kind)
    async with loaded(folder) as (engine, model), loaded(folder, prompt_cache_bytes=0) as (cold_engine, cold_model):

        @settings(max_examples=12)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            plan = [(wanted, data.draw(st.booleans())) for wanted in data.draw(conversations())]
            batches.append(plan)

        batches: list[list[tuple[GenerationRequest, bool]]] = []
        check()
        for plan in batches:
            for wanted, is_cancelled in plan:
                if is_cancelled:
                    generation = engine.generate(model, wanted)
                    await anext(generation)
                    generation.cancel()
                    await generation.ended()
                    continue
                expected, _ = await collect(cold_engine, cold_model, wanted)
                tokens, _ = await collect(engine, model, wanted)
                assert [token.id for token in tokens] == [token.id for token in expected], plan
