"""What a rank of a group does in the tests of sharded models: ``python -m tests.engine.rank_program JSON``.

The JSON names the scenario and, for each rank, the spec. Rank 0 prints one JSON line; the others follow it.
"""

import asyncio
import dataclasses
import json
import logging
import os
import signal
import sys
from typing import Any

from harmony_ls.engine.distributed import is_follower, rank
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.follower import run_follower
from harmony_ls.engine.model import Model, ModelSpec
from harmony_ls.engine.request import GenerationRequest, Sampling
from harmony_ls.engine.worker import Priority
from harmony_ls.errors import HarmonyLsError

__all__ = ["REQUESTS"]


def prompt_of(kind: int, n_tokens: int) -> tuple[int, ...]:
    return tuple(32 + (kind * 13 + position * 7) % 200 for position in range(n_tokens))


REQUESTS = (
    GenerationRequest(prompt_of(1, 200), 30, cache_owner="chat", checkpoints=(128,)),
    GenerationRequest(prompt_of(2, 90), 30, sampling=Sampling(temperature=1.0, seed=3)),
    GenerationRequest(prompt_of(1, 100), 12, cache_owner="other", priority=Priority.BACKGROUND),
    GenerationRequest(prompt_of(4, 60), 8, priority=Priority.INLINE),
)
"""They share beginnings, run through each other, and overtake each other."""


async def write(engine: Engine, model: Model) -> list[dict[str, Any]]:
    """All requests at once; a further generation is given up among them, and then another round reuses the caches."""

    async def one(request: GenerationRequest) -> dict[str, Any]:
        generation = engine.generate(model, request)
        ids = [token.id async for token in generation]
        return {"ids": ids, "reused": generation.stats.reused_tokens, "guessed": generation.stats.n_draft_accepted}

    async def given_up() -> None:
        generation = engine.generate(model, GenerationRequest(prompt_of(5, 150), 500))
        await anext(generation)
        generation.cancel()
        await generation.ended()

    results: list[dict[str, Any]] = []
    for _ in range(2):
        *written, _ = await asyncio.gather(*(one(request) for request in REQUESTS), given_up())
        results += written
    return results


async def compare(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """What the ranks write together, and what this one writes alone; after the model was unloaded, once more."""
    model = await engine.load(spec)
    together = await write(engine, model)
    await engine.unload(model)
    again = await write(engine, await engine.load(spec))
    whole = await engine.load(dataclasses.replace(spec, shard="none", draft=None))
    return {
        "together": together,
        "again": again,
        "alone": await write(engine, whole),
        "share": model.n_bytes / whole.n_bytes,
        "counted_alike": model.n_parameters == whole.n_parameters,
    }


async def fail(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """What is said when the model cannot be loaded, twice."""
    messages = []
    for _ in range(2):
        try:
            await engine.load(spec)
        except HarmonyLsError as error:
            messages.append(str(error))
    return {"messages": messages, "n_models": len(engine.models)}


async def die(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """Rank 0 is killed in the middle of a generation."""
    model = await engine.load(spec)
    await anext(engine.generate(model, GenerationRequest(prompt_of(1, 200), 500)))
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def lose(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """A rank that follows is killed from outside before a line comes in; what is said of two generations then."""
    model = await engine.load(spec)
    print(json.dumps("loaded"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    messages = []
    for kind in (1, 2):
        try:
            await anext(engine.generate(model, GenerationRequest(prompt_of(kind, 200), 20)))
        except HarmonyLsError as error:
            messages.append(str(error))
    return {"messages": messages}


async def refuse_files(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """Prompt caches that are spread over processes are not written."""
    model = await engine.load(spec)
    try:
        await engine.save_prompt_cache(model, model.path / "cache.safetensors", prompt_of(1, 20))
    except HarmonyLsError as error:
        return {"message": str(error)}
    return {}


SCENARIOS = {"compare": compare, "fail": fail, "die": die, "lose": lose, "refuse files": refuse_files}


async def lead(scenario: str, spec: ModelSpec) -> None:
    async with Engine(prefill_step_tokens=64) as engine:
        print(json.dumps(await SCENARIOS[scenario](engine, spec)), flush=True)


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    own_spec = ModelSpec(**task["specs"][rank()])
    if is_follower():
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        try:
            run_follower(own_spec)
        except HarmonyLsError as refusal:
            sys.exit(str(refusal))
    else:
        asyncio.run(lead(task["scenario"], own_spec))
