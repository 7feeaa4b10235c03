"""``window/workDoneProgress`` for the loading of a model: begun at most once per load, and never left open."""

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from harmony_ls.lsp.server import HarmonyServer

__all__ = ["LoadingProgress"]

_logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0


class LoadingProgress:
    """Shows one load at a time as a progress bar, in clients that can.

    A bar is created by a request that the client has to grant first. A load that ends earlier shows none.
    """

    def __init__(self, server: "HarmonyServer") -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._token: str | None = None
        self._open = False
        self._last: tuple[str | None, int | None] = (None, None)

    def show(self, title: str, message: str | None, fraction: float | None) -> None:
        """Show how far the load is; begin a bar if there is none."""
        percentage = None if fraction is None else max(0, min(100, int(fraction * 100)))
        if self._token is None:
            if self._server.client_can("window.work_done_progress"):
                self._token = f"harmony-ls/load/{next(self._numbers)}"
                self._last = (message, percentage)
                self._server.protocol.spawn(self._begin(self._token, title))
            return
        if (message, percentage) == self._last:
            return
        self._last = (message, percentage)
        if self._open:
            self._send(self._token, types.WorkDoneProgressReport(message=message, percentage=percentage))

    def end(self, message: str | None) -> None:
        """Take the bar away."""
        if self._token is not None and self._open:
            self._send(self._token, types.WorkDoneProgressEnd(message=message))
        self._token, self._open = None, False

    async def _begin(self, token: str, title: str) -> None:
        try:
            await asyncio.wait_for(
                self._server.window_work_done_progress_create_async(types.WorkDoneProgressCreateParams(token=token)),
                _ANSWER_SECONDS,
            )
        except Exception as error:  # refused, or no answer: no bar
            _logger.info("the client shows no progress: %s", type(error).__name__)
            return
        if self._token == token:
            self._open = True
            message, percentage = self._last
            self._send(token, types.WorkDoneProgressBegin(title=title, message=message, percentage=percentage))

    def _send(
        self,
        token: str,
        value: types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd,
    ) -> None:
        self._server.progress(types.ProgressParams(token=token, value=value))
