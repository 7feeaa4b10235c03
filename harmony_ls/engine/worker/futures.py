"""Results that come to the event loop from other threads. Nothing here knows of models."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["as_exception", "is_being_cancelled", "on_own_thread", "resolve"]

Result = TypeVar("Result")


async def on_own_thread(function: Callable[[], Result]) -> Result:
    """Run ``function`` on a thread of its own that nobody waits for at exit: a download may take an hour."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(resolve, future, result, error)

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            settle(None, error)
        else:
            settle(result, None)

    threading.Thread(target=run, name="own thread", daemon=True).start()
    return await future


def is_being_cancelled() -> bool:
    """Whether somebody cancelled the present task, rather than what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def as_exception(error: BaseException | None) -> Exception | None:
    """The error as one that ``except Exception`` catches: a Rust panic or a library's sys.exit must end no process."""
    if error is None or isinstance(error, Exception):
        return error
    failure = RuntimeError(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def resolve(future: asyncio.Future[Result], result: Any, error: BaseException | None) -> None:
    """Settle a future that may have been given up. Call it on the future's event loop."""
    if future.done():
        return
    failure = as_exception(error)
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
