"""How a turn is ended before the model ends it: by the person, by a limit, by what may not be run."""

import asyncio
from typing import Any

import pytest

from harmony_ls.engine.generation.request import Sampling
from harmony_ls.errors import UserError
from harmony_ls.events import Event, Notice, TextDelta, ToolCallFinished, ToolResult, TurnFinished, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, Role, ToolSpec
from harmony_ls.session.generation import Pass, run_pass
from harmony_ls.session.session import Session
from harmony_ls.tools.tool import ApprovalRequest, Decision, ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from tests.engine.engines import held
from tests.models import Rule
from tests.session.support import (
    Oracle,
    Script,
    answer,
    calls,
    chat_model,
    final,
    greedy,
    notices,
    reason_of,
    said,
    text_of,
    tool_result,
    usages,
)


async def test_a_model_that_never_learns_is_stopped(script: Script) -> None:
    folder = script(
        Rule(said("Ask"), calls("{}", "functions.prophet")),
        Rule("are: oracle.<|end|><|start|>assistant", calls("{}", "functions.prophet")),
    )
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([Oracle({})]))
        events = await answer(session, "Ask")
    assert reason_of(events) is FinishReason.LIMIT
    assert notices(events) == ["The turn was ended: the last 4 tool calls failed."]


async def test_the_limit_of_tool_calls_is_told_to_the_model_first(script: Script) -> None:
    ask = calls('{"question": "sky"}')
    folder = script(
        Rule(said("Ask"), ask),
        Rule(tool_result("blue"), ask),
        Rule("Answer with what you know.<|end|><|start|>assistant", final("Probably blue.")),
    )
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_tool_calls=1), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
        assert (reason_of(events), notices(events)) == (
            FinishReason.LIMIT,
            ["The turn was ended after 1 tool calls (chat.maxToolCalls)."],
        )
    assert oracle.calls == ['{"question": "sky"}']


async def test_a_turn_ends_when_its_time_is_over(script: Script) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "sky"}')), Rule(tool_result("blue"), final("Blue.")))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_turn_seconds=1e-9), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
    assert reason_of(events) is FinishReason.LIMIT
    assert "maxTurnSeconds" in notices(events)[0]


async def test_a_call_that_is_cut_off_is_never_run(script: Script) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "sky"}')))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_tokens=50), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
    assert reason_of(events) is FinishReason.LENGTH
    assert notices(events) == ["The answer was cut off after 50 tokens (chat.maxTokens)."]
    assert not any(isinstance(event, ToolCallFinished | ToolResult) for event in events)
    assert oracle.calls == []


async def test_stopping_keeps_what_was_written_and_the_next_turn_goes_on(script: Script) -> None:
    folder = script(
        Rule(said("Count"), final("one two three " * 100)),
        Rule(said("Go on"), final("And so on.")),
    )
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        shown = ""
        last = None
        async for event in session.turn("Count"):
            last = event
            if isinstance(event, TextDelta):
                shown += event.text
                if shown.endswith("three "):
                    session.cancel()
        assert last is not None
        assert reason_of([last]) is FinishReason.CANCELLED
        kept = session.messages[-1].content
        assert kept == shown
        assert kept.startswith("one two three ")
        assert len(kept) < 1000
        assert text_of(await answer(session, "Go on")) == "And so on."


async def test_leaving_the_events_early_is_stopping_too(script: Script) -> None:
    folder = script(Rule(said("Count"), final("one two three " * 100)))
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        events = session.turn("Count")
        async for event in events:
            if isinstance(event, TextDelta):
                break
        await events.aclose()  # type: ignore[attr-defined]
        assert not session.is_running
        assert session.messages[0] == Message(Role.USER, "Count")
        assert session.messages[1].content


async def test_stopping_stops_a_tool_and_answers_its_call(script: Script) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "wait"}')), Rule(said("Never mind"), final("All right.")))
    oracle = Oracle({})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        turn = asyncio.ensure_future(answer(session, "Ask"))
        waiting = asyncio.ensure_future(oracle.is_waiting.wait())
        await asyncio.wait({turn, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done()
        session.cancel()
        events = await turn
        assert oracle.was_cancelled
        assert reason_of(events) is FinishReason.CANCELLED
        assert [message.role for message in session.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
        assert "stopped" in session.messages[2].content
        assert text_of(await answer(session, "Never mind")) == "All right."


@pytest.mark.parametrize("moment", [ToolCallFinished, Usage])
async def test_stopping_when_a_call_is_complete_keeps_it_from_being_run(script: Script, moment: type) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "sky"}')))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        events = []
        async for event in session.turn("Ask"):
            events.append(event)
            if isinstance(event, moment):
                session.cancel()
    assert reason_of(events) is FinishReason.CANCELLED
    assert oracle.calls == []
    assert "stopped" in session.messages[2].content


async def test_stopping_before_the_first_step_is_stopping(script: Script) -> None:
    folder = script(Rule(said("Hello"), final("Hi.")))
    async with chat_model(folder) as model:
        conversation = Conversation((Message(Role.USER, "Hello"),))
        current = Pass(model.format.render(conversation))
        stream = run_pass(model, conversation, current, max_tokens=9, sampling=Sampling(), cache_owner="test")
        async with held(model.engine._worker):
            first = asyncio.ensure_future(anext(stream, None))
            await asyncio.sleep(0)  # it has handed its job to the worker, which is held
            current.cancel()
        assert await first is None
    assert (current.reason, current.generated) == (FinishReason.CANCELLED, [])


async def test_stopping_before_a_summary_is_written_keeps_it_from_being_written(script: Script) -> None:
    words = [f"word number {number}" for number in range(8)]
    rules = [Rule(said(word), final(f"{word} it is. " * 5)) for word in words]
    summary = Rule("in plain sentences, nothing else.<|end|><|start|>assistant", final("Words were said."))
    async with chat_model(script(*rules, summary, max_position_embeddings=2300)) as model:
        overflowing = greedy(max_tokens=400, context_overflow="summarise")
        session = Session(model, overflowing, instructions="x" * 900)
        for word in words:
            events: list[Event] = []
            async for event in session.turn(word):
                events.append(event)
                if isinstance(event, Notice):
                    session.cancel()
            if notices(events):
                break
        assert len(notices(events)) == 1
        assert "is being summed up" in notices(events)[0]
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].reason is FinishReason.CANCELLED
        assert events[-1].usage.generated_tokens == 0
        assert (session.history.n_hidden, session.history.summary) == (0, "")
        events = await answer(session, words[-1])
        assert any("summed up for the model" in notice for notice in notices(events))
        assert text_of(events) == f"{words[-1]} it is. " * 5


async def test_time_ends_a_tool_that_hangs(script: Script) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "wait"}')))
    oracle = Oracle({})
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_turn_seconds=30), tools=ToolBox([oracle]))
        turn = asyncio.ensure_future(answer(session, "Ask"))
        waiting = asyncio.ensure_future(oracle.is_waiting.wait())
        await asyncio.wait({turn, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert session._running is not None
        session._watch(session._running, deadline=0.0)  # as its timer does when the time is over
        events = await turn
    assert oracle.was_cancelled
    assert reason_of(events) is FinishReason.LIMIT
    assert "maxTurnSeconds" in notices(events)[0]
    assert "ended before this was done" in session.messages[2].content


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_tokens": 50, "max_turn_tokens": 100}, "after 50 tokens (chat.maxTokens)."),
        ({"max_tokens": 100, "max_turn_tokens": 50}, "after 50 tokens (chat.maxTurnTokens)."),
        ({"max_tokens": 100_000}, "tokens: the model's context is full."),
    ],
)
async def test_what_cuts_an_answer_off_is_named(script: Script, options: dict[str, Any], limit: str) -> None:
    folder = script(Rule(said("Go on"), final("on and " * 200)), max_position_embeddings=1_000)
    async with chat_model(folder) as model:
        session = Session(model, greedy(**options))
        events = await answer(session, "Go on")
    assert reason_of(events) is FinishReason.LENGTH
    [notice] = notices(events)
    assert notice.endswith(limit)
    if "context" in limit:
        assert sum(session.context_use()) == 2 * 1_000, "as long as it can be"


async def test_tokens_end_a_turn_too(script: Script) -> None:
    ask = calls('{"question": "sky"}')
    folder = script(Rule(said("Ask"), ask), Rule(tool_result("blue"), ask))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_turn_tokens=80), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
    assert reason_of(events) in (FinishReason.LENGTH, FinishReason.LIMIT)
    assert sum(usage.generated_tokens for usage in usages(events)) <= 81


async def test_a_call_with_another_message_inside_is_never_run(script: Script) -> None:
    """Half a patch or program is no patch or program."""
    text = ToolSpec("oracle", "Ask the oracle.", {"type": "string"})
    cut = "<|channel|>commentary to=functions.oracle<|message|>half a question<|channel|>final<|message|>Never mind."
    folder = script(Rule(said("Ask"), f"{cut}<|return|>"))
    oracle = Oracle({}, spec=text)
    async with chat_model(folder) as model:
        events = await answer(Session(model, greedy(), tools=ToolBox([oracle])), "Ask")
    assert oracle.calls == []
    assert text_of(events) == "Never mind."


async def test_what_strangers_said_works_on_in_the_next_turn(script: Script) -> None:
    folder = script(
        Rule(said("Look"), calls('{"question": "sky"}')),
        Rule(tool_result("blue"), final("Blue.")),
        Rule(said("Act"), calls('{"question": "sea"}')),
        Rule("what to do instead.<|end|><|start|>assistant", final("I may not.")),
    )
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue", is_untrusted=True)}, asks=True)
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle], {"oracle": "allow"}))
        await answer(session, "Look")
        await answer(session, "Act")
    assert oracle.calls == ['{"question": "sky"}']


async def test_an_empty_message_is_refused(script: Script) -> None:
    async with chat_model(script(Rule(said("Hello"), final("Hi.")))) as model:
        session = Session(model, greedy())
        with pytest.raises(UserError, match="empty"):
            await answer(session, " \n")
        assert session.messages == ()
        assert not session.is_running


async def test_whoever_cancels_the_task_is_heard(script: Script) -> None:
    folder = script(Rule(said("Ask"), calls('{"question": "wait"}')))
    oracle = Oracle({})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        turn = asyncio.ensure_future(answer(session, "Ask"))
        waiting = asyncio.ensure_future(oracle.is_waiting.wait())
        await asyncio.wait({turn, waiting}, return_when=asyncio.FIRST_COMPLETED)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    assert not session.is_running
    assert session.messages[-1].role is Role.ASSISTANT


async def test_after_text_of_strangers_a_tool_that_may_act_asks_again(script: Script) -> None:
    folder = script(
        Rule(said("Ask"), calls('{"question": "sky"}')),
        Rule(tool_result("blue"), calls('{"question": "sea"}')),
        Rule("what to do instead.<|end|><|start|>assistant", final("I was not allowed to.")),
    )
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue", is_untrusted=True)}, asks=True)
    asked: list[str] = []

    async def refuse(request: ApprovalRequest) -> Decision:
        asked.append(request.call.arguments)
        return Decision.NO

    async with chat_model(folder) as model:
        tools = ToolBox([oracle], {"oracle": "allow"}, refuse)
        events = await answer(Session(model, greedy(), tools=tools), "Ask")
    assert oracle.calls == ['{"question": "sky"}']
    assert asked == ['{"question": "sea"}']
    assert text_of(events) == "I was not allowed to."
