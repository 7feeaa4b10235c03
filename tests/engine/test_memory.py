"""A lack of memory in the middle of a step ends that request; the caches are dropped and the next request works.

Another failure takes the cache with it that was in use, and no other.

A GPU refuses an allocation with a RuntimeError from within the network, after some layers have taken the tokens into
their caches. MLX on a CPU crashes instead, so an architecture of its own raises here, at the same place.
"""

from pathlib import Path

import pytest

from harmony_ls.engine.generation.request import GenerationRequest
from tests.engine.engines import bytes_at_rest, collect, loaded, watch
from tests.models import build_model

REFUSED, WRONG = 7, 8
ARCHITECTURE = f"""
from mlx_lm.models import llama
from mlx_lm.models.llama import ModelArgs


class Model(llama.Model):
    def __call__(self, inputs, cache=None, input_embeddings=None):
        logits = super().__call__(inputs, cache=cache)
        if {REFUSED} in inputs.reshape(-1).tolist():
            raise RuntimeError("[metal::malloc] Attempting to allocate 99999999999 bytes")
        if {WRONG} in inputs.reshape(-1).tolist():
            raise ValueError("[reshape] Cannot reshape array of size 8 into shape (7,).")
        return logits
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama for which token 7 is one too many, and which cannot compute token 8."""
    (tmp_path / "refusing.py").write_text(ARCHITECTURE)
    return build_model(tmp_path, "llama", config={"model_file": "refusing.py"})


@pytest.mark.parametrize("position", [3, 100, 299], ids=["first chunk", "second chunk", "first decode step"])
async def test_the_request_fails_and_the_next_one_works(folder: Path, position: int) -> None:
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        fine = GenerationRequest(tuple(range(32, 132)) * 3, 6, cache_owner="file")
        expected, _ = await collect(engine, model, fine)
        prompt = (*fine.prompt[:position], REFUSED, *fine.prompt[position + 1 :])
        with pytest.raises(RuntimeError, match="allocate"):
            await collect(engine, model, GenerationRequest(prompt, 6, cache_owner="file"))
        assert await bytes_at_rest(engine, model) == 0
        tokens, stats = await collect(engine, model, fine)
        assert tokens == expected
        assert stats.reused_tokens == 0


@pytest.mark.parametrize("position", [3, 100, 299], ids=["first chunk", "second chunk", "first decode step"])
async def test_a_failure_that_is_not_one_of_mlx_costs_no_other_cache(folder: Path, position: int) -> None:
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        other = GenerationRequest(tuple(range(232, 132, -1)) * 3, 6, cache_owner="other")
        fine = GenerationRequest(tuple(range(32, 132)) * 3, 6, cache_owner="file")
        kept, _ = await collect(engine, model, other)
        n_bytes = await bytes_at_rest(engine, model)
        expected, _ = await collect(engine, model, fine)
        prompt = (*fine.prompt[:position], WRONG, *fine.prompt[position + 1 :])
        with pytest.raises(ValueError, match="reshape"):
            await collect(engine, model, GenerationRequest(prompt, 6, cache_owner="file"))
        assert await bytes_at_rest(engine, model) >= n_bytes
        tokens, stats = await collect(engine, model, other)
        assert tokens == kept
        assert stats.reused_tokens == len(other.prompt) - 1
        tokens, _ = await collect(engine, model, fine)
        assert tokens == expected


async def test_another_generation_goes_on_beside_it(folder: Path) -> None:
    async with loaded(folder, prefill_step_tokens=64) as (engine, model):
        wanted = GenerationRequest(tuple(range(32, 132)) * 3, 20)
        expected, _ = await collect(engine, model, wanted)
        order: list[str] = []
        fine = watch(engine, model, wanted, order, "fine")
        broken = watch(engine, model, GenerationRequest((*range(32, 190), REFUSED, *range(32, 60)), 6), order, "broken")
        await fine.ended.wait()
        await broken.ended.wait()
        assert isinstance(broken.error, RuntimeError)
        assert fine.ids == [token.id for token in expected]
