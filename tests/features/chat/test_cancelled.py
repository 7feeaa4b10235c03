"""What is cancelled in between: nothing is left half done, and no window loses what it has."""

import asyncio
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.errors import UserError
from harmony_ls.features.chat.claims import Claims
from tests.features.chat.windows import Window, until, window

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


def files_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.json"))


async def cancelled(work: "asyncio.Task[object]") -> None:
    for _ in range(3):
        work.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([work])
    assert work.cancelled()


async def test_a_fork_that_is_cancelled_leaves_no_session(tmp_path: Path, model: Path) -> None:
    state = tmp_path / "state"
    async with window(state, model) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        n_kept = 1
        for number in range(20):
            forking = asyncio.create_task(one.chats.fork(chat.id))
            if number % 2:  # while it is written, or right after that
                await until(lambda n_before=n_kept: len(files_in(state)) > n_before)
            else:
                for _ in range(number):
                    await asyncio.sleep(0)
            forking.cancel()
            await asyncio.wait([forking])
            if not forking.cancelled():
                n_kept += 1
            assert len(files_in(state)) == n_kept
        assert n_kept < 21, "some were cancelled"
        assert len(await one.chats.list()) == n_kept


async def test_a_deletion_that_is_cancelled_is_done_all_the_same(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        await one.say(chat := one.chats.begin(), "Hi")
        deleting = asyncio.create_task(one.chats.delete(chat.id))
        await until(lambda: chat.is_gone)
        await cancelled(deleting)
        assert files_in(tmp_path / "state") == []
        assert await one.chats.list() == ()
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(chat, "Hi")


async def test_a_window_that_gives_up_opening_takes_nothing_from_another(tmp_path: Path, model: Path) -> None:
    claims = Claims()
    async with Engine() as engine:
        one, other = (Window(tmp_path / "state", engine, model, claims) for _ in range(2))
        await one.say(chat := one.chats.begin(), "Hi")
        claims.release(chat.id, other.chats)
        assert claims.is_taken(chat.id, other.chats)
        with pytest.raises(UserError, match="open in another window"):
            await other.chats.open(chat.id)
        await one.chats.close()
        opening = [asyncio.create_task(one.chats.open(chat.id)) for _ in range(2)]
        await asyncio.sleep(0)
        for each in opening:
            each.cancel()
        await asyncio.wait(opening)
        assert (await other.chats.open(chat.id)).id == chat.id
        await other.chats.close()
