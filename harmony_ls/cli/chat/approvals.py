"""How a tool asks the person at the terminal before it acts. What is asked is drawn by the view."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from harmony_ls.cli.plain_text import clean
from harmony_ls.events import Event, Notice
from harmony_ls.tools.tool import ApprovalRequest, Decision

__all__ = ["Approvals", "Question", "answers_of", "decision_of", "question_of"]

_ANSWERS = {
    "y": Decision.ONCE,
    "yes": Decision.ONCE,
    "a": Decision.SESSION,
    "always": Decision.SESSION,
    "n": Decision.NO,
    "no": Decision.NO,
    "v": Decision.NEVER,
    "never": Decision.NEVER,
}


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A request that waits for its answer on the event loop, until it has one or the turn that asks is ended."""

    request: ApprovalRequest
    answer: "asyncio.Future[Decision]"

    @property
    def is_open(self) -> bool:
        """Whether an answer still counts. A future is cancelled with the task that waits for it."""
        return not self.answer.done()

    def resolve(self, decision: Decision) -> None:
        """Answer it, from the main thread. A question that nobody waits for any more may be answered too."""
        self.answer.get_loop().call_soon_threadsafe(self._settle, decision)

    def _settle(self, decision: Decision) -> None:
        if not self.answer.done():
            self.answer.set_result(decision)


class Approvals:
    """The port that tools ask through; each question goes to ``deliver``, which the chat sets for every turn."""

    def __init__(self) -> None:
        self.deliver: Callable[[Event | Question], None] | None = None

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Wait for the person's answer; no, where no turn is shown. Cancelling the task withdraws the question."""
        if self.deliver is None:
            return Decision.NO
        question = Question(request, asyncio.get_running_loop().create_future())
        self.deliver(question)
        return await question.answer

    async def refuse(self, request: ApprovalRequest) -> Decision:
        """Answer no, since there is no terminal to ask at, and say so."""
        if self.deliver is not None:
            name = request.call.name
            self.deliver(
                Notice(
                    f"{name} was not allowed: there is no terminal to ask at ({request.summary}). To allow it without "
                    "being asked, set it to allow in the section tools of your settings."
                )
            )
        return Decision.NO


def question_of(request: ApprovalRequest) -> str:
    """What is asked, in a line for narrow terminals. What is asked for each time cannot be allowed for the chat."""
    scope = f" for {clean(request.scope)}" if request.scope else ""
    always = "" if request.is_sensitive else f"[a]lways{scope}, "
    return f"Allow? [y]es, {always}[n]o, ne[v]er: "


def answers_of(request: ApprovalRequest) -> str:
    """What the answers to the question mean, one a line."""
    scope = f", for {request.scope}" if request.scope else ""
    always = () if request.is_sensitive else (f"a  always in this chat{scope}",)
    never = f"v  never in this chat: {request.call.name} is off then"
    return "\n".join(("y  yes, this once", *always, "n  no, this once", never))


def decision_of(answer: str, request: ApprovalRequest) -> Decision | None:
    """What an answer to the question means; None where it means nothing, or was not offered."""
    decision = _ANSWERS.get(answer.strip().lower())
    return None if decision is Decision.SESSION and request.is_sensitive else decision
