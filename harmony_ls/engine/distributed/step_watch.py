"""Notices a step that never ends. mlx waits for ever where a process is lost in the middle of a step that it shares.

Between two steps a lost process is an error like any other, so this is the last resort: nothing wakes the thread that
waits inside mlx.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["StepWatch", "end_process"]

log = logging.getLogger(__name__)


class StepWatch:
    """Calls ``on_stuck``, once and on a thread of its own, when a step takes longer than ``patience`` seconds."""

    def __init__(self, patience: float, on_stuck: Callable[[], None]) -> None:
        self._patience = patience
        self._on_stuck = on_stuck
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def close(self) -> None:
        """Watch no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @contextmanager
    def step(self) -> Iterator[None]:
        """The body is one step."""
        self._expect(time.monotonic() + self._patience)
        try:
            yield
        finally:
            self._expect(None)

    def _expect(self, deadline: float | None) -> None:
        with self._changed:
            self._deadline = deadline
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="watch steps", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            # A step that ends in time wakes nobody: most take milliseconds.
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, self._patience / 4)
                if self._is_closed:
                    return
                is_stuck = self._deadline is not None and time.monotonic() > self._deadline
            if is_stuck:
                self._on_stuck()
                return


def end_process() -> None:
    """End this process at once, as those do that can no longer be told to end."""
    log.critical("A step of the sharded model does not end: one of its processes is gone. Start all of them again.")
    logging.shutdown()
    os._exit(1)
