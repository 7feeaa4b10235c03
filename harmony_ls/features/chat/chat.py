"""One conversation that is open, and what a person says in it. What happens in a turn is `harmony_ls.session`'s."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harmony_ls.features.chat.attachments import Attachment
from harmony_ls.features.chat.store import ChatStore, Said, StoredChat
from harmony_ls.messages import Message
from harmony_ls.session.files import history_of
from harmony_ls.session.session import Session
from harmony_ls.settings.models import Settings, ToolPermission
from harmony_ls.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from harmony_ls.tools.python import Availability

__all__ = ["Chat", "Question"]


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

    ``store`` is where it is kept: that of the workspace in which it began. ``tools`` were made for ``settings``, which
    are those of the last turn; ``python`` is why there was no python tool among them, None where there was, or where it
    is off. ``n_moves`` is how often the workspace's folders have changed, and ``n_moves_followed`` how often they had
    when the tools were made. ``refused`` is what had been refused when it was last let go of, as in `ToolBox.refused`.
    ``is_keeping``: the turn is over and is being written to disk. ``is_unsaved``: that could not be done, so that it
    lives in memory alone. ``is_gone``: it was deleted, and no turn may begin any more. ``reading`` is held while it is
    looked after on disk.
    """

    stored: StoredChat
    store: ChatStore
    session: Session | None = None
    tools: ToolBox | None = None
    settings: Settings | None = None
    n_moves: int = 0
    n_moves_followed: int = 0
    python: "Availability | None" = None
    refused: Mapping[str, ToolPermission] = field(default_factory=dict)
    is_keeping: bool = False
    is_unsaved: bool = False
    is_gone: bool = False
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def id(self) -> str:
        """Its id."""
        return self.stored.id

    @property
    def has_moved(self) -> bool:
        """Whether the workspace's folders have changed since the tools were made."""
        return self.n_moves != self.n_moves_followed

    @property
    def is_running(self) -> bool:
        """Whether a turn is under way, its being kept included."""
        return not self._idle.is_set()

    @property
    def turns(self) -> tuple[tuple[Said, tuple[Message, ...]], ...]:
        """What was said in each turn, and the messages that came of it, the person's own first."""
        conversation = self.stored.conversation
        turns = () if conversation is None else history_of(conversation).turns
        return tuple(zip(self.stored.said, turns, strict=True))

    @property
    def is_unused(self) -> bool:
        """Whether it has been read from disk and not been talked to since."""
        return bool(self.stored.said) and self.tools is None and not self.is_running

    def begin(self) -> None:
        """A turn begins."""
        self._idle.clear()

    def end(self) -> None:
        """The turn is over, and kept."""
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no turn is under way."""
        await self._idle.wait()

    def cancel(self) -> bool:
        """End the running turn; false where it has not come so far that there is something to keep."""
        if self.session is not None and self.session.is_running:
            self.session.cancel()
            return True
        return self.is_keeping
