"""The messages of ``harmony/chat``, typed. What each is for is told in `editors/PROTOCOL.md`, whose examples a test
holds against these classes.

Parts are what a turn is made of, as they are streamed and as a transcript has them; each says its ``kind``.
"""

from typing import Any, Final

import attrs
from lsprotocol import types

__all__ = [
    "CHAT_CLASSES",
    "CHAT_MESSAGE_TYPES",
    "HARMONY_CHAT",
    "HARMONY_CHAT_COMMANDS",
    "HARMONY_CHAT_DELETE",
    "HARMONY_CHAT_DELTA",
    "HARMONY_CHAT_FORK",
    "HARMONY_CHAT_OPEN",
    "HARMONY_CHAT_SESSIONS",
    "ApprovalPart",
    "AttachmentParam",
    "ChatCommand",
    "ChatDeltaParams",
    "ChatParams",
    "ChatResult",
    "ForkParams",
    "NoticePart",
    "Part",
    "PreviewFile",
    "ReasoningPart",
    "SessionParams",
    "SessionSummary",
    "SessionsParams",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "Transcript",
    "TranscriptTurn",
    "UsageReport",
]

HARMONY_CHAT: Final = "harmony/chat"
"""Request, client to server: say something in a session. The answer streams as deltas; the result closes the turn."""

HARMONY_CHAT_DELTA: Final = "harmony/chat/delta"
"""Notification, server to client: one part of the running turn, with the token that the request brought."""

HARMONY_CHAT_SESSIONS: Final = "harmony/chat/sessions"
"""Request: the sessions of this workspace, the last one first."""

HARMONY_CHAT_OPEN: Final = "harmony/chat/open"
"""Request: a session with everything that was said in it, to go on with."""

HARMONY_CHAT_FORK: Final = "harmony/chat/fork"
"""Request: a new session that begins with the first turns of another."""

HARMONY_CHAT_DELETE: Final = "harmony/chat/delete"
"""Request: forget a session for good."""

HARMONY_CHAT_COMMANDS: Final = "harmony/chat/commands"
"""Request: the slash commands."""


@attrs.frozen
class AttachmentParam:
    """What goes along with a message; the server takes the text from its own documents.

    ``kind`` is ``selection`` (``uri`` and ``range``), ``file`` (``uri``), ``symbol`` (``uri`` and ``position``: the
    innermost function or class around it), ``diagnostics`` (``uri`` and ``diagnostics``, with the lines that they are
    about) or ``diff`` (what has changed in the repository since the last commit, of ``uri`` alone if it is given).
    """

    kind: str
    uri: str | None = None
    range: types.Range | None = None
    position: types.Position | None = None
    diagnostics: list[dict[str, Any]] | None = None


@attrs.frozen
class ChatParams:
    """``token`` comes back with every delta. Without ``session_id`` a new session begins.

    ``model`` and ``effort`` (``low``, ``medium``, ``high``) hold for this and the later turns of the session; empty,
    they leave it to the settings again.
    """

    token: int | str
    text: str
    session_id: str | None = None
    attachments: list[AttachmentParam] | None = None
    model: str | None = None
    effort: str | None = None
    work_done_token: int | str | None = None


@attrs.frozen
class UsageReport:
    """Tokens and speed, of one pass of the model or of a turn. ``prompt_tokens`` minus ``computed_tokens`` came from
    the prompt cache."""

    prompt_tokens: int
    computed_tokens: int
    generated_tokens: int
    reasoning_tokens: int
    first_token_ms: float | None
    decode_seconds: float
    kind: str = "usage"


@attrs.frozen
class ChatResult:
    """How a turn ended. ``text`` is the answer as it was streamed, ``finish_reason`` one of OpenAI's plus
    ``cancelled`` and ``limit``. ``n_turns`` counts the turns of the session."""

    session_id: str
    title: str
    text: str
    finish_reason: str
    usage: UsageReport
    n_turns: int


@attrs.frozen
class TextPart:
    """A piece of the answer, in Markdown."""

    text: str
    kind: str = "text"


@attrs.frozen
class ReasoningPart:
    """A piece of the model's reasoning."""

    text: str
    kind: str = "reasoning"


@attrs.frozen
class PreviewFile:
    """What a patch does to a file, as far as it is written: ``operation`` is ``create``, ``update``, ``delete`` or
    ``move``, ``added`` and ``removed`` count lines."""

    operation: str
    path: str
    added: int
    removed: int
    new_path: str | None = None


@attrs.frozen
class ToolCallPart:
    """A tool call as it is written: ``state`` is ``begun``, ``growing`` (``text`` is the next piece of its arguments)
    or ``complete`` (``text`` is all of them). ``call`` numbers the calls of the turn from 1. ``preview`` is what a
    patch has come to: its files so far, the last of which may still grow until the call is complete."""

    call: int
    name: str
    state: str
    text: str = ""
    preview: list[PreviewFile] | None = None
    kind: str = "toolCall"


@attrs.frozen
class ApprovalPart:
    """A tool waits for the person's answer, who is asked by ``window/showMessageRequest`` at the same time. ``detail``
    is what would be done, in full: a diff, a program, an address."""

    call: int
    name: str
    summary: str
    detail: str
    is_sensitive: bool
    kind: str = "approval"


@attrs.frozen
class ToolResultPart:
    """What a tool answered to the model."""

    call: int
    name: str
    text: str
    is_error: bool
    kind: str = "toolResult"


@attrs.frozen
class NoticePart:
    """Something that the person should know and the model did not say."""

    text: str
    kind: str = "notice"


Part = TextPart | ReasoningPart | ToolCallPart | ApprovalPart | ToolResultPart | NoticePart | UsageReport


@attrs.frozen
class ChatDeltaParams:
    """One part of the turn that was asked for with ``token``."""

    token: int | str
    session_id: str
    part: Any  # a Part; clients that are given one read its kind


@attrs.frozen
class SessionSummary:
    """One session of the workspace. ``problem`` says why it cannot be opened."""

    session_id: str
    title: str
    updated: str
    n_turns: int
    model: str | None = None
    problem: str | None = None


@attrs.frozen
class SessionsParams:
    """Nothing to say."""


@attrs.frozen
class SessionParams:
    """Which session."""

    session_id: str


@attrs.frozen
class ForkParams:
    """Which session, and how many of its turns are kept; all by default."""

    session_id: str
    n_turns: int | None = None


@attrs.frozen
class ChatCommand:
    """A slash command: what it is for, and what must be attached: ``code`` or ``diff``."""

    name: str
    meaning: str
    needs: str


@attrs.frozen
class TranscriptTurn:
    """What the person said, what they attached, and the parts of the answer."""

    said: str
    attachments: list[str]
    parts: list[Any]


@attrs.frozen
class Transcript:
    """A session with all its turns. ``model`` and ``effort`` are those that were chosen for it."""

    session_id: str
    title: str
    turns: list[TranscriptTurn]
    model: str | None = None
    effort: str | None = None


def _request(name: str, method: str, params: type[Any]) -> type[Any]:
    """The class of a request, as the converter wants one for each method."""
    annotations: dict[str, Any] = {"id": int | str, "params": params, "method": str, "jsonrpc": str}
    namespace = {"__annotations__": annotations, "__doc__": f"``{method}``.", "method": method, "jsonrpc": "2.0"}
    return attrs.frozen(type(name, (), namespace))


@attrs.frozen
class ChatDeltaNotification:
    """``harmony/chat/delta``."""

    params: ChatDeltaParams
    method: str = HARMONY_CHAT_DELTA
    jsonrpc: str = "2.0"


CHAT_MESSAGE_TYPES: Final[dict[str, type[Any]]] = {
    HARMONY_CHAT: _request("ChatRequest", HARMONY_CHAT, ChatParams),
    HARMONY_CHAT_SESSIONS: _request("SessionsRequest", HARMONY_CHAT_SESSIONS, SessionsParams),
    HARMONY_CHAT_OPEN: _request("OpenRequest", HARMONY_CHAT_OPEN, SessionParams),
    HARMONY_CHAT_FORK: _request("ForkRequest", HARMONY_CHAT_FORK, ForkParams),
    HARMONY_CHAT_DELETE: _request("DeleteRequest", HARMONY_CHAT_DELETE, SessionParams),
    HARMONY_CHAT_COMMANDS: _request("CommandsRequest", HARMONY_CHAT_COMMANDS, SessionsParams),
    HARMONY_CHAT_DELTA: ChatDeltaNotification,
}

CHAT_CLASSES: Final[tuple[type[Any], ...]] = (
    AttachmentParam, ChatParams, UsageReport, ChatResult, TextPart, ReasoningPart, PreviewFile, ToolCallPart,
    ApprovalPart, ToolResultPart, NoticePart, ChatDeltaParams, SessionSummary, SessionsParams, SessionParams,
    ForkParams, ChatCommand, TranscriptTurn, Transcript, *CHAT_MESSAGE_TYPES.values(),
)  # fmt: skip
"""All of them, for the converter, which spells their names in camelCase."""
