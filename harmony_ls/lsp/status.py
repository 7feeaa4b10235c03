"""``harmony/status``: what the model is doing, told to the client whenever that changes, and a fault told once."""

import asyncio
from typing import TYPE_CHECKING

import attrs
from lsprotocol import types

from harmony_ls.features.inline.journal import Speeds
from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.messages.messages import HARMONY_STATUS, StatusParams
from harmony_ls.lsp.progress import LoadingProgress

if TYPE_CHECKING:
    from harmony_ls.features.resident_model import ModelStatus

__all__ = ["StatusReporter"]

_BUSY_AFTER_SECONDS = 0.05
"""Shorter work is not told: an answer from the cache is no reason to make an icon flicker at every key."""

_SPEEDS_AFTER_SECONDS = 1.0
"""Every completion changes the speeds a little. They go with the next status, and alone at most once a second."""


class StatusReporter:
    """Follows the model and the running completions of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._progress = LoadingProgress(connection)
        self._model = StatusParams(state="unloaded")
        self._n_running = 0
        self._busy = False
        self._busy_later: asyncio.TimerHandle | None = None
        self._told: StatusParams | None = None
        self._tell_later: asyncio.TimerHandle | None = None
        self.speeds = Speeds()
        """How fast the model was in the last completions; it is told with them."""
        self._fault: str | None = None

    @property
    def current(self) -> StatusParams:
        """What was last known."""
        if self._model.state != "ready":
            return self._model
        return attrs.evolve(
            self._model,
            state="busy" if self._busy else "ready",
            tokens_per_second=self.speeds.tokens_per_second,
            first_token_ms=self.speeds.first_token_ms,
        )

    def model_changed(self, status: "ModelStatus") -> None:
        """Take the model's new status and tell the client."""
        state = str(status.state)
        self._model = StatusParams(
            state=state,
            model=status.model or None,
            message=status.message or None,
            capability=status.capability or None,
            memory_bytes=status.n_bytes or None,
            progress=status.progress,
        )
        if state == "loading":
            name = self._model.model or "the model"
            self._progress.show(f"Loading {name}", self._model.message, self._model.progress)
        else:
            self._progress.end(self._model.message)
        if state == "ready":
            self._fault = None  # should it come back, that is news
        self._tell_fault(self._model.message if state == "error" else None)
        self.tell()

    def work_begun(self) -> None:
        """Count a completion that begins."""
        self._n_running += 1
        if self._n_running == 1:
            self._busy_later = asyncio.get_running_loop().call_later(_BUSY_AFTER_SECONDS, self._set_busy, True)

    def work_ended(self) -> None:
        """Count a completion that ends."""
        self._n_running -= 1
        if self._n_running == 0:
            if self._busy_later is not None:
                self._busy_later.cancel()
            self._set_busy(False)
            if self._tell_later is None:
                loop = asyncio.get_running_loop()
                self._tell_later = loop.call_later(_SPEEDS_AFTER_SECONDS, self._tell_speeds)

    def tell(self) -> None:
        """Send the status unless it is what the client was told last."""
        if self._connection.is_initialized and self.current != self._told:
            self._told = self.current
            self._connection.protocol.notify(HARMONY_STATUS, self._told)

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self.tell()

    def _tell_speeds(self) -> None:
        self._tell_later = None
        self.tell()

    def _tell_fault(self, fault: str | None) -> None:
        """Show a fault to the person, once: each request that finds the model unusable would tell it again."""
        if fault is None or fault == self._fault or not self._connection.is_initialized:
            return
        self._fault = fault
        message = f"harmony-ls: {fault}"
        self._connection.window_show_message(types.ShowMessageParams(type=types.MessageType.Error, message=message))
