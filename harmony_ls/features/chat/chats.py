"""The conversations of one connection: begun, gone on with, forked, deleted, and kept on disk after each turn.

The turns themselves are `harmony_ls.session`'s; what a client says and hears of them is its front end's matter.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from harmony_ls.engine.load_progress import LoadProgress
from harmony_ls.errors import UserError
from harmony_ls.events import Event, Notice
from harmony_ls.features.chat.attachments import Attachment, with_attachments
from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.chat.models import ChatModels
from harmony_ls.features.chat.slash import expanded
from harmony_ls.features.chat.store import ChatStore, ChatSummary, Said, StoredChat, new_chat_id
from harmony_ls.messages import Message, ReasoningEffort
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.files import conversation_document, first_turns, history_of, use_document
from harmony_ls.session.session import Session
from harmony_ls.settings.models import Settings
from harmony_ls.tools.toolbox import ToolBox

__all__ = ["Chat", "Chats", "Question"]

log = logging.getLogger(__name__)

MakeTools = Callable[["Chat", Settings], Awaitable[ToolBox]]

_LONGEST_TITLE = 60


@dataclass(frozen=True, slots=True)
class Question:
    """What a person says in one turn: ``text`` as they said it, and what goes along.

    ``kinds`` are the kinds of the attachments, as slash commands ask for them.
    """

    text: str
    attachments: tuple[Attachment, ...] = ()
    kinds: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Chat:
    """A conversation that is open. ``session`` is there once it has been talked to since it was opened.

    ``tools`` were made for ``settings``, which are those of the last turn.
    """

    stored: StoredChat
    session: Session | None = None
    tools: ToolBox | None = None
    settings: Settings | None = None
    is_running: bool = False

    @property
    def id(self) -> str:
        """Its id."""
        return self.stored.id

    @property
    def turns(self) -> tuple[tuple[Said, tuple[Message, ...]], ...]:
        """What was said in each turn, and the messages that came of it, the person's own first."""
        conversation = self.stored.conversation
        turns = () if conversation is None else history_of(conversation).turns
        return tuple(zip(self.stored.said, turns, strict=True))

    def cancel(self) -> bool:
        """End the running turn; false where it has not come so far that there is something to keep."""
        if self.session is None or not self.session.is_running:
            return False
        self.session.cancel()
        return True


class Chats:
    """The conversations of one connection. All methods belong to one event loop.

    ``make_tools`` makes the tools of one conversation.
    """

    def __init__(self, store: ChatStore, models: ChatModels, make_tools: MakeTools, claims: Claims) -> None:
        self._store = store
        self._models = models
        self._make_tools = make_tools
        self._claims = claims
        self._open: dict[str, Chat] = {}

    async def list(self) -> tuple[ChatSummary, ...]:
        """The conversations of the workspace, the last one first, without those that other windows have open."""
        summaries = await asyncio.to_thread(self._store.list)
        return tuple(each for each in summaries if not self._claims.is_taken(each.id, self))

    def begin(self) -> Chat:
        """A new conversation. It is kept from its first turn on."""
        return self._opened(StoredChat(new_chat_id()))

    async def open(self, chat_id: str) -> Chat:
        """A conversation, read from disk where it is not open yet. Raises UserError where that cannot be done."""
        if (chat := self._open.get(chat_id)) is not None:
            return chat
        self._claims.take(chat_id, self)
        try:
            stored = await asyncio.to_thread(self._load, chat_id)
        except BaseException:
            if chat_id not in self._open:
                self._claims.release(chat_id)
            raise
        # Somebody may have asked for it twice at once.
        return self._open.get(chat_id) or self._opened(stored)

    async def fork(self, chat_id: str, n_turns: int | None = None) -> Chat:
        """A new conversation that begins with the first ``n_turns`` of another, all by default. Raises UserError."""
        chat = self._open.get(chat_id)
        stored = chat.stored if chat is not None else await asyncio.to_thread(self._load, chat_id)
        n_kept = len(stored.said) if n_turns is None else n_turns
        if not 0 <= n_kept <= len(stored.said):
            raise UserError(f"The conversation has {len(stored.said)} turns; it cannot be forked after {n_kept}.")
        conversation = stored.conversation
        if conversation is not None:
            conversation = await asyncio.to_thread(first_turns, conversation, n_kept) if n_kept else None
        now = datetime.now(UTC)
        forked = replace(
            stored,
            id=new_chat_id(),
            created=now,
            updated=now,
            said=stored.said[:n_kept],
            conversation=conversation,
        )
        await asyncio.to_thread(self._store.save, forked)
        return self._opened(forked)

    async def delete(self, chat_id: str) -> None:
        """Forget a conversation for good. Raises UserError where it is being answered, or open in another window."""
        if self._claims.is_taken(chat_id, self):
            raise UserError("The conversation is open in another window. Close it there first.")
        chat = self._open.get(chat_id)
        if chat is not None and chat.is_running:
            raise UserError("An answer is being written in this conversation. Cancel it first.")
        if chat is None or chat.stored.said:
            await asyncio.to_thread(self._store.delete, chat_id)
        self._open.pop(chat_id, None)
        self._claims.release(chat_id)
        if chat is not None and chat.tools is not None:
            await chat.tools.close()

    async def turn(
        self,
        chat: Chat,
        question: Question,
        settings: Settings,
        *,
        model: str | None = None,
        effort: ReasoningEffort | None = None,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Say something and yield what happens, as `Session.turn` does; then the conversation is kept.

        ``model`` and ``effort`` are chosen for this and later turns. Raises UserError for a question that cannot be
        asked, and what `ChatModels.using` and `Session.turn` raise; nothing is kept of it then.
        """
        if chat.is_running:
            raise UserError("An answer is being written in this conversation. Wait for its end, or cancel it.")
        if not question.text.strip():
            raise UserError("The message is empty: there is nothing to answer.")
        text = with_attachments(expanded(question.text, question.kinds), question.attachments)
        chat.is_running = True
        try:
            chosen = replace(chat.stored, model=model or chat.stored.model, effort=effort or chat.stored.effort)
            async with self._models.using(settings, chosen.model, on_progress) as chat_model:
                session = await self._session(chat, chat_model, settings, chosen.effort)
                n_before, problem = len(session.history.turns), ""
                try:
                    if chat_model.notice and n_before == 0:
                        yield Notice(chat_model.notice)
                    # Whoever leaves early leaves the turn now, so that what was written is settled before it is kept.
                    async with contextlib.aclosing(session.turn(text)) as events:  # type: ignore[type-var]
                        async for event in events:
                            yield event
                finally:
                    if len(session.history.turns) > n_before:
                        problem = await self._keep(chat, chosen, question, session)
                if problem:
                    yield Notice(problem)
        finally:
            chat.is_running = False

    async def close(self) -> None:
        """Let go of everything that the conversations hold; those that were said something are on disk."""
        self._claims.release_all(self)
        chats, self._open = tuple(self._open.values()), {}
        for chat in chats:
            chat.cancel()
            if chat.tools is not None:
                await chat.tools.close()

    def _load(self, chat_id: str) -> StoredChat:
        stored = self._store.load(chat_id)
        n_turns = 0
        if stored.conversation is not None:
            try:
                n_turns = len(history_of(stored.conversation).turns)
            except ValueError as error:
                raise UserError(f"The conversation {chat_id} is damaged ({error}). It is left as it is.") from error
        if n_turns != len(stored.said):
            raise UserError(f"The conversation {chat_id} is damaged (turns are missing). It is left as it is.")
        return stored

    def _opened(self, stored: StoredChat) -> Chat:
        self._claims.take(stored.id, self)
        chat = self._open[stored.id] = Chat(stored)
        return chat

    async def _session(
        self, chat: Chat, chat_model: ChatModel, settings: Settings, effort: ReasoningEffort | None
    ) -> Session:
        """The session of a conversation, made anew where the settings have changed since its last turn."""
        if chat.tools is None or chat.settings is None or _differ_in_tools(chat.settings, settings):
            if chat.tools is not None:
                await chat.tools.close()
            chat.tools = await self._make_tools(chat, settings)
            chat.session = None
        if chat.session is not None and chat.settings is not None and chat.settings.chat != settings.chat:
            chat.session = None
        chat.settings = settings
        if chat.session is None:
            session = Session(chat_model, settings.chat, tools=chat.tools, instructions=_instructions())
            if chat.stored.conversation is not None:
                use_document(chat.stored.conversation, session)
            chat.session = session
        elif chat.session.chat_model is not chat_model:
            chat.session.use(chat_model)
        chat.session.effort = effort or ReasoningEffort(settings.chat.effort)
        return chat.session

    async def _keep(self, chat: Chat, stored: StoredChat, question: Question, session: Session) -> str:
        """Write a conversation with what was just said to disk, to the end, even where whoever asked for it is gone.

        What is said of it where that cannot be done; the conversation then lives on in memory.
        """
        chat.stored = _with_turn(stored, question, await asyncio.to_thread(conversation_document, session))
        try:
            await asyncio.shield(asyncio.to_thread(self._store.save, chat.stored))
        except UserError as error:
            log.warning("%s", error)
            return str(error)
        return ""


def _differ_in_tools(one: Settings, other: Settings) -> bool:
    return (one.tools, one.browser, one.inline_completion.exclude) != (
        other.tools,
        other.browser,
        other.inline_completion.exclude,
    )


def _with_turn(stored: StoredChat, question: Question, conversation: dict[str, Any]) -> StoredChat:
    """The conversation with what was just said."""
    said = Said(question.text, tuple(attachment.label for attachment in question.attachments))
    return replace(
        stored,
        title=stored.title or _title(question.text),
        updated=datetime.now(UTC),
        said=(*stored.said, said),
        conversation=conversation,
    )


def _title(text: str) -> str:
    """The beginning of the first line that says something."""
    line = next(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1].rstrip()}…"


@cache
def _instructions() -> str:
    return (resources.files("harmony_ls.features.chat") / "instructions.md").read_text(encoding="utf-8").strip()
