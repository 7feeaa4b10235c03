"""The process around a language server on stdio: its streams, and its end.

Descriptor 1 is moved away before anything can print, so that ``print``, a C library and a child process write to
stderr and never into the protocol. Reading and writing have a thread each, so a client that does not read stalls
nobody, and its death is seen even while a generation runs. However the end comes (``exit``, end of input, the
editor's death, a signal), it is tidy if that takes less than a second and forced if not.

It knows bytes, not messages, and imports nothing of pygls, so that the descriptors are safe before heavy imports begin.
"""

import asyncio
import contextlib
import logging
import os
import queue
import select
import signal
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import FrameType

__all__ = ["Descriptors", "Ending", "Streams", "claim_stdio", "watch_parent"]

_logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.0
"""How long a tidy end may take, the closing of the engine included."""

_CHUNK_BYTES = 64 * 1024
_MAX_CHUNKS_AHEAD = 64
_MAX_UNSENT_BYTES = 64 * 1024 * 1024
_PARENT_POLL_SECONDS = 0.5


class Ending:
    """The end of the process: decided once, from any thread or signal handler, and then bound to come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._future: asyncio.Future[int] = loop.create_future()
        self._decided = False

    def decide(self, exit_code: int, reason: str) -> None:
        """End the process with ``exit_code``. Only the first call counts."""
        # Not "with": a signal handler may interrupt a call that holds the lock.
        if not self._lock.acquire(blocking=False):
            return
        self._decided = True
        _logger.info("ending with exit code %d: %s", exit_code, reason)
        threading.Thread(target=_force, args=(exit_code, GRACE_SECONDS), name="last resort", daemon=True).start()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the end has come
            self._loop.call_soon_threadsafe(self._resolve, exit_code)

    @property
    def decided(self) -> bool:
        """Whether the end is near."""
        return self._decided

    def on_signals(self) -> None:
        """End on SIGINT and SIGTERM, even while the loop is busy. To be called on the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return await asyncio.shield(self._future)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.decide(128 + number, signal.Signals(number).name)

    def _resolve(self, exit_code: int) -> None:
        if not self._future.done():
            self._future.set_result(exit_code)


def _force(exit_code: int, seconds: float) -> None:
    time.sleep(seconds)
    os._exit(exit_code)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Where the protocol comes in and goes out."""

    incoming: int
    outgoing: int


def claim_stdio() -> Descriptors:
    """Take stdin and stdout for the protocol alone.

    Whatever writes to descriptor 1 afterwards writes to stderr; whatever reads descriptor 0 reads nothing. The new
    descriptors are not inherited by child processes.
    """
    descriptors = Descriptors(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without a stderr
        os.dup2(null, 1)
        os.dup2(null, 2)
    os.close(null)
    return descriptors


class Streams:
    """The bytes of the protocol, in and out, on threads of their own."""

    def __init__(self, descriptors: Descriptors, ending: Ending) -> None:
        self._descriptors = descriptors
        self._ending = ending
        self._loop = asyncio.get_running_loop()
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._ahead = threading.Semaphore(_MAX_CHUNKS_AHEAD)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._n_queued = 0  # bytes; changed by the loop's thread alone
        self._n_written = 0  # bytes; changed by the writer's thread alone
        self._sent = threading.Event()
        self.broken = False
        threading.Thread(target=self._read, name="lsp reader", daemon=True).start()
        threading.Thread(target=self._write, name="lsp writer", daemon=True).start()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what the client sends, until it closes its end."""
        while chunk := await self._incoming.get():
            self._ahead.release()
            yield chunk

    def write(self, data: bytes) -> None:
        """Send ``data`` when the client takes it."""
        if self.broken:
            return
        self._n_queued += len(data)
        if self._n_queued - self._n_written > _MAX_UNSENT_BYTES:
            self.broken = True
            self._ending.decide(1, "the client does not read what it is sent")
            return
        self._outgoing.put(data)

    async def flush(self, seconds: float) -> None:
        """Wait until everything is sent, but no longer than ``seconds``. Nothing can be sent afterwards."""
        self._outgoing.put(None)
        await asyncio.to_thread(self._sent.wait, seconds)

    def _read(self) -> None:
        chunk = b"-"
        while chunk:
            chunk = self._read_chunk()
            self._ahead.acquire()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._incoming.put_nowait, chunk)

    def _read_chunk(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptors.incoming, _CHUNK_BYTES)
            except BlockingIOError:  # the client made its end of a shared descriptor non-blocking
                select.select([self._descriptors.incoming], [], [])
            except OSError as error:
                _logger.info("reading failed: %s", error)
                return b""

    def _write(self) -> None:
        while (data := self._outgoing.get()) is not None:
            if not self.broken:
                self._write_all(data)
            self._n_written += len(data)
        self._sent.set()

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptors.outgoing, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptors.outgoing], [])
            except OSError as error:
                self.broken = True
                _logger.info("writing failed: %s", error)
                return


def watch_parent(process_id: int, ending: Ending) -> None:
    """End when the process that started us does, even if something else holds our input open.

    A process that does not exist when we look first is of another namespace (an editor outside of our container):
    then the end of input must do.
    """
    threading.Thread(target=_watch_parent, args=(process_id, ending), name="parent watch", daemon=True).start()


def _watch_parent(process_id: int, ending: Ending) -> None:
    import psutil  # not needed before a client is there

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
