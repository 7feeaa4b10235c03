"""The turn loop with a scripted GPT-OSS: answers, tools, and what is left in the history."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from harmony_ls.errors import PromptTooLongError
from harmony_ls.events import ToolResult
from harmony_ls.messages import Conversation, FinishReason, Message, Role
from harmony_ls.prompts.format import Prompt, PromptFormat
from harmony_ls.session.session import Session
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from tests.models import Rule
from tests.session.support import (
    Oracle,
    Script,
    answer,
    calls,
    chat_model,
    final,
    greedy,
    kinds,
    notices,
    reason_of,
    said,
    text_of,
    thought,
    tool_result,
)


async def test_an_answer_comes_with_its_reasoning_and_ends_the_turn(script: Script) -> None:
    folder = script(Rule(said("Hello"), final("Hi **there**.", reasoning="They greet.")))
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        events = await answer(session, "Hello")
    assert kinds(events) == ["ReasoningDelta", "TextDelta", "Usage", "TurnFinished"]
    assert (thought(events), text_of(events)) == ("They greet.", "Hi **there**.")
    assert reason_of(events) is FinishReason.STOP
    assert session.messages == (
        Message(Role.USER, "Hello"),
        Message(Role.ASSISTANT, "Hi **there**.", "They greet."),
    )


async def test_tools_are_run_until_the_model_answers(script: Script) -> None:
    folder = script(
        Rule(said("Ask"), calls('{"question": "sky"}')),
        Rule(tool_result("blue"), calls('{"question": "sea"}')),
        Rule(tool_result("green"), final("Blue and green.")),
    )
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue"), '{"question": "sea"}': ToolOutput("green")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
    results = [(event.call.arguments, event.content) for event in events if isinstance(event, ToolResult)]
    assert results == [('{"question": "sky"}', "blue"), ('{"question": "sea"}', "green")]
    assert text_of(events) == "Blue and green."
    roles = [message.role for message in session.messages]
    assert roles == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]


async def test_inside_a_turn_the_model_sees_its_own_tokens_again(script: Script) -> None:
    """Not a rendering of them: the cache goes on where it was, and nothing is retold."""
    folder = script(Rule(said("Ask"), calls('{"question": "sky"}')), Rule(tool_result("blue"), final("Blue.")))
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        prompts = []
        async for event in session.turn("Ask"):
            if isinstance(event, ToolResult):
                assert session.last_pass is not None
                prompts.append((*session.last_pass.prompt.tokens, *session.last_pass.generated))
        assert session.last_pass is not None
        second = session.last_pass.prompt.tokens
    assert second[: len(prompts[0])] == prompts[0]


async def test_unknown_tools_and_broken_arguments_go_back_to_the_model(script: Script) -> None:
    folder = script(
        Rule(said("Ask"), calls("{}", "functions.prophet")),
        Rule("The tools are: oracle.<|end|><|start|>assistant", calls('{"question": ')),
        Rule("with a JSON object.<|end|><|start|>assistant", calls('{"question": "sky"}')),
        Rule(tool_result("blue"), final("Blue.")),
    )
    oracle = Oracle({'{"question": "sky"}': ToolOutput("blue")})
    async with chat_model(folder) as model:
        session = Session(model, greedy(), tools=ToolBox([oracle]))
        events = await answer(session, "Ask")
    results = [(event.call.name, event.is_error) for event in events if isinstance(event, ToolResult)]
    assert results == [("prophet", True), ("oracle", True), ("oracle", False)]
    assert text_of(events) == "Blue."


async def test_an_answer_without_a_final_message_is_told(script: Script) -> None:
    folder = script(Rule(said("Hello"), "<|channel|>analysis<|message|>Hm.<|return|>"))
    async with chat_model(folder) as model:
        events = await answer(Session(model, greedy()), "Hello")
    assert notices(events) == ["The model ended without an answer."]


async def test_turns_are_taken_back_one_by_one(script: Script) -> None:
    folder = script(Rule(said("One"), final("1")), Rule(said("Two"), final("2")))
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        await answer(session, "One")
        await answer(session, "Two")
        assert session.undo() == "Two"
        assert [message.content for message in session.messages] == ["One", "1"]
        assert session.undo() == "One"
        assert session.undo() is None
        await answer(session, "One")
        session.clear()
        assert session.messages == ()


async def test_one_turn_at_a_time(script: Script) -> None:
    folder = script(Rule(said("One"), final("1" * 100)))
    async with chat_model(folder) as model:
        session = Session(model, greedy())
        async for _ in session.turn("One"):
            with pytest.raises(RuntimeError, match="under way"):
                await answer(session, "Two")
            with pytest.raises(RuntimeError, match="under way"):
                session.undo()
            break


async def test_a_message_that_is_too_long_changes_nothing(script: Script) -> None:
    folder = script(Rule(said("One"), final("1")), max_position_embeddings=600)
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_tokens=100))
        await answer(session, "One")
        before = session.history
        with pytest.raises(PromptTooLongError, match="too long"):
            await answer(session, "x" * 2000)
        assert session.history == before
        assert not session.is_running


@dataclass(frozen=True)
class Counted:
    """A prompt format that notes how many messages each prompt has that it renders."""

    real: PromptFormat
    renders: list[int] = field(default_factory=list)

    def render(self, conversation: Conversation) -> Prompt:
        self.renders.append(len(conversation.messages))
        return self.real.render(conversation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def test_a_prompt_is_rendered_once_to_be_measured_and_used(script: Script) -> None:
    words = [f"word number {number}" for number in range(8)]
    folder = script(*in_turns(words), max_position_embeddings=1200)
    async with chat_model(folder) as model:
        counted: Any = Counted(model.format)
        session = Session(replace(model, format=counted), greedy(max_tokens=200))
        for n_turns, word in enumerate(words):
            counted.renders.clear()
            events = await answer(session, word)
            assert text_of(events) == f"{word} it is. " * 5
            if notices(events):
                break
            assert counted.renders == [2 * n_turns + 1]
        # Few of the prompts with less turns are measured, each once, and that of the fewest that must go is used.
        whole, *shorter = counted.renders
        assert whole == 2 * n_turns + 1
        assert 2 * (n_turns - session.history.n_hidden) + 1 in shorter
        assert len(set(shorter)) == len(shorter) <= n_turns.bit_length() + 1
        counted.renders.clear()
        again = session.undo()
        await answer(session, str(again))
        assert counted.renders == []
        other: Any = Counted(model.format)
        session.use(replace(model, format=other))
        session.undo()
        await answer(session, str(again))
        assert counted.renders == []
        assert len(other.renders) == 1


def in_turns(texts: Sequence[str]) -> list[Rule]:
    return [Rule(said(text), final(f"{text} it is. " * 5)) for text in texts]


async def test_the_oldest_turns_are_left_out_with_a_notice(script: Script) -> None:
    words = [f"word number {number}" for number in range(8)]
    folder = script(*in_turns(words), max_position_embeddings=1200)
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_tokens=200))
        told = []
        for word in words:
            events = await answer(session, word)
            assert text_of(events) == f"{word} it is. " * 5
            told += notices(events)
        assert told
        assert all("no longer shown to the model" in notice for notice in told)
        assert len(session.messages) == 2 * len(words)
        assert session.context_use()[0] <= 1200


async def test_the_oldest_turns_are_summed_up_where_that_is_wanted(script: Script) -> None:
    words = [f"word number {number}" for number in range(8)]
    order_ends = "in plain sentences, nothing else."
    summary = Rule(f"{order_ends}<|end|><|start|>assistant", final("Words were said."))
    folder = script(*in_turns(words), summary, max_position_embeddings=2300)
    async with chat_model(folder) as model:
        session = Session(model, greedy(max_tokens=400, context_overflow="summarise"), instructions="x" * 900)
        told = [notice for word in words for notice in notices(await answer(session, word))]
        assert any("summed up for the model" in notice for notice in told), told
        assert session.history.summary == "Words were said."
