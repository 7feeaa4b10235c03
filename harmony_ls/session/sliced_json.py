"""Large JSON in slices, so that other threads can run meanwhile: the standard library holds the interpreter's lock from
the first character of a document to its last.

A document is taken apart down to some depth here, one container after another; what lies deeper is read and written in
one go, by the standard library. It knows nothing of what the documents are about.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["members", "parsed", "written"]

# Deep enough for the single messages of a conversation inside a chat: document, conversation, turns, turn.
_DEPTH = 4
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(default=str, ensure_ascii=True).encode


def parsed(text: str, depth: int = _DEPTH) -> Any:
    """The value of a JSON document. Raises ValueError, and RecursionError, as `json.loads` does."""
    value, end = _value(text, _past_space(text, 0), depth)
    end = _past_space(text, end)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def members(text: str) -> Iterator[tuple[str, Any]]:
    """The members of the object that a document is, as far as there are any before the text ends.

    Whoever has seen enough need not go on: what comes later is not even looked at. Raises ValueError where the text
    ends in the middle of a member, or is no object.
    """
    position = _past_space(text, 0)
    if text[position : position + 1] != "{":
        raise json.JSONDecodeError("Expecting an object", text, position)
    for name, value, _ in _members(text, position, 0):
        yield name, value


def written(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """The document of a value, in pieces, in ASCII: half a surrogate pair, as broken input leaves it, is no UTF-8.

    Each member and element down to ``depth`` has a line of its own, so that a person can read it.
    """
    yield from _pieces(value, depth, "\n")


def _value(text: str, position: int, depth: int) -> tuple[Any, int]:
    """The value that begins at a place, and where it ends."""
    end = _past_space(text, position + 1)  # where an empty container is closed
    match text[position : position + 1] if depth else "":
        case "{":
            pairs = {}
            for name, value, after in _members(text, position, depth - 1):
                pairs[name] = value
                end = after
            return pairs, end + 1
        case "[":
            elements = []
            for element, after in _elements(text, position, depth - 1):
                elements.append(element)
                end = after
            return elements, end + 1
        case _:
            return _decode(text, position)


def _members(text: str, start: int, depth: int) -> Iterator[tuple[str, Any, int]]:
    """The members of the object that begins at ``start``, each with where the comma or bracket behind it stands."""
    position = _past_space(text, start + 1)
    is_over = text[position : position + 1] == "}"
    while not is_over:
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, position)
        name, position = _decode(text, position)
        position = _past_space(text, position)
        if text[position : position + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, position)
        value, position = _value(text, _past_space(text, position + 1), depth)
        position, is_over = _delimiter(text, position, "}")
        yield name, value, position
        position = _past_space(text, position + 1)


def _elements(text: str, start: int, depth: int) -> Iterator[tuple[Any, int]]:
    """The elements of the array that begins at ``start``, each with where the comma or bracket behind it stands."""
    position = _past_space(text, start + 1)
    is_over = text[position : position + 1] == "]"
    while not is_over:
        element, position = _value(text, position, depth)
        position, is_over = _delimiter(text, position, "]")
        yield element, position
        position = _past_space(text, position + 1)


def _delimiter(text: str, end: int, bracket: str) -> tuple[int, bool]:
    """Where the comma or bracket behind a value stands, and whether it is the bracket."""
    position = _past_space(text, end)
    found = text[position : position + 1]
    if found not in (",", bracket):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
    return position, found == bracket


def _past_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None, "it matches no space, too"
    return found.end()


def _pieces(value: Any, depth: int, line: str) -> Iterator[str]:
    inner = f"{line} "
    if depth and isinstance(value, dict) and value:
        separator = "{"
        for name, member in value.items():
            yield f"{separator}{inner}{_encode(str(name))}: "
            yield from _pieces(member, depth - 1, inner)
            separator = ","
        yield f"{line}}}"
    elif depth and isinstance(value, list | tuple) and value:
        separator = "["
        for element in value:
            yield f"{separator}{inner}"
            yield from _pieces(element, depth - 1, inner)
            separator = ","
        yield f"{line}]"
    else:
        yield _encode(value)
