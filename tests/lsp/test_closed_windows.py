"""Windows that were closed: nothing of them stays in the process that served them."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.lsp import run
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.server import HarmonyServer
from tests.lsp.connections import Connection, connected
from tests.lsp.peer import PATIENCE

URI = "file:///closed.py"
INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {"textDocument": {"inlineCompletion": {}}}}


@asynccontextmanager
async def serving(settings: dict[str, Any]) -> AsyncIterator[tuple[int, set[asyncio.Task[Any]]]]:
    """A server on TCP in this process: its port, and the tasks of its connections."""
    backend, connections = Backend(), set[asyncio.Task[Any]]()
    serve = partial(run._serve_connection, run.ServeOptions(settings), backend, connections)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], connections
    await backend.close(PATIENCE)


def servers() -> list[weakref.ref[HarmonyServer]]:
    return [weakref.ref(each) for each in gc.get_objects() if isinstance(each, HarmonyServer)]


async def type_something(client: Connection, *, completes: bool) -> None:
    item = {"uri": URI, "languageId": "python", "version": 1, "text": "def add(first, second):\n    return "}
    client.notify("textDocument/didOpen", {"textDocument": item})
    place = {"position": {"line": 1, "character": 11}, "context": {"triggerKind": 1}}
    answer = await client.call(2, "textDocument/inlineCompletion", {"textDocument": {"uri": URI}} | place)
    assert bool(answer["items"]) is completes
    await client.call(3, "textDocument/codeAction", CODE_ACTION)


CODE_ACTION = {
    "textDocument": {"uri": URI},
    "range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 3}},
    "context": {"diagnostics": []},
}


@pytest.mark.parametrize("completes", [False, True])
async def test_nothing_of_a_closed_window_stays(adding_model: Path, completes: bool) -> None:
    """Whether it was there when the engine was started, or came later."""
    inline = {"enabled": completes, "deadlineMs": 10_000}
    settings = {"model": str(adding_model), "trustRemoteCode": True, "inlineCompletion": inline}
    async with serving(settings) as (port, connections):
        for _ in range(2):
            known = {id(each()) for each in servers()}
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connected(port)) for _ in range(3)]
                for client in clients:
                    await client.call(1, "initialize", INITIALIZE)
                    client.notify("initialized", {})
                served = [each for each in servers() if id(each()) not in known]
                assert len(served) == 3
                for client in clients:
                    await type_something(client, completes=completes)
                for client in clients:
                    client.notify("exit")
                    await client.closed()
            if connections:
                await asyncio.wait(connections)
            async with asyncio.timeout(PATIENCE):
                while [each for each in served if each() is not None]:
                    gc.collect()
                    await asyncio.sleep(0)
