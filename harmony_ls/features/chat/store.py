"""Conversations on disk: private JSON files in the user's state directory, those of one workspace in one folder.

A file that cannot be read is told of and left as it is. All functions block; call them off the event loop.
"""

import contextlib
import hashlib
import logging
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

import platformdirs
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from harmony_ls.errors import UserError
from harmony_ls.messages import ReasoningEffort
from harmony_ls.session.files import write_private
from harmony_ls.session.sliced_json import members, parsed, written
from harmony_ls.workspace.leftovers import lock_folder

__all__ = ["ChatStore", "ChatSummary", "Said", "StoredChat", "new_chat_id", "state_folder"]

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = 1
_LARGEST_FILE_BYTES = 256 * 1024 * 1024
# What is being written is there for moments; what is older was left by a process that was killed.
_LEFTOVER_SECONDS = 3600.0
# Most heads are read with the first piece.
_HEAD_CHARACTERS = 8192
_END_BYTES = 64
# To write a conversation takes moments.
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """One turn as people see it: what the person said, as they said it, and the labels of what they attached.

    ``shown`` are the texts of the answer, one for each pass of the model, where they are not what the model wrote:
    citations are shown as links to pages that nobody knows of any more once the conversation was closed.
    """

    text: str
    attachments: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredChat:
    """A conversation as it is kept.

    ``model`` is the reference that was chosen for it, None where the settings decide. ``conversation`` is a document
    of `harmony_ls.session.files`, None before the first turn. ``said`` has one entry a turn. ``reference`` is the model
    that answered last: the conversation's token ids are of its vocabulary.
    """

    id: str
    title: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    model: str | None = None
    effort: ReasoningEffort | None = None
    said: tuple[Said, ...] = ()
    conversation: dict[str, Any] | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """One line of a list of conversations. ``problem`` says why one cannot be opened; empty where it can."""

    id: str
    title: str
    updated: datetime
    n_turns: int = 0
    model: str | None = None
    problem: str = ""


class _Head(BaseModel):
    """What a file says of its conversation; it comes before the conversation itself."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["harmony-ls chat"]
    version: Literal[1]
    id: str
    title: str
    created: AwareDatetime
    updated: AwareDatetime
    model: str | None
    effort: ReasoningEffort | None
    said: tuple[Said, ...]


class _File(_Head):
    """All that a file holds. Older ones lack the ``reference``."""

    conversation: dict[str, Any] | None
    reference: str | None = None


_Kind = TypeVar("_Kind", bound=_Head)


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
        self._known: dict[Path, tuple[_Version, ChatSummary]] = {}
        self._versions: dict[str, _Version] = {}

    def list(self) -> tuple[ChatSummary, ...]:
        """All conversations, the last one first; those that cannot be read among them, with the reason."""
        known: dict[Path, tuple[_Version, ChatSummary]] = {}
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # deleted in this moment, perhaps by another process
                if _ID.fullmatch(path.stem):
                    known[path] = self._summary(path)
        self._known = known
        self._sweep()
        return tuple(sorted((each for _, each in known.values()), key=lambda each: each.updated, reverse=True))

    def load(self, chat_id: str) -> StoredChat:
        """One conversation. Raises UserError where there is none of this id, or its file cannot be read."""
        chat, self._versions[chat_id] = self._read(self._path(chat_id))
        return chat

    def has_changed(self, chat_id: str) -> bool:
        """Whether the file of a conversation is there and is not as it was last loaded or saved from here."""
        try:
            return _version(self._path(chat_id).stat()) != self._versions.get(chat_id)
        except OSError:
            return False

    def is_deleted(self, chat_id: str) -> bool:
        """Whether the file of a conversation that was loaded or saved from here is there no more."""
        if chat_id not in self._versions:
            return False
        try:
            self._path(chat_id).stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # who knows
        return False

    def summary(self, chat_id: str) -> ChatSummary | None:
        """One line of the list; None where there is no such file."""
        try:
            return self._summary(self._path(chat_id))[1]
        except OSError:
            return None

    def save(self, chat: StoredChat, *, unless_changed: bool = False) -> bool:
        """Keep a conversation, whole or not at all. Raises UserError where that cannot be done.

        ``unless_changed``: nothing is done, and the answer is false, where `has_changed` or `is_deleted`; no other
        process that asks in this way comes in between.
        """
        path = self._path(chat.id)
        file = _File(format="harmony-ls chat", version=1, **{name: getattr(chat, name) for name in _FIELDS})
        try:
            self._folder.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, exist_ok=True)
                if stat.S_IMODE(folder.stat().st_mode) & 0o077:  # made by something else, or opened since
                    folder.chmod(0o700)
            # What is in a conversation is plain already, and much: the model's dump would hold up all other threads.
            document = file.model_dump(exclude={"conversation"}) | {"conversation": chat.conversation}
            with _locked(self._folder) if unless_changed else contextlib.nullcontext():
                if unless_changed and (self.has_changed(chat.id) or self.is_deleted(chat.id)):
                    return False
                write_private(path, written(document))
                self._versions[chat.id] = _version(path.stat())
            return True
        except OSError as error:
            raise UserError(f"The conversation cannot be saved to {path}: {error.strerror or error}.") from error

    def delete(self, chat_id: str, *, missing_ok: bool = False) -> None:
        """Forget a conversation for good. Raises UserError where there is none, or it cannot be deleted."""
        try:
            self._path(chat_id).unlink()
        except (FileNotFoundError, NotADirectoryError):
            if not missing_ok:
                raise _none(chat_id) from None
        except OSError as error:
            raise UserError(f"The conversation {chat_id} cannot be deleted: {error.strerror or error}.") from error
        self._versions.pop(chat_id, None)
        self._sweep(chat_id)

    def _sweep(self, chat_id: str = "") -> None:
        """Remove what was left of files that were never written to their end; all that there is of one conversation."""
        for path in self._folder.glob(f".{chat_id or '*'}.json.*"):
            with contextlib.suppress(OSError):
                if chat_id or time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    path.unlink()

    def _path(self, chat_id: str) -> Path:
        if not _ID.fullmatch(chat_id):
            raise UserError("That is no id of a conversation.")
        return self._folder / f"{chat_id}.json"

    def _summary(self, path: Path) -> "tuple[_Version, ChatSummary]":
        """What a file holds, read again only where it was written since."""
        status = path.stat()
        known = self._known.get(path)
        if known is not None and known[0] == _version(status):
            return known
        try:
            with _opened(path) as (stream, status):
                head = _head(stream, status, path)
        except UserError as error:
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            return _version(status), ChatSummary(path.stem, "", modified, problem=str(error))
        return _version(status), ChatSummary(head.id, head.title, head.updated, len(head.said), head.model)

    @staticmethod
    def _read(path: Path) -> "tuple[StoredChat, _Version]":
        with _opened(path) as (stream, status), _damage_told(path):
            file = _checked(_File, parsed(stream.read()), path)
        return StoredChat(**{name: getattr(file, name) for name in _FIELDS}), _version(status)


_Version = tuple[int, int, int]
"""What tells two states of a file apart: each one is a new file."""


def _version(status: os.stat_result) -> _Version:
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes in a folder, of all processes that ask. One that hangs does not hold up the others for
    ever, and where a file system knows no locks there are none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock_folder(descriptor, time.monotonic() + _LOCK_SECONDS):
            log.warning("the folder of conversations cannot be locked")
        yield
    finally:
        os.close(descriptor)  # and the lock with it


def _without_waiting(name: str, flags: int) -> int:
    """Open a file; one that is a pipe must not make us wait for who writes into it."""
    return os.open(name, flags | os.O_NONBLOCK)


def _none(chat_id: str) -> UserError:
    return UserError(f"There is no conversation {chat_id} in this workspace.")


_FIELDS = ("id", "title", "created", "updated", "model", "effort", "said", "conversation", "reference")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[TextIO, os.stat_result]]:
    """A file of a conversation, to be read. Raises UserError where it cannot be, while it is read, too."""
    try:
        with open(path, encoding="utf-8", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE_BYTES:
                raise UserError(f"{path} is no file, or too large, to be a conversation.")
            yield stream, status
    except FileNotFoundError:
        raise _none(path.stem) from None
    except OSError as error:
        raise UserError(f"The conversation {path.stem} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Tell of what cannot be understood as of a damaged file."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else type(error).__name__
        raise UserError(f"The conversation in {path} is damaged ({reason}). It is left as it is.") from error


def _head(stream: TextIO, status: os.stat_result, path: Path) -> _Head:
    """What a file says of its conversation, read no further than that: there may be thousands of files, and what they
    hold may be large. Raises UserError where that is damaged, or the end of the file is missing."""
    with _damage_told(path):
        head = _checked(_Head, _first_members(stream), path)
        end = os.pread(stream.fileno(), _END_BYTES, max(0, status.st_size - _END_BYTES))
        if not end.rstrip().endswith(b"}"):
            raise UserError(f"The conversation in {path} is damaged (its end is missing). It is left as it is.")
        return head


def _first_members(stream: TextIO) -> dict[str, Any]:
    """The members of a document up to the last one that a head has, however they are ordered."""
    text = ""
    while True:
        piece = stream.read(max(_HEAD_CHARACTERS, len(text)))
        text += piece
        found: dict[str, Any] = {}
        try:
            for name, value in members(text):
                if name in _Head.model_fields:
                    found[name] = value
                if len(found) == len(_Head.model_fields):
                    break
        except ValueError:
            if not piece:
                raise
            continue  # the text ends in the middle of one
        return found


def _checked(kind: type[_Kind], document: object, path: Path) -> _Kind:
    """A document as what it should be. Raises UserError, and ValueError where it is damaged."""
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version != _VERSION:
        raise UserError(
            f"The conversation in {path} was written by another version of harmony-ls (its format is {version}, "
            f"this one reads {_VERSION}). It is left as it is."
        )
    file = kind.model_validate(document)
    if file.id != path.stem:
        raise UserError(f"The conversation in {path} is damaged (it says that its id is another). It is left as it is.")
    return file
