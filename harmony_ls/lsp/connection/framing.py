"""The base protocol of LSP: a stream of bytes cut into messages, and a message made into bytes.

The decoder never gives up on a stream. A header is found anywhere in a line, in any case, with or without ``\\r``;
stray bytes are passed over; a length that was too short, too long or absurd costs that message and no later one. That
is safe because a line that holds a header cannot occur inside JSON: in a JSON string a line break is always escaped.
It does no input or output and does not look into messages.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["MAX_MESSAGE_BYTES", "Body", "FrameDecoder", "Oversized", "Prepared", "decode", "encode", "encode_result"]

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""A longer message is passed over: no document that anybody types into comes near it."""

_MAX_LINE_BYTES = 64 * 1024
_HEAD_BYTES = 4096
_HEADER = re.compile(rb"content-length[ \t]*:[ \t]*(\d+)[ \t]*\r?\n", re.IGNORECASE)
_HEADER_NAME = b"content-length"
_UNFINISHED_HEADER = re.compile(rb"content-length[ \t]*(?::[ \t]*\d*[ \t]*\r?)?\Z")
_LONGEST_HEADER = 96
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one message."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A result whose JSON, in ASCII, was made already: a large one, on another thread."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Oversized:
    """A message that was too long and was passed over; ``head`` is how it began, ``n_bytes`` what its header said."""

    head: bytes
    n_bytes: int


class _Again:
    """A step that completed no message, after which there may be more to do."""


_AGAIN = _Again()


class FrameDecoder:
    """Cuts a stream into messages, fed as it arrives, in pieces of any size."""

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._length: int | None = None  # of the message whose header is being read, then of its body
        self._in_body = False
        self._searched = 0  # so many bytes of the body hold no header
        self._skipped: Oversized | None = None
        self._n_left = 0  # of an oversized message

    def feed(self, data: bytes) -> list[Body | Oversized]:
        """Take the next bytes of the stream; return the messages that they complete."""
        self._buffer += data
        frames: list[Body | Oversized] = []
        while (step := self._step()) is not None:
            if not isinstance(step, _Again):
                frames.append(step)
        return frames

    def _step(self) -> Body | Oversized | _Again | None:
        if self._skipped is not None:
            return self._skip(self._skipped)
        return self._read_body() if self._in_body else self._read_header_line()

    def _read_header_line(self) -> Body | Oversized | _Again | None:
        end = self._buffer.find(b"\n") + 1
        if not end:
            if len(self._buffer) > _MAX_LINE_BYTES:
                del self._buffer[:-_LONGEST_HEADER]
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        if headers := _HEADER.findall(line):
            digits = headers[-1].lstrip(b"0") or b"0"
            self._length = int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
        elif not line.strip() and self._length is not None:
            self._in_body, self._searched = True, 0
            if self._length > self._max_message_bytes:
                self._skipped, self._n_left = Oversized(b"", self._length), self._length
        return _AGAIN

    def _read_body(self) -> Body | Oversized | _Again | None:
        length = self._length or 0
        header = self._find_header(min(length, len(self._buffer)), length)
        if header is None and len(self._buffer) < length:
            return None
        end = length if header is None else header
        body = bytes(self._buffer[:end])
        body = body[: len(body) - _n_of_next_header(body)]
        del self._buffer[: len(body)]
        self._in_body, self._length = False, None
        return Body(body)

    def _skip(self, skipped: Oversized) -> Body | Oversized | _Again | None:
        header = self._find_header(min(self._n_left, len(self._buffer)), self._n_left)
        if header is not None:
            n_done = header
        elif self._n_left <= len(self._buffer):
            n_done = self._n_left
        else:
            n_done = max(len(self._buffer) - _LONGEST_HEADER, 0)
        head = skipped.head + bytes(self._buffer[: min(n_done, max(_HEAD_BYTES - len(skipped.head), 0))])
        del self._buffer[:n_done]
        self._searched = 0
        if header is None and self._n_left > n_done:
            self._n_left -= n_done
            self._skipped = Oversized(head, skipped.n_bytes)
            return None
        self._skipped, self._in_body, self._length = None, False, None
        return Oversized(head, skipped.n_bytes)

    def _find_header(self, end: int, limit: int) -> int | None:
        """Find a header inside what should be a body: the length was wrong, and the next message begins there."""
        start = max(self._searched - _LONGEST_HEADER, 0)
        self._searched = max(end - 1, 0)
        # JSON without line breaks, which is what clients send, holds no header and is passed at the speed of find().
        if self._buffer.find(b"\n", start, end + 1) < 0:
            return None
        for match in _HEADER.finditer(self._buffer, start, min(len(self._buffer), end + _LONGEST_HEADER)):
            if match.start() < limit:
                return match.start()
        return None


def _n_of_next_header(body: bytes) -> int:
    """Count the bytes at the end of a body that are the beginning of the next header: the length was too long."""
    if body.endswith(b"}"):  # as every message does whose length is right
        return 0
    tail = body[-_LONGEST_HEADER:].lower()
    if match := _UNFINISHED_HEADER.search(tail):
        return len(tail) - match.start()
    for n in range(len(_HEADER_NAME), 0, -1):
        if tail.endswith(_HEADER_NAME[:n]):
            return n
    return 0


def encode(message: object) -> bytes:
    """Make a message into bytes with its header. Raises ValueError for NaN and infinities, which JSON lacks."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def encode_result(message_id: int | str, result: Prepared) -> bytes:
    """Make the answer to a request into bytes with its header."""
    head = json.dumps({"jsonrpc": "2.0", "id": message_id}).encode("ascii").removesuffix(b"}")
    n_bytes = len(head) + len(b',"result":') + len(result.octets) + len(b"}")
    return b'Content-Length: %d\r\n\r\n%b,"result":%b}' % (n_bytes, head, result.octets)


def decode(octets: bytes) -> Any:
    """Read the JSON of a message. Raises ValueError, or RecursionError, for what is none.

    Bytes that are no UTF-8 are kept as surrogates: Neovim sends the bytes of a buffer as they are.
    """
    return json.loads(octets.decode("utf-8-sig", "surrogateescape"), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
