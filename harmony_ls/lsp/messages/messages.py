"""The messages that harmony-ls adds to LSP, typed, and the converter that knows them: camelCase on the wire."""

from functools import cache
from typing import Any, Final

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from pygls.protocol import default_converter

from harmony_ls.lsp.messages.chat_messages import CHAT_CLASSES, CHAT_MESSAGE_TYPES

__all__ = [
    "HARMONY_DOCTOR",
    "HARMONY_OUTCOME",
    "HARMONY_STATUS",
    "MESSAGE_TYPES",
    "DoctorParams",
    "DoctorReport",
    "DocumentReport",
    "OutcomeParams",
    "StatusParams",
    "harmony_converter",
]

HARMONY_STATUS: Final = "harmony/status"
"""Notification, server to client: what the model is doing. Sent whenever that changes."""

HARMONY_DOCTOR: Final = "harmony/doctor"
"""Request, client to server: everything that explains what the server does, and above all why it is silent."""

HARMONY_OUTCOME: Final = "harmony/inlineCompletion/outcome"
"""Notification, server to client, before the answer to each ``textDocument/inlineCompletion``: where the offer comes
from or why there is none, and what it cost. Only for clients with the capability ``experimental.harmonyOutcomes``."""


@attrs.frozen
class StatusParams:
    """The state of the server's model.

    ``state`` is ``unloaded``, ``loading``, ``ready`` (idle), ``busy`` (ready and at work) or ``error``; ``message`` is
    for a person; ``capability`` says how the model completes; ``progress`` runs from 0 to 1 while it is known.
    ``tokens_per_second`` and ``first_token_ms`` are medians of the last completions, unknown until there are some.
    """

    state: str
    model: str | None = None
    message: str | None = None
    capability: str | None = None
    memory_bytes: int | None = None
    progress: float | None = None
    tokens_per_second: float | None = None
    first_token_ms: float | None = None


@attrs.frozen
class OutcomeParams:
    """How one inline completion ended: ``outcome`` is a source of the offer or the reason for its absence."""

    uri: str
    version: int | None
    outcome: str
    detail: str
    stats: dict[str, Any]


@attrs.frozen
class DoctorParams:
    """What the report shall hold besides the usual: with ``digests``, a SHA-256 of each open document's text."""

    digests: bool = False


@attrs.frozen
class DocumentReport:
    """One open document as the server has it."""

    uri: str
    language_id: str
    version: int | None
    n_lines: int
    n_changes: int
    in_sync: bool
    faults: list[str]
    sha256: str | None = None


@attrs.frozen
class DoctorReport:
    """The answer to ``harmony/doctor``."""

    environment: dict[str, Any]
    client: dict[str, Any]
    status: StatusParams
    settings: dict[str, Any]
    origins: dict[str, str]
    problems: list[str]
    documents: list[DocumentReport]
    journal: dict[str, Any]


@attrs.frozen
class StatusNotification:
    """``harmony/status``."""

    params: StatusParams
    method: str = HARMONY_STATUS
    jsonrpc: str = "2.0"


@attrs.frozen
class OutcomeNotification:
    """``harmony/inlineCompletion/outcome``."""

    params: OutcomeParams
    method: str = HARMONY_OUTCOME
    jsonrpc: str = "2.0"


@attrs.frozen
class DoctorRequest:
    """``harmony/doctor``."""

    id: int | str
    params: DoctorParams = DoctorParams()
    method: str = HARMONY_DOCTOR
    jsonrpc: str = "2.0"


MESSAGE_TYPES: Final[dict[str, type[Any]]] = {
    HARMONY_STATUS: StatusNotification,
    HARMONY_OUTCOME: OutcomeNotification,
    HARMONY_DOCTOR: DoctorRequest,
    **CHAT_MESSAGE_TYPES,
}


@cache
def harmony_converter() -> Converter:
    """Return pygls's converter, extended by our own messages.

    It is one for all connections: it takes a fifth of a second to make and to get going, in which a window that opens
    would hold up all others.
    """
    converter: Converter = default_converter()  # type: ignore[no-untyped-call]
    # cattrs would make the text "None" of null and the line 1 of "1.5": a wrong buffer instead of an error.
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(int, _structure_integer)
    for message in (
        StatusParams,
        DoctorParams,
        DocumentReport,
        DoctorReport,
        OutcomeParams,
        StatusNotification,
        OutcomeNotification,
        DoctorRequest,
        *CHAT_CLASSES,
    ):
        names: dict[str, Any] = {field.name: override(rename=_camel(field.name)) for field in attrs.fields(message)}
        converter.register_unstructure_hook(message, make_dict_unstructure_fn(message, converter, **names))
        converter.register_structure_hook(message, make_dict_structure_fn(message, converter, **names))
    return converter


def _structure_text(value: object, kind: type[str]) -> str:
    """Take a string, or a member of an enumeration of strings."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return kind(value)


def _structure_integer(value: object, kind: type[int]) -> int:
    """Take an integer, a member of an enumeration of integers, or a truth value; cattrs counts that as one too."""
    if kind is bool:
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError("not an integer")
    return kind(int(value))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
