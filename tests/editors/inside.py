"""The end of ours inside an editor, as a test speaks to it: over a socket, a line of JSON each way.

``neovim.lua`` and ``vscode_end`` are such ends. Nothing here knows which editor it is.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["LONGEST_LINE", "PATIENCE", "SOCKET", "EndInside", "listen"]

# Long enough for a machine under load; nothing waits for it unless a test fails.
PATIENCE = 90.0
SOCKET = "harmony-test-socket"
LONGEST_LINE = 4_000_000


class EndInside:
    """One end. It is asked one question after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)

    async def run(self, language: str, chunk: str, poll: int | None = None) -> Any:
        """What a chunk of the editor's language returns; with ``poll``, the first that is true.

        ``poll`` is the time between two attempts in milliseconds.
        """
        number = next(self._numbers)
        self.send({"id": number, language: chunk} | ({"poll": poll} if poll is not None else {}))
        async with asyncio.timeout(PATIENCE):
            answer = json.loads(await self._reader.readline() or b'{"id": 0, "result": "the editor is gone"}')
        assert answer["id"] == number, answer["result"]
        assert answer["ok"], answer["result"]
        return answer.get("result")

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to the end inside the editor; its answer is for the caller to read."""
        self._writer.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Let go of the editor."""
        self._writer.close()


async def listen(
    folder: Path, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
) -> asyncio.Server:
    """Wait for ends at ``SOCKET`` in ``folder``."""
    # A socket's path may have about a hundred characters, and the folders of tests have long names.
    with contextlib.chdir(folder):
        return await asyncio.start_unix_server(connected, SOCKET, limit=LONGEST_LINE)
