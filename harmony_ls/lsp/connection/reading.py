"""Reading messages that are not quite as they should be: what can be understood without guessing is understood."""

import json
import logging
from typing import Any

from cattrs import Converter
from lsprotocol import types

from harmony_ls.features.diagnostics import MOST_DIAGNOSTICS

__all__ = [
    "SEVERITY_NAMES",
    "describe",
    "id_and_method",
    "read_code_action",
    "readable_changes",
    "readable_initialize",
    "uri_in",
]

_logger = logging.getLogger(__name__)

_MOST = 2**31 - 1  # LSP's greatest "uinteger"

SEVERITY_NAMES = {1: "error", 2: "warning", 3: "information", 4: "hint"}
"""LSP's ``DiagnosticSeverity`` in words. Servers also send none, or numbers of their own."""


def readable_initialize(converter: Converter, params: dict[str, Any]) -> dict[str, Any]:
    """Return what can be read of the parameters of ``initialize``: one odd value must not refuse a whole client."""
    client = params.get("capabilities")
    if not isinstance(client, dict):
        return params
    capabilities = {
        group: value
        for group, value in client.items()
        if _is_readable(converter, {group: value}, types.ClientCapabilities)
    }
    required = {"processId": params.get("processId"), "rootUri": None, "capabilities": capabilities}
    others = {name: value for name, value in params.items() if name not in ("processId", "capabilities")}
    if _is_readable(converter, required | others, types.InitializeParams):
        return required | others
    readable = {
        name: value
        for name, value in others.items()
        if _is_readable(converter, required | {name: value}, types.InitializeParams)
    }
    return required | readable


def read_code_action(converter: Converter, params: dict[str, Any]) -> types.CodeActionParams:
    """Read the parameters of ``codeAction``, as far as that can be done: diagnostics come from other servers.

    One without a range says nothing of any place and goes; of another, a field that is odd goes alone. A message may be
    missing, or be Markdown, as it may since LSP 3.18. Of very many, those at the place that is asked about come first,
    and the rest goes: each costs time, and editors ask whenever the cursor moves. Nothing is logged for that reason.

    Raises where it is not known of which document or place an editor speaks.
    """
    given = params.get("context")
    if not isinstance(given, dict):
        raise TypeError("the context must be an object")
    context: dict[str, Any] = {"diagnostics": []}
    only, trigger = given.get("only"), given.get("triggerKind")
    if isinstance(only, list) and all(isinstance(kind, str) for kind in only):
        context["only"] = only
    if _fault(converter, context | {"triggerKind": trigger}, types.CodeActionContext) is None:
        context["triggerKind"] = trigger
    readable = params | {"range": _with_real_places(params.get("range")), "context": context}
    structured = converter.structure(readable, types.CodeActionParams)
    diagnostics = given.get("diagnostics")
    read: list[types.Diagnostic] = []
    for each in _nearest_first(diagnostics if isinstance(diagnostics, list) else [], structured.range):
        diagnostic = _read_diagnostic(converter, each)
        if diagnostic is not None:
            read.append(diagnostic)
            if len(read) == MOST_DIAGNOSTICS:
                break
    structured.context.diagnostics = read
    return structured


def _nearest_first(diagnostics: list[Any], place: types.Range) -> list[Any]:
    """The diagnostics, those that touch the lines of a place before all others where they are too many."""
    if len(diagnostics) <= MOST_DIAGNOSTICS:
        return diagnostics

    first, last = place.start.line, place.end.line

    def is_elsewhere(diagnostic: Any) -> bool:
        try:
            where = diagnostic["range"]
            start, end = where["start"]["line"], where["end"]["line"]
            return bool((start < first and end < first) or (start > last and end > last))
        except (KeyError, TypeError, IndexError):
            return True

    return sorted(diagnostics, key=is_elsewhere)


def _read_diagnostic(converter: Converter, diagnostic: object) -> types.Diagnostic | None:
    if not isinstance(diagnostic, dict):
        return None
    message = diagnostic.get("message")
    if isinstance(message, dict):
        message = message.get("value")
    required = {
        "range": _with_real_places(diagnostic.get("range")),
        "message": message if isinstance(message, str) else "",
    }
    try:
        return converter.structure(diagnostic | required, types.Diagnostic)
    except Exception:
        if _fault(converter, required, types.Diagnostic) is not None:
            return None
    sound = {
        name: value
        for name, value in diagnostic.items()
        if name not in required and _fault(converter, required | {name: value}, types.Diagnostic) is None
    }
    return converter.structure(required | sound, types.Diagnostic)


def _with_real_places(place: Any) -> Any:
    """A range whose numbers are in the protocol's bounds: for the end of a line, or of everything, servers send the
    greatest number that they know."""
    if not isinstance(place, dict):
        return place
    return {
        name: {axis: _bounded(number) for axis, number in position.items()} if isinstance(position, dict) else position
        for name, position in place.items()
    }


def _bounded(number: Any) -> Any:
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number:
        return number
    if 0 <= number <= _MOST:
        return int(number) if number == int(number) else number
    return 0 if number < 0 else _MOST


def readable_changes(params: dict[str, Any]) -> dict[str, Any]:
    """Read ``range: null`` in the parameters of ``didChange`` as no range, as some clients mean it, and a number beyond
    the protocol's as its greatest: some write one for the end of a line or of the text."""
    changes = params.get("contentChanges")
    if not isinstance(changes, list):
        return params
    readable = [_readable_change(change) for change in changes]
    return params if readable == changes else params | {"contentChanges": readable}


def _readable_change(change: Any) -> Any:
    if not isinstance(change, dict) or "range" not in change:
        return change
    if change["range"] is None:
        return {name: value for name, value in change.items() if name != "range"}
    return change | {"range": _without_great_numbers(change["range"])}


def _without_great_numbers(place: Any) -> Any:
    if isinstance(place, dict):
        return {name: _without_great_numbers(value) for name, value in place.items()}
    return _MOST if isinstance(place, int | float) and place > _MOST else place


def id_and_method(head: bytes) -> tuple[int | str | None, str | None]:
    """Read the id and the method from the first bytes of a message, where they stand before its parameters."""
    text = head.decode("utf-8", "replace")
    fields: dict[str, object] = {}
    decoder = json.JSONDecoder()
    end = text.find("{") + 1
    while 0 < end < len(text):
        try:
            name, end = decoder.raw_decode(text, _past(text, end, ", \t\r\n"))
            value, end = decoder.raw_decode(text, _past(text, end, ": \t\r\n"))
        except (ValueError, RecursionError):
            break
        fields[str(name)] = value
    message_id, method = fields.get("id"), fields.get("method")
    return (
        message_id if isinstance(message_id, int | str) and not isinstance(message_id, bool) else None,
        method if isinstance(method, str) else None,
    )


def uri_in(head: bytes) -> str | None:
    """Read the first URI from the first bytes of a message."""
    text = head.decode("utf-8", "replace")
    start = text.find('"uri"')
    if start < 0:
        return None
    try:
        uri, _ = json.JSONDecoder().raw_decode(text, _past(text, start + len('"uri"'), ": \t\r\n"))
    except ValueError:
        return None
    return uri if isinstance(uri, str) else None


def describe(error: BaseException) -> str:
    """Say what is wrong with parameters, without their values, which may be code."""
    reasons = [describe(inner) for inner in getattr(error, "exceptions", ())]
    return f"{type(error).__name__}({', '.join(reasons)})" if reasons else type(error).__name__


def _is_readable(converter: Converter, value: dict[str, Any], kind: type[Any]) -> bool:
    fault = _fault(converter, value, kind)
    if fault is not None:
        _logger.warning("%.200s could not be read: %s", ", ".join(value), describe(fault))
    return fault is None


def _fault(converter: Converter, value: dict[str, Any], kind: type[Any]) -> Exception | None:
    try:
        converter.structure(value, kind)
    except Exception as error:
        return error
    return None


def _past(text: str, start: int, characters: str) -> int:
    while start < len(text) and text[start] in characters:
        start += 1
    return start
