"""Measurements that must run on the MLX thread: mlx-lm alone on the same network, single steps, an idle device.

`harmony-ls bench` uses them; nothing else does. They say how long things take and judge nothing.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest, GenerationStats
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.worker.worker import Job

__all__ = [
    "Step",
    "decode_rate",
    "mlx_lm_decode_rate",
    "prefill_rate",
    "run_in_steps",
    "save_resident_copy",
    "synchronize",
]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job on the MLX thread: what it did, and how long it held the thread."""

    phase: str
    milliseconds: float


async def decode_rate(engine: Engine, model: Model, prompt: tuple[int, ...], n_tokens: int) -> float:
    """Tokens a second that the engine hands out after the first one, as its caller sees them."""
    request = GenerationRequest(prompt=prompt, max_tokens=n_tokens)
    first_at, n_seen = None, 0
    async for _ in engine.generate(model, request):
        n_seen += 1
        if first_at is None:
            first_at = time.perf_counter()
    assert first_at is not None
    return (n_seen - 1) / (time.perf_counter() - first_at)


async def mlx_lm_decode_rate(engine: Engine, model: Model, prompt: tuple[int, ...], n_tokens: int) -> float:
    """The same for ``mlx_lm.generate.generate_step`` alone, on the same thread with the same network."""

    def run() -> float:
        import mlx.core as mx
        from mlx_lm.generate import generate_step

        first_at, n_seen = 0.0, 0
        network = engine._contexts[id(model)].network
        for _ in generate_step(mx.array(list(prompt)), network, max_tokens=n_tokens):
            n_seen += 1
            if n_seen == 1:
                first_at = time.perf_counter()
        return (n_seen - 1) / (time.perf_counter() - first_at)

    return await engine._call(run)


async def prefill_rate(engine: Engine, model: Model, prompt: tuple[int, ...]) -> float:
    """Prompt tokens a second that the engine reads, of a prompt that its caches do not know."""
    generation = engine.generate(model, GenerationRequest(prompt=prompt, max_tokens=1))
    started = time.perf_counter()
    async for _ in generation:
        pass
    return generation.stats.computed_tokens / (time.perf_counter() - started)


async def run_in_steps(engine: Engine, model: Model, request: GenerationRequest) -> list[Step]:
    """Run a generation to its end and return each of its steps."""
    from harmony_ls.engine.generation.decode import Progress
    from harmony_ls.engine.generation.speculative import generate

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    steps: list[Step] = []
    progress = Progress(GenerationStats(prompt_tokens=len(request.prompt)))
    inner = generate(engine._contexts[id(model)], request, progress)

    def timed() -> Iterator[object | None]:
        while True:
            started = time.perf_counter()
            try:
                item = next(inner)
            except StopIteration:
                return
            phase = "prefill" if item is None else "decode"
            steps.append(Step(phase, (time.perf_counter() - started) * 1000))
            yield item

    def end(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def on_end(error: BaseException | None) -> None:
        loop.call_soon_threadsafe(end, error)

    job: Job[Any] = Job(request.priority, timed(), lambda _item: None, on_end)
    engine._worker.submit(job)
    try:
        await ended
    except asyncio.CancelledError:
        engine._worker.cancel(job)
        raise
    return steps


async def synchronize(engine: Engine) -> None:
    """Wait until the device has done all that was handed to it."""

    def run() -> None:
        import mlx.core as mx

        mx.synchronize()

    await engine._call(run)


async def save_resident_copy(engine: Engine, model: Model, folder: Path) -> None:
    """Write a model folder with the weights as they are in memory, dequantised where they are, for another program."""

    def run() -> None:
        import mlx.core as mx
        from mlx.utils import tree_flatten

        network = engine._contexts[id(model)].network
        parameters: Any = dict(tree_flatten(network.parameters()))
        _copy_small_files(model, folder)
        mx.save_safetensors(str(folder / "model.safetensors"), parameters, metadata={"format": "mlx"})

    await engine._call(run)


def _copy_small_files(model: Model, folder: Path) -> None:
    """Everything but the weights; the configuration no longer says that they are quantised."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in model.config.items() if not key.startswith("quantization")}
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    for file in model.path.iterdir():
        is_small = file.suffix in {".json", ".jinja", ".py", ".model", ".txt", ".tiktoken"}
        if is_small and file.name not in {"config.json", "model.safetensors.index.json"}:
            shutil.copyfile(file, folder / file.name)
