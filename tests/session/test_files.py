"""Conversations on disk: what was saved comes back, what is damaged is refused and changes nothing."""

import json
import os
import stat
from pathlib import Path

import pytest

from harmony_ls.errors import UserError
from harmony_ls.messages import ReasoningEffort
from harmony_ls.session.files import load_conversation, save_conversation
from harmony_ls.session.session import Session
from tests.models import Rule
from tests.session.support import answer, chat_model, final, greedy, said, scripted_gpt_oss, text_of

RULES = [Rule(said("One"), final("Eins ❤", reasoning="German.")), Rule(said("Two"), final("Zwei"))]


@pytest.fixture
def folder(tmp_path: Path, harmony_vocabulary: None) -> Path:
    return scripted_gpt_oss(tmp_path / "scripted-gpt-oss", RULES)


async def test_a_saved_conversation_goes_on(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        session.effort = ReasoningEffort.HIGH
        await answer(session, "One")
        save_conversation(file, session)
        again = Session(model, greedy())
        load_conversation(file, again)
        assert again.messages == session.messages
        assert again.messages[1].content_tokens == session.messages[1].content_tokens
        assert (again.effort, again.started) == (session.effort, session.started)
        assert text_of(await answer(again, "Two")) == "Zwei"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["scripted-gpt-oss", "talk.json"]


async def test_token_ids_of_another_model_are_let_go(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        await answer(session, "One")
        save_conversation(file, session)
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(content | {"model": "another"}), encoding="utf-8")
        load_conversation(file, session)
        assert session.messages[1].content == "Eins ❤"
        assert session.messages[1].content_tokens is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"format": "harmony-ls conversation", "version": 2}',
        b'{"format": "another", "version": 1}',
        b'{"format": "harmony-ls conversation", "version": 1, "model": "m", "started": "2026-01-02", "effort": "low",'
        b' "n_hidden": 3, "summary": "", "turns": []}',
        b'{"format": "harmony-ls conversation", "version": 1, "model": "m", "started": "2026-01-02", "effort": "low",'
        b' "n_hidden": 0, "summary": "", "turns": [[{"role": "assistant"}]]}',
        b'{"format": "harmony-ls conversation", "version": 1, "model": "m", "started": "2026-01-02", "effort": "low",'
        b' "n_hidden": 0, "summary": "", "turns": [[{"role": "user"}, {"role": "tool"}, {"role": "assistant"}]]}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_conversation_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "talk.json"
    file.write_bytes(content)
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        await answer(session, "One")
        before = session.messages
        with pytest.raises(UserError, match=r"talk\.json is not a conversation"):
            load_conversation(file, session)
        assert session.messages == before


async def test_broken_text_is_saved_and_comes_back(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        await answer(session, "half a \ud83d pair")
        save_conversation(file, session)
        load_conversation(file, session)
        assert session.messages[0].content == "half a \ud83d pair"


async def test_files_that_cannot_be_read_or_written_are_named(folder: Path, tmp_path: Path) -> None:
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        with pytest.raises(UserError, match="cannot be read: No such file"):
            load_conversation(tmp_path / "missing.json", session)
        with pytest.raises(UserError, match="cannot be saved"):
            save_conversation(tmp_path / "no" / "such" / "folder.json", session)
        with pytest.raises(UserError, match="cannot be saved"):
            save_conversation(tmp_path, session)
    assert os.listdir(tmp_path) == ["scripted-gpt-oss"]
