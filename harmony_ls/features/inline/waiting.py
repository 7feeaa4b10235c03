"""Waiting for an inline completion: until it is there, until a newer request takes its place, or until time is up."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from harmony_ls.features.inline.request import InlineCompletionRequest

__all__ = ["Clock", "Live", "Outcome", "first_of"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The place that is being answered, and the event that a newer request elsewhere in the document sets."""

    request: InlineCompletionRequest
    superseded: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Clock:
    """How much time an answer has: ``started`` is a reading of ``time.perf_counter``."""

    started: float
    deadline_ms: float

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, (self.deadline_ms - self.elapsed_ms) / 1000)


class Outcome(StrEnum):
    """How waiting ended."""

    FINISHED = "finished"
    SUPERSEDED = "superseded"
    TIMED_OUT = "timedOut"


async def first_of(work: Coroutine[Any, Any, Result], live: Live, seconds: float) -> tuple[Outcome, Result | None]:
    """Wait for ``work``, a newer request or the end of the time, whichever comes first; raise what ``work`` raises."""
    working = asyncio.create_task(work)
    superseded = asyncio.create_task(live.superseded.wait())
    try:
        await asyncio.wait({working, superseded}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if live.superseded.is_set():  # its task may not have run yet
            return Outcome.SUPERSEDED, None
        if working.done():
            return Outcome.FINISHED, working.result()
        return Outcome.TIMED_OUT, None
    finally:
        superseded.cancel()
        working.cancel()
