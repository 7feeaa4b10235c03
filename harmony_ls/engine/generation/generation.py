"""A running generation as callers hold it: its tokens as they come, its figures, and the way to end it.

How tokens are computed is in `harmony_ls.engine.generation.decode`, on the MLX thread.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from harmony_ls.engine.generation.request import FinishReason, GenerationRequest, GenerationStats, Token
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.worker.futures import as_exception
from harmony_ls.engine.worker.worker import Job, Worker

__all__ = ["Generation"]


class Generation(AsyncIterator[Token]):
    """The tokens of one generation, as they come. Made by ``Engine.generate``; used on one event loop."""

    def __init__(self, worker: Worker, model: Model, context: Any, request: GenerationRequest) -> None:
        from harmony_ls.engine.generation.decode import Progress
        from harmony_ls.engine.generation.speculative import generate

        loop = asyncio.get_running_loop()
        self.model = model
        self._worker = worker
        self._progress = Progress(GenerationStats(prompt_tokens=len(request.prompt)))
        self._tokens: asyncio.Queue[Token | None] = asyncio.Queue()
        self._error: BaseException | None = None
        self._ended = asyncio.Event()

        def on_item(token: Token) -> None:
            loop.call_soon_threadsafe(self._tokens.put_nowait, token)

        def on_end(error: BaseException | None) -> None:
            if error is None and self.stats.finish_reason is None:
                # It was cancelled before its first step, so none of its code ever ran.
                self._progress.stats = replace(self.stats, finish_reason=FinishReason.CANCELLED)
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
        self._error = as_exception(error)
        self._ended.set()
        self._tokens.put_nowait(None)
