"""The engine as the rest of the program sees it: load models, generate tokens, close. Asynchronous, and free of arrays.

Every model has its own prompt caches; all of them share the one MLX thread. Nothing here is global to a connection.
"""

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harmony_ls.engine.distributed.process_group import dismiss_followers
from harmony_ls.engine.generation.generation import Generation
from harmony_ls.engine.generation.healing import SpelledVocabulary
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.loading.download import find_model
from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.loading.loading import describe_device, join_as_leader, load_model
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.engine.worker.blas import BlasReport
from harmony_ls.engine.worker.futures import is_being_cancelled, on_own_thread, resolve
from harmony_ls.engine.worker.worker import Job, Priority, Worker
from harmony_ls.errors import EngineClosedError, ModelError, PromptTooLongError

__all__ = ["Engine"]

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
        self._worker = Worker(on_exit=self._let_go)
        self._device = ""
        self._started = False
        self._closed = False
        self._loads: dict[ModelSpec, _Load] = {}
        self._models: dict[int, Model] = {}
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()

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

        ``on_progress`` is called on the event loop; only the call that starts the load gets reports. A load that all
        its callers have given up is given up itself. Raises ModelError when it cannot be loaded; a later call tries
        again.
        """
        if self._closed:
            raise EngineClosedError("The engine is closed.")
        load = self._loads.get(spec)
        if load is None or load.has_failed:
            name = f"load {spec.reference or 'embedded'}"
            self._loads.pop(spec, None)  # in the order of their beginning
            load = self._loads[spec] = _Load(asyncio.create_task(self._load(spec, on_progress), name=name))
        load.n_callers += 1
        try:
            # A caller that gives up must not cancel the load for the others.
            return await asyncio.shield(load.task)
        except asyncio.CancelledError:
            if self._closed and not is_being_cancelled():
                raise EngineClosedError("The engine is closed.") from None
            raise
        finally:
            load.n_callers -= 1
            is_given_up = not load.n_callers and not load.task.done()
            if is_given_up:
                load.task.cancel()
            if (is_given_up or load.has_failed) and self._loads.get(spec) is load:
                del self._loads[spec]

    async def unload(self, model: Model) -> None:
        """Free a model, its weights and its prompt caches. Running generations of it end first."""
        if self._models.pop(id(model), None) is None:
            return
        self._loads.pop(model.spec, None)
        for generation in list(self._generations):
            if generation.model is model:
                generation.cancel()
        # Whoever gives up waiting has it freed all the same: nobody else could.
        _, dropped = self._submit(_one_step(lambda: self._drop_contexts([model])))
        await dropped

    def generate(self, model: Model, request: GenerationRequest) -> Generation:
        """Start a generation. Iterate over it, and leave it with ``cancel`` or by closing it.

        It ends where the context is full, however many tokens it may have, with the finish reason ``length``. Raises
        PromptTooLongError when the prompt alone fills the context, ValueError for a model that is not resident and for
        ids that are no tokens of it, EngineClosedError after ``close``.
        """
        context = self._context(model, len(request.prompt))
        model.require_tokens(request.prompt)
        model.require_tokens(request.sampling.named_tokens)
        room = model.context_length - len(request.prompt)
        if request.max_tokens > room:
            request = replace(request, max_tokens=room)
        generation = Generation(self._worker, model, context, request)
        self._generations.add(generation)
        return generation

    async def save_prompt_cache(self, model: Model, file: Path, tokens: Sequence[int]) -> None:
        """Write the cache of ``tokens`` to a file that mlx-lm reads too; what no cache holds of it is computed first.

        Raises UserError where that cannot be done, and what ``generate`` raises.
        """
        from harmony_ls.engine.prompt_cache_files import save_prompt_cache

        await self._finish(save_prompt_cache(self._context(model, len(tokens)), model, file, tuple(tokens)))

    async def load_prompt_cache(
        self,
        model: Model,
        file: Path,
        tokens: Sequence[int] | None = None,
        cache_owner: str = "",
        *,
        prompt: Sequence[int] = (),
    ) -> tuple[int, ...]:
        """Take the cache of a file among the prompt caches; return its tokens, with which prompts that use it begin.

        Files of ``mlx_lm.cache_prompt`` do not name their tokens: for them ``tokens`` are needed, or a ``prompt`` that
        begins with them. Raises UserError where the file cannot be used, and what ``generate`` raises.
        """
        from harmony_ls.engine.prompt_cache_files import load_prompt_cache

        context = self._context(model, len(tokens or ()))
        return await self._call(lambda: load_prompt_cache(context, model, file, tokens, cache_owner, prompt))

    async def can_cut_prompt_caches(self, model: Model) -> bool:
        """Whether the cache of one prompt serves every other that begins alike.

        One of sliding windows or recurrent states serves prompts alone that begin with all that it holds.
        """
        from harmony_ls.engine.caches.cache_layers import make_layers, needs_checkpoints

        context = self._context(model, 0)
        return await self._call(lambda: not needs_checkpoints(make_layers(context.network, context.cache_options)))

    async def close(self, patience: float | None = None) -> bool:
        """End all generations, free MLX and join its thread. False if a step takes longer than ``patience`` seconds."""
        self._closed = True
        for load in self._loads.values():
            load.task.cancel()
        self._loads.clear()
        self._models.clear()
        if not self._started:
            return True
        return await asyncio.to_thread(self._worker.close, patience)

    async def _load(self, spec: ModelSpec, on_progress: Callable[[LoadProgress], None] | None) -> Model:
        loop = asyncio.get_running_loop()
        abandoned = threading.Event()

        def report(progress: LoadProgress) -> None:
            # Raising is how a download is stopped: its library calls this for every piece.
            if abandoned.is_set():
                raise asyncio.CancelledError
            if on_progress is not None:
                loop.call_soon_threadsafe(on_progress, progress)

        loaded: list[Model] = []
        if spec.shard != "none":
            self._check_none_is_sharded(spec)
        try:
            if spec.shard != "none":
                # The others wait for ever once this one has joined them, and a download can take an hour.
                await self._call(lambda: join_as_leader(report))
            folder = await on_own_thread(lambda: find_model(spec.reference, report))
            draft = None if spec.draft is None else await on_own_thread(lambda: find_model(spec.draft, report))
            await self._call(lambda: loaded.append(self._load_on_worker(spec, folder, draft, report)))
        except asyncio.CancelledError:
            abandoned.set()
            # A load that has begun on the worker ends there; what it leaves is dropped right after it.
            with contextlib.suppress(EngineClosedError):
                self._submit(_one_step(lambda: self._drop_contexts(loaded)))
            raise
        model = loaded[0]
        self._models[id(model)] = model
        return model

    def _check_none_is_sharded(self, spec: ModelSpec) -> None:
        """Raise ModelError where the processes share a model, or are about to: they follow the steps of one alone."""
        others = [model.name for model in self._models.values() if model.spec.shard != "none"]
        for other, load in self._loads.items():
            if other == spec:
                break
            if other.shard != "none" and not load.task.done():
                others.append(Path(other.reference or "embedded").name)
        if others:
            raise ModelError(
                f"The processes share {others[0]} already, and can share one model at a time. Unload it first, or load "
                "this one without shard."
            )

    def _load_on_worker(
        self, spec: ModelSpec, folder: Path, draft: Path | None, report: Callable[[LoadProgress], None]
    ) -> Model:
        from harmony_ls.engine.caches.cache_layers import check_cache_options
        from harmony_ls.engine.generation.speculative import release

        self._device = describe_device()
        n_resident_bytes = sum(context.n_bytes for context in self._contexts.values())
        model, network = load_model(spec, folder, report, n_resident_bytes, draft)
        try:
            check_cache_options(network, spec.cache_options, model.name)
            self._contexts[id(model)] = self._warm_context(model, network, report)
        except BaseException:
            release(network)
            raise
        return model

    def _warm_context(self, model: Model, network: Any, report: Callable[[LoadProgress], None]) -> Any:
        """What generations of a model need, after a first one."""
        from harmony_ls.engine.caches.prompt_cache import PromptCache
        from harmony_ls.engine.generation.decode import DecodeContext, warm_up

        options = model.spec.cache_options
        context = DecodeContext(
            network=network,
            n_bytes=model.n_bytes,
            prompt_cache=PromptCache(network, self._prompt_cache_bytes, options, self._prefill_step_tokens),
            cache_options=options,
            vocabulary=SpelledVocabulary(model.tokenizer.byte_table),
            prefill_step_tokens=self._prefill_step_tokens,
            is_typing=self._worker.is_typing,
            on_gpu=self._device.startswith("gpu"),
        )
        report(LoadProgress(f"Warming up {model.name}"))
        try:
            warm_up(context)
        except Exception as error:
            # What a network can raise at its first run is not known; it is the model that cannot be used.
            raise ModelError(
                f"{model.name} was loaded but cannot run here: {type(error).__name__}: {error}. Choose another model."
            ) from error
        return context

    def _let_go(self) -> None:
        """The last thing on the MLX thread."""
        self._contexts.clear()
        dismiss_followers()

    def _drop_contexts(self, models: Sequence[Model]) -> None:
        """Free the weights and caches of models, on the MLX thread."""
        import gc

        import mlx.core as mx

        from harmony_ls.engine.generation.speculative import release

        for model in models:
            if (context := self._contexts.pop(id(model), None)) is not None:
                release(context.network)
        gc.collect()
        mx.clear_cache()

    def _context(self, model: Model, n_tokens: int) -> Any:
        """What a generation of ``model`` needs, once it is known that one after ``n_tokens`` can be started."""
        if self._closed:
            raise EngineClosedError("The engine is closed.")
        if id(model) not in self._models:
            raise ValueError(f"{model.name} is not resident in this engine.")
        if n_tokens >= model.context_length:
            raise PromptTooLongError(
                f"The prompt has {n_tokens} tokens; {model.name} takes {model.context_length} in all."
            )
        return self._contexts[id(model)]

    async def _call(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` on the MLX thread as one step."""
        return await self._finish(_one_step(function))

    async def _finish(self, steps: "Iterator[tuple[Result] | None]") -> Result:
        """Run steps on the MLX thread until one yields a result."""
        job, future = self._submit(steps)
        try:
            return await future
        except asyncio.CancelledError:
            self._worker.cancel(job)
            raise

    def _submit(self, steps: "Iterator[tuple[Result] | None]") -> "tuple[Job[tuple[Result]], asyncio.Future[Result]]":
        if self._closed:
            raise EngineClosedError("The engine is closed.")
        if not self._started:
            self._started = True
            self._worker.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()

        def on_item(item: tuple[Result]) -> None:
            loop.call_soon_threadsafe(resolve, future, item[0], None)

        def on_end(error: BaseException | None) -> None:
            ended = error if error is not None else EngineClosedError("The engine is closed.")
            loop.call_soon_threadsafe(resolve, future, None, ended)

        job: Job[tuple[Result]] = Job(Priority.INTERACTIVE, steps, on_item, on_end)
        self._worker.submit(job)
        return job, future


@dataclass(slots=True, eq=False)
class _Load:
    task: asyncio.Task[Model]
    n_callers: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether the load came to an end without a model."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


def _one_step(function: Callable[[], Result]) -> Iterator[tuple[Result]]:
    yield (function(),)
