"""The conversations of one connection: begun, gone on with, forked, deleted, and kept on disk after each turn.

The turns themselves are `harmony_ls.session`'s; what a client says and hears of them is its front end's matter.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Literal

from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.errors import UserError
from harmony_ls.events import Event, Notice
from harmony_ls.features.chat.attachments import with_attachments
from harmony_ls.features.chat.chat import Chat, Question
from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.chat.closing import Closing
from harmony_ls.features.chat.kept_turn import beginning_of, note_shown, said_in, with_turn
from harmony_ls.features.chat.models import ChatModels
from harmony_ls.features.chat.resuming import listed, loaded, resume
from harmony_ls.features.chat.slash import expanded
from harmony_ls.features.chat.store import ChatStore, ChatSummary, Said, StoredChat, new_chat_id
from harmony_ls.features.chat.tool_changes import MakeTools, renew_tools
from harmony_ls.features.chat.waiting import wait_to_the_end
from harmony_ls.messages import ReasoningEffort
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.files import conversation_document
from harmony_ls.session.session import Session
from harmony_ls.settings.models import Settings, ToolPermission

__all__ = ["Chats"]

log = logging.getLogger(__name__)

# So many are kept in memory that were opened and not talked to.
_MOST_UNUSED = 16
# So many are kept in memory that were talked to, with their tools.
_MOST_USED = 16
# How long a turn may take to end where its connection is gone.
_LAST_WORDS_SECONDS = 5.0


class Chats:
    """The conversations of one connection. All methods belong to one event loop.

    ``store`` keeps those of the workspace; ``make_tools`` makes the tools of one conversation.
    """

    def __init__(self, store: ChatStore, models: ChatModels, make_tools: MakeTools, claims: Claims) -> None:
        self._store = store
        self._models = models
        self._make_tools = make_tools
        self._claims = claims
        self._closing = Closing()
        self._open: dict[str, Chat] = {}
        self._refused: dict[str, Mapping[str, ToolPermission]] = {}
        self._is_closed = False
        self._told_absent: set[tuple[str, str]] = set()

    def move(self, store: ChatStore) -> None:
        """The workspace has other folders now, whose conversations ``store`` keeps.

        What is open stays open, and is kept where it began; turns that are under way end with the tools they have.
        """
        self._store = store
        for chat in self._open.values():
            chat.n_moves += 1

    async def list(self) -> tuple[ChatSummary, ...]:
        """The conversations of the workspace, the last one first, without those that other windows have open.

        Those that are open here are among them, wherever they are kept, even where that could not be done.
        """
        opened = tuple(self._open.values())
        summaries, deleted = await asyncio.to_thread(listed, self._store, opened)
        for chat in deleted:
            if not chat.is_running:
                chat.is_gone = True
                self._drop(chat)
        for chat in opened:
            if chat.is_gone:
                summaries.pop(chat.id, None)
        shown = (each for each in summaries.values() if not self._claims.is_taken(each.id, self))
        return tuple(sorted(shown, key=lambda each: each.updated, reverse=True))

    def begin(self) -> Chat:
        """A new conversation. It is kept from its first turn on, and forgotten where that comes to nothing."""
        return self._opened(StoredChat(new_chat_id()))

    async def open(self, chat_id: str) -> Chat:
        """A conversation, read from disk where it is not open yet. Raises UserError where that cannot be done."""
        if (chat := self._open.get(chat_id)) is not None:
            return await self._current(chat)
        store = self._store
        self._claims.take(chat_id, self)
        try:
            stored = await asyncio.to_thread(loaded, store, chat_id)
        except BaseException:
            if chat_id not in self._open:
                self._claims.release(chat_id, self)
            raise
        # Somebody may have asked for it twice at once.
        return self._open.get(chat_id) or self._opened(stored, store)

    async def fork(self, chat_id: str, n_turns: int | None = None) -> Chat:
        """A new conversation that begins with the first ``n_turns`` of another, all by default. Raises UserError.

        It is kept where the other one is.
        """
        chat, store = self._open.get(chat_id), self._store
        if chat is not None:
            stored, store = (await self._current(chat)).stored, chat.store
        else:
            stored = await asyncio.to_thread(loaded, store, chat_id)
        forked = await asyncio.to_thread(beginning_of, stored, n_turns)
        saving = asyncio.ensure_future(asyncio.to_thread(store.save, forked))
        if await wait_to_the_end(saving):
            # Nobody will hear of it, so nobody shall find it.
            with contextlib.suppress(UserError):
                await asyncio.to_thread(store.delete, forked.id, missing_ok=True)
            raise asyncio.CancelledError
        saving.result()
        return self._opened(forked, store)

    async def delete(self, chat_id: str) -> None:
        """Forget a conversation for good. Raises UserError where it is being answered, or open in another window."""
        if self._claims.is_taken(chat_id, self):
            raise UserError("The conversation is open in another window. Close it there first.")
        chat = self._open.get(chat_id)
        if chat is not None and _present(chat).is_running:
            raise UserError("An answer is being written in this conversation. Cancel it first.")
        if chat is None:
            await asyncio.to_thread(self._store.delete, chat_id)
            return
        chat.is_gone = True  # no turn begins while its file goes, which would bring it back
        # One that could not be saved has no file.
        deleting = asyncio.ensure_future(asyncio.to_thread(chat.store.delete, chat_id, missing_ok=True))
        is_cancelled = await wait_to_the_end(deleting)
        chat.is_gone = not deleting.cancelled() and deleting.exception() is None
        if chat.is_gone:
            self._drop(chat)
        if is_cancelled:
            raise asyncio.CancelledError
        deleting.result()

    async def turn(
        self,
        chat: Chat,
        question: Question,
        settings: Settings,
        *,
        model: str | None = None,
        effort: ReasoningEffort | Literal[""] | None = None,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Say something and yield what happens, as `Session.turn` does; then the conversation is kept.

        ``model`` and ``effort`` are chosen for this and later turns; empty, they leave it to the settings. Raises
        UserError for a question that cannot be asked, and what `ChatModels.using` and `Session.turn` raise; nothing is
        kept of it then.
        """
        known = self._open.get(chat.id)
        if _present(chat).is_running or (known is not None and known.is_running):
            raise UserError("An answer is being written in this conversation. Wait for its end, or cancel it.")
        if self._is_closed:
            raise UserError("The window is being closed.")
        was_let_go = known is not chat  # many were talked to, or looked at, since it was opened
        if was_let_go:
            if known is not None:
                self._drop(known)
            self._claims.take(chat.id, self)
            self._open[chat.id] = chat
            chat.refused = self._refused.get(chat.id, {})
        chat.begin()
        try:
            if not question.text.strip():
                raise UserError("The message is empty: there is nothing to answer.")
            text = with_attachments(expanded(question.text, question.kinds), question.attachments)
            async with chat.reading:
                await self._catch_up(chat, anew=was_let_go)
            chosen = chat.stored
            if model is not None:
                chosen = replace(chosen, model=model.strip() or None)
            if effort is not None:
                chosen = replace(chosen, effort=effort or None)
            async with self._models.using(settings, chosen.model, on_progress) as chat_model:
                session = await self._session(chat, chat_model, settings, chosen.effort)
                n_before, problem, shown = len(session.history.turns), "", [""]
                try:
                    if chat_model.notice and n_before == 0:
                        yield Notice(chat_model.notice)
                    for absent in self._news_of_tools(session):
                        yield absent
                    # Whoever leaves early leaves the turn now, so that what was written is settled before it is kept.
                    async with contextlib.aclosing(session.turn(text)) as events:  # type: ignore[type-var]
                        async for event in events:
                            note_shown(shown, event)
                            yield event
                finally:
                    if len(session.history.turns) > n_before:
                        problem = await self._kept(
                            chat, chosen, said_in(question, shown, session.history.turns[-1]), session
                        )
                if problem:
                    yield Notice(problem)
        finally:
            chat.end()
            self._let_rest()
            if self._is_closed or chat.is_gone or not chat.stored.said:
                self._drop(chat)

    async def close(self) -> None:
        """End what runs, keep it, and let go of everything that the conversations hold."""
        self._is_closed = True
        chats, self._open = tuple(self._open.values()), {}
        for chat in chats:
            # Those that run are not free before they are kept: another window would go on with what was there earlier.
            if not chat.is_running:
                self._claims.release(chat.id, self)
        try:
            await asyncio.gather(*map(self._let_go, chats))
        finally:
            self._claims.release_all(self)
        await self._closing.finished()

    def _news_of_tools(self, session: Session) -> tuple[Notice, ...]:
        """Why tools are not there. Once for each reason, which is no news in the next session; and not where the model
        could use none."""
        if not session.chat_model.format.takes_tools:
            return ()
        news = tuple(each for each in session.tools.why_absent.items() if each not in self._told_absent)
        self._told_absent.update(news)
        return tuple(Notice(f"{name} is not available: {why}") for name, why in news)

    def _opened(self, stored: StoredChat, store: ChatStore | None = None) -> Chat:
        self._claims.take(stored.id, self)
        chat = self._open[stored.id] = Chat(stored, store or self._store, refused=self._refused.get(stored.id, {}))
        unused = [each for each in self._open.values() if each.is_unused and self._can_be_read_again(each)]
        for each in unused[:-_MOST_UNUSED]:
            self._drop(each)
        return chat

    def _let_rest(self) -> None:
        """Let go of the conversations that were not gone on with for longest, where many were talked to. They are on
        disk, and read again once somebody asks; what was allowed in them is asked about again then, and what was
        refused stays refused."""
        resting = [each for each in self._open.values() if each.tools is not None and not each.is_running]
        for each in sorted(resting, key=lambda chat: chat.stored.updated)[:-_MOST_USED]:
            if self._can_be_read_again(each):
                self._drop(each)
            else:
                each.session = None  # its prompt as token ids, above all

    def _can_be_read_again(self, chat: Chat) -> bool:
        """Whether nothing is lost with what is in memory of a conversation: `open` finds it where it looks."""
        return chat.store is self._store and not chat.is_unsaved

    def _drop(self, chat: Chat) -> None:
        """Let a conversation go that is not to be gone on with, or can be read from disk."""
        if self._open.get(chat.id) is chat:
            del self._open[chat.id]
            self._claims.release(chat.id, self)
        self._close_tools(chat)

    async def _let_go(self, chat: Chat) -> None:
        """End the turn that runs, and let go of what the tools hold."""
        chat.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await chat.idle()
        self._close_tools(chat)

    def _close_tools(self, chat: Chat) -> None:
        tools, chat.tools, chat.session = chat.tools, None, None
        if tools is not None:
            self._closing.begin(tools)
            chat.refused = tools.refused
        if chat.refused and not chat.is_gone:
            self._refused[chat.id] = chat.refused
        else:
            self._refused.pop(chat.id, None)

    async def _current(self, chat: Chat) -> Chat:
        """A conversation that is open here, as it is on disk by now. Raises UserError where it was deleted."""
        async with chat.reading:
            if not chat.is_running:
                await self._catch_up(chat)
        return _present(chat)

    async def _catch_up(self, chat: Chat, *, anew: bool = False) -> None:
        """Read a conversation again where another process has gone on with it, or in any case where it was let go of.
        Raises UserError where it was deleted. ``chat.reading`` is held."""
        if not chat.stored.said or chat.is_gone:
            return
        if await asyncio.to_thread(chat.store.is_deleted, chat.id):
            chat.is_gone = True
            self._drop(chat)
            _present(chat)
        if not anew and not await asyncio.to_thread(chat.store.has_changed, chat.id):
            return
        try:
            chat.stored = await asyncio.to_thread(loaded, chat.store, chat.id)
        except UserError as error:
            if anew:
                self._drop(chat)
                raise
            # What is known of it here is worth more than a file that nobody can read: it is kept beside that.
            log.warning("%s", error)
        else:
            chat.session = None

    async def _session(
        self, chat: Chat, chat_model: ChatModel, settings: Settings, effort: ReasoningEffort | None
    ) -> Session:
        """The session of a conversation, made anew where the settings have changed since its last turn."""
        before = chat.settings
        await renew_tools(chat, settings, self._make_tools, self._closing.begin)
        if before is not None and before.chat != settings.chat:
            chat.session = None
        chat.settings = settings
        if chat.session is None:
            session = Session(chat_model, settings.chat, tools=chat.tools, instructions=_instructions())
            await asyncio.to_thread(resume, session, chat.stored)
            chat.session = session
        elif chat.session.chat_model is not chat_model:
            chat.session.use(chat_model)
        chat.session.effort = effort or ReasoningEffort(settings.chat.effort)
        return chat.session

    async def _kept(self, chat: Chat, stored: StoredChat, said: Said, session: Session) -> str:
        """Keep what was just said, to the end, even where whoever asked for it is gone meanwhile: a turn that the
        session has and the file lacks would leave both of no use."""
        keeping = asyncio.create_task(self._keep(chat, stored, said, session), name="keep a conversation")
        chat.is_keeping = True
        is_cancelled = await wait_to_the_end(keeping)
        chat.is_keeping = False
        if keeping.cancelled() or keeping.exception() is not None:
            chat.session = None  # it would know of a turn that is not kept
        if is_cancelled:
            raise asyncio.CancelledError
        return keeping.result()

    async def _keep(self, chat: Chat, stored: StoredChat, said: Said, session: Session) -> str:
        """Write a conversation with what was just said to disk. What is said of it where there is something to say; one
        that cannot be written lives on in memory."""
        conversation = await asyncio.to_thread(conversation_document, session)
        stored = with_turn(stored, said, conversation, session.chat_model.model.spec.reference)
        problem = ""
        try:
            if await asyncio.to_thread(chat.store.save, stored, unless_changed=True):
                pass
            elif await asyncio.to_thread(chat.store.is_deleted, chat.id):
                problem = "This conversation was deleted in another window meanwhile. What was said since is not kept."
                chat.is_gone = True
            else:
                problem = (
                    "Somebody else has written the file of this conversation at the same time. What was said here is "
                    "kept as a conversation of its own."
                )
                log.warning("%s was written by another process", chat.id)
                stored = replace(stored, id=new_chat_id())
                await asyncio.to_thread(chat.store.save, stored)
            chat.is_unsaved = False
        except UserError as error:
            log.warning("%s", error)
            problem = str(error)
            chat.is_unsaved = True
        if stored.id != chat.id and self._open.get(chat.id) is chat:
            self._claims.take(stored.id, self)
            self._claims.release(chat.id, self)
            self._open[stored.id] = self._open.pop(chat.id)
        chat.stored = stored
        return problem


def _present(chat: Chat) -> Chat:
    """The conversation, unless it was deleted."""
    if chat.is_gone:
        raise UserError(f"There is no conversation {chat.id} in this workspace.")
    return chat


@cache
def _instructions() -> str:
    return (resources.files("harmony_ls.features.chat") / "instructions.md").read_text(encoding="utf-8").strip()
