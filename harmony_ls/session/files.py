"""Conversations as files: one JSON object, readable, private, and of use to whatever model comes next."""

import contextlib
import json
import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harmony_ls.errors import UserError
from harmony_ls.messages import Message, ReasoningEffort, Role
from harmony_ls.session.history import History
from harmony_ls.session.session import Session

__all__ = [
    "as_json",
    "conversation_document",
    "first_turns",
    "history_of",
    "load_conversation",
    "save_conversation",
    "use_document",
    "write_private",
]

_LARGEST_FILE_BYTES = 256 * 1024 * 1024


class _File(BaseModel):
    """What a file holds. ``model`` names whose the remembered token ids are."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["harmony-ls conversation"]
    version: Literal[1]
    model: str
    started: date
    effort: ReasoningEffort
    n_hidden: int
    summary: str
    turns: list[list[Message]]


def save_conversation(path: Path, session: Session) -> None:
    """Write the conversation to ``path``, whole or not at all, readable by its owner alone.

    Raises UserError where that cannot be done.
    """
    try:
        write_private(path, as_json(conversation_document(session)))
    except OSError as error:
        raise UserError(f"The conversation cannot be saved to {path}: {error.strerror or error}.") from error


def load_conversation(path: Path, session: Session) -> None:
    """Go on with the conversation of a file. Raises UserError, and changes nothing, where the file is no such thing."""
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise UserError(f"{path} is too large to be a conversation.")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        use_document(json.loads(content.decode("utf-8")), session)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a conversation that harmony-ls can read: {error}. Name a file made by /save."
        ) from error


def conversation_document(session: Session) -> dict[str, Any]:
    """The conversation as a value for `as_json`."""
    history = session.history
    file = _File(
        format="harmony-ls conversation",
        version=1,
        model=session.chat_model.model.name,
        started=session.started,
        effort=session.effort,
        n_hidden=history.n_hidden,
        summary=history.summary,
        turns=[list(turn) for turn in history.turns],
    )
    return file.model_dump(mode="python")


def history_of(document: object) -> History:
    """The turns of a conversation as it was read from JSON. Raises ValueError where it is none."""
    return _history(_checked(document))


def first_turns(document: object, n_turns: int) -> dict[str, Any]:
    """The conversation as it was after so many turns. Raises ValueError where the document is none.

    A summary speaks of all turns that are hidden; where some of those are gone, so is it.
    """
    file = _checked(document)
    turns = file.turns[:n_turns]
    update: dict[str, Any] = {"turns": turns}
    if file.n_hidden > len(turns):
        update |= {"n_hidden": 0, "summary": ""}
    return file.model_copy(update=update).model_dump(mode="python")


def use_document(document: object, session: Session) -> None:
    """Go on with a conversation as it was read from JSON. Raises ValueError, and changes nothing, where it is none."""
    file = _checked(document)
    session.clear()
    session.started = file.started
    session.effort = file.effort
    session.history = _history(file)
    if file.model != session.chat_model.model.name:
        session.use(session.chat_model)  # its token ids are another vocabulary's


def _history(file: _File) -> History:
    return History(tuple(map(tuple, file.turns)), file.n_hidden, file.summary)


def _checked(document: object) -> _File:
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error
    _check(file)
    return file


def _check(file: _File) -> None:
    """What the types do not say: turns begin with a user's message, and no more are hidden than there are."""
    if not 0 <= file.n_hidden <= len(file.turns):
        raise ValueError("n_hidden is not a number of its turns")
    for turn in file.turns:
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


def as_json(document: dict[str, Any]) -> str:
    """A document as the text of a file, in ASCII: half a surrogate pair, as broken input leaves it, is no UTF-8."""
    return json.dumps(document, default=str, indent=1, ensure_ascii=True)


def write_private(path: Path, content: str) -> None:
    """Write a file that its owner alone can read, whole or not at all. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
