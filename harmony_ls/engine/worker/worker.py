"""The thread that owns MLX, and the order in which its jobs advance.

A job is a generator. The worker advances the most urgent job by one step (one prefill chunk or one token), puts it back
and looks again, so pre-emption, fairness, cancellation and closing are this one loop. MLX's streams are bound to the
thread that made them: models are loaded, run and freed here and nowhere else.

The worker knows nothing of models or tokens.
"""

import atexit
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar

from harmony_ls.engine.worker.blas import BlasReport, preload_openblas
from harmony_ls.errors import EngineClosedError

__all__ = ["Job", "Priority", "Worker"]

log = logging.getLogger(__name__)
Item = TypeVar("Item")

# Who paused for longer than this is reading or thinking, and other work may take long steps again.
_TYPING_SECONDS = 5.0
# A step that takes longer than this does not keep a process from ending.
_EXIT_PATIENCE_SECONDS = 5.0


class Priority(IntEnum):
    """How urgent a job is; the lowest value steps first."""

    INLINE = 0
    INTERACTIVE = 1
    BACKGROUND = 2


@dataclass(slots=True, eq=False)
class Job(Generic[Item]):
    """Work for the MLX thread.

    ``steps`` runs on the worker; it yields an item, or None for a step without one. ``on_item`` and ``on_end`` are
    called on the worker too and must not block; ``on_end`` comes exactly once, with the exception that ended the job or
    None. A cancelled job ends with None once its generator is closed. An ``on_item`` that raises ends its job.
    """

    priority: Priority
    steps: Iterator[Item | None]
    on_item: Callable[[Item], None]
    on_end: Callable[[BaseException | None], None]
    cancelled: bool = False
    turn: int = field(default=0)


class Worker:
    """One MLX thread with its jobs. Start it with ``start``, end it with ``close``.

    ``on_exit`` runs on the thread after the last job: the place to drop what holds arrays.
    """

    def __init__(self, on_exit: Callable[[], None] = lambda: None) -> None:
        self._on_exit = on_exit
        self._jobs: list[Job[Any]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._turn = 0
        self._last_inline = -math.inf
        self._thread = threading.Thread(target=self._run, name="mlx", daemon=True)
        self.blas = BlasReport(active=False, library="")

    def start(self) -> None:
        """Start the thread. It is closed at the interpreter's exit at the latest: MLX would abort the process else."""
        self._thread.start()
        atexit.register(self.close, _EXIT_PATIENCE_SECONDS)

    def submit(self, job: Job[Any]) -> None:
        """Hand a job to the thread.

        Raises EngineClosedError once the worker is closing.
        """
        with self._changed:
            if self._closing:
                raise EngineClosedError("The engine is closing.")
            if job.priority is Priority.INLINE:
                self._last_inline = time.monotonic()
            self._enqueue(job)
            self._changed.notify()

    def is_typing(self) -> bool:
        """Whether an inline completion was asked for in the last seconds, so that the next one is near."""
        return time.monotonic() - self._last_inline < _TYPING_SECONDS

    def cancel(self, job: Job[Any]) -> None:
        """End a job before its next step. Cancelling a job that has ended does nothing."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """End every job, free MLX's streams, join the thread. False if it is still busy after ``timeout`` seconds."""
        with self._changed:
            self._closing = True
            for job in self._jobs:
                job.cancelled = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():
            # It is waited for once more when the process ends.
            return False
        atexit.unregister(self.close)
        return True

    def _enqueue(self, job: Job[Any]) -> None:
        self._turn += 1
        job.turn = self._turn
        self._jobs.append(job)

    def _next_job(self) -> Job[Any] | None:
        """Take the next job: a cancelled one first, then by priority, then in turn. None when closing and empty."""
        with self._changed:
            while not self._jobs:
                if self._closing:
                    return None
                self._changed.wait()
            job = min(self._jobs, key=lambda job: (not job.cancelled, job.priority, job.turn))
            self._jobs.remove(job)
            if self._closing:
                job.cancelled = True
            return job

    def _run(self) -> None:
        self.blas = preload_openblas()
        try:
            while (job := self._next_job()) is not None:
                self._advance(job)
                # A reference that outlives the loop would free the job's arrays after the streams are gone.
                del job
        finally:
            try:
                self._on_exit()
            except BaseException as error:
                # The streams are freed whatever has failed, or the process aborts.
                log.error("The MLX thread did not end as it should: %s: %s", type(error).__name__, error)
            _release_mlx()

    def _advance(self, job: Job[Any]) -> None:
        """One step of one job. Whatever is raised, Rust panics included, ends this job and not the thread."""
        error: BaseException | None = None
        try:
            if not job.cancelled:
                item = next(job.steps)
                if item is not None:
                    job.on_item(item)
                with self._changed:
                    self._enqueue(job)
                return
        except StopIteration:
            pass
        except BaseException as failure:
            error = failure
        try:
            _close(job.steps)
        except BaseException as failure:
            error = error or failure
        if error is not None:
            _let_go_of_frames(error)
        try:
            job.on_end(error)
        except Exception as gone:
            log.info("Nobody is left to hear that a job has ended: %s", gone)


def _close(steps: Iterator[Any]) -> None:
    close = getattr(steps, "close", None)
    if close is not None:
        close()


def _let_go_of_frames(error: BaseException) -> None:
    """Empty the frames that an exception keeps: their arrays would outlive the failure, and be freed elsewhere."""
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            traceback.clear_frames(link.__traceback__)
            links += [link.__cause__, link.__context__]


def _release_mlx() -> None:
    """Free the thread's streams. Without this the process aborts at exit about three times in four (mlx PR #4373)."""
    import gc
    import sys

    if "mlx.core" not in sys.modules:
        return
    import mlx.core as mx

    gc.collect()
    try:
        mx.synchronize()
    except RuntimeError as error:
        log.error("What MLX had begun has failed: %s", error)
    mx.clear_streams()
