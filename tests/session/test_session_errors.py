"""What a conversation keeps of a turn that an error ended: what was written and done, and nothing where nothing was."""

import json
from pathlib import Path

import pytest

from harmony_ls.events import Event, TextDelta, TurnFinished
from harmony_ls.messages import Message, Role
from harmony_ls.session.files import load_conversation, save_conversation
from harmony_ls.session.session import Session
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from tests.models import Rule
from tests.session.support import Oracle, Script, answer, calls, chat_model, final, greedy, said, text_of, tool_result

NO_TOKEN = 1 << 30
"""The architecture has no place for it: the step in which it would be written fails."""


def failing(folder: Path, rule: int, n_tokens: int) -> Path:
    """The model with a reply that fails once so many of its tokens are written."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["script"][rule]["reply"][n_tokens] = NO_TOKEN
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


async def collect(session: Session, text: str, events: list[Event]) -> None:
    async for event in session.turn(text):
        events.append(event)


async def events_before_the_error(session: Session, text: str) -> list[Event]:
    events: list[Event] = []
    with pytest.raises(IndexError):
        await collect(session, text, events)
    assert not any(isinstance(event, TurnFinished) for event in events)
    assert not session.is_running
    return events


async def test_what_was_written_before_an_error_is_kept(script: Script, tmp_path: Path) -> None:
    half = len(("<|channel|>", *"final", "<|message|>", *"Half an answer"))
    folder = script(Rule(said("Ask"), final("Half an answer, and more.")), Rule(said("Go on"), final("And more.")))
    async with chat_model(failing(folder, 0, half)) as model:
        session = Session(model, greedy())
        events = await events_before_the_error(session, "Ask")
        shown = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert shown
        assert "Half an answer".startswith(shown)
        assert session.messages == (Message(Role.USER, "Ask"), Message(Role.ASSISTANT, shown))
        assert text_of(await answer(session, "Go on")) == "And more."
        save_conversation(tmp_path / "talk.json", session)
        load_conversation(tmp_path / "talk.json", session)
        assert len(session.history.turns) == 2


async def test_a_question_that_an_error_alone_came_to_is_as_if_it_was_never_asked(script: Script) -> None:
    folder = script(Rule(said("Ask"), final("An answer.")), Rule(said("Again"), final("Here.")))
    async with chat_model(failing(folder, 0, 0)) as model:
        session = Session(model, greedy())
        await events_before_the_error(session, "Ask")
        assert session.messages == ()
        assert text_of(await answer(session, "Again")) == "Here."


async def test_what_a_tool_did_before_an_error_is_kept(script: Script, tmp_path: Path) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "sky"}')), Rule(tool_result("blue"), final("Blue.")))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue", is_untrusted=True)})
    async with chat_model(failing(folder, 1, 0)) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        await events_before_the_error(session, "Ask")
        assert [message.role for message in session.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
        assert session.messages[2].content == "blue"
        assert session.history.is_tainted
        save_conversation(tmp_path / "talk.json", session)
        load_conversation(tmp_path / "talk.json", session)


async def test_a_call_before_whose_end_an_error_came_was_never_made(script: Script) -> None:
    call = calls('{"question": "sky"}')
    folder = script(Rule(said("Ask"), "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + call))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(failing(folder, 0, -1)) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        await events_before_the_error(session, "Ask")
        assert oracle.calls == []
        assert [message.tool_calls for message in session.messages] == [(), ()]
        assert session.messages[1].reasoning == "Hm."
