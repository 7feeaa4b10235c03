"""The arguments of calls to the browser: read leniently where the meaning is plain, refused where it is not."""

import json
import re
from collections.abc import Mapping
from typing import Any

from harmony_ls.messages import ToolCall

__all__ = ["ArgumentError", "arguments_of", "flag", "is_number", "number", "text"]

_LARGEST = 10**9
_NUMBER = re.compile(r"\s*-?[0-9]{1,19}\s*")


class ArgumentError(Exception):
    """Arguments that mean nothing. The message is what the model knows for it, with what is wrong."""

    def __init__(self, detail: str) -> None:
        super().__init__(json.dumps({"error": "Invalid function arguments", "detail": detail}, ensure_ascii=False))


def arguments_of(call: ToolCall) -> Mapping[str, Any]:
    """The object that a call gives. Unknown names in it are let be. Raises ArgumentError."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"not valid JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ArgumentError("a JSON object is expected")
    return arguments


def number(arguments: Mapping[str, Any], name: str, default: int = -1) -> int:
    """A whole number; ``3.0`` and ``"3"`` are numbers, too. Raises ArgumentError."""
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, str) and is_number(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > _LARGEST:
        raise ArgumentError(f"`{name}` must be a whole number")
    if value != int(value):
        raise ArgumentError(f"`{name}` must be a whole number")
    return int(value)


def is_number(value: str) -> bool:
    """Whether a text is a whole number."""
    return _NUMBER.fullmatch(value) is not None


def text(arguments: Mapping[str, Any], name: str) -> str:
    """A text that is not blank. Raises ArgumentError."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ArgumentError(f"`{name}` must be a text")
    return value


def flag(arguments: Mapping[str, Any], name: str) -> bool:
    """A truth value, false where it is missing. Raises ArgumentError."""
    value = arguments.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ArgumentError(f"`{name}` must be true or false")
    return value
