"""Asking the server for code actions, as an editor does, and doing to a text what an edit says."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.features.code_actions.question import prompt_text
from harmony_ls.lsp.client import EDITOR_CAPABILITIES, ResponseError
from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text
from tests.lsp.peer import Peer, handshake, starting
from tests.models import Rule
from tests.session.support import final, scripted_gpt_oss

__all__ = [
    "ACTING",
    "AUTOMATIC",
    "CANCELLED",
    "CONTENT_MODIFIED",
    "INVALID_PARAMS",
    "INVOKED",
    "REQUEST_FAILED",
    "acting",
    "actions",
    "applied",
    "asked",
    "diagnostic",
    "error_of",
    "fresh_uri",
    "named",
    "place",
    "resolved",
]

INVOKED, AUTOMATIC = 1, 2
CONTENT_MODIFIED, REQUEST_FAILED, CANCELLED, INVALID_PARAMS = -32801, -32803, -32800, -32602

ACTING: dict[str, Any] = {
    **EDITOR_CAPABILITIES,
    "workspace": {
        **EDITOR_CAPABILITIES["workspace"],
        "workspaceEdit": {"documentChanges": True, "resourceOperations": ["create", "rename", "delete"]},
    },
    "textDocument": {
        **EDITOR_CAPABILITIES["textDocument"],
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["", "quickfix", "refactor", "source"]}},
            "dataSupport": True,
            "disabledSupport": True,
            "resolveSupport": {"properties": ["edit"]},
            "tagSupport": {"valueSet": [1]},
        },
    },
    "experimental": {"harmonyChat": True},
}
"""What VS Code declares of code actions, and that its chat can be opened."""

_numbers = itertools.count()


def asked(action: str, code: str, *, before: str = "") -> Rule:
    """A rule of a scripted model: asked for an action, after ``before``, it answers with code in a fence."""
    return Rule(f"{before}{prompt_text(action)}<|end|><|start|>assistant", final(code))


@asynccontextmanager
async def acting(
    folder: Path,
    vocabulary: Path,
    rules: Sequence[Rule],
    *,
    capabilities: Mapping[str, Any] = ACTING,
    workspace: Path | None = None,
    is_fresh: bool = False,
    **settings: Any,
) -> AsyncIterator[Peer]:
    """A server whose chat model is a scripted GPT-OSS. It keeps its files in ``folder``.

    ``is_fresh`` is as in `Peer.start`.
    """
    model = scripted_gpt_oss(folder / "model", rules, max_position_embeddings=32_768)
    environment = {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "TIKTOKEN_ENCODINGS_BASE": str(vocabulary),
    }
    options = {
        "inlineCompletion": {"enabled": False},
        "chat": {"model": str(model), "temperature": 0},
        **settings,
    }
    async with starting("--trust-remote-code", environment=environment, is_fresh=is_fresh) as peer:
        await handshake(peer, capabilities=capabilities, folder=workspace, options=options)
        yield peer


def fresh_uri(ending: str = "py") -> str:
    """A document that no test has had."""
    return f"file:///code/{next(_numbers)}.{ending}"


def place(start: tuple[int, int], end: tuple[int, int] | None = None) -> dict[str, Any]:
    """A range, or a cursor."""
    line, character = end or start
    return {"start": {"line": start[0], "character": start[1]}, "end": {"line": line, "character": character}}


def diagnostic(start: tuple[int, int], end: tuple[int, int], message: str = "wrong", **fields: Any) -> dict[str, Any]:
    """A diagnostic of another server."""
    return {"range": place(start, end), "message": message, **fields}


async def actions(
    peer: Peer,
    uri: str,
    where: Mapping[str, Any],
    *,
    diagnostics: list[Any] | None = None,
    trigger: int | None = INVOKED,
    **context: Any,
) -> list[dict[str, Any]]:
    """``textDocument/codeAction``."""
    trigger_kind = {} if trigger is None else {"triggerKind": trigger}
    params = {
        "textDocument": {"uri": uri},
        "range": dict(where),
        "context": {"diagnostics": diagnostics or [], **trigger_kind, **context},
    }
    listed: list[dict[str, Any]] = await peer.request("textDocument/codeAction", params)
    return listed


def named(listed: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one action of a kind."""
    [action] = [each for each in listed if each["kind"] == kind]
    return action


async def resolved(peer: Peer, action: Mapping[str, Any]) -> dict[str, Any]:
    """``codeAction/resolve``: the edit of an action."""
    answer = await peer.request("codeAction/resolve", dict(action))
    edit: dict[str, Any] = answer["edit"]
    return edit


async def error_of(peer: Peer, action: Mapping[str, Any]) -> ResponseError:
    """``codeAction/resolve`` of an action that cannot be done: why not."""
    with pytest.raises(ResponseError) as failed:
        await resolved(peer, action)
    return failed.value


def applied(text: str, edits: list[dict[str, Any]], encoding: PositionEncoding = PositionEncoding.UTF_16) -> str:
    """A text after edits, which all name places of the text as it was."""
    edited = Text(text, encoding)
    for edit in sorted(edits, key=lambda each: each["range"]["start"]["line"], reverse=True):
        start, end = edit["range"]["start"], edit["range"]["end"]
        edited.replace(
            Position(start["line"], start["character"]), Position(end["line"], end["character"]), edit["newText"]
        )
    return str(edited)
