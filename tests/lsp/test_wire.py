"""What a client should never send, over a real pipe: the next request is answered, and stdout holds LSP alone.

One server lives through the whole table. What ends a server by right is in `tests.lsp.test_process`.
Tests named d77 to d94 are numbered robustness cases.
"""

import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from harmony_ls.lsp.connection.framing import MAX_MESSAGE_BYTES
from tests.lsp.peer import Peer, frame, handshake, starting

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST = {"jsonrpc": "2.0", "id": 1000, "method": "harmony/doctor", "params": {}}
BODY = json.dumps(REQUEST).encode()
GOOD, PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = None, -32700, -32600, -32601, -32602
NOTHING: list[tuple[Any, int | None]] = []
URI = "file:///wire.py"
POSITION = {"line": 0, "character": 0}
INLINE = {
    "method": "textDocument/inlineCompletion",
    "params": {"textDocument": {"uri": URI}, "position": POSITION, "context": {"triggerKind": 1}},
}


def request(**changes: Any) -> bytes:
    """The request of the table with some members changed."""
    return frame(REQUEST | changes)


def inline(**changes: Any) -> bytes:
    """An inline completion with odd parameters."""
    return frame(REQUEST | INLINE | {"params": INLINE["params"] | changes})  # type: ignore[operator]


def without(name: str) -> bytes:
    return frame({key: value for key, value in REQUEST.items() if key != name})


def notification(method: str, params: object) -> bytes:
    return frame({"jsonrpc": "2.0", "method": method, "params": params})


def change(changes: object, version: object = 2) -> bytes:
    document = {"uri": "file:///never/opened.py", "version": version}
    return notification("textDocument/didChange", {"textDocument": document, "contentChanges": changes})


LONG_REQUEST = frame(json.dumps(REQUEST | {"params": {"x": "y" * (MAX_MESSAGE_BYTES + 1)}}).encode())

# What is sent, and the answers that come: (id, error code, or None for a result).
CASES: dict[str, tuple[bytes, list[tuple[Any, int | None]]]] = {
    # headers
    "lower-case header": (frame(BODY, b"content-length: %d\r\n\r\n"), [(1000, GOOD)]),
    "line feeds only": (frame(BODY, b"Content-Length: %d\n\n"), [(1000, GOOD)]),
    "stray bytes before the header": (b"\x00\xffstray" + frame(BODY), [(1000, GOOD)]),
    "a stray line before the header": (b"Downloading...\n" + frame(BODY), [(1000, GOOD)]),
    "a stray line of a megabyte": (b"x" * 1_000_000 + b"\n" + frame(BODY), [(1000, GOOD)]),
    "blank lines before the header": (b"\r\n\r\n\n" + frame(BODY), [(1000, GOOD)]),
    "an unknown header": (frame(BODY, b"X-What: 1\r\nContent-Length: %d\r\n\r\n"), [(1000, GOOD)]),
    "content type first": (frame(BODY, b"Content-Type: a/b; charset=no\r\nContent-Length: %d\r\n\r\n"), [(1000, GOOD)]),
    "a negative length": (b"Content-Length: -5\r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "a length in words": (b"Content-Length: five\r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "no length": (b"Content-Length: \r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "a length of zero": (b"Content-Length: 0\r\n\r\n" + frame(BODY), [(None, PARSE_ERROR), (1000, GOOD)]),
    "a length short by 5": (
        b"Content-Length: %d\r\n\r\n" % (len(BODY) - 5) + BODY + frame(BODY),
        [(None, PARSE_ERROR), (1000, GOOD)],
    ),
    "a length long by 5": (
        b"Content-Length: %d\r\n\r\n" % (len(BODY) + 5) + BODY + request(id=1001),
        [(1000, GOOD), (1001, GOOD)],
    ),
    "a length of 10^9": (
        b"Content-Length: 1000000000\r\n\r\n" + BODY + request(id=1001),
        [(1000, INVALID_REQUEST), (1001, GOOD)],
    ),
    "an id that is in use": (frame(BODY) + frame(BODY), [(1000, GOOD), (1000, INVALID_REQUEST)]),
    "a length of 10^15": (b"Content-Length: 1000000000000000\r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "a length of 10^30": (b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "a length of 10^5000": (b"Content-Length: 1" + b"0" * 5000 + b"\r\n\r\n" + frame(BODY), [(1000, GOOD)]),
    "a request of more than 32 MB": (LONG_REQUEST, [(1000, INVALID_REQUEST)]),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", NOTHING),
    # JSON
    "no JSON": (frame(b"hello"), [(None, PARSE_ERROR)]),
    "half a message": (frame(BODY[:20]), [(None, PARSE_ERROR)]),
    "two values": (frame(BODY + BODY), [(None, PARSE_ERROR)]),
    "NaN": (frame(b'{"jsonrpc": "2.0", "id": 5, "method": "m", "params": NaN}'), [(None, PARSE_ERROR)]),
    "nested 100,000 deep": (frame(b"[" * 100_000 + b"]" * 100_000), [(None, PARSE_ERROR)]),
    "a number of 10,000 digits": (frame(b'{"jsonrpc": "2.0", "id": ' + b"9" * 10_000 + b"}"), [(None, PARSE_ERROR)]),
    "NUL bytes": (frame(b"\x00" * 50), [(None, PARSE_ERROR)]),
    "UTF-16": (frame(BODY.decode().encode("utf-16")), [(None, PARSE_ERROR)]),
    "byte order mark": (frame(b"\xef\xbb\xbf" + BODY), [(1000, GOOD)]),
    "blanks around it": (frame(b" \r\n\t" + BODY + b"\n\n"), [(1000, GOOD)]),
    "over many lines": (frame(json.dumps(REQUEST, indent=4).replace("\n", "\r\n").encode()), [(1000, GOOD)]),
    # messages
    "null": (frame(b"null"), [(None, INVALID_REQUEST)]),
    "a number": (frame(b"42"), [(None, INVALID_REQUEST)]),
    "an empty batch": (frame(b"[]"), [(None, INVALID_REQUEST)]),
    "a batch": (frame(b"[" + BODY + b"]"), [(None, INVALID_REQUEST)]),
    "an empty object": (frame({}), [(None, INVALID_REQUEST)]),
    "no version of JSON-RPC": (without("jsonrpc"), [(1000, INVALID_REQUEST)]),
    "version 1.0 of JSON-RPC": (request(jsonrpc="1.0"), [(1000, INVALID_REQUEST)]),
    "version 2 as a number": (request(jsonrpc=2.0), [(1000, INVALID_REQUEST)]),
    "no method": (without("method"), [(1000, INVALID_REQUEST)]),
    "a method that is a number": (request(method=5), [(1000, INVALID_REQUEST)]),
    "a method that is null": (request(method=None), [(1000, INVALID_REQUEST)]),
    "a method of 100 kB": (request(method="m" * 100_000), [(1000, METHOD_NOT_FOUND)]),
    "an unknown method": (request(method="textDocument/hover"), [(1000, METHOD_NOT_FOUND)]),
    "an unknown method of the protocol": (request(method="$/nonsense"), [(1000, METHOD_NOT_FOUND)]),
    "a notification as a request": (request(method="initialized"), [(1000, METHOD_NOT_FOUND)]),
    "a request as a notification": (without("id"), NOTHING),
    "an unknown notification": (notification("nonsense/happened", {}), NOTHING),
    "initialize again": (request(method="initialize", params={"capabilities": {}}), [(1000, INVALID_REQUEST)]),
    "an id that is null": (request(id=None), [(None, INVALID_REQUEST)]),
    "an id that is a list": (request(id=[1]), [(None, INVALID_REQUEST)]),
    "an id that is an object": (request(id={"a": 1}), [(None, INVALID_REQUEST)]),
    "an id that is true": (request(id=True), [(None, INVALID_REQUEST)]),
    "an id that is a fraction": (request(id=1.5), [(None, INVALID_REQUEST)]),
    "an id of zero": (request(id=0), [(0, GOOD)]),
    "an id below zero": (request(id=-1), [(-1, GOOD)]),
    "an id of 60 bits": (request(id=2**60), [(2**60, GOOD)]),
    "an id of no characters": (request(id=""), [("", GOOD)]),
    "an id of odd characters": (request(id="👍\u2028\x00"), [("👍\u2028\x00", GOOD)]),
    "an id that is half a character": (request(id="\ud83d"), [("\ud83d", GOOD)]),
    "a member twice": (frame(BODY[:-1] + b', "id": 2000}'), [(2000, GOOD)]),
    "unknown members": (request(extra={"a": [1]}), [(1000, GOOD)]),
    "unknown parameters": (request(params={"nonsense": 1}), [(1000, GOOD)]),
    "parameters that are null": (request(params=None), [(1000, GOOD)]),
    "no parameters": (without("params"), [(1000, GOOD)]),
    "parameters that are a list": (request(params=[1, 2]), [(1000, INVALID_PARAMS)]),
    "parameters that are a number": (request(params=5), [(1000, INVALID_PARAMS)]),
    "a parameter of the wrong type": (request(params={"digests": "yes"}), [(1000, GOOD)]),
    "an answer to nothing": (frame({"jsonrpc": "2.0", "id": 77, "result": {}}), NOTHING),
    "an error to nothing": (frame({"jsonrpc": "2.0", "id": 77, "error": {"code": 1, "message": ""}}), NOTHING),
    "an error to a broken message": (frame({"jsonrpc": "2.0", "id": None, "error": "what?"}), NOTHING),
    "result and error": (frame({"jsonrpc": "2.0", "id": 77, "result": 1, "error": "both"}), NOTHING),
    # parameters
    "no document": (inline(textDocument=None), [(1000, INVALID_PARAMS)]),
    "a document that is not open": (inline(), [(1000, GOOD)]),
    "a URI that is none": (inline(textDocument={"uri": "\x00:"}), [(1000, GOOD)]),
    "a URI that is a number": (inline(textDocument={"uri": 5}), [(1000, INVALID_PARAMS)]),
    "a negative line": (inline(position={"line": -1, "character": 0}), [(1000, INVALID_PARAMS)]),
    "a line that is too large": (inline(position={"line": 2**40, "character": 0}), [(1000, INVALID_PARAMS)]),
    "a fraction of a line": (inline(position={"line": 0.5, "character": 0}), [(1000, INVALID_PARAMS)]),
    "a line in words": (inline(position={"line": "1", "character": 0}), [(1000, INVALID_PARAMS)]),
    "a trigger kind of 0": (inline(context={"triggerKind": 0}), [(1000, INVALID_PARAMS)]),
    "no context": (inline(context=None), [(1000, INVALID_PARAMS)]),
    "cancel nothing": (notification("$/cancelRequest", {"id": 424242}), NOTHING),
    "cancel without an id": (notification("$/cancelRequest", {}), NOTHING),
    "cancel a list": (notification("$/cancelRequest", {"id": [1]}), NOTHING),
    "cancel by a list": (notification("$/cancelRequest", [1]), NOTHING),
    "a change without a version": (change([], None), NOTHING),
    "a change of nothing": (change([]), NOTHING),
    "a change that is null": (change([{"text": None}]), NOTHING),
    "a change that is a string": (change("text"), NOTHING),
    "open without a text": (notification("textDocument/didOpen", {"textDocument": {"uri": URI}}), NOTHING),
    "close nothing": (notification("textDocument/didClose", {"textDocument": {"uri": "file:///never.py"}}), NOTHING),
    "configuration of the wrong kind": (notification("workspace/didChangeConfiguration", {"settings": 5}), NOTHING),
    "a bad trace": (notification("$/setTrace", {"value": "loud"}), NOTHING),
}  # fmt: skip

probes = (f"probe {number}" for number in itertools.count())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer() -> AsyncIterator[Peer]:
    async with starting() as peer:
        yield await handshake(peer)
        assert await peer.shutdown() == 0


@pytest.mark.parametrize("case", CASES)
async def test_d77_malformed(peer: Peer, case: str) -> None:
    data, expected = CASES[case]
    n_before = len(peer.received)
    probe = next(probes)
    peer.send_bytes(data + request(id=probe))
    answer = await peer.wait_for_answer(probe)
    assert "result" in answer
    answers = [message for message in peer.received[n_before:] if "method" not in message and message["id"] != probe]
    found = [(answer["id"], answer["error"]["code"] if "error" in answer else GOOD) for answer in answers]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    for answer in answers:
        if "error" in answer:
            assert not re.search(r"(^|\s)/|\.py|Traceback", answer["error"]["message"]), "no local paths"
            assert "data" not in answer["error"]


@pytest.mark.parametrize("n_pieces", [1, 2, 3])
async def test_any_split_of_the_stream(peer: Peer, n_pieces: int) -> None:
    """A request cut anywhere is one request; thousands of them, in one go, are each answered once."""
    ids = [next(probes) for _ in range(40)]
    stream = b"".join(request(id=each) for each in ids)
    step = len(stream) // (7 * n_pieces) + 1
    for start in range(0, len(stream), step):
        peer.send_bytes(stream[start : start + step])
        await peer.process.stdin.drain()  # type: ignore[union-attr]
    for each in ids:
        await peer.wait_for_answer(each)
    assert all(peer.answers[each] == 1 for each in ids)
