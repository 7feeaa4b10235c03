"""What a rank of a group does in the tests of sharded models: ``python -m tests.engine.rank_program JSON``.

The JSON is a list of cases, each with the name of a scenario and, for each rank, the spec. Rank 0 prints one JSON line
for each case; the others follow it, and print what they logged. Between two cases all ranks stay in their
group, since it is starting that takes the time.
"""

import asyncio
import dataclasses
import json
import logging
import os
import signal
import sys
from typing import Any

from harmony_ls.engine.distributed.process_group import dismiss_followers, is_follower, join_group, rank
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest, Sampling
from harmony_ls.engine.loading.follower import _follow_group, run_follower
from harmony_ls.engine.loading.loading import join_as_leader
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.engine.worker.blas import preload_openblas
from harmony_ls.engine.worker.worker import Priority
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
        abandoned = asyncio.create_task(given_up())
        results += await asyncio.gather(*(one(request) for request in REQUESTS))
        await abandoned
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


async def lose_while_loading(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """A rank that follows is killed after all have met and before the model is loaded; what is said of that."""
    await engine._call(lambda: join_as_leader(lambda _progress: None))
    print(json.dumps("joined"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await engine.load(spec)
    except HarmonyLsError as error:
        return {"message": str(error)}
    return {}


async def refuse_files(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """Prompt caches that are spread over processes are not written."""
    model = await engine.load(spec)
    before = set(model.path.iterdir())
    message = ""
    try:
        await engine.save_prompt_cache(model, model.path / "cache.safetensors", prompt_of(1, 20))
    except HarmonyLsError as error:
        message = str(error)
    return {"message": message, "files": sorted(file.name for file in set(model.path.iterdir()) - before)}


async def refuse_a_second(engine: Engine, spec: ModelSpec) -> dict[str, Any]:
    """Two sharded models are asked for at once, and the one that comes is run afterwards."""
    other = dataclasses.replace(spec, n_draft_tokens=spec.n_draft_tokens + 1)
    first, second = await asyncio.gather(engine.load(spec), engine.load(other), return_exceptions=True)
    assert isinstance(first, Model), first
    generation = engine.generate(first, GenerationRequest(prompt_of(1, 20), 5))
    return {"message": str(second), "n_tokens": len([token async for token in generation])}


SCENARIOS = {
    "compare": compare,
    "fail": fail,
    "die": die,
    "lose": lose,
    "lose while loading": lose_while_loading,
    "refuse files": refuse_files,
    "refuse a second": refuse_a_second,
}


class Records(logging.Handler):
    """What a rank logs, since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def take(self) -> dict[str, Any]:
        taken, self._records = self._records, []
        return {
            "errors": [record.getMessage() for record in taken if record.levelno >= logging.ERROR],
            "n_unloads": sum("unloaded" in record.getMessage() for record in taken),
        }


async def lead(cases: list[dict[str, Any]]) -> None:
    async with Engine(prefill_step_tokens=64) as engine:
        for number, case in enumerate(cases):
            if number:
                await engine._call(dismiss_followers)
            result = await SCENARIOS[case["scenario"]](engine, ModelSpec(**case["specs"][0]))
            for model in engine.models:
                await engine.unload(model)
            print(json.dumps(result), flush=True)


def follow(cases: list[dict[str, Any]]) -> None:
    records = Records()
    logging.getLogger().addHandler(records)
    logging.getLogger("harmony_ls.engine.loading.follower").setLevel(logging.INFO)
    preload_openblas()
    *specs, last = [ModelSpec(**case["specs"][rank()]) for case in cases]
    for spec in specs:
        _follow_group(spec, join_group())
        print(json.dumps(records.take()), flush=True)
    try:
        run_follower(last)
    except HarmonyLsError as refusal:
        sys.exit(str(refusal))
    print(json.dumps(records.take()), flush=True)


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    if is_follower():
        follow(task)
    else:
        asyncio.run(lead(task))
