"""Clients of a server on TCP, and such a server."""

import asyncio
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from harmony_ls.lsp.connection.framing import Body, FrameDecoder, encode
from tests.lsp.peer import PATIENCE, SERVER
from tests.lsp.server_process import fork_server
from tests.preloaded import CAN_PRELOAD

__all__ = ["Connection", "connected", "listening"]


class Connection:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._decoder = FrameDecoder()
        self.received: list[dict[str, Any]] = []

    async def call(self, number: int, method: str, params: object = None) -> Any:
        """The result of a request."""
        answer = await self._answer(number, method, params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, number: int, method: str, params: object = None) -> Any:
        """The error that a request is answered with."""
        answer = await self._answer(number, method, params)
        assert "error" in answer, answer
        return answer["error"]

    async def until_told(
        self, number: int, method: str, params: object, is_it: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Send a request and wait for a message of the server."""
        self.writer.write(encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        async with asyncio.timeout(PATIENCE):
            while not (found := list(filter(is_it, self.received))):
                chunk = await self._reader.read(65536)
                if not chunk:
                    raise EOFError
                self.received += [
                    json.loads(each.octets) for each in self._decoder.feed(chunk) if isinstance(each, Body)
                ]
        return found[0]

    async def _answer(self, number: int, method: str, params: object) -> dict[str, Any]:
        return await self.until_told(
            number, method, params, lambda message: message.get("id") == number and "method" not in message
        )

    async def ready(self) -> None:
        """Wait until the server has told that the model is ready."""
        numbers = itertools.count(1000)
        async with asyncio.timeout(PATIENCE):
            while (await self.call(next(numbers), "harmony/doctor", {}))["status"]["state"] != "ready":
                pass

    def notify(self, method: str, params: object = None) -> None:
        self.writer.write(encode({"jsonrpc": "2.0", "method": method, "params": params}))

    async def closed(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


@asynccontextmanager
async def listening(*arguments: str, **environment: str) -> AsyncIterator[tuple[Any, int]]:
    """A server on a free port of this machine."""
    arguments = ("--tcp", "127.0.0.1:0", *arguments)
    pipe = asyncio.subprocess.PIPE
    server: Any
    if CAN_PRELOAD:
        server = await fork_server(arguments, environment=environment, stderr=pipe)
    else:
        server = await asyncio.create_subprocess_exec(
            *SERVER, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environment}
        )
    line = (await server.stderr.readline()).decode()
    assert line.startswith("harmony-ls listens on 127.0.0.1:"), line
    try:
        yield server, int(line.rpartition(":")[2])
    finally:
        server.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            output, _, code = await asyncio.gather(server.stdout.read(), server.stderr.read(), server.wait())
        server.stdin.close()
        assert output == b""
        assert code == 128 + signal.SIGTERM


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
