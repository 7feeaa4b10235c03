"""Ways to drive an engine in tests: collect a generation, hold the worker, watch the order of steps.

Order is observed by the steps themselves, on the worker's own thread; no clock is read.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.decode import Progress
from harmony_ls.engine.generation.request import GenerationRequest, GenerationStats, Token
from harmony_ls.engine.generation.speculative import generate
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.engine.worker.worker import Job, Priority, Worker

__all__ = ["Watched", "bytes_at_rest", "collect", "held", "loaded", "on_worker", "watch"]


@asynccontextmanager
async def loaded(folder: Path, **options: Any) -> AsyncIterator[tuple[Engine, Model]]:
    """An engine with one model of a folder; closed at the end."""
    async with Engine(**options) as engine:
        yield engine, await engine.load(ModelSpec(str(folder), trust_remote_code=True))


async def collect(engine: Engine, model: Model, request: GenerationRequest) -> tuple[list[Token], GenerationStats]:
    """All tokens of a generation and its final figures."""
    generation = engine.generate(model, request)
    tokens = [token async for token in generation]
    return tokens, generation.stats


async def bytes_at_rest(engine: Engine, model: Model) -> int:
    """What the prompt caches of a model take."""
    n_bytes: int = await on_worker(engine, lambda: engine._contexts[id(model)].prompt_cache.n_bytes)
    return n_bytes


async def on_worker(engine: Engine, function: Callable[[], Any]) -> Any:
    """Run a function on the engine's MLX thread, behind everything that is more urgent."""
    return await engine._call(function)


@asynccontextmanager
async def held(worker: Worker) -> AsyncIterator[None]:
    """Hold the worker in one step of a job, so that jobs can be queued without any of them beginning.

    The job is none of a person who types, so other work keeps its long steps.
    """
    entered, release = threading.Event(), threading.Event()

    def steps() -> Iterator[None]:
        entered.set()
        release.wait()
        yield None

    worker.submit(Job(Priority.INTERACTIVE, steps(), lambda item: None, lambda error: None))
    await asyncio.to_thread(entered.wait)
    try:
        yield
    finally:
        release.set()


@dataclass(eq=False)
class Watched:
    """A generation whose steps are written down: ``name``s in ``order``, what it yielded, how it ended."""

    name: str
    progress: Progress
    tokens: list[Token] = field(default_factory=list)
    n_steps: int = 0
    error: BaseException | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    job: Job[Any] | None = None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def watch(
    engine: Engine,
    model: Model,
    request: GenerationRequest,
    order: list[str],
    name: str = "",
    at_step: Callable[[int], None] = lambda n_steps: None,
) -> Watched:
    """Start a generation that appends its name to ``order`` at each step.

    ``at_step`` is called on the worker, inside the step, with the number of steps done: the place to submit or cancel
    other jobs at an exact moment.
    """
    loop = asyncio.get_running_loop()
    progress = Progress(GenerationStats(prompt_tokens=len(request.prompt)))
    watched = Watched(name, progress)
    inner = generate(engine._contexts[id(model)], request, progress)

    def steps() -> Iterator[Token | None]:
        try:
            for item in inner:
                watched.n_steps += 1
                order.append(name)
                if item is not None:
                    watched.tokens.append(item)
                at_step(watched.n_steps)
                yield item
        finally:
            inner.close()

    def on_end(error: BaseException | None) -> None:
        watched.error = error
        loop.call_soon_threadsafe(watched.ended.set)

    watched.job = Job(request.priority, steps(), lambda item: None, on_end)
    engine._worker.submit(watched.job)
    return watched


async def all_ended(watched: Sequence[Watched]) -> None:
    """Wait for the ends of all; a failure of one is raised."""
    for one in watched:
        await one.ended.wait()
        if one.error is not None:
            raise one.error
