"""The engine as the rest of the program sees it: load models, generate tokens, close. Asynchronous, and free of arrays.

Every model has its own prompt caches; all of them share the one MLX thread. Nothing here is global to a connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harmony_ls.engine.blas import BlasReport
from harmony_ls.engine.healing import SpelledVocabulary
from harmony_ls.engine.model import LoadProgress, Model, ModelSpec, describe_device, load_model, resolve_folder
from harmony_ls.engine.request import GenerationRequest, GenerationStats, Token
from harmony_ls.engine.worker import Job, Priority, Worker
from harmony_ls.errors import EngineClosedError, PromptTooLongError

__all__ = ["Engine", "Generation"]

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Engine:
    """Models and generations on one MLX thread.

    Use it as an asynchronous context manager, or call ``close``. ``prompt_cache_bytes`` is the budget of each model's
    prompt caches.
    """

    def __init__(self, *, prefill_step_tokens: int = 256, prompt_cache_bytes: int = 1 << 30) -> None:
        self._prefill_step_tokens = prefill_step_tokens
        self._prompt_cache_bytes = prompt_cache_bytes
        # What holds arrays: filled and emptied on the MLX thread only.
        self._contexts: dict[int, Any] = {}
        self._worker = Worker(on_exit=self._contexts.clear)
        self._device = ""
        self._started = False
        self._closed = False
        self._loads: dict[ModelSpec, asyncio.Task[Model]] = {}
        self._models: dict[int, Model] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def blas(self) -> BlasReport:
        """Whether OpenBLAS serves the CPU's matrix products; known once a model was loaded."""
        return self._worker.blas

    @property
    def device(self) -> str:
        """What MLX computes on; empty until a model was loaded."""
        return self._device

    @property
    def models(self) -> tuple[Model, ...]:
        """The resident models."""
        return tuple(self._models.values())

    async def load(self, spec: ModelSpec, on_progress: Callable[[LoadProgress], None] | None = None) -> Model:
        """The model of ``spec``, loaded at the first call. Concurrent calls share one load.

        ``on_progress`` is called on the event loop; only the call that starts the load gets reports.
        Raises ModelError when it cannot be loaded; a later call tries again.
        """
        task = self._loads.get(spec)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._load(spec, on_progress), name=f"load {spec.reference or 'embedded'}")
            self._loads[spec] = task
        # A caller that gives up must not cancel the load for the others.
        return await asyncio.shield(task)

    async def unload(self, model: Model) -> None:
        """Free a model, its weights and its prompt caches. Running generations of it end first."""
        self._loads.pop(model.spec, None)
        if self._models.pop(id(model), None) is not None:
            await self._call(lambda: self._drop_context(id(model)))

    def generate(self, model: Model, request: GenerationRequest) -> "Generation":
        """Start a generation. Iterate over it, and leave it with ``cancel`` or by closing it.

        Raises PromptTooLongError when the prompt fills the context, ValueError for a model that is not resident.
        """
        if id(model) not in self._models:
            raise ValueError(f"{model.name} is not resident in this engine.")
        if len(request.prompt) >= model.context_length:
            raise PromptTooLongError(
                f"The prompt has {len(request.prompt)} tokens; {model.name} takes {model.context_length} in all."
            )
        return Generation(self._worker, self._contexts[id(model)], request)

    async def prompt_cache_bytes(self, model: Model) -> int:
        """Bytes that the prompt caches of a model hold at rest."""
        if id(model) not in self._models:
            return 0
        return await self._call(lambda: int(self._contexts[id(model)].prompt_cache.n_bytes))

    async def close(self, patience: float | None = None) -> bool:
        """End all generations, free MLX and join its thread. False if a step takes longer than ``patience`` seconds."""
        self._closed = True
        for task in self._loads.values():
            task.cancel()
        self._loads.clear()
        self._models.clear()
        if not self._started:
            return True
        return await asyncio.to_thread(self._worker.close, patience)

    async def _load(self, spec: ModelSpec, on_progress: Callable[[LoadProgress], None] | None) -> Model:
        loop = asyncio.get_running_loop()

        def report(progress: LoadProgress) -> None:
            if on_progress is not None:
                loop.call_soon_threadsafe(on_progress, progress)

        folder = await asyncio.to_thread(resolve_folder, spec, report)
        model = await self._call(lambda: self._load_on_worker(spec, folder, report))
        self._models[id(model)] = model
        return model

    def _load_on_worker(self, spec: ModelSpec, folder: Path, report: Callable[[LoadProgress], None]) -> Model:
        from harmony_ls.engine.decode import DecodeContext
        from harmony_ls.engine.prompt_cache import PromptCache

        self._device = describe_device()
        model, network = load_model(spec, folder, report)
        self._contexts[id(model)] = DecodeContext(
            network=network,
            prompt_cache=PromptCache(network, self._prompt_cache_bytes),
            vocabulary=SpelledVocabulary(model.tokenizer.byte_table),
            prefill_step_tokens=self._prefill_step_tokens,
            is_typing=self._worker.is_typing,
            on_gpu=self._device.startswith("gpu"),
        )
        return model

    def _drop_context(self, key: int) -> None:
        """Free a model's weights and caches, on the MLX thread."""
        import gc

        import mlx.core as mx

        del self._contexts[key]
        gc.collect()
        mx.clear_cache()

    async def _call(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` on the MLX thread as one step."""
        if self._closed:
            raise EngineClosedError("The engine is closed.")
        if not self._started:
            self._started = True
            self._worker.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()

        def steps() -> Iterator[tuple[Result]]:
            yield (function(),)

        def on_item(item: tuple[Result]) -> None:
            loop.call_soon_threadsafe(_resolve, future, item[0], None)

        def on_end(error: BaseException | None) -> None:
            ended = error if error is not None else EngineClosedError("The engine is closed.")
            loop.call_soon_threadsafe(_resolve, future, None, ended)

        self._worker.submit(Job(Priority.INTERACTIVE, steps(), on_item, on_end))
        return await future


class Generation(AsyncIterator[Token]):
    """The tokens of one generation, as they come. Made by ``Engine.generate``; used on one event loop."""

    def __init__(self, worker: Worker, context: Any, request: GenerationRequest) -> None:
        from harmony_ls.engine.decode import Progress, generate

        loop = asyncio.get_running_loop()
        self._worker = worker
        self._progress = Progress(GenerationStats(prompt_tokens=len(request.prompt)))
        self._tokens: asyncio.Queue[Token | None] = asyncio.Queue()
        self._error: BaseException | None = None
        self._ended = asyncio.Event()

        def on_item(token: Token) -> None:
            loop.call_soon_threadsafe(self._tokens.put_nowait, token)

        def on_end(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(self._end, error)

        self._job: Job[Token] = Job(request.priority, generate(context, request, self._progress), on_item, on_end)
        worker.submit(self._job)

    @property
    def stats(self) -> GenerationStats:
        """The figures so far; final once the iteration has ended or ``ended`` has returned."""
        return self._progress.stats

    def cancel(self) -> None:
        """End the generation before its next step. The iteration then ends after the tokens that are already there."""
        self._worker.cancel(self._job)

    async def ended(self) -> None:
        """Wait until the worker has let go of this generation."""
        await self._ended.wait()

    async def __anext__(self) -> Token:
        token = await self._tokens.get()
        if token is None:
            # Whoever asks again gets the same end.
            self._tokens.put_nowait(None)
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        return token

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._ended.set()
        self._tokens.put_nowait(None)


def _resolve(future: "asyncio.Future[Result]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
