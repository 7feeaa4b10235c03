"""A conversation with a model: the turn loop. Render, generate, hand the events on, run the tools, and again.

It shows nothing and asks nobody: front ends take the events, and the tools ask through their own port. It knows one
model at a time, and no editor.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from harmony_ls.engine.request import Sampling
from harmony_ls.errors import PromptTooLongError
from harmony_ls.events import Event, Notice, ToolResult, TurnFinished, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, ReasoningEffort, Role, ToolCall
from harmony_ls.prompts.format import Prompt
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Pass, run_pass
from harmony_ls.session.history import History, answer_open_calls
from harmony_ls.session.summary import summarise
from harmony_ls.settings.models import ChatSettings
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox

__all__ = ["Session"]

# A model that calls tools wrongly this often in a row will not learn it in this turn.
_MAX_FAILURES_IN_A_ROW = 4
# The least that is kept free for the answer, as a share of the context.
_ANSWER_SHARE = 0.25
_CANCELLED_CALL = "The person stopped this before it was done."


class Session:
    """One conversation. All methods belong to one event loop, and one turn runs at a time.

    ``instructions`` stand before the conversation, in addition to those of the settings. ``started`` is the date that
    the model is told, by default today. ``overrides`` replaces the sampling that settings and model recommend.
    ``last_pass`` is what the model was last shown and wrote, token for token.
    """

    def __init__(
        self,
        chat_model: ChatModel,
        settings: ChatSettings,
        *,
        tools: ToolBox | None = None,
        instructions: str = "",
        started: date | None = None,
        template_arguments: Mapping[str, Any] | None = None,
        overrides: Sampling | None = None,
    ) -> None:
        self.chat_model = chat_model
        self.tools = tools or ToolBox()
        self.effort = ReasoningEffort(settings.effort)
        self.started = started or date.today()
        self.history = History()
        self._settings = settings
        self._instructions = "\n\n".join(text for text in (settings.instructions, instructions) if text.strip())
        self._template_arguments = dict(template_arguments or {})
        self._overrides = overrides
        self._cache_owner = f"chat {uuid.uuid4().hex}"
        self._running: _Turn | None = None
        self.last_pass: Pass | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages of finished turns, oldest first, those that the model is no longer shown included."""
        return self.history.messages

    @property
    def is_running(self) -> bool:
        """Whether a turn is under way."""
        return self._running is not None

    def context_use(self) -> tuple[int, int]:
        """The tokens of the last prompt with its answer, and the model's context length."""
        last = self.last_pass
        used = 0 if last is None else len(last.prompt.tokens) + len(last.generated)
        return used, self.chat_model.model.context_length

    def use(self, chat_model: ChatModel) -> None:
        """Go on with another model. What it writes differs in tokens, so remembered token ids are let go."""
        self._refuse_while_running()
        self.chat_model = chat_model
        self.history = replace(self.history, turns=tuple(_without_tokens(turn) for turn in self.history.turns))

    def clear(self) -> None:
        """Forget all turns."""
        self._refuse_while_running()
        self.history = History()
        self.last_pass = None

    def undo(self) -> str | None:
        """Take the last turn back; return what the person had said, None where there is no turn."""
        self._refuse_while_running()
        if not self.history.turns:
            return None
        text = self.history.turns[-1][0].content
        self.history = self.history.without_last()
        return text

    def cancel(self) -> None:
        """End the running turn. What was written is kept, and the turn's events go on to their end."""
        if self._running is not None:
            self._running.cancel()

    async def turn(self, text: str) -> AsyncIterator[Event]:
        """Say ``text`` and yield what happens; the last event is a ``TurnFinished``.

        Raises PromptTooLongError before anything has happened where the text alone is too long, and ModelError where
        the model cannot be spoken to; the history is then as it was. Leaving the iteration early is cancelling.
        """
        self._refuse_while_running()
        running = self._running = _Turn(Message(Role.USER, text))
        try:
            self.history, prompt, notices = await self._fit(running)
            for notice in notices:
                yield notice
            running.has_begun = True
            passes = self._passes(running, prompt)
            # Whoever leaves early leaves it now: what was written is settled below.
            async with contextlib.aclosing(passes):  # type: ignore[type-var]
                async for event in passes:
                    yield event
            yield TurnFinished(running.reason, running.usage)
        finally:
            self._running = None
            if running.has_begun:
                self.history = self.history.with_turn(running.settled())

    async def _passes(self, running: "_Turn", prompt: Prompt) -> AsyncIterator[Event]:
        """Generate, run the tools, and generate again, until the model has answered or a limit is met."""
        deadline = time.monotonic() + self._settings.max_turn_seconds
        waited_before = self.tools.waited_seconds
        n_calls = n_failures = 0
        while True:
            if running.is_cancelled:
                running.reason = FinishReason.CANCELLED
                return
            conversation = self._conversation(running)
            current = running.current = self.last_pass = Pass(prompt)
            try:
                stream = run_pass(
                    self.chat_model,
                    conversation,
                    current,
                    max_tokens=self._max_tokens(prompt),
                    sampling=self._sampling(),
                    cache_owner=self._cache_owner,
                )
                async with contextlib.aclosing(stream):  # type: ignore[type-var]
                    async for event in stream:
                        yield event
            finally:
                running.take(current)
            yield current.usage
            running.reason = current.reason
            if current.reason is FinishReason.CANCELLED:
                return
            if current.reason is FinishReason.LENGTH:
                yield Notice(f"The answer was cut off after {len(current.generated):,} tokens.")
                return
            calls = current.message.tool_calls
            if not calls:
                if not current.message.content:
                    yield Notice("The model ended without an answer.")
                return
            for call in calls:
                output = await self._run(call, running, n_calls)
                n_calls += 1
                n_failures = n_failures + 1 if output.is_error else 0
                running.answer(call, output)
                yield ToolResult(call, output.text, output.is_error)
                if running.is_cancelled:
                    running.reason = FinishReason.CANCELLED
                    return
            seconds_left = deadline + self.tools.waited_seconds - waited_before - time.monotonic()
            if (limit := self._limit(n_calls, n_failures, seconds_left)) is not None:
                running.reason = FinishReason.LIMIT
                yield Notice(limit)
                return
            conversation = self._conversation(running)
            prompt = self.chat_model.format.resume(prompt, current.generated, conversation)
            if len(prompt.tokens) > self._room():
                try:
                    self.history, prompt, notices = await self._fit(running)
                except PromptTooLongError:
                    running.reason = FinishReason.LENGTH
                    yield Notice("The turn was ended: what the tools answered does not fit the model's context.")
                    return
                for notice in notices:
                    yield notice

    async def _run(self, call: ToolCall, running: "_Turn", n_calls: int) -> ToolOutput:
        """Answer one call. A cancelled turn cancels the tool; the call is answered all the same."""
        if n_calls >= self._settings.max_tool_calls:
            return ToolOutput("No more tool calls are allowed in this turn. Answer with what you know.", is_error=True)
        task = running.tool = asyncio.ensure_future(self.tools.run(call, is_tainted=running.is_tainted))
        try:
            return await task
        except asyncio.CancelledError:
            if not running.is_cancelled:
                raise
            return ToolOutput(_CANCELLED_CALL, is_error=True)
        finally:
            task.cancel()
            running.tool = None

    def _limit(self, n_calls: int, n_failures: int, seconds_left: float) -> str | None:
        """Why the turn must end now, in words; one call beyond the limit is answered, so that the model can wind up."""
        if n_calls > self._settings.max_tool_calls:
            return f"The turn was ended after {self._settings.max_tool_calls} tool calls (chat.maxToolCalls)."
        if n_failures >= _MAX_FAILURES_IN_A_ROW:
            return f"The turn was ended: the last {n_failures} tool calls failed."
        if seconds_left <= 0:
            return f"The turn was ended after {self._settings.max_turn_seconds:g} seconds (chat.maxTurnSeconds)."
        return None

    async def _fit(self, running: "_Turn") -> tuple[History, Prompt, list[Notice]]:
        """The history that fits beside the running turn, its prompt, and what a person must be told of it."""
        render = self.chat_model.format.render
        history = self.history
        fitted = await asyncio.to_thread(
            history.fitted, lambda each: len(render(self._conversation(running, each)).tokens), self._room()
        )
        notices: list[Notice] = []
        if fitted.n_hidden > history.n_hidden:
            n_turns = fitted.n_hidden - history.n_hidden
            turns = "The oldest turn is" if n_turns == 1 else f"The {n_turns} oldest turns are"
            how = "no longer shown to the model"
            if self._settings.context_overflow == "summarise":
                fitted, summed_up = await self._summed_up(history, fitted)
                how = "summed up for the model" if summed_up else "no longer shown to the model, nor summed up"
            notices.append(Notice(f"{turns} {how}: the conversation has outgrown its context."))
        conversation = self._conversation(running, fitted)
        return fitted, await asyncio.to_thread(render, conversation), notices

    async def _summed_up(self, history: History, fitted: History) -> tuple[History, bool]:
        """``fitted`` with a summary of its hidden turns, if there is room for one."""
        newly_hidden = tuple(message for turn in history.turns[history.n_hidden : fitted.n_hidden] for message in turn)
        summary = await summarise(self.chat_model, history.summary, newly_hidden, self._room(), self._cache_owner)
        if not summary:
            return fitted, False
        return replace(fitted, summary=summary), True

    def _conversation(self, running: "_Turn", history: History | None = None) -> Conversation:
        return Conversation(
            messages=(history or self.history).shown(self._instructions, running.messages),
            tools=self.tools.specs if self.chat_model.format.takes_tools else (),
            effort=self.effort,
            started=self.started,
            template_arguments=self._template_arguments,
        )

    def _room(self) -> int:
        """How long a prompt may be, so that there is room for an answer, in tokens."""
        context = self.chat_model.model.context_length
        return context - min(self._settings.max_tokens, max(1, int(context * _ANSWER_SHARE)))

    def _max_tokens(self, prompt: Prompt) -> int:
        return min(self._settings.max_tokens, self.chat_model.model.context_length - len(prompt.tokens))

    def _sampling(self) -> Sampling:
        if self._overrides is not None:
            return self._overrides
        recommended, chosen = self.chat_model.sampling, self._settings
        return replace(
            recommended,
            temperature=recommended.temperature if chosen.temperature is None else chosen.temperature,
            top_p=recommended.top_p if chosen.top_p is None else chosen.top_p,
            top_k=recommended.top_k if chosen.top_k is None else chosen.top_k,
            min_p=chosen.min_p or recommended.min_p,
        )

    def _refuse_while_running(self) -> None:
        if self._running is not None:
            raise RuntimeError("a turn of this conversation is under way")


class _Turn:
    """The turn that is under way: its messages so far, and what must be ended to end it."""

    def __init__(self, said: Message) -> None:
        self.messages: list[Message] = [said]
        self.reason = FinishReason.CANCELLED
        self.usage = Usage()
        self.has_begun = False
        self.is_cancelled = False
        self.is_tainted = False
        self.current: Pass | None = None
        self.tool: asyncio.Future[ToolOutput] | None = None

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.tool is not None:
            self.tool.cancel()
        elif self.current is not None:
            self.current.cancel()

    def take(self, current: Pass) -> None:
        """Keep what a pass has written."""
        self.messages.append(current.message)
        self.usage += current.usage

    def answer(self, call: ToolCall, output: ToolOutput) -> None:
        self.messages.append(Message(Role.TOOL, output.text, tool_call_id=call.id, name=call.name))
        self.is_tainted = self.is_tainted or output.is_untrusted

    def settled(self) -> list[Message]:
        """The messages as a finished turn: every call answered, and an assistant's message at the end."""
        settled = answer_open_calls(self.messages, _CANCELLED_CALL)
        if settled[-1].role is not Role.ASSISTANT:
            settled.append(Message(Role.ASSISTANT))
        return settled


def _without_tokens(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(replace(message, content_tokens=None) for message in messages)
