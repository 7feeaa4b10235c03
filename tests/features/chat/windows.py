"""The conversations of one window, without an editor around them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.events import Event
from harmony_ls.features.chat.chat import Chat, Question
from harmony_ls.features.chat.chats import Chats
from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.chat.models import ChatModels
from harmony_ls.features.chat.store import ChatStore
from harmony_ls.settings.models import Settings, ToolPermission
from harmony_ls.tools.toolbox import ToolBox
from tests.models import Rule
from tests.session.support import Oracle, calls, final, said

__all__ = ["LONG", "RULES", "Window", "settings_of", "until", "window"]

LONG = "word " * 400
RULES = (
    Rule("<|start|>assistant", final("Yes.")),
    Rule(said("Talk"), final(LONG)),
    Rule(f"Yes.<|end|>{said('And?')}", final("More.")),
    Rule(said("Wait"), calls('{"question": "wait"}')),
)


def settings_of(model: Path, oracle: ToolPermission = "allow", **chat: Any) -> Settings:
    # Permissions of tools that the test brings itself are told by the setting of the browser.
    document = {"chat": {"model": str(model), "temperature": 0, **chat}, "trustRemoteCode": True}
    return Settings.model_validate(document | {"tools": {"browser": oracle}})


class Window:
    """The conversations of one connection, and what their tools were asked."""

    def __init__(self, state: Path, engine: Engine, model: Path, claims: Claims | None = None) -> None:
        self.settings = settings_of(model)
        self.boxes: list[ToolBox] = []
        self.oracle = Oracle({})
        self.store = ChatStore(state, [state.parent])
        self.chats = Chats(self.store, ChatModels(engine), self._tools, claims or Claims())

    async def _tools(self, _chat: Chat, settings: Settings) -> ToolBox:
        self.boxes.append(ToolBox([self.oracle], {"oracle": settings.tools.browser}))
        return self.boxes[-1]

    async def say(self, chat: Chat, text: str, **options: Any) -> list[Event]:
        return [event async for event in self.chats.turn(chat, Question(text), self.settings, **options)]


@asynccontextmanager
async def window(state: Path, model: Path) -> AsyncIterator[Window]:
    async with Engine() as engine:
        opened = Window(state, engine, model)
        yield opened
        await opened.chats.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until something is true."""
    for _ in range(10_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError
