"""The end of the process: decided once, by whatever comes first, and then bound to come.

However it comes (``exit``, end of input, the editor's death, a signal), the end is tidy if that takes less than a
second and forced if not: an editor's user must never find a dead editor's server holding a model in memory.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from types import FrameType

import psutil  # type: ignore[import-untyped]

__all__ = ["GRACE_SECONDS", "Ending", "watch_parent"]

_logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.0
"""How long a tidy end may take, the closing of the engine included."""

_PARENT_POLL_SECONDS = 0.5


class Ending:
    """The end of the process: decided once, from any thread or signal handler, and then bound to come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._first = threading.Lock()
        self._future: asyncio.Future[int] = loop.create_future()
        reading, self._deciding = os.pipe()
        threading.Thread(target=_force, args=(reading,), name="last resort", daemon=True).start()

    def decide(self, exit_code: int, reason: str) -> None:
        """End the process with ``exit_code``. Only the first call counts.

        A signal handler may call it between any two instructions of the main thread, so nothing here waits for a
        lock that the main thread may hold: no logging, no new thread.
        """
        if self._first.acquire(blocking=False):
            os.write(self._deciding, bytes([exit_code]))
            with contextlib.suppress(RuntimeError):  # the loop is closed: the end has come
                self._loop.call_soon_threadsafe(self._resolve, exit_code, reason)

    @property
    def decided(self) -> bool:
        """Whether the end is near."""
        return self._first.locked()

    def on_signals(self) -> None:
        """End on SIGINT and SIGTERM, even while the loop is busy. To be called on the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            # A signal that comes just before the loop goes to sleep would not be seen until it wakes: asyncio's handler
            # is there to wake it, ours to be called between any two instructions.
            self._loop.add_signal_handler(number, self._on_signal, number, None)
            signal.signal(number, self._on_signal)

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return await asyncio.shield(self._future)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.decide(128 + number, signal.Signals(number).name)

    def _resolve(self, exit_code: int, reason: str) -> None:
        _logger.info("ending with exit code %d: %s", exit_code, reason)
        if not self._future.done():
            self._future.set_result(exit_code)


def _force(reading: int) -> None:
    """Wait for the decision, then give the rest of the process its grace, and no more."""
    exit_code = os.read(reading, 1)[0]
    time.sleep(GRACE_SECONDS)
    os._exit(exit_code)


def watch_parent(process_id: int, ending: Ending) -> None:
    """End when the process that started us does, even if something else holds our input open.

    A process that does not exist when we look first is of another namespace (an editor outside of our container):
    then the end of input must do.
    """
    threading.Thread(target=_watch_parent, args=(process_id, ending), name="parent watch", daemon=True).start()


def _watch_parent(process_id: int, ending: Ending) -> None:
    try:
        parent = psutil.Process(process_id)
    except (psutil.Error, ValueError, OverflowError):
        _logger.info("no process %d to watch", process_id)
        return
    while not ending.decided:
        try:
            # A killed process is a zombie until its own parent has taken note.
            alive = parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            alive = False
        except psutil.Error:
            alive = True
        if not alive:
            ending.decide(1, f"the client's process {process_id} is gone")
            return
        time.sleep(_PARENT_POLL_SECONDS)
