"""Conversations in memory: what is kept however a turn ends, and what their tools go on with."""

import asyncio
import gc
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.errors import UserError
from harmony_ls.events import TurnFinished
from harmony_ls.features.chat.chat import Chat
from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.chat.store import ChatStore
from harmony_ls.messages import FinishReason, ToolCall
from harmony_ls.settings.models import Settings
from harmony_ls.settings.models import ToolSettings as Tools
from harmony_ls.tools.python.availability import forget_answers
from harmony_ls.tools.toolbox import ToolBox
from tests.features.chat.windows import RULES, Window, settings_of, until, window
from tests.models import RECIPES, build_scripted_model
from tests.session.support import Oracle, notices, text_of

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


async def test_a_turn_that_is_cancelled_while_it_is_kept_is_kept(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        chat = one.chats.begin()
        for number in (1, 2):
            turn = asyncio.create_task(one.say(chat, "Hi"))
            await until(lambda: chat.is_keeping)
            assert chat.cancel(), "there is something to wait for"
            for _ in range(3):
                turn.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([turn])
            assert turn.cancelled()
            assert len(chat.stored.said) == len(chat.turns) == number
            assert one.store.load(chat.id).said == chat.stored.said
        assert text_of(await one.say(chat, "And?")) == "More."


async def test_what_comes_to_nothing_is_forgotten(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        chats = [one.chats.begin() for _ in range(3)]
        for chat, text, options in zip(chats, ("", "/nonsense", "Hi"), ({}, {}, {"model": "/nowhere"}), strict=True):
            with pytest.raises(UserError):
                await one.say(chat, text, **options)
            with pytest.raises(UserError, match="There is no conversation"):
                await one.chats.open(chat.id)
        loading = asyncio.create_task(one.say(cancelled := one.chats.begin(), "Hi"))
        await until(lambda: cancelled.is_running)
        loading.cancel()
        await asyncio.wait([loading])
        assert await one.chats.list() == ()
        with pytest.raises(UserError, match="There is no conversation"):
            await one.chats.open(cancelled.id)


async def test_closing_keeps_what_runs_before_anybody_else_may_have_it(tmp_path: Path, model: Path) -> None:
    claims = Claims()
    async with Engine() as engine:
        one, other = (Window(tmp_path / "state", engine, model, claims) for _ in range(2))
        chat = one.chats.begin()
        await one.say(chat, "Hi")
        running = asyncio.create_task(one.say(chat, "Talk"))
        await until(lambda: chat.session is not None and chat.session.is_running)
        closing = asyncio.create_task(one.chats.close())
        await asyncio.sleep(0)
        with pytest.raises(UserError, match="open in another window"):
            await other.chats.open(chat.id)
        await closing
        events = await running
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].reason is FinishReason.CANCELLED
        taken_over = await other.chats.open(chat.id)
        assert [said.text for said in taken_over.stored.said] == ["Hi", "Talk"]
        await other.chats.close()


async def test_a_closed_window_ends_its_tools_first(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        turn = asyncio.create_task(one.say(chat := one.chats.begin(), "Wait"))
        await one.oracle.is_waiting.wait()
        await one.chats.close()
        assert one.oracle.was_cancelled
        await turn
        assert one.store.load(chat.id).said[0].text == "Wait"


async def test_what_is_deleted_stays_deleted(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        chat = one.chats.begin()
        await one.say(chat, "Hi")
        deleting = asyncio.create_task(one.chats.delete(chat.id))
        await until(lambda: chat.is_gone)
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(chat, "Hi")
        await deleting
        assert await one.chats.list() == ()
        assert list((tmp_path / "state").rglob("*.json")) == []


async def test_a_conversation_that_cannot_be_saved_lives_on_and_can_be_deleted(tmp_path: Path, model: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    async with window(tmp_path / "state", model) as one:
        chat = one.chats.begin()
        [*_, told] = notices(await one.say(chat, "Hi"))
        assert "cannot be saved" in told
        assert text_of(await one.say(chat, "And?")) == "More."
        [listed] = await one.chats.list()
        assert (listed.id, listed.n_turns) == (chat.id, 2)
        await one.chats.delete(chat.id)
        assert await one.chats.list() == ()


async def test_a_conversation_moves_on_with_its_window_and_keeps_what_was_refused(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        chat = one.chats.begin()
        await one.say(chat, "Hi")
        one.boxes[-1].set_permission("oracle", "off")
        one.settings = settings_of(model, max_tokens=100)
        await one.say(chat, "Hi")
        assert len(one.boxes) == 1, "the tools are not concerned"
        one.chats.move(ChatStore(tmp_path / "state", [tmp_path / "elsewhere"]))
        one.settings = one.settings.model_copy(update={"memory_budget_gb": 2.0})
        await one.say(chat, "Hi")
        assert [box.permissions["oracle"] for box in one.boxes] == ["off", "off"]
        one.settings = settings_of(model, "ask")
        await one.say(chat, "Hi")
        assert one.boxes[-1].permissions["oracle"] == "ask", "the person has said something else in the settings"
        [listed] = await one.chats.list()
        assert (listed.id, listed.n_turns) == (chat.id, 4), "what is open is listed, wherever it is kept"
        assert len(one.store.load(chat.id).said) == 4
        forked = await one.chats.fork(chat.id)
        assert {each.id for each in await one.chats.list()} == {chat.id, forked.id}
        await one.say(new := one.chats.begin(), "Hi")
    assert forked.id in {each.id for each in ChatStore(tmp_path / "state", [tmp_path]).list()}, "as the other one"
    assert not ChatStore(tmp_path / "state", [tmp_path]).has_changed(new.id)
    assert [each.id for each in ChatStore(tmp_path / "state", [tmp_path / "elsewhere"]).list()] == [new.id]


async def test_another_model_of_the_same_name_is_not_shown_foreign_token_ids(tmp_path: Path, model: Path) -> None:
    # The same bytes have other numbers there, since one marker more stands before them.
    recipe = RECIPES["gpt_oss"]
    shifted = build_scripted_model(
        tmp_path / "elsewhere" / "model",
        RULES,
        recipe=type(recipe)(**{**vars(recipe), "merged": (), "special": ("<|more|>", *recipe.special)}),
        markers={},
        config={"model_type": "gpt_oss", "max_position_embeddings": 32_768},
    )
    async with window(tmp_path / "state", model) as one:
        chat = one.chats.begin()
        await one.say(chat, "Hi")
    async with window(tmp_path / "state", model) as one:
        again = await one.chats.open(chat.id)
        assert text_of(await one.say(again, "And?", model=str(shifted))) == "More."
        assert text_of(await one.say(again, "Hi", model=str(model))) == "Yes.", "and back"


async def test_tools_go_on_with_what_they_remember_where_only_docker_has_changed(tmp_path: Path, model: Path) -> None:
    socket = tmp_path / "engine.sock"

    class WithoutPython(Window):
        async def _tools(self, _chat: Chat, _settings: Settings) -> ToolBox:
            self.oracle = Oracle({})
            self.oracles = [*getattr(self, "oracles", ()), self.oracle]
            self.boxes.append(ToolBox([self.oracle], {"oracle": "allow"}, absent={"python": "no Docker"}))
            return self.boxes[-1]

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with Engine() as engine:
        one = WithoutPython(tmp_path / "state", engine, model)
        tools = Tools(docker_host=f"unix://{socket}")
        one.settings = one.settings.model_copy(update={"tools": tools})
        chat = one.chats.begin()
        for _ in range(2):
            await one.say(chat, "Hi")
        assert len(one.boxes) == 1
        async with await asyncio.start_unix_server(hang_up, socket):
            forget_answers()
            await one.say(chat, "Hi")
        assert len(one.boxes) == 2, "the reason is another"
        assert chat.tools is one.boxes[1]
        await chat.tools.run(ToolCall("1", "oracle", "{}"))
        assert [len(oracle.calls) for oracle in one.oracles] == [1, 0], "the tool itself is the one that it was"
        one.settings = one.settings.model_copy(update={"tools": tools.model_copy(update={"python_seconds": 5.0})})
        await one.say(chat, "Hi")
        await one.boxes[2].run(ToolCall("1", "oracle", "{}"))
        assert [len(oracle.calls) for oracle in one.oracles] == [1, 0, 1], "other settings are another matter"
        await one.chats.close()


async def test_of_many_conversations_the_last_ones_stay_in_memory_and_the_others_go_on_from_disk(
    tmp_path: Path, model: Path
) -> None:
    claims = Claims()
    async with Engine() as engine:
        one, other = (Window(tmp_path / "state", engine, model, claims) for _ in range(2))
        one.settings = settings_of(model, "ask")
        chats = [one.chats.begin() for _ in range(3)]
        for chat in chats:
            await one.say(chat, "Hi")
        refused, allowed, deleted = (chat.tools for chat in chats)
        assert refused is not None
        assert allowed is not None
        assert deleted is not None
        refused.set_permission("oracle", "off")
        allowed.set_permission("oracle", "allow")
        deleted.set_permission("oracle", "off")
        for _ in range(16):
            await one.say(one.chats.begin(), "Hi")
        assert all(chat.tools is chat.session is None for chat in chats)
        ids = [chat.id for chat in chats]
        await one.chats.delete(ids.pop())
        del chats, chat
        gc.collect()
        held = {each.id for each in gc.get_objects() if isinstance(each, Chat)}
        assert held.isdisjoint(ids), "nothing is held of them"
        assert len(await one.chats.list()) == 18
        again = [await one.chats.open(each) for each in ids]
        for chat in again:
            assert text_of(await one.say(chat, "And?")) == "More.", "they go on all the same"
        assert again[0].tools is not None
        assert again[0].tools.permissions == {"oracle": "off"}, "refused once and for all"
        assert again[1].tools is not None
        assert again[1].tools.permissions == {"oracle": "ask"}, "asked about anew"
        with pytest.raises(UserError, match="open in another window"):
            await other.chats.open(ids[0])
        for _ in range(16):
            await one.say(one.chats.begin(), "Hi")
        assert len((await other.chats.open(ids[0])).turns) == 2, "and others may have them"
        one.settings = settings_of(model, "allow")
        await other.chats.close()
        await one.say(chat := await one.chats.open(ids[0]), "Hi")
        assert chat.tools is not None
        assert chat.tools.permissions == {"oracle": "allow"}, "the settings say something else by now"
        await one.chats.close()


async def test_a_conversation_that_was_let_go_of_while_somebody_still_holds_it_is_read_again(
    tmp_path: Path, model: Path
) -> None:
    async with window(tmp_path / "state", model) as one:
        kept, deleted = one.chats.begin(), one.chats.begin()
        for chat in (kept, deleted, *(one.chats.begin() for _ in range(16))):
            await one.say(chat, "Hi")
        await one.chats.delete(deleted.id)
        with pytest.raises(UserError, match="There is no conversation"):
            await one.say(deleted, "And?")
        again = await one.chats.open(kept.id)
        assert again is not kept
        await one.say(again, "And?")
        turn = asyncio.create_task(one.say(again, "Talk"))
        await until(lambda: again.is_running)
        with pytest.raises(UserError, match="An answer is being written"):
            await one.say(kept, "Hi")
        await turn
        assert again.tools is not None
        again.tools.set_permission("oracle", "off")
        await one.say(kept, "Hi")
        assert kept.tools is not None
        assert kept.tools.permissions == {"oracle": "off"}
        assert [each.text for each in one.store.load(kept.id).said] == ["Hi", "And?", "Talk", "Hi"]
        assert deleted.id not in {each.id for each in await one.chats.list()}
        assert len(list((tmp_path / "state").rglob("*.json"))) == 17


async def test_what_can_be_found_in_memory_alone_stays_there(tmp_path: Path, model: Path) -> None:
    async with window(tmp_path / "state", model) as one:
        await one.say(moved := one.chats.begin(), "Hi")
        (tmp_path / "blocked").write_text("no folder")
        one.chats.move(ChatStore(tmp_path / "blocked", [tmp_path]))
        unsaved = [one.chats.begin() for _ in range(18)]
        for chat in unsaved:
            await one.say(chat, "Hi")
        assert [chat.session is None for chat in (moved, *unsaved)] == [True] * 3 + [False] * 16
        assert text_of(await one.say(unsaved[0], "And?")) == "More."
        assert text_of(await one.say(await one.chats.open(moved.id), "And?")) == "More."
        assert len(await one.chats.list()) == 19


async def test_conversations_that_are_only_looked_at_are_let_go_and_can_still_be_gone_on_with(
    tmp_path: Path, model: Path
) -> None:
    claims = Claims()
    async with Engine() as engine:
        one, other = (Window(tmp_path / "state", engine, model, claims) for _ in range(2))
        await one.say(chat := one.chats.begin(), "Hi")
        forks = [await one.chats.fork(chat.id) for _ in range(20)]
        oldest, newest = forks[0], forks[-1]
        assert await one.chats.open(newest.id) is newest
        assert await one.chats.open(chat.id) is chat, "it was talked to"
        with pytest.raises(UserError, match="open in another window"):
            await other.chats.open(newest.id)
        assert text_of(await one.say(oldest, "And?")) == "More."
        assert await one.chats.open(oldest.id) is oldest
        with pytest.raises(UserError, match="open in another window"):
            await other.chats.open(oldest.id)
        assert len(await one.chats.list()) == 21
        await one.chats.close()
        with pytest.raises(UserError, match="closed"):
            await one.say(chat, "Hi")
        assert len((await other.chats.open(oldest.id)).turns) == 2
        await other.chats.close()
