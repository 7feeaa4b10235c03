"""The progress of work that a person waits for and may give up: a code action, for one.

A client that brings a token with its request is shown the progress under it. Others are asked for one of ours, which
takes a request; work that ends earlier shows none. What is begun is always ended.
"""

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from harmony_ls.engine.load_progress import LoadProgress
    from harmony_ls.lsp.server import HarmonyServer

__all__ = ["Cancellable", "WorkProgress", "did_cancel_progress"]

_logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0

_Value = types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd

Cancellable = dict[int | str, "asyncio.Task[object]"]
"""By token, the task of one connection that a person may give up."""


class WorkProgress:
    """The progress of one request; used as a context manager by the task that is cancelled where a person gives up."""

    def __init__(self, server: "HarmonyServer", title: str, token: int | str | None = None) -> None:
        self._server = server
        self._title = title
        self._brought = token is not None
        self._token: int | str = f"harmony-ls/progress/{uuid.uuid4().hex}" if token is None else token
        self._is_over = False
        self._is_open = False
        self._last: tuple[str | None, int | None] = (None, None)

    def __enter__(self) -> "WorkProgress":
        task = asyncio.current_task()
        if task is not None:
            self._server.cancellable[self._token] = task
        if self._brought:
            self._open()
        elif self._server.client_can("window.work_done_progress"):
            self._server.protocol.spawn(self._create())
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.cancellable.pop(self._token, None)
        self._is_over = True
        if self._is_open:
            self._send(types.WorkDoneProgressEnd())
            self._is_open = False  # a report of a load may still be on its way

    def say(self, message: str, percentage: int | None = None) -> None:
        """Show what is being done, if that is news."""
        if (message, percentage) != self._last:
            self._last = (message, percentage)
            if self._is_open:
                self._send(types.WorkDoneProgressReport(message=message, percentage=percentage))

    def loading(self, progress: "LoadProgress") -> None:
        """Show how far the loading of a model is."""
        fraction = progress.fraction
        self.say(progress.message, None if fraction is None else max(0, min(100, int(fraction * 100))))

    async def _create(self) -> None:
        params = types.WorkDoneProgressCreateParams(token=self._token)
        try:
            await asyncio.wait_for(self._server.window_work_done_progress_create_async(params), _ANSWER_SECONDS)
        except Exception as error:  # refused, or no answer: nothing is shown
            _logger.info("the client shows no progress: %s", type(error).__name__)
            return
        if not self._is_over:
            self._open()

    def _open(self) -> None:
        self._is_open = True
        message, _ = self._last
        self._send(types.WorkDoneProgressBegin(title=self._title, message=message, cancellable=True))

    def _send(self, value: _Value) -> None:
        self._server.progress(types.ProgressParams(token=self._token, value=value))


async def did_cancel_progress(server: "HarmonyServer", params: types.WorkDoneProgressCancelParams) -> None:
    """``window/workDoneProgress/cancel``: a person gives up; the request is answered as cancelled."""
    task = server.cancellable.get(params.token)
    if task is not None:
        task.cancel()
