"""The tools of a conversation that are made anew: all of it or nothing, and what was made in vain is closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.features.chat.chat import Chat
from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.chat.store import ChatStore
from harmony_ls.settings.models import Settings, ToolPermission
from harmony_ls.tools.python.availability import forget_answers
from harmony_ls.tools.toolbox import ToolBox
from tests.features.chat.windows import Window, until
from tests.session.support import Oracle

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


class ClosedOracle(Oracle):
    """A tool that remembers whether it was let go of, which waits for ``may_close``."""

    def __init__(self) -> None:
        super().__init__({})
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.is_closed = False

    async def close(self) -> None:
        await self.may_close.wait()
        self.is_closed = True


class SlowWindow(Window):
    """A window whose tools are made when ``may_make`` is set. There is no python among them."""

    def __init__(self, state: Path, engine: Engine, model: Path) -> None:
        self.claims = Claims()
        super().__init__(state, engine, model, self.claims)
        self.may_make = asyncio.Event()
        self.may_make.set()
        self.oracles: list[ClosedOracle] = []
        self.n_asked = 0
        self.state = state

    async def _tools(self, _chat: Chat, settings: Settings) -> ToolBox:
        self.n_asked += 1
        await self.may_make.wait()
        self.oracles.append(ClosedOracle())
        permissions: dict[str, ToolPermission] = {"oracle": settings.tools.browser}
        self.boxes.append(ToolBox([self.oracles[-1]], permissions, absent={"python": "no Docker"}))
        return self.boxes[-1]

    def move(self) -> None:
        self.chats.move(ChatStore(self.state, [self.state.parent / "elsewhere"]))


@asynccontextmanager
async def slow_window(state: Path, model: Path, docker: Path | None = None) -> AsyncIterator[SlowWindow]:
    async with Engine() as engine:
        opened = SlowWindow(state, engine, model)
        tools = opened.settings.tools.model_copy(update={"docker_host": f"unix://{docker or state / 'no.sock'}"})
        opened.settings = opened.settings.model_copy(update={"tools": tools})
        yield opened
        for oracle in opened.oracles:
            oracle.may_close.set()
        await opened.chats.close()
        assert all(oracle.is_closed for oracle in opened.oracles)


@asynccontextmanager
async def docker_that_hangs(socket: Path) -> AsyncIterator[asyncio.Event]:
    """An engine that takes connections and answers nothing; what comes is set when it is asked."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_unix_server(hang, socket)
    try:
        yield asked
    finally:
        over.set()
        server.close()


async def cancelled(turn: "asyncio.Task[object]") -> None:
    turn.cancel()
    await asyncio.wait([turn])
    assert turn.cancelled()


async def test_a_turn_that_is_cancelled_while_its_tools_are_made_leaves_none_of_other_folders(
    tmp_path: Path, model: Path
) -> None:
    async with slow_window(tmp_path / "state", model) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        before = chat.tools
        one.move()
        one.may_make.clear()
        turn = asyncio.create_task(one.say(chat, "Hi"))
        await until(lambda: one.n_asked == 2)
        await cancelled(turn)
        assert chat.tools is before
        one.may_make.set()
        await one.say(chat, "Hi")
        assert chat.tools is not before, "they were still due"
        assert chat.session is not None
        assert chat.session.tools is chat.tools
        await until(lambda: one.oracles[0].is_closed)
        await one.say(chat, "Hi")
        assert len(one.boxes) == 2, "and are due no more"


async def test_folders_that_change_while_tools_are_made_are_followed_by_the_next_turn(
    tmp_path: Path, model: Path
) -> None:
    async with slow_window(tmp_path / "state", model) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        assert chat.tools is not None
        chat.tools.set_permission("oracle", "allow")
        one.settings = one.settings.model_copy(
            update={"tools": one.settings.tools.model_copy(update={"python_seconds": 7.0})}
        )
        one.may_make.clear()
        turn = asyncio.create_task(one.say(chat, "Hi"))
        await until(lambda: one.n_asked == 2)
        one.move()
        one.may_make.set()
        await turn
        await one.say(chat, "Hi")
        assert len(one.boxes) == 3


async def test_a_turn_that_is_cancelled_while_docker_is_asked_keeps_never_and_closes_what_was_made(
    tmp_path: Path, model: Path
) -> None:
    docker = tmp_path / "d.sock"
    async with slow_window(tmp_path / "state", model, docker) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        before = chat.tools
        assert before is not None
        before.set_permission("oracle", "off")
        one.settings = one.settings.model_copy(
            update={"tools": one.settings.tools.model_copy(update={"python_seconds": 7.0})}
        )
        forget_answers()
        async with docker_that_hangs(docker) as asked:
            turn = asyncio.create_task(one.say(chat, "Hi"))
            await asked.wait()
            await cancelled(turn)
        assert chat.tools is before
        await until(lambda: one.oracles[1].is_closed)
        assert not one.oracles[0].is_closed
        forget_answers()
        await one.say(chat, "Hi")
        assert chat.tools is one.boxes[2]
        assert chat.tools.permissions["oracle"] == "off"
        assert chat.session is not None
        assert chat.session.tools is chat.tools


async def test_tools_that_take_long_to_close_hold_up_nobody(tmp_path: Path, model: Path) -> None:
    async with slow_window(tmp_path / "state", model) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        one.oracles[0].may_close.clear()
        one.move()
        await one.say(chat, "Hi")
        assert chat.tools is one.boxes[1]
        one.oracles[1].may_close.clear()
        await one.chats.delete(chat.id)
        assert await one.chats.list() == ()
        assert not any(oracle.is_closed for oracle in one.oracles)


async def test_a_closed_window_frees_its_conversations_before_its_tools_are_closed(tmp_path: Path, model: Path) -> None:
    async with slow_window(tmp_path / "state", model) as one:
        one.settings = one.settings.model_copy(
            update={"tools": one.settings.tools.model_copy(update={"browser": "allow"})}
        )
        turn = asyncio.create_task(one.say(chat := one.chats.begin(), "Wait"))
        await until(lambda: bool(one.oracles))
        await one.oracles[0].is_waiting.wait()
        one.oracles[0].may_close.clear()
        closing = asyncio.create_task(one.chats.close())
        await turn
        await until(lambda: not one.claims.is_taken(chat.id, object()))
        assert not closing.done()
        assert one.store.load(chat.id).said[0].text == "Wait"
        one.oracles[0].may_close.set()
        await closing
