"""``window/workDoneProgress``: how far the loading of a model is, and the work that a person waits for.

A client that brings a token with its request is shown the progress under it. Others are asked for one of ours, which
takes a request that the client has to grant; what ends earlier shows none. What is begun is always ended.
"""

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.lsp.connection.connection import Connection

if TYPE_CHECKING:
    from harmony_ls.engine.loading.load_progress import LoadProgress

__all__ = ["LoadingProgress", "WorkProgress", "did_cancel_progress"]

_logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0

_Value = types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd


class _Bar:
    """One progress from its beginning to its end. What it shows before the client has granted it comes at once then."""

    def __init__(self, connection: Connection, title: str, token: int | str | None = None) -> None:
        self.token: int | str = f"harmony-ls/progress/{uuid.uuid4().hex}" if token is None else token
        self._connection = connection
        self._title = title
        self._is_brought = token is not None
        self._is_open = False
        self._is_over = False
        self._last: tuple[str | None, int | None] = (None, None)

    def begin(self, *, can_be_cancelled: bool = False) -> None:
        """Show the progress, in clients that can."""
        if self._is_brought:
            self._open(can_be_cancelled)
        elif self._connection.client_can("window.work_done_progress"):
            self._connection.protocol.spawn(self._create(can_be_cancelled))

    def report(self, message: str | None, fraction: float | None = None) -> None:
        """Show what is being done and how much of it is done, from 0 to 1, if that is news."""
        shown = message, None if fraction is None else max(0, min(100, int(fraction * 100)))
        if shown != self._last:
            self._last = shown
            if self._is_open:
                self._send(types.WorkDoneProgressReport(message=shown[0], percentage=shown[1]))

    def end(self, message: str | None = None) -> None:
        """Take it away."""
        self._is_over = True
        if self._is_open:
            self._is_open = False  # a report of a load may still be on its way
            self._send(types.WorkDoneProgressEnd(message=message))

    async def _create(self, can_be_cancelled: bool) -> None:
        params = types.WorkDoneProgressCreateParams(token=self.token)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._connection.window_work_done_progress_create_async(params)
        except Exception as error:  # refused, or no answer: nothing is shown
            _logger.info("the client shows no progress: %s", type(error).__name__)
            return
        if not self._is_over:
            self._open(can_be_cancelled)

    def _open(self, can_be_cancelled: bool) -> None:
        self._is_open = True
        message, percentage = self._last
        self._send(
            types.WorkDoneProgressBegin(
                title=self._title, message=message, percentage=percentage, cancellable=can_be_cancelled or None
            )
        )

    def _send(self, value: _Value) -> None:
        self._connection.progress(types.ProgressParams(token=self.token, value=value))


class LoadingProgress:
    """Shows the loads of a model, one at a time, each as a progress of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bar: _Bar | None = None

    def show(self, title: str, message: str | None, fraction: float | None) -> None:
        """Show how far the load is; one that is not shown yet begins."""
        if self._bar is not None:
            self._bar.report(message, fraction)
            return
        self._bar = _Bar(self._connection, title)
        self._bar.report(message, fraction)
        self._bar.begin()

    def end(self, message: str | None) -> None:
        """The load is over."""
        if self._bar is not None:
            self._bar.end(message)
        self._bar = None


class WorkProgress:
    """The progress of one request; used as a context manager by the task that is cancelled where a person gives up."""

    def __init__(self, connection: Connection, title: str, token: int | str | None = None) -> None:
        self._connection = connection
        self._bar = _Bar(connection, title, token)
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> "WorkProgress":
        self._task = asyncio.current_task()
        if self._task is not None:
            self._connection.cancellable[self._bar.token] = self._task
        self._bar.begin(can_be_cancelled=True)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._connection.cancellable.get(self._bar.token) is self._task:  # a client may bring one token twice
            self._connection.cancellable.pop(self._bar.token, None)
        self._bar.end()

    def say(self, message: str, fraction: float | None = None) -> None:
        """Show what is being done, and how much of it is done, from 0 to 1, where that is known."""
        self._bar.report(message, fraction)

    def loading(self, progress: "LoadProgress") -> None:
        """Show how far the loading of a model is."""
        self._bar.report(progress.message, progress.fraction)


async def did_cancel_progress(connection: Connection, params: types.WorkDoneProgressCancelParams) -> None:
    """``window/workDoneProgress/cancel``: a person gives up; the request is answered as cancelled."""
    task = connection.cancellable.get(params.token)
    if task is not None:
        task.cancel()
