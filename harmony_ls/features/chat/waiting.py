"""Waiting for what must not be left half done. What that is is not decided here."""

import asyncio
from typing import Any

__all__ = ["wait_to_the_end"]


async def wait_to_the_end(work: "asyncio.Future[Any]") -> bool:
    """Wait until ``work`` is done, however often that is cancelled; say whether it was. Whoever is told so raises
    CancelledError once nothing is left to do."""
    is_cancelled = False
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            is_cancelled = True
    return is_cancelled
