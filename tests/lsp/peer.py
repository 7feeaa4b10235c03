"""A client for tests: it keeps every message it gets, so that a test can say that each request had one answer."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast

from harmony_ls.lsp.client import SERVER_COMMAND, LspClient
from tests.lsp.server_process import fork_server
from tests.preloaded import CAN_PRELOAD

__all__ = ["SERVER", "Peer", "handshake", "starting"]

SERVER = SERVER_COMMAND

# Long enough for a machine under load; nothing waits for it unless a test fails.
PATIENCE = 60.0


class Peer(LspClient):
    """An `LspClient` that records. ``answers`` counts the answers by id, those to no id (None) included."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.received: list[dict[str, Any]] = []
        self.arrived = asyncio.Condition()
        self.silent = False
        super().__init__(process)

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str] = (),
        *,
        command: Sequence[str] = SERVER,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        folder: Path | None = None,
        is_fresh: bool = False,
    ) -> Self:
        """Start a server: forked from a process that has imported everything, see `tests.preloaded`.

        With ``is_fresh``, and where that cannot be, Python is started, as editors start it.
        """
        if CAN_PRELOAD and not is_fresh and command == SERVER:
            server = await fork_server(arguments, environment=environment, stderr=stderr, folder=folder)
            return cls(cast(asyncio.subprocess.Process, server))
        return await super().start(arguments, command=command, environment=environment, stderr=stderr, folder=folder)

    @property
    def answers(self) -> Counter[Any]:
        return Counter(message["id"] for message in self.received if "method" not in message)

    def answer_to(self, message_id: int | str | None) -> dict[str, Any] | None:
        """The first answer to an id."""
        return next((each for each in self.received if "method" not in each and each["id"] == message_id), None)

    async def wait_for_answer(self, message_id: int | str | None, count: int = 1) -> dict[str, Any]:
        """Wait until there are so many answers to an id; return the last of them."""

        def there() -> list[dict[str, Any]]:
            return [each for each in self.received if "method" not in each and each["id"] == message_id]

        async with asyncio.timeout(PATIENCE):
            while len(there()) < count:
                await self.next_messages()
        return there()[-1]

    async def next_messages(self) -> None:
        """Wait until something arrives."""
        n_received = len(self.received)
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) > n_received or self.reading_ended)
        if len(self.received) == n_received:
            raise EOFError("the server is gone")

    @property
    def reading_ended(self) -> bool:
        return self._reading.done()

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the end of the server and return its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    def _receive(self, message: dict[str, Any]) -> None:
        assert message["jsonrpc"] == "2.0"
        self.received.append(message)
        asyncio.get_running_loop().create_task(self._tell())
        if not self.silent or "method" not in message:
            super()._receive(message)

    async def _read(self) -> None:
        try:
            await super()._read()
        finally:
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._tell()))

    async def _tell(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()


@asynccontextmanager
async def starting(*arguments: str, command: Sequence[str] = SERVER, **options: Any) -> AsyncIterator[Peer]:
    """A server process that is waited for at the end. Its stderr is read and shown where a test fails."""
    peer = await Peer.start(arguments, command=command, **options)
    try:
        yield peer
    finally:
        if peer.process.returncode is None and sys.exc_info()[0] is not None:
            peer.process.kill()
        await peer.close()


async def handshake(peer: Peer, **options: Any) -> Peer:
    """Initialize a server and return its client."""
    async with asyncio.timeout(PATIENCE):
        await peer.initialize(**options)
    return peer


def frame(body: bytes | dict[str, Any], header: bytes = b"Content-Length: %d\r\n\r\n") -> bytes:
    """A message with a header of one's own."""
    octets = json.dumps(body).encode() if isinstance(body, dict) else body
    return header % len(octets) + octets
