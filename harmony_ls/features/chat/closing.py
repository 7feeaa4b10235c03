"""Letting go of what the tools of conversations hold, while everything else goes on.

Docker may take its time to remove a container, and no answer waits for that. What is closed is not decided here.
"""

import asyncio
import logging

from harmony_ls.tools.toolbox import ToolBox

__all__ = ["Closing"]

log = logging.getLogger(__name__)


class Closing:
    """The tools that are being closed. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, tools: ToolBox) -> None:
        """Close the tools of a conversation; what goes wrong there is no matter of the others."""
        task = asyncio.create_task(_close(tools), name="close tools")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finished(self) -> None:
        """Wait until all that were begun are closed."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))


async def _close(tools: ToolBox) -> None:
    try:
        await tools.close()
    except Exception:
        log.exception("The tools of a conversation could not be closed")
