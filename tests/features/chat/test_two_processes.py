"""Conversations that two processes have open at once: each sees what the other did, and what is deleted stays so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.errors import UserError
from harmony_ls.features.chat.chat import Question
from tests.features.chat.windows import RULES, Window, until
from tests.models import Rule
from tests.session.support import final, notices, said, scripted_gpt_oss, text_of

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


@asynccontextmanager
async def two_windows(folder: Path) -> AsyncIterator[tuple[Window, Window]]:
    """Windows that know of one another by the disk alone, as those of two processes do."""
    rules = (*RULES, Rule(f"More.<|end|>{said('Again')}", final("Both are known.")))
    model = scripted_gpt_oss(folder / "model", rules, max_position_embeddings=32_768)
    async with Engine() as engine:
        one, other = (Window(folder / "state", engine, model) for _ in range(2))
        yield one, other
        await one.chats.close()
        await other.chats.close()


async def test_what_another_process_has_said_is_listed_opened_and_forked(tmp_path: Path) -> None:
    async with two_windows(tmp_path) as (one, other):
        await one.say(chat := one.chats.begin(), "Hi")
        await other.say(await other.chats.open(chat.id), "And?")
        [listed] = await one.chats.list()
        assert listed.n_turns == 2
        forked = await one.chats.fork(chat.id)
        assert [each.text for each in forked.stored.said] == ["Hi", "And?"]
        opened = await one.chats.open(chat.id)
        assert opened is chat
        assert [each.text for each, _ in opened.turns] == ["Hi", "And?"]
        assert text_of(await one.say(chat, "Again")) == "Both are known."


async def test_what_another_process_has_deleted_is_gone(tmp_path: Path) -> None:
    async with two_windows(tmp_path) as (one, other):
        chats = [one.chats.begin() for _ in range(4)]
        for chat in chats:
            await one.say(chat, "Hi")
            await other.chats.delete(chat.id)
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(chats[0], "And?")
        with pytest.raises(UserError, match="There is no conversation"):
            await one.chats.open(chats[1].id)
        with pytest.raises(UserError, match="There is no conversation"):
            await one.chats.fork(chats[2].id)
        assert await one.chats.list() == ()
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(chats[3], "And?")
        assert list((tmp_path / "state").rglob("*.json")) == []
        assert all(chat.tools is None for chat in chats), "nothing is held of them"


async def test_what_another_process_deletes_in_the_middle_of_a_turn_does_not_come_back(tmp_path: Path) -> None:
    async with two_windows(tmp_path) as (one, other):
        await one.say(chat := one.chats.begin(), "Hi")
        events = one.chats.turn(chat, Question("Talk"), one.settings)
        seen = [await anext(events)]
        await other.chats.delete(chat.id)
        seen += [event async for event in events]
        assert "word word" in text_of(seen)
        [told] = notices(seen)
        assert "deleted in another window" in told
        await until(lambda: chat.tools is None)
        assert list((tmp_path / "state").rglob("*.json")) == []
        assert await one.chats.list() == ()
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(chat, "And?")
