"""The turn that is under way: its messages so far, its budgets, and what must be ended to end it.

What is generated and run is decided in `harmony_ls.session.session`.
"""

import asyncio
from dataclasses import replace

from harmony_ls.events import Usage
from harmony_ls.messages import FinishReason, Message, Role, ToolCall
from harmony_ls.session.generation import Pass
from harmony_ls.session.history import answer_open_calls
from harmony_ls.tools.tool import ToolOutput

__all__ = ["Turn"]

_OPEN_CALLS = {
    FinishReason.CANCELLED: "The person stopped this before it was done.",
    FinishReason.LIMIT: "The turn was ended before this was done.",
}

_FAILED = "The turn was ended by an error before this was done."

# How long a tool may take to end when the whole task is cancelled, before it is left to itself.
_LAST_WORDS_SECONDS = 5.0


class Turn:
    """A turn from the person's message on. ``reason`` is why it ended, once it has.

    ``limit`` says which limit ended it, in words; empty while none has. ``is_tainted``: text of strangers has come into
    the conversation. ``timer`` is what will end it when its time is over.
    """

    def __init__(self, said: Message, *, is_tainted: bool) -> None:
        self.messages: list[Message] = [said]
        self.reason = FinishReason.CANCELLED
        self.usage = Usage()
        self.has_begun = False
        self.limit = ""
        self.is_tainted = is_tainted
        self.n_calls = 0
        self.n_failures = 0
        self.timer: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._has_failed = False
        self._current: Pass | None = None
        self._tool: asyncio.Future[ToolOutput] | None = None

    @property
    def is_ended(self) -> bool:
        """Whether the turn was stopped, by the person or by a limit; nothing more is generated or run then."""
        return self._is_cancelled or bool(self.limit)

    def cancel(self) -> None:
        """The person stops the turn."""
        self._is_cancelled = True
        self._stop()

    def end_at(self, limit: str) -> None:
        """A limit ends the turn, unless it was stopped already."""
        if not self.is_ended:
            self.limit = limit
            self._stop()

    def fail(self) -> None:
        """An error ends the turn."""
        self._has_failed = True

    @property
    def is_to_be_kept(self) -> bool:
        """Whether the turn belongs into a history.

        What was written and done stays, however the turn ended: the person has read it, and files may have changed. A
        question to which an error alone came is to be asked again.
        """
        is_written = any(each.content or each.reasoning or each.tool_calls for each in self.messages[1:])
        return self.has_begun and (is_written or not self._has_failed)

    def settle_reason(self) -> None:
        """Say why a turn that was ended from outside ended."""
        if self.is_ended:
            self.reason = FinishReason.LIMIT if self.limit else FinishReason.CANCELLED

    def begin(self, current: Pass) -> Pass:
        """What runs now is this pass."""
        self._current = current
        return current

    def take(self, current: Pass) -> None:
        """Keep what a pass has written."""
        self._current = None
        self.messages.append(current.message)
        self.count(current)
        self.reason = current.reason

    def count(self, current: Pass) -> None:
        """Add the figures of a pass, whose text may be kept or not."""
        self._current = None
        self.usage += current.usage

    async def run(self, call: ToolCall, work: "asyncio.Future[ToolOutput]") -> ToolOutput:
        """The answer of a tool. A turn that is ended cancels it; the call is answered all the same."""
        self._tool = work
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            # Whoever cancels this task, and not the turn, cancels the tool. What it did before it heard of that was
            # done, so the history says it.
            work.cancel()
            await asyncio.wait({work}, timeout=_LAST_WORDS_SECONDS)
            if work.done() and not work.cancelled() and work.exception() is None:
                self.answer(call, work.result())
            raise
        finally:
            self._tool = None
            work.cancel()
        if work.cancelled():
            reason = FinishReason.LIMIT if self.limit else FinishReason.CANCELLED
            return ToolOutput(_OPEN_CALLS[reason] if self.is_ended else "The tool gave up.", is_error=True)
        return work.result()

    def answer(self, call: ToolCall, output: ToolOutput) -> None:
        """Keep what a tool answered."""
        self.n_calls += 1
        self.n_failures = self.n_failures + 1 if output.is_error else 0
        self.is_tainted = self.is_tainted or output.is_untrusted
        told = Message(Role.TOOL, output.text, tool_call_id=call.id, name=call.name)
        self.messages.append(replace(told, is_untrusted=output.is_untrusted, is_error=output.is_error))

    def settled(self) -> list[Message]:
        """The messages as a finished turn: every call answered, and an assistant's message at the end."""
        why = _OPEN_CALLS.get(self.reason, "The answer was cut off, so this was not done.")
        if self._has_failed:
            why = _FAILED
        settled = answer_open_calls(self.messages, why)
        if settled[-1].role is not Role.ASSISTANT:
            settled.append(Message(Role.ASSISTANT))
        return settled

    def close(self) -> None:
        """Let the time limit go; the turn is over."""
        if self.timer is not None:
            self.timer.cancel()

    def _stop(self) -> None:
        if self._tool is not None:
            self._tool.cancel()
        elif self._current is not None:
            self._current.cancel()
