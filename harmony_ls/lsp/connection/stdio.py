"""Stdin and stdout, kept for the protocol alone and served by threads of their own.

Descriptor 1 is moved away before anything can print, so that ``print``, a C library and a child process write to
stderr and never into the protocol. Reading and writing have a thread each: a client that does not read stalls nobody,
and its death is seen even while the loop is busy. Nothing of asyncio or pygls is imported here, since the threads run
before those are.
"""

import contextlib
import logging
import os
import queue
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["Descriptors", "StdioStreams", "claim_stdio"]

_logger = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_MAX_CHUNKS_AHEAD = 64
_MAX_UNSENT_BYTES = 64 * 1024 * 1024


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
    if null > 2:
        os.close(null)
    return descriptors


class StdioStreams:
    """The bytes of the protocol, in and out. Reading begins at once; `attach` hands everything over to a loop.

    Until then ``greet`` sees what comes in, on the reader's thread; what it returns is sent.
    """

    def __init__(self, descriptors: Descriptors, greet: Callable[[bytes], bytes | None]) -> None:
        self._descriptors = descriptors
        self._greet = greet
        self._early: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receive: Callable[[bytes], None] = self._early.append
        self._on_stalled: Callable[[], None] = lambda: None
        self._attaching = threading.Lock()
        self._ahead = threading.Semaphore(_MAX_CHUNKS_AHEAD)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._n_written = 0  # bytes; changed by the writer's thread alone
        self._n_queued = 0  # bytes; changed by the loop's thread alone
        self._sent = threading.Event()
        self.broken = False
        threading.Thread(target=self._read, name="lsp reader", daemon=True).start()
        threading.Thread(target=self._write, name="lsp writer", daemon=True).start()

    def attach(
        self,
        loop: "asyncio.AbstractEventLoop",
        receive: Callable[[bytes], None],
        on_stalled: Callable[[], None],
    ) -> None:
        """Call ``receive`` on ``loop`` with all that the client sends, from its first byte; with ``b""`` at its end.

        Each call is to be followed by one of `taken`. ``on_stalled`` is called if the client takes no answers.
        """
        with self._attaching:
            for chunk in self._early:
                receive(chunk)
            self._loop, self._receive, self._on_stalled = loop, receive, on_stalled

    def taken(self) -> None:
        """Note that a received chunk has been dealt with: only so many are read ahead."""
        self._ahead.release()

    def write(self, data: bytes) -> None:
        """Send ``data`` when the client takes it."""
        if self.broken:
            return
        self._n_queued += len(data)
        if self._n_queued - self._n_written > _MAX_UNSENT_BYTES:
            self.broken = True
            self._on_stalled()
            return
        self._outgoing.put(data)

    def flush(self, seconds: float) -> None:
        """Wait until everything is sent, but no longer than ``seconds``. Nothing can be sent afterwards."""
        self._outgoing.put(None)
        self._sent.wait(seconds)

    def _read(self) -> None:
        chunk = b"-"
        while chunk:
            chunk = self._read_chunk()
            self._ahead.acquire()
            with self._attaching:
                if self._loop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        self._loop.call_soon_threadsafe(self._receive, chunk)
                    continue
                self._early.append(chunk)
                if answer := self._greet(chunk):
                    self._outgoing.put(answer)

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
