"""``harmony/chat``: conversations over LSP. A turn is streamed as parts; its result closes it, cancelled or not.

What a conversation is and where it is kept is `harmony_ls.features.chat`; this module translates.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from pygls.exceptions import JsonRpcInvalidParams

from harmony_ls.errors import UserError
from harmony_ls.events import Event, ToolCallFinished, ToolResult, TurnFinished, Usage
from harmony_ls.features.chat.slash import SLASH_COMMANDS
from harmony_ls.lsp.chat.attachments import attachments_of
from harmony_ls.lsp.chat.image_offers import ImageOffers
from harmony_ls.lsp.chat.parts import PartMaker, parts_of_messages, usage_report
from harmony_ls.lsp.connection.framing import Prepared
from harmony_ls.lsp.messages.chat_messages import (
    HARMONY_CHAT,
    HARMONY_CHAT_COMMANDS,
    HARMONY_CHAT_DELETE,
    HARMONY_CHAT_DELTA,
    HARMONY_CHAT_FORK,
    HARMONY_CHAT_OPEN,
    HARMONY_CHAT_SESSIONS,
    ChatCommand,
    ChatDeltaParams,
    ChatParams,
    ChatResult,
    ForkParams,
    Part,
    SessionParams,
    SessionsParams,
    SessionSummary,
    TextPart,
    Transcript,
    TranscriptTurn,
)
from harmony_ls.lsp.progress import WorkProgress
from harmony_ls.lsp.services import Services
from harmony_ls.messages import FinishReason, ReasoningEffort
from harmony_ls.settings.models import Settings

if TYPE_CHECKING:
    from harmony_ls.features.chat.chat import Chat, Question
    from harmony_ls.features.chat.chats import Chats
    from harmony_ls.features.chat.store import ChatStore, ChatSummary
    from harmony_ls.tools.tool import ApprovalRequest, Decision
    from harmony_ls.tools.toolbox import ToolBox

__all__ = ["CHAT_METHODS", "EditorChat"]

_Of = TypeVar("_Of")


@dataclass(slots=True, eq=False)
class _Turn:
    """A turn under way: whom its parts go to, and what has come of it."""

    token: int | str
    parts: PartMaker = field(default_factory=PartMaker)
    text: list[str] = field(default_factory=list)
    reason: FinishReason = FinishReason.CANCELLED
    usage: Usage = field(default_factory=Usage)


class EditorChat:
    """The conversations of one connection, as its handlers use them. Cheap until the first is asked for."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._chats: Chats | None = None
        self._making = asyncio.Lock()
        self._turns: dict[Chat, _Turn] = {}
        self._tokens: set[int | str] = set()
        self._folders: tuple[object, ...] | None = None
        self._one_question = asyncio.Lock()
        self._image_offers = ImageOffers(services)

    async def chats(self) -> "Chats":
        """The conversations of the workspace, those that were open before its folders changed among them."""
        async with self._making:
            folders = self.services.configuration.folders
            if self._chats is None:
                self._chats, self._folders = await self._made(folders), folders
            elif folders != self._folders:
                self._chats.move(await asyncio.to_thread(_store, folders))
                self._folders = folders
            return self._chats

    async def answer(self, params: ChatParams) -> ChatResult:
        """Say something, and stream what comes of it. Cancelled, it keeps and returns what there is."""
        if params.token in self._tokens:
            raise UserError(f"An answer is being written for the token {params.token!r}. Take another one.")
        self._tokens.add(params.token)
        try:
            return await self._answer(params)
        finally:
            self._tokens.discard(params.token)

    async def close(self) -> None:
        """Let go of the conversations and of what their tools hold."""
        async with self._making:
            chats, self._chats = self._chats, None
            if chats is not None:
                await chats.close()

    async def _answer(self, params: ChatParams) -> ChatResult:
        effort = _effort(params.effort)
        attached = params.attachments or []
        # Before anything else waits: documents are to be read as the client saw them.
        attachments = await attachments_of(self.services, attached)
        await self.services.configured()
        settings = self.services.configuration.settings
        chats = await self.chats()
        from harmony_ls.features.chat.chat import Question  # slow to import, which `chats` does on a thread

        question = Question(params.text, attachments, frozenset(each.kind for each in attached))
        chat = chats.begin() if params.session_id is None else await chats.open(params.session_id)
        if chat in self._turns:
            raise UserError("An answer is being written in this session. Wait for its end, or cancel it.")
        turn = self._turns[chat] = _Turn(params.token)
        self.services.status.work_begun()
        try:
            with WorkProgress(self.services, "Answering", params.work_done_token) as progress:
                running = self._run(chats, chat, turn, question, settings, params.model, effort, progress)
                await _finished(asyncio.create_task(running, name="chat turn"), chat)
        finally:
            self.services.status.work_ended()
            del self._turns[chat]
        return ChatResult(
            session_id=chat.id,
            title=chat.stored.title,
            text="".join(turn.text),
            finish_reason=str(turn.reason),
            usage=usage_report(turn.usage),
            n_turns=len(chat.stored.said),
        )

    async def _made(self, folders: tuple[Path, ...]) -> "Chats":
        await asyncio.to_thread(_import)
        await self.services.configured()
        models = await self.services.backend.chat_models(self.services.configuration.settings)
        from harmony_ls.features.chat.chats import Chats  # slow to import, which the line above does on a thread

        store = await asyncio.to_thread(_store, folders)
        return Chats(store, models, self._make_tools, self.services.backend.claims)

    async def _make_tools(self, chat: "Chat", settings: Settings) -> "ToolBox":
        from harmony_ls.lsp.chat.approvals import EditorApprovals
        from harmony_ls.tools.offered import offered_tools

        workspace = await self.services.editor_workspace()
        # What the person looks over in the editor is for the workspace that these tools work on, whatever comes later.
        confirm = None if isinstance(workspace, str) else workspace.confirm
        approvals = EditorApprovals(self.services, confirm, self._one_question)

        async def approve(request: "ApprovalRequest") -> "Decision":
            turn = self._turns.get(chat)
            if turn is not None:
                self._tell(chat, turn, turn.parts.approval(request))
            return await approvals.ask(request)

        return await offered_tools(settings, workspace, approve)

    async def _run(
        self,
        chats: "Chats",
        chat: "Chat",
        turn: _Turn,
        question: "Question",
        settings: Settings,
        model: str | None,
        effort: ReasoningEffort | Literal[""] | None,
        progress: WorkProgress,
    ) -> None:
        """One turn to its end, told as it goes."""
        events = chats.turn(chat, question, settings, model=model, effort=effort, on_progress=progress.loading)
        async with contextlib.aclosing(events):  # type: ignore[type-var]
            async for event in events:
                self._take(chat, turn, event, progress)

    def _take(self, chat: "Chat", turn: _Turn, event: Event, progress: WorkProgress) -> None:
        match event:
            case ToolCallFinished(_, call):
                progress.say(f"Running {call.name}")
                self._tighten(chat)
            case ToolResult():  # before the next one is run, of several calls
                self._tighten(chat)
            case Usage():
                turn.usage += event
                self._offer_image(chat)
            case TurnFinished(reason, usage):
                turn.reason, turn.usage = reason, usage
        part = turn.parts.part_of(event)
        if isinstance(part, TextPart):
            turn.text.append(part.text)
        if part is not None:
            self._tell(chat, turn, part)

    def _tighten(self, chat: "Chat") -> None:
        """Follow what was forbidden meanwhile, before a tool is run."""
        from harmony_ls.features.chat.tool_changes import tighten  # slow to import, but for a chat that runs

        tighten(chat, self.services.configuration.settings)

    def _offer_image(self, chat: "Chat") -> None:
        """Where nothing but an image is missing for python, offer it; a model that takes no tools needs none."""
        if chat.python is None or chat.session is None or chat.settings is None:
            return
        if chat.python.missing_image and chat.session.chat_model.format.takes_tools:
            self._image_offers.offer(chat.settings.tools, chat.python.missing_image)

    def _tell(self, chat: "Chat", turn: _Turn, part: Part) -> None:
        self.services.protocol.notify(HARMONY_CHAT_DELTA, ChatDeltaParams(turn.token, chat.id, part))


def _import() -> None:
    """Import what is slow to import, away from the loop."""
    import harmony_ls.tools.apply_patch
    import harmony_ls.tools.python  # noqa: F401


def _store(folders: tuple[Path, ...]) -> "ChatStore":
    from harmony_ls.features.chat.store import ChatStore, state_folder

    return ChatStore(state_folder(), folders)


async def _finished(running: "asyncio.Task[None]", chat: "Chat") -> None:
    """Wait for a turn. Cancelled, it ends the turn and waits for what it leaves; cancelled again, it does not wait for
    what a tool still does, but for the turn to be kept: no part of it may come after the answer."""
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        if running.cancelled():
            raise
        if not chat.cancel():
            # Nothing was written yet: a model is being loaded, for one.
            running.cancel()
        await running  # whoever cancels this cancels the task, too


def _effort(effort: str | None) -> ReasoningEffort | Literal[""] | None:
    if effort is None:
        return None
    if not effort:
        return ""
    try:
        return ReasoningEffort(effort)
    except ValueError:
        raise UserError(f"The effort is one of {', '.join(ReasoningEffort)}, not {effort}.") from None


async def _chat(chat: EditorChat, params: ChatParams) -> ChatResult:
    # The converter lets null and truth values through where either a number or a text may stand.
    if not isinstance(params.token, int | str) or isinstance(params.token, bool):
        raise JsonRpcInvalidParams("harmony/chat: token must be a number or a string")
    return await chat.answer(params)


async def _sessions(chat: EditorChat, _params: SessionsParams) -> Prepared:
    chats = await chat.chats()
    return await asyncio.to_thread(_prepared, chat, _summaries, await chats.list())


def _summaries(listed: "Sequence[ChatSummary]") -> list[SessionSummary]:
    return [
        SessionSummary(
            session_id=summary.id,
            title=summary.title,
            updated=summary.updated.isoformat(),
            n_turns=summary.n_turns,
            model=summary.model,
            problem=summary.problem or None,
        )
        for summary in listed
    ]


async def _open(chat: EditorChat, params: SessionParams) -> Prepared:
    chats = await chat.chats()
    return await asyncio.to_thread(_prepared, chat, _transcript, await chats.open(params.session_id))


async def _fork(chat: EditorChat, params: ForkParams) -> Prepared:
    chats = await chat.chats()
    forked = await chats.fork(params.session_id, params.n_turns)
    return await asyncio.to_thread(_prepared, chat, _transcript, forked)


async def _delete(chat: EditorChat, params: SessionParams) -> None:
    chats = await chat.chats()
    await chats.delete(params.session_id)


async def _commands(_chat: EditorChat, _params: SessionsParams) -> list[ChatCommand]:
    return [ChatCommand(f"/{each.name}", each.meaning, each.needs) for each in SLASH_COMMANDS]


def _prepared(chat: EditorChat, make: Callable[[_Of], object], of: _Of) -> Prepared:
    """A result that may be large, made into JSON piece by piece: on the event loop it would hold up all else."""
    from harmony_ls.session.sliced_json import written

    content = chat.services.protocol.unstructure(make(of))
    return Prepared("".join(written(content)).encode("ascii"))


def _transcript(chat: "Chat") -> Transcript:
    turns = [
        TranscriptTurn(said.text, list(said.attachments), parts_of_messages(messages, said.shown))
        for said, messages in chat.turns
    ]
    effort = chat.stored.effort
    return Transcript(chat.id, chat.stored.title, turns, chat.stored.model, str(effort) if effort else None)


CHAT_METHODS: Final[Mapping[str, Callable[[EditorChat, Any], Awaitable[Any]]]] = {
    HARMONY_CHAT: _chat,
    HARMONY_CHAT_SESSIONS: _sessions,
    HARMONY_CHAT_OPEN: _open,
    HARMONY_CHAT_FORK: _fork,
    HARMONY_CHAT_DELETE: _delete,
    HARMONY_CHAT_COMMANDS: _commands,
}
"""What of the conversations the server answers."""
