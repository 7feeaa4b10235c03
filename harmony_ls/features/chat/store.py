"""Conversations on disk: private JSON files in the user's state directory, those of one workspace in one folder.

A file that cannot be read is told of and left as it is. All functions block; call them off the event loop.
"""

import contextlib
import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from harmony_ls.errors import UserError
from harmony_ls.messages import ReasoningEffort
from harmony_ls.session.files import as_json, write_private

__all__ = ["ChatStore", "ChatSummary", "Said", "StoredChat", "new_chat_id", "state_folder"]

_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = 1
_LARGEST_FILE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Said:
    """What the person said in one turn, as they said it, and the labels of what they attached."""

    text: str
    attachments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredChat:
    """A conversation as it is kept.

    ``model`` is the reference that was chosen for it, None where the settings decide. ``conversation`` is a document
    of `harmony_ls.session.files`, None before the first turn. ``said`` has one entry a turn.
    """

    id: str
    title: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    model: str | None = None
    effort: ReasoningEffort | None = None
    said: tuple[Said, ...] = ()
    conversation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """One line of a list of conversations. ``problem`` says why one cannot be opened; empty where it can."""

    id: str
    title: str
    updated: datetime
    n_turns: int = 0
    model: str | None = None
    problem: str = ""


class _File(BaseModel):
    """What a file holds."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["harmony-ls chat"]
    version: Literal[1]
    id: str
    title: str
    created: datetime
    updated: datetime
    model: str | None
    effort: ReasoningEffort | None
    said: tuple[Said, ...]
    conversation: dict[str, Any] | None


def new_chat_id() -> str:
    """An id that no conversation has."""
    return uuid.uuid4().hex


def state_folder() -> Path:
    """Where harmony-ls keeps what is the user's own: the platform's folder for state."""
    return platformdirs.user_state_path("harmony-ls", appauthor=False)


class ChatStore:
    """The conversations of one workspace, which is known by its folders."""

    def __init__(self, state: Path, folders: Sequence[Path]) -> None:
        names = "\n".join(sorted(str(folder.resolve()) for folder in folders))
        key = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16] if names else "no-folder"
        self._folder = state / "chats" / key
        self._known: dict[Path, tuple[int, int, ChatSummary]] = {}

    def list(self) -> tuple[ChatSummary, ...]:
        """All conversations, the last one first; those that cannot be read among them, with the reason."""
        summaries: list[ChatSummary] = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # deleted in this moment, perhaps by another process
                if _ID.fullmatch(path.stem):
                    summaries.append(self._summary(path))
        return tuple(sorted(summaries, key=lambda summary: summary.updated, reverse=True))

    def load(self, chat_id: str) -> StoredChat:
        """One conversation. Raises UserError where there is none of this id, or its file cannot be read."""
        path = self._path(chat_id)
        try:
            if path.stat().st_size > _LARGEST_FILE_BYTES:
                raise UserError(f"The conversation's file {path} is too large to be one.")
            content = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"There is no conversation {chat_id} in this workspace.") from None
        except OSError as error:
            raise UserError(f"The conversation {chat_id} cannot be read: {error.strerror or error}.") from error
        return _read(content, path)

    def save(self, chat: StoredChat) -> None:
        """Keep a conversation, whole or not at all. Raises UserError where that cannot be done."""
        path = self._path(chat.id)
        file = _File(format="harmony-ls chat", version=1, **{name: getattr(chat, name) for name in _FIELDS})
        try:
            for folder in (self._folder.parent.parent, self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, as_json(file.model_dump(mode="python")))
        except OSError as error:
            raise UserError(f"The conversation cannot be saved to {path}: {error.strerror or error}.") from error

    def delete(self, chat_id: str) -> None:
        """Forget a conversation for good. Raises UserError where there is none, or it cannot be deleted."""
        try:
            self._path(chat_id).unlink()
        except FileNotFoundError:
            raise UserError(f"There is no conversation {chat_id} in this workspace.") from None
        except OSError as error:
            raise UserError(f"The conversation {chat_id} cannot be deleted: {error.strerror or error}.") from error

    def _path(self, chat_id: str) -> Path:
        if not _ID.fullmatch(chat_id):
            raise UserError("That is no id of a conversation.")
        return self._folder / f"{chat_id}.json"

    def _summary(self, path: Path) -> ChatSummary:
        """What a file holds, read again only where it was written since."""
        status = path.stat()
        known = self._known.get(path)
        if known is None or known[:2] != (status.st_mtime_ns, status.st_size):
            known = self._known[path] = (status.st_mtime_ns, status.st_size, self._read_summary(path, status.st_mtime))
        return known[2]

    def _read_summary(self, path: Path, modified: float) -> ChatSummary:
        try:
            chat = self.load(path.stem)
        except UserError as error:
            return ChatSummary(path.stem, "", datetime.fromtimestamp(modified, UTC), problem=str(error))
        return ChatSummary(chat.id, chat.title, chat.updated, len(chat.said), chat.model)


_FIELDS = ("id", "title", "created", "updated", "model", "effort", "said", "conversation")


def _read(content: bytes, path: Path) -> StoredChat:
    try:
        document = json.loads(content.decode("utf-8"))
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version != _VERSION:
            raise UserError(
                f"The conversation in {path} was written by another version of harmony-ls (its format is {version}, "
                f"this one reads {_VERSION}). It is left as it is."
            )
        file = _File.model_validate(document)
    except (ValueError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else type(error).__name__
        raise UserError(f"The conversation in {path} is damaged ({reason}). It is left as it is.") from error
    if file.id != path.stem:
        raise UserError(f"The conversation in {path} is damaged (it says that its id is another). It is left as it is.")
    return StoredChat(**{name: getattr(file, name) for name in _FIELDS})
