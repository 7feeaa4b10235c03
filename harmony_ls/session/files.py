"""Conversations as files: one JSON object, readable, private, and of use to whatever model comes next."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from harmony_ls.errors import UserError
from harmony_ls.messages import Message, ReasoningEffort, Role
from harmony_ls.session.history import History
from harmony_ls.session.session import Session
from harmony_ls.session.sliced_json import parsed, written

__all__ = [
    "conversation_document",
    "first_turns",
    "history_of",
    "load_conversation",
    "save_conversation",
    "use_document",
    "write_private",
]

_LARGEST_FILE_BYTES = 256 * 1024 * 1024


class _Head(BaseModel):
    """What a file holds besides its turns. ``model`` names whose the remembered token ids are."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["harmony-ls conversation"]
    version: Literal[1]
    model: str
    started: date
    effort: ReasoningEffort
    n_hidden: int
    summary: str


_Turns = tuple[tuple[Message, ...], ...]

# Turns are checked one by one: the validator holds the interpreter's lock, and a thousand of them are a third of a
# second in which no other thread runs.
_turn = TypeAdapter(list[Message])


def save_conversation(path: Path, session: Session) -> None:
    """Write the conversation to ``path``, whole or not at all, readable by its owner alone.

    Raises UserError where that cannot be done.
    """
    try:
        write_private(path, written(conversation_document(session)))
    except OSError as error:
        raise UserError(f"The conversation cannot be saved to {path}: {error.strerror or error}.") from error


def load_conversation(path: Path, session: Session) -> None:
    """Go on with the conversation of a file. Raises UserError, and changes nothing, where the file is no such thing."""
    try:
        status = path.stat()
        # A pipe would be waited for, and a device need not come to an end. Reading a folder fails with the reason.
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is not a regular file. Name a file made by /save.")
        if status.st_size > _LARGEST_FILE_BYTES:
            raise UserError(f"{path} is too large to be a conversation.")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        use_document(parsed(content.decode("utf-8")), session)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a conversation that harmony-ls can read: {error}. Name a file made by /save."
        ) from error


def conversation_document(session: Session) -> dict[str, Any]:
    """The conversation as a value for `harmony_ls.session.sliced_json`."""
    history = session.history
    head = _Head(
        format="harmony-ls conversation",
        version=1,
        model=session.chat_model.model.name,
        started=session.started,
        effort=session.effort,
        n_hidden=history.n_hidden,
        summary=history.summary,
    )
    return _document(head, history.turns)


def history_of(document: object) -> History:
    """The turns of a conversation as it was read from JSON. Raises ValueError where it is none."""
    return _history(*_checked(document))


def first_turns(document: object, n_turns: int) -> dict[str, Any]:
    """The conversation as it was after so many turns. Raises ValueError where the document is none.

    A summary speaks of all turns that are hidden; where some of those are gone, so is it.
    """
    head, turns = _checked(document)
    if head.n_hidden > n_turns:
        head = head.model_copy(update={"n_hidden": 0, "summary": ""})
    return _document(head, turns[:n_turns])


def use_document(document: object, session: Session) -> None:
    """Go on with a conversation as it was read from JSON. Raises ValueError, and changes nothing, where it is none."""
    head, turns = _checked(document)
    session.clear()
    session.started = head.started
    session.effort = head.effort
    session.history = _history(head, turns)
    if head.model != session.chat_model.model.name:
        session.use(session.chat_model)  # its token ids are another vocabulary's


def _document(head: _Head, turns: _Turns) -> dict[str, Any]:
    return head.model_dump(mode="python") | {"turns": [_turn.dump_python(list(turn)) for turn in turns]}


def _history(head: _Head, turns: _Turns) -> History:
    return History(turns, head.n_hidden, head.summary)


def _checked(document: object) -> tuple[_Head, _Turns]:
    if not isinstance(document, dict) or not isinstance(document.get("turns"), list):
        raise ValueError("it has no turns")
    try:
        head = _Head.model_validate({name: value for name, value in document.items() if name != "turns"})
        turns = tuple(tuple(_turn.validate_python(turn)) for turn in document["turns"])
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error
    _check(head, turns)
    return head, turns


def _check(head: _Head, turns: _Turns) -> None:
    """What the types do not say: turns begin with a user's message, and no more are hidden than there are."""
    if not 0 <= head.n_hidden <= len(turns):
        raise ValueError("n_hidden is not a number of its turns")
    for turn in turns:
        if not turn or turn[0].role is not Role.USER:
            raise ValueError("a turn does not begin with a user's message")
        open_calls: set[str] = set()
        for message in turn[1:]:
            if message.role is Role.TOOL and message.tool_call_id in open_calls:
                open_calls.discard(message.tool_call_id)
            elif message.role is Role.ASSISTANT and not open_calls:
                open_calls = {call.id for call in message.tool_calls}
            else:
                raise ValueError("a tool's answer and its call do not belong together")
        if open_calls or turn[-1].role is not Role.ASSISTANT:
            raise ValueError("a turn has no end")


def write_private(path: Path, pieces: Iterable[str]) -> None:
    """Write a file that its owner alone can read, in ASCII, whole or not at all. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
