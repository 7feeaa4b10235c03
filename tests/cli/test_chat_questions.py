"""Questions before a tool acts: what is asked and what can be answered, and that nobody is asked in vain."""

import asyncio
import io
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest

from harmony_ls.cli.chat.approvals import Question, answers_of, decision_of, question_of
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.loop import decide, stop
from harmony_ls.events import Event
from harmony_ls.messages import ToolCall
from harmony_ls.tools.tool import ApprovalRequest, Decision

REQUEST = ApprovalRequest(ToolCall("1", "apply_patch", "*** Begin Patch"), "Change a.txt")


class Asking:
    """A tool that asks, and whoever answers."""

    def __init__(self, chat: Chat) -> None:
        self.delivered: list[Event | Question] = []
        self._approvals = chat.approvals
        self._approvals.deliver = self.delivered.append
        self._background = chat.background
        self._decision: asyncio.Task[Decision] | None = None

    def ask(self) -> Question:
        """Have the tool ask; its question, which waits."""

        async def begin() -> None:
            self._decision = asyncio.ensure_future(self._approvals.ask(REQUEST))
            await asyncio.sleep(0)

        self._background.run(begin())
        question = self.delivered[-1]
        assert isinstance(question, Question)
        return question

    def cancel(self) -> None:
        """End the tool, as the end of its turn does."""

        async def end() -> None:
            assert self._decision is not None
            self._decision.cancel()
            await asyncio.wait([self._decision])

        self._background.run(end())

    def decision(self) -> Decision:
        """What the tool was answered."""

        async def decided() -> Decision:
            assert self._decision is not None
            return await self._decision

        return self._background.run(decided())


@pytest.fixture
def asking(chat: Chat) -> Asking:
    return Asking(chat)


def test_a_question_is_withdrawn_with_the_tool_that_asks(asking: Asking) -> None:
    question = asking.ask()
    assert question.is_open
    asking.cancel()
    assert not question.is_open
    with pytest.raises(CancelledError):
        asking.decision()
    question.resolve(Decision.ONCE)  # the person was quicker: it does no harm


def test_a_question_that_was_withdrawn_is_not_asked(chat: Chat, asking: Asking, paper: io.StringIO) -> None:
    question = asking.ask()
    asking.cancel()
    decide(chat, question)
    assert paper.getvalue() == ""


def test_a_question_of_a_turn_that_was_stopped_is_answered_no(chat: Chat, asking: Asking, paper: io.StringIO) -> None:
    """The turn is stopped, but the event loop has not heard of it yet."""
    question = asking.ask()
    stop(chat)
    decide(chat, question)
    assert asking.decision() is Decision.NO
    assert paper.getvalue() == ""


def test_the_end_of_input_means_no(
    chat: Chat, asking: Asking, paper: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("maybe\n"))
    question = asking.ask()
    decide(chat, question)
    assert asking.decision() is Decision.NO
    assert "apply_patch: Change a.txt" in paper.getvalue()


def test_only_a_clear_answer_is_a_decision() -> None:
    answers = ("y", " YES ", "a", "always", "n", "No", "v", "never")
    assert [decision_of(text, REQUEST) for text in answers] == [
        Decision.ONCE, Decision.ONCE, Decision.SESSION, Decision.SESSION, Decision.NO, Decision.NO, Decision.NEVER,
        Decision.NEVER,
    ]  # fmt: skip
    assert [decision_of(text, REQUEST) for text in ("", "ye", "yup", "1", "allow", "ne")] == [None] * 6


def test_the_question_fits_a_narrow_terminal_and_its_answers_are_explained() -> None:
    assert question_of(REQUEST) == "Allow? [y]es, [a]lways, [n]o, ne[v]er: "
    assert len(question_of(REQUEST)) + len("y") == 40
    told = answers_of(REQUEST).split("\n")
    assert [line[0] for line in told] == ["y", "a", "n", "v"]
    assert "never in this chat: apply_patch is off then" in told[-1]


def test_what_is_allowed_for_the_chat_is_named_in_the_question() -> None:
    request = replace(REQUEST, scope="example.org\x1b[2J")
    assert "[a]lways for example.org[2J, [n]o" in question_of(request)
    assert "always in this chat, for example.org" in answers_of(request)


def test_what_is_asked_each_time_cannot_be_allowed_for_the_chat() -> None:
    request = replace(REQUEST, is_sensitive=True)
    assert question_of(request) == "Allow? [y]es, [n]o, ne[v]er: "
    assert decision_of("a", request) is None
    assert "always" not in answers_of(request)
    assert decision_of("v", request) is Decision.NEVER
