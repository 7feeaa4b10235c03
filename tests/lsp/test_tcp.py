"""The server on TCP: many clients around one model, and nobody who is no client.

Tests named d77 to d94 are numbered robustness cases.
"""

import itertools
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from harmony_ls.lsp.connection.framing import encode
from tests.lsp.connections import Connection, connected, listening
from tests.lsp.peer import SERVER

URI = "file:///tcp.py"


INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {}}


async def initialize(client: Connection, model: Path) -> None:
    options = {"model": str(model), "inlineCompletion": {"eagerness": "eager"}}
    await client.call(1, "initialize", INITIALIZE | {"initializationOptions": options})
    client.notify("initialized", {})


async def test_d89_two_editors_one_model(tiny_llama: Path) -> None:
    """Each has its own documents; the model is loaded once, and outlives the one that leaves."""
    async with listening() as (server, port), connected(port) as first, connected(port) as second:
        for client in (first, second):
            await initialize(client, tiny_llama)
        item = {"uri": URI, "languageId": "python", "version": 1, "text": "def f(x):\n    return "}
        context = {"position": {"line": 1, "character": 11}, "context": {"triggerKind": 1}}
        for client in (first, second):
            client.notify("textDocument/didOpen", {"textDocument": item})
            await client.call(2, "textDocument/inlineCompletion", {"textDocument": {"uri": URI}} | context)
            await client.ready()
        for client in (first, second):
            assert not any(each.get("method") == "window/logMessage" for each in client.received), "of other clients"
            told = [each["params"]["state"] for each in client.received if each.get("method") == "harmony/status"]
            states = [state for state, _ in itertools.groupby(told)]
            assert states.count("loading") <= 1
            assert states.count("unloaded") <= 1
        await first.call(4, "shutdown")
        first.notify("exit")
        await first.closed()
        assert server.returncode is None
        report = await second.call(5, "harmony/doctor", {})
        assert [document["uri"] for document in report["documents"]] == [URI]
        async with connected(port) as third:
            await initialize(third, tiny_llama)
            third.notify("textDocument/didOpen", {"textDocument": item})
            report = await third.call(2, "harmony/doctor", {})
            assert report["client"]["positionEncoding"] == "utf-16"
            assert report["status"]["state"] in ("ready", "busy"), "the model that the others use"


async def test_a_window_that_names_no_model_leaves_the_others_theirs(adding_model: Path) -> None:
    """Its settings are its own: what it names or changes neither unloads nor replaces another window's model."""
    item = {"uri": URI, "languageId": "python", "version": 1, "text": "def add(first, second):\n    return "}
    place = {"position": {"line": 1, "character": 11}, "context": {"triggerKind": 1}}
    async with listening("--trust-remote-code") as (_server, port), connected(port) as first, connected(port) as second:

        async def offered(number: int) -> list[str]:
            answer = await first.call(number, "textDocument/inlineCompletion", {"textDocument": {"uri": URI}} | place)
            return [each["insertText"] for each in answer["items"]]

        await initialize(first, adding_model)
        first.notify("textDocument/didOpen", {"textDocument": item})
        await first.ready()
        assert await offered(2) == ["first + second"]
        options = {"initializationOptions": {"inlineCompletion": {"eagerness": "quiet"}}}
        await second.call(1, "initialize", INITIALIZE | options)
        second.notify("initialized", {})
        second.notify("textDocument/didOpen", {"textDocument": item})
        await second.ready()
        assert (await second.call(2, "harmony/doctor", {}))["status"]["model"] == "embedded"
        report = await first.call(3, "harmony/doctor", {})
        assert report["status"]["model"] == adding_model.name
        first.notify("textDocument/didChange", {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [item]})
        assert await offered(4) == ["first + second"]
        told = [each["params"] for each in first.received if each.get("method") == "harmony/status"]
        assert adding_model.name in {each.get("model") for each in told}
        assert "embedded" not in {each.get("model") for each in told}
        assert adding_model.name not in {
            each["params"].get("model") for each in second.received if each.get("method") == "harmony/status"
        }


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="a browser"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b"
            % (len(encode(INITIALIZE)), encode({"jsonrpc": "2.0", "id": 1, "method": "initialize"} | INITIALIZE)),
            id="a page that posts a message",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="TLS"),
        pytest.param(b"\x00" * 100_000, id="noise"),
    ],
)
async def test_who_is_no_client_is_turned_away(start: bytes) -> None:
    async with listening() as (_server, port):
        async with connected(port) as stranger:
            stranger.writer.write(start)
            with suppress(ConnectionError):
                assert await stranger.closed() == b""
        async with connected(port) as client:
            assert (await client.call(1, "initialize", INITIALIZE))["serverInfo"]["name"] == "harmony-ls"


async def test_connections_that_vanish() -> None:
    async with listening() as (_server, port):
        for _ in range(20):
            async with connected(port) as client:
                client.writer.write(b"Content-Length: 100\r\n\r\n{")
                client.writer.transport.abort()
        async with connected(port) as client:
            await client.call(1, "initialize", INITIALIZE)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1"])
def test_addresses_that_are_none(address: str) -> None:
    result = subprocess.run([*SERVER, "--tcp", address], capture_output=True, text=True)
    assert result.returncode == 2
    assert "port" in result.stderr
    assert result.stdout == ""


def test_an_address_that_is_taken() -> None:
    command = [sys.executable, "-c", "import socket, subprocess, sys; s = socket.create_server(('127.0.0.1', 0)); "]
    command[-1] += f"sys.exit(subprocess.run([*{SERVER!r}, '--tcp', f'{{s.getsockname()[1]}}']).returncode)"
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "cannot listen" in result.stderr
