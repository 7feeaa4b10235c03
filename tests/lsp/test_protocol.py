"""The dispatch alone, with handlers of this test: each request is answered exactly once, whatever a handler does.

Tests named d77 to d94 are numbered robustness cases.
"""

import asyncio
import json
import logging
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harmony_ls.errors import ModelError
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.connection.framing import Body, FrameDecoder
from harmony_ls.lsp.connection.protocol import Stage
from harmony_ls.lsp.server import HarmonyServer

INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {}}


class Wire:
    """A server without a process: messages go in as dictionaries and come out as dictionaries."""

    def __init__(self, **handlers: Callable[[Any], Awaitable[Any]]) -> None:
        self.exit_codes: list[int] = []
        self.server = HarmonyServer(Backend(), {}, self.exit_codes.append)
        self.protocol = self.server.protocol
        self.protocol.handlers = {**self.protocol.handlers, **{f"test/{name}": each for name, each in handlers.items()}}
        self.protocol.connect(self)
        self.sent: list[dict[str, Any]] = []
        self._decoder = FrameDecoder()
        self._written = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._written.set()
        for frame in self._decoder.feed(data):
            assert isinstance(frame, Body)
            self.sent.append(json.loads(frame.octets))

    async def send(self, *messages: dict[str, Any]) -> None:
        await self.protocol.receive_all(Body(json.dumps({"jsonrpc": "2.0"} | each).encode()) for each in messages)

    async def answer(self, message_id: Any) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [each for each in self.sent if "method" not in each and each["id"] == message_id]

        async with asyncio.timeout(10):
            while not found():
                self._written.clear()
                await self._written.wait()
        assert len(found()) == 1
        return found()[0]

    async def call(self, method: str, message_id: Any = 5) -> dict[str, Any]:
        await self.send({"id": message_id, "method": method, "params": {}})
        return await self.answer(message_id)


async def running(**handlers: Callable[[Any], Awaitable[Any]]) -> Wire:
    wire = Wire(**handlers)
    await wire.send({"id": 0, "method": "initialize", "params": INITIALIZE}, {"method": "initialized", "params": {}})
    assert "result" in await wire.answer(0)
    return wire


class PanicException(BaseException):
    """What a panic of a Rust library is in Python: no Exception."""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        pytest.param(PanicException("range end out of range"), -32603, "log", id="d80 Rust panic"),
        pytest.param(SystemExit(3), -32603, "log", id="d81 sys.exit in a library"),
        pytest.param(KeyboardInterrupt(), -32603, "log", id="keyboard interrupt"),
        pytest.param(MemoryError(), -32603, "log", id="d88 out of memory"),
        pytest.param(FileNotFoundError("/home/me/secret.py"), -32603, "log", id="d94 no local paths"),
        pytest.param(ModelError("No such model. Name another."), -32803, "No such model", id="a fault with a remedy"),
    ],
)
async def test_d80_d81_what_handlers_raise(error: BaseException, code: int, text: str) -> None:
    async def raising(_params: object) -> None:
        await asyncio.sleep(0)
        raise error

    async def echo(params: object) -> object:
        return params

    wire = await running(raise_=raising, echo=echo)
    answer = await wire.call("test/raise_")
    assert answer["error"]["code"] == code
    assert text in answer["error"]["message"]
    assert "secret" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)
    assert (await wire.call("test/echo", 6))["result"] == {}


@pytest.mark.parametrize("error", [PanicException("panic"), SystemExit(1), RuntimeError("boom")])
async def test_what_notifications_raise(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def raising(_params: object) -> None:
        raise error

    async def echo(params: object) -> object:
        return params

    wire = await running(raise_=raising, echo=echo)
    await wire.send({"method": "test/raise_", "params": {}})
    assert (await wire.call("test/echo"))["result"] == {}
    assert "background task failed" in caplog.text


@pytest.mark.parametrize("result", [float("nan"), {"a": [float("inf")]}, object(), {1, 2}, b"bytes"])
async def test_results_that_are_no_json(result: object) -> None:
    async def answering(_params: object) -> object:
        return result

    wire = await running(answer=answering)
    answer = await wire.call("test/answer")
    assert answer["error"]["code"] == -32603


async def test_cancelling() -> None:
    never = asyncio.Event()

    async def waiting(_params: object) -> None:
        await never.wait()

    async def stubborn(_params: object) -> str:
        try:
            await never.wait()
        except asyncio.CancelledError:
            return "what there was"
        return ""

    async def at_once(_params: object) -> int:
        return 1

    wire = await running(wait=waiting, keep=stubborn, now=at_once)
    await wire.send(
        {"id": 1, "method": "test/wait"},
        {"id": "one", "method": "test/keep"},
        {"id": 2, "method": "test/now"},
        *[{"method": "$/cancelRequest", "params": {"id": each}} for each in (1, "one", 2, 1, 99, "1", None, True)],
    )
    assert (await wire.answer(1))["error"]["code"] == -32800
    assert (await wire.answer("one"))["result"] == "what there was"
    assert (await wire.answer(2))["result"] == 1
    assert len(wire.sent) == len({message.get("id") for message in wire.sent if "method" not in message}) + len(
        [message for message in wire.sent if "method" in message]
    )


async def test_a_cancel_that_comes_with_its_request() -> None:
    """Both in one piece of the stream: the handler has begun all the same, and answers once."""
    begun = []

    async def waiting(_params: object) -> None:
        begun.append(True)
        await asyncio.Event().wait()

    wire = await running(wait=waiting)
    await wire.send({"id": 1, "method": "test/wait"}, {"method": "$/cancelRequest", "params": {"id": 1}})
    assert (await wire.answer(1))["error"]["code"] == -32800
    assert begun


async def test_d92_shutdown_answers_what_still_runs() -> None:
    async def waiting(_params: object) -> None:
        await asyncio.Event().wait()

    wire = await running(wait=waiting)
    await wire.send(
        *[{"id": number, "method": "test/wait"} for number in range(1, 20)], {"id": 50, "method": "shutdown"}
    )
    assert (await wire.answer(50))["result"] is None
    for number in range(1, 20):
        assert (await wire.answer(number))["error"]["code"] == -32800
    assert wire.protocol.stage is Stage.SHUT_DOWN
    await wire.send({"method": "textDocument/didOpen", "params": {}}, {"method": "exit"})
    assert wire.exit_codes == [0]


async def test_handlers_begin_in_order() -> None:
    seen: list[int] = []

    async def noting(params: Any) -> int:
        seen.append(params["n"])
        await asyncio.sleep(0)
        return len(seen)

    wire = await running(note=noting)
    await wire.send(*[{"id": number, "method": "test/note", "params": {"n": number}} for number in range(1, 100)])
    await wire.answer(99)
    assert seen == list(range(1, 100))


class FastSelector(selectors.DefaultSelector):
    """Waits a thousandth of the time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / 1000 if timeout else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """A loop whose clock runs a thousand times as fast as others."""

    def __init__(self) -> None:
        super().__init__(FastSelector())

    def time(self) -> float:
        return super().time() * 1000


def test_messages_wait_for_an_initialize_that_takes_long() -> None:
    """A slow disk, say: a client that was greeted already relies on what it sends being heard."""

    async def main() -> None:
        read = asyncio.Event()
        heard = []

        async def slow(_params: object) -> dict[str, object]:
            await read.wait()
            return {}

        async def hear(_params: object) -> None:
            heard.append(True)

        wire = Wire(hear=hear)
        wire.protocol.handlers = {**wire.protocol.handlers, "initialize": slow}
        asyncio.get_running_loop().call_later(100, read.set)
        await wire.send({"id": 0, "method": "initialize", "params": INITIALIZE}, {"method": "test/hear"})
        await asyncio.sleep(0)
        assert heard == [True]

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(main())


async def test_answers_of_the_client() -> None:
    wire = await running()
    asked = [asyncio.wrap_future(wire.protocol.send_request("test/ask", {}, msg_id=f"q{n}")) for n in range(4)]
    await wire.send(
        {"id": "q0", "result": {"a": 1}},
        {"id": "q1", "error": {"code": -1, "message": "no"}},
        {"id": "q2", "error": "odd"},
        {"id": "q3", "result": None, "error": None},
        {"id": "q0", "result": "again"},
    )
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
    assert results[0] == {"a": 1}
    assert [type(each).__name__ for each in results[1:3]] == ["JsonRpcException"] * 2
    assert results[3] is None


@pytest.mark.parametrize(
    "odd",
    [
        {"rootUri": 5},
        {"trace": "loud"},
        {"clientInfo": "vim"},
        {"workspaceFolders": [{"name": 5}]},
        {"capabilities": {"textDocument": 5, "general": {"positionEncodings": ["utf-8"]}}},
        {"capabilities": {"window": {"workDoneProgress": "yes"}, "unknown": {"a": 1}}},
        {"capabilities": {"general": {"positionEncodings": ["utf-7", "klingon"]}}},
        {"initializationOptions": [1, 2]},
        {"processId": -1},
    ],
    ids=str,
)
async def test_odd_clients_are_served(odd: dict[str, Any]) -> None:
    wire = Wire()
    await wire.send({"id": 0, "method": "initialize", "params": INITIALIZE | odd})
    result = (await wire.answer(0))["result"]
    assert result["capabilities"]["inlineCompletionProvider"] == {}


@pytest.mark.parametrize(
    "params", [None, [], 5, {}, {"capabilities": 5}, {"capabilities": {}, "processId": "me"}], ids=str
)
async def test_an_initialize_that_is_none(params: object) -> None:
    """It is refused, and a better one is taken."""
    wire = Wire()
    await wire.send({"id": 0, "method": "initialize", "params": params})
    assert (await wire.answer(0))["error"]["code"] == -32602
    await wire.send({"id": 1, "method": "initialize", "params": INITIALIZE})
    assert "result" in await wire.answer(1)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, "utf-16"),
        ([], "utf-16"),
        (["utf-16"], "utf-16"),
        (["utf-8", "utf-16"], "utf-8"),
        (["utf-32", "utf-8"], "utf-32"),
        (["utf-7"], "utf-16"),
    ],
)
async def test_position_encodings(offered: list[str] | None, chosen: str) -> None:
    wire = Wire()
    capabilities = {"general": {"positionEncodings": offered}} if offered is not None else {}
    await wire.send({"id": 0, "method": "initialize", "params": INITIALIZE | {"capabilities": capabilities}})
    assert (await wire.answer(0))["result"]["capabilities"]["positionEncoding"] == chosen
    assert wire.server.documents.encoding == chosen


async def test_nothing_is_logged_of_the_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wire = await running()
    await wire.send(
        {"method": "textDocument/didOpen", "params": {"textDocument": {"uri": 5, "text": "the secret"}}},
        {"id": 1, "method": "textDocument/inlineCompletion", "params": {"position": "the secret"}},
    )
    await wire.answer(1)
    assert "could not be read" in caplog.text
    assert "the secret" not in caplog.text
