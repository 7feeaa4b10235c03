"""An event loop on a thread of its own: the main thread belongs to the terminal, whose keys and signals only it gets.

It knows nothing of models; what runs on the loop is the caller's business.
"""

import asyncio
import contextlib
import queue
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Self, TypeVar

__all__ = ["Background", "Stream", "on_interrupt", "raise_interrupt", "stopped_by_interrupt"]

Result = TypeVar("Result")
Item = TypeVar("Item")


class Background:
    """The loop and its thread. All methods are for the main thread; ``close`` ends both, and what still runs there."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="event loop", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What ``work`` gives. An interrupt that is raised while this waits cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stream(self, items: Callable[[], AsyncIterator[Item]]) -> "Stream[Item]":
        """The items of an asynchronous iterator that is made and iterated on the loop."""
        return Stream(self.loop, items)

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call ``function`` soon; a signal handler may do so."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to be told
            self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel what still runs, wait for its end, and end the thread. Closing twice does nothing."""
        if self.loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_wind_up(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


class Stream(Generic[Item]):
    """Items that are made on a loop and taken on the main thread. ``put`` adds one from the loop's side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, items: Callable[[], AsyncIterator[Item]]) -> None:
        self._queue: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        self._pump = asyncio.run_coroutine_threadsafe(self._run(items), loop)

    def put(self, item: Item) -> None:
        """Add an item before whatever is made next."""
        self._queue.put(item)

    def take(self, patience: float) -> Iterator[Item | None]:
        """The items as they come; None each time that nothing has come for ``patience`` seconds.

        What was raised on the loop is raised here. Leaving the iteration ends the one on the loop.
        """
        try:
            while True:
                try:
                    item = self._queue.get(timeout=patience)
                except queue.Empty:
                    yield None
                    continue
                if not isinstance(item, _End):
                    yield item
                elif item.error is not None:
                    raise item.error
                else:
                    return
        finally:
            self._pump.cancel()

    async def _run(self, make: Callable[[], AsyncIterator[Item]]) -> None:
        error: BaseException | None = None
        items = make()
        try:
            async for item in items:
                self._queue.put(item)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            error = failure
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
            self._queue.put(_End(error))


@contextlib.contextmanager
def on_interrupt(action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` at Ctrl-C, instead of what was done at it before. Main thread only."""

    is_meant = True

    def handle(_number: int, _frame: FrameType | None) -> None:
        if is_meant:
            action()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        # An action that raises may do so here, too, and what was done before must be done again all the same.
        try:
            is_meant = False
        finally:
            signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def stopped_by_interrupt(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` at the first Ctrl-C. The next one raises KeyboardInterrupt: what should have stopped does not end.

    Main thread only.
    """
    n_interrupts = 0

    def stop_or_raise() -> None:
        nonlocal n_interrupts
        n_interrupts += 1
        if n_interrupts > 1:
            raise KeyboardInterrupt
        stop()

    with on_interrupt(stop_or_raise):
        yield


def raise_interrupt() -> None:
    """What Python does at Ctrl-C by itself."""
    raise KeyboardInterrupt


async def _wind_up() -> None:
    present = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not present]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
