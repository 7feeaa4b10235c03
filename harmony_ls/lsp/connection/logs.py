"""Logging of a language connection: to stderr or a file, and to the client's log once it listens.

Records go through a queue to a thread that writes them: an editor that does not read our stderr must not stop us.
"""

import asyncio
import logging
import logging.handlers
import queue
import sys
from collections import deque
from pathlib import Path

from lsprotocol import types

from harmony_ls.errors import UserError
from harmony_ls.lsp.connection.connection import Connection

__all__ = ["ClientLog", "set_level", "start_logging"]

_MAX_WAITING = 1000
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OURS = "harmony_ls"


class _DroppingHandler(logging.handlers.QueueHandler):
    """Drops records while the queue is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: there is nowhere to say it."""


def start_logging(level: str, file: Path | None) -> logging.handlers.QueueListener:
    """Log to ``file``, or to stderr; the result must be stopped at the end.

    Other libraries are heard from warnings on. Editors show stderr as errors, so it gets warnings alone unless more
    is asked for. Raises UserError where ``file`` cannot be written.
    """
    target: logging.Handler
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            target = logging.FileHandler(file, encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UserError(
                f"The log file {file} cannot be written: {reason}. Name another with --log-file."
            ) from error
    else:
        target = logging.StreamHandler(sys.stderr)
        target.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    target.setFormatter(logging.Formatter(_FORMAT))
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(_MAX_WAITING)
    listener = logging.handlers.QueueListener(waiting, target, respect_handler_level=True)
    root = logging.getLogger()
    root.handlers[:] = [_DroppingHandler(waiting)]
    set_level(level)
    logging.captureWarnings(True)
    listener.start()
    return listener


def set_level(level: str) -> None:
    """Set how much harmony-ls itself logs; other libraries are heard from warnings on, or errors if so asked."""
    logging.getLogger(_OURS).setLevel(level.upper())
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in root.handlers:
        if isinstance(handler, _DroppingHandler):
            # The level of a logger does not bind the loggers below it; that of a handler binds all.
            handler.setLevel(level.upper())


class ClientLog(logging.Handler):
    """Sends what harmony-ls logs to the client as ``window/logMessage``; keeps it until the client is initialized.

    It gets the log of the whole process, so it is for the only client of one: others would read each other's paths.
    """

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.INFO)
        self._connection = connection
        self._loop = loop
        self._waiting: deque[types.LogMessageParams] = deque(maxlen=_MAX_WAITING)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def attach(self) -> None:
        """Begin to listen."""
        logging.getLogger(_OURS).addHandler(self)

    def detach(self) -> None:
        """Listen no more."""
        logging.getLogger(_OURS).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; records come from any thread."""
        try:
            self._waiting.append(types.LogMessageParams(type=_type_of(record.levelno), message=self.format(record)))
            self._loop.call_soon_threadsafe(self.flush_waiting)
        except RuntimeError:  # the loop is closed
            return

    def flush_waiting(self) -> None:
        """Send what waits, if the client may be sent anything yet."""
        while self._waiting and self._connection.is_initialized:
            self._connection.window_log_message(self._waiting.popleft())


def _type_of(level: int) -> types.MessageType:
    if level >= logging.ERROR:
        return types.MessageType.Error
    return types.MessageType.Warning if level >= logging.WARNING else types.MessageType.Info
