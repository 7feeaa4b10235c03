"""The decoder of the base protocol: any pieces, any noise, and never deaf.

Tests named d77 to d94 are numbered robustness cases.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.lsp.connection.framing import Body, FrameDecoder, Oversized, Prepared, decode, encode, encode_result

PING = {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"text": "a\r\nContent-Length: 5\r\n\r\n{}é👍"}}


def frames(data: bytes, *, max_message_bytes: int = 10_000) -> list[Body | Oversized]:
    return FrameDecoder(max_message_bytes).feed(data)


def messages(data: bytes) -> list[object]:
    """What can be read of a stream."""
    found: list[object] = []
    for frame in frames(data):
        if isinstance(frame, Body):
            try:
                found.append(decode(frame.octets))
            except ValueError:
                continue
    return found


def framed(body: bytes, header: bytes) -> bytes:
    return header + body


BODY = json.dumps(PING).encode()
LENGTH = len(BODY)


def test_encoding_comes_back() -> None:
    assert messages(encode(PING)) == [PING]
    assert encode("é👍\ud800").isascii()


def test_not_a_number_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"confidence": float("nan")})


HEADERS = {
    "usual": b"Content-Length: %d\r\n\r\n",
    "with content type": b"Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n",
    "content type first": b"Content-Type: application/vscode-jsonrpc; charset=utf8\r\nContent-Length: %d\r\n\r\n",
    "lower case": b"content-length: %d\r\n\r\n",
    "upper case": b"CONTENT-LENGTH: %d\r\n\r\n",
    "line feeds only": b"Content-Length: %d\n\n",
    "mixed ends of lines": b"Content-Length: %d\n\r\n",
    "no blank after the colon": b"Content-Length:%d\r\n\r\n",
    "blanks around": b"Content-Length \t:  %d \r\n\r\n",
    "leading zeros": b"Content-Length: 000%d\r\n\r\n",
    "stray bytes before it": b"\xff\x00garbageContent-Length: %d\r\n\r\n",
    "stray lines before it": b"npm WARN something\r\n\r\nhello\nContent-Length: %d\r\n\r\n",
    "blank lines before it": b"\r\n\r\n\nContent-Length: %d\r\n\r\n",
    "an unknown header": b"X-Trace: 1\r\nContent-Length: %d\r\nX-Other: 2\r\n\r\n",
    "a negative length before it": b"Content-Length: -5\r\n\r\nContent-Length: %d\r\n\r\n",
    "a length in words before it": b"Content-Length: five\r\n\r\nContent-Length: %d\r\n\r\n",
    "given twice": b"Content-Length: 3\r\nContent-Length: %d\r\n\r\n",
    "a very long line before it": b"x" * 200_000 + b"Content-Length: %d\r\n\r\n",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers(header: bytes) -> None:
    stream = framed(BODY, header % LENGTH)
    assert messages(stream) == [PING]
    assert messages(stream + encode({"next": 1})) == [PING, {"next": 1}]


WRONG_LENGTHS = [str(LENGTH + wrong) for wrong in (-5, -1, 1, 2, 5, 12, 17, 40, 1000)] + ["0", "1000000"]
ABSURD_LENGTHS = {"10^15": "1" + "0" * 15, "10^30": "1" + "0" * 30, "10^5000": "1" + "0" * 5000}


@pytest.mark.parametrize("length", [*WRONG_LENGTHS, *ABSURD_LENGTHS.values()], ids=[*WRONG_LENGTHS, *ABSURD_LENGTHS])
def test_d78_a_wrong_length_costs_one_message(length: str) -> None:
    """Whatever a header claims, the messages after it are read."""
    following = [{"next": number} for number in range(3)]
    header = b"Content-Length: %s\r\n\r\n" % length.encode()
    found = messages(framed(BODY, header) + b"".join(map(encode, following)))
    assert found[-3:] == following
    assert len(found) <= 4


@pytest.mark.parametrize("wrong", [1, 5, 17, 40])
def test_a_length_too_long_costs_nothing(wrong: int) -> None:
    """The next header ends the body, so the message itself is read too."""
    stream = framed(BODY, b"Content-Length: %d\r\n\r\n" % (LENGTH + wrong)) + encode({"next": 1})
    assert messages(stream) == [PING, {"next": 1}]


@pytest.mark.parametrize("claimed", range(12, 80))
def test_half_a_message_takes_nothing_with_it(claimed: int) -> None:
    stream = b"content-length: %d\n\n{broken json" % claimed
    assert messages(stream + encode({"next": 1}) + encode({"next": 2})) == [{"next": 1}, {"next": 2}]


def test_a_long_message_is_passed_over() -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 3, "method": "m", "params": "x" * 20_000}).encode()
    found = frames(b"Content-Length: %d\r\n\r\n" % len(body) + body + encode({"next": 1}))
    assert [type(frame) for frame in found] == [Oversized, Body]
    assert isinstance(found[0], Oversized)
    assert found[0].head.startswith(b'{"jsonrpc": "2.0", "id": 3')
    assert len(found[0].head) <= 4096
    assert found[0].n_bytes == len(body)


STREAM = (
    encode({"a": 1})
    + b"noise"
    + framed(BODY, b"content-length: %d\n\n" % LENGTH)
    + b"Content-Length: 999999999\r\n\r\n" + b"{" + b"x" * 300
    + encode({"b": [1, 2]})
    + framed(BODY, b"Content-Length: %d\r\n\r\n" % (LENGTH + 9))
    + encode({"c": "é"})
)  # fmt: skip


def test_every_split_gives_the_same() -> None:
    whole = messages(STREAM)
    assert whole == [{"a": 1}, PING, {"b": [1, 2]}, PING, {"c": "é"}]
    for split in range(len(STREAM) + 1):
        decoder = FrameDecoder(10_000)
        found = [*decoder.feed(STREAM[:split]), *decoder.feed(STREAM[split:])]
        bodies = [decode(frame.octets) for frame in found if isinstance(frame, Body)]
        assert bodies == whole, split


def test_single_bytes_give_the_same() -> None:
    decoder = FrameDecoder(10_000)
    found = [frame for number in range(len(STREAM)) for frame in decoder.feed(STREAM[number : number + 1])]
    assert [decode(frame.octets) for frame in found if isinstance(frame, Body)] == messages(STREAM)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"Content-Length: 12\r\n\r\n", b"\r\n\r\n", b"{}"])))
def test_any_noise_is_survived(pieces: list[bytes]) -> None:
    """After anything that is no header, two messages are enough for one to be read, and all later ones are."""
    decoder = FrameDecoder(10_000)
    for piece in pieces:
        decoder.feed(piece)
    decoder.feed(encode({"first": "lost perhaps"}))
    found = [decode(frame.octets) for _ in range(3) for frame in decoder.feed(encode(PING)) if isinstance(frame, Body)]
    assert found[-3:] == [PING] * 3


def test_half_a_million_small_pieces_do_not_pile_up() -> None:
    """A body of 8 MB in pieces of 16 kB is read in time proportional to its size."""
    body = b'"' + b"x" * 8_000_000 + b'"'
    stream = b"Content-Length: %d\r\n\r\n" % len(body) + body
    decoder = FrameDecoder()
    found = [frame for start in range(0, len(stream), 16_384) for frame in decoder.feed(stream[start : start + 16_384])]
    assert found == [Body(body)]


@pytest.mark.parametrize("message_id", [1, -5, "", 'a "name"', "é\ud800"])
def test_a_prepared_result_is_a_message_like_others(message_id: int | str) -> None:
    result = {"title": "é", "turns": [1, None, "}"]}
    [frame] = FrameDecoder().feed(encode_result(message_id, Prepared(json.dumps(result, indent=1).encode())))
    assert isinstance(frame, Body)
    assert decode(frame.octets) == {"jsonrpc": "2.0", "id": message_id, "result": result}


def test_bytes_that_are_no_utf8_are_kept() -> None:
    assert decode(b'"caf\xe9"') == "caf\udce9"
    assert decode(b'\xef\xbb\xbf"bom"') == "bom"


@pytest.mark.parametrize("octets", [b"", b"{", b"NaN", b"[1,]", b"{} {}", b"1" * 5000, b"\x00"])
def test_what_is_no_json(octets: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the json module's own errors
        decode(octets)
