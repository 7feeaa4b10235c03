"""A conversation with a model: the turn loop. Render, generate, hand the events on, run the tools, and again.

It shows nothing and asks nobody: front ends take the events, and the tools ask through their own port. It knows one
model at a time, and no editor.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from harmony_ls.engine.generation.request import Sampling
from harmony_ls.errors import PromptTooLongError, UserError
from harmony_ls.events import Event, Notice, ToolResult, TurnFinished
from harmony_ls.messages import Conversation, FinishReason, Message, ReasoningEffort, Role, ToolCall
from harmony_ls.prompts.format import Prompt, PromptFormat
from harmony_ls.session.chat_model import ChatModel, chosen_sampling
from harmony_ls.session.generation import Pass, run_pass
from harmony_ls.session.history import History
from harmony_ls.session.shown_text import with_shown_text
from harmony_ls.session.summary import room_for_summary, summarise
from harmony_ls.session.turn import Turn
from harmony_ls.settings.models import ChatSettings
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox

__all__ = ["Session"]

# A model that calls tools wrongly this often in a row will not learn it in this turn.
_MAX_FAILURES_IN_A_ROW = 4
# The least that is kept free for the answer, as a share of the context.
_ANSWER_SHARE = 0.25
# As many prompts as are measured to hide a hundred turns.
_MOST_REMEMBERED = 8


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
        self._running: Turn | None = None
        self._prompt = Prompt(())
        self._rendered: list[tuple[PromptFormat, Conversation, Prompt]] = []
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
        self.tools.go_on(())
        self.last_pass = None

    def undo(self) -> str | None:
        """Take the last turn back; return what the person had said, None where there is no turn."""
        self._refuse_while_running()
        if not self.history.turns:
            return None
        text = self.history.turns[-1][0].content
        self.history = self.history.without_last()
        self.last_pass = None
        return text

    def cancel(self) -> None:
        """End the running turn. What was written is kept, and the turn's events go on to their end."""
        if self._running is not None:
            self._running.cancel()

    async def turn(self, text: str) -> AsyncIterator[Event]:
        """Say ``text`` and yield what happens; the last event is a ``TurnFinished``.

        Raises UserError for a message without text, PromptTooLongError where the text alone is too long, ModelError
        where the model cannot be spoken to, and whatever the engine raises; no ``TurnFinished`` comes then. If the
        model has written nothing by then, the history is as it was; else it keeps what was written and done. Leaving
        the iteration early is cancelling.
        """
        self._refuse_while_running()
        if not text.strip():
            raise UserError("The message is empty: there is nothing to answer.")
        self.tools.go_on(self.history.messages)
        running = self._running = Turn(Message(Role.USER, text), is_tainted=self.history.is_tainted)
        self._watch(running, time.monotonic() - self.tools.waited_seconds + self._settings.max_turn_seconds)
        try:
            # Whoever leaves early leaves the inner generators now: what was written is settled below.
            async with contextlib.aclosing(self._begin(running)) as events:
                async for event in events:
                    yield event
            running.settle_reason()
            if running.limit:
                yield Notice(running.limit)
            yield TurnFinished(running.reason, running.usage)
        except Exception:
            running.fail()
            raise
        finally:
            running.close()
            self._running = None
            if running.is_to_be_kept:
                self.history = self.history.with_turn(running.settled())

    async def _begin(self, running: Turn) -> AsyncGenerator[Event]:
        """Make room for the turn, then generate and run tools until it is over."""
        async with contextlib.aclosing(self._fit(running)) as fitting:
            async for event in fitting:
                yield event
        running.has_begun = True
        async with contextlib.aclosing(self._passes(running)) as passes:
            async for event in passes:
                yield event

    async def _passes(self, running: Turn) -> AsyncGenerator[Event]:
        """Generate, run the tools, and generate again, until the model has answered or the turn is ended."""
        prompt = self._prompt
        while not running.is_ended:
            conversation = self._conversation(running)
            current = running.begin(Pass(prompt))
            self.last_pass = current
            max_tokens = self._max_tokens(running)
            written = run_pass(
                self.chat_model,
                conversation,
                current,
                max_tokens=max_tokens,
                sampling=self._sampling(),
                cache_owner=self._cache_owner,
            )
            shown = with_shown_text(written, self.tools.text_filters())
            try:
                async with contextlib.aclosing(written), contextlib.aclosing(shown):
                    async for event in shown:
                        yield event
            finally:
                running.take(current)
            yield current.usage
            if running.is_ended or current.reason is FinishReason.CANCELLED:
                return
            if current.reason is FinishReason.LENGTH:
                yield Notice(self._cut_off(len(current.generated), max_tokens))
                return
            calls = current.message.tool_calls
            if not calls:
                if not current.message.content:
                    yield Notice("The model ended without an answer.")
                return
            for call in calls:
                if running.is_ended:
                    return
                output = await self._run(call, running)
                running.answer(call, output)
                yield ToolResult(call, output.text, output.is_error)
            if (limit := self._limit(running)) is not None:
                running.end_at(limit)
                return
            conversation = self._conversation(running)
            prompt = await asyncio.to_thread(self.chat_model.format.resume, prompt, current.generated, conversation)
            if len(prompt.tokens) > self._room():
                try:
                    async with contextlib.aclosing(self._fit(running)) as fitting:
                        async for event in fitting:
                            yield event
                except PromptTooLongError:
                    running.reason = FinishReason.LENGTH
                    yield Notice("The turn was ended: what the tools answered does not fit the model's context.")
                    return
                prompt = self._prompt

    async def _run(self, call: ToolCall, running: Turn) -> ToolOutput:
        """Answer one call."""
        if running.n_calls >= self._settings.max_tool_calls:
            return ToolOutput("No more tool calls are allowed in this turn. Answer with what you know.", is_error=True)
        return await running.run(call, asyncio.ensure_future(self.tools.run(call, is_tainted=running.is_tainted)))

    def _limit(self, running: Turn) -> str | None:
        """Why the turn must end now, in words; one call beyond the limit is answered, so that the model can wind up."""
        settings = self._settings
        if running.n_calls > settings.max_tool_calls:
            return f"The turn was ended after {settings.max_tool_calls} tool calls (chat.maxToolCalls)."
        if running.n_failures >= _MAX_FAILURES_IN_A_ROW:
            return f"The turn was ended: the last {running.n_failures} tool calls failed."
        if running.usage.generated_tokens >= settings.max_turn_tokens:
            return f"The turn was ended after {running.usage.generated_tokens:,} tokens (chat.maxTurnTokens)."
        return None

    def _watch(self, running: Turn, deadline: float) -> None:
        """End the turn when its time is over; the time in which a person thinks about a question is not counted."""
        seconds = deadline + self.tools.waited_seconds - time.monotonic()
        if seconds <= 0:
            limit = f"{self._settings.max_turn_seconds:g} seconds (chat.maxTurnSeconds)"
            running.end_at(f"The turn was ended after {limit}.")
        else:
            running.timer = asyncio.get_running_loop().call_later(seconds, self._watch, running, deadline)

    async def _fit(self, running: Turn) -> AsyncGenerator[Event]:
        """Hide turns until the running one fits beside the others, and say so; leaves the prompt in ``_prompt``."""
        history = self.history
        room = self._room()
        reserve = room_for_summary(room) if self._settings.context_overflow == "summarise" else 0
        fitted = await asyncio.to_thread(history.fitted, lambda each: self._length(running, each), room, reserve)
        if fitted.n_hidden > history.n_hidden:
            n_turns = fitted.n_hidden - history.n_hidden
            turns = "The oldest turn is" if n_turns == 1 else f"The {n_turns} oldest turns are"
            how = "no longer shown to the model"
            if self._settings.context_overflow == "summarise":
                yield Notice("The conversation has outgrown its context. Its beginning is being summed up.")
                fitted, summed_up = await self._summed_up(running, history, fitted)
                if running.is_ended and not running.limit:
                    return  # the person stopped it: what is not summed up is not hidden, and the next turn tries again
                how = "summed up for the model" if summed_up else "no longer shown to the model, nor summed up"
            yield Notice(f"{turns} {how}: the conversation has outgrown its context.")
        self.history = fitted
        self._prompt = await asyncio.to_thread(self._render, self._conversation(running))
        del self._rendered[:-1]

    async def _summed_up(self, running: Turn, history: History, fitted: History) -> tuple[History, bool]:
        """``fitted`` with a summary of its hidden turns, if there is room for one."""
        hidden = history.turns[history.n_hidden : fitted.n_hidden]
        newly_hidden = tuple(message for turn in hidden for message in turn)
        summary = await summarise(
            self.chat_model, history.summary, newly_hidden, self._room(), self._cache_owner, running
        )
        with_summary = replace(fitted, summary=summary)
        if not summary or running.is_ended:
            return fitted, False
        length = await asyncio.to_thread(self._length, running, with_summary)
        return (with_summary, True) if length <= self._room() else (fitted, False)

    def _length(self, running: Turn, history: History) -> int:
        """How many tokens the prompt would have with this history."""
        return len(self._render(self._conversation(running, history)).tokens)

    def _render(self, conversation: Conversation) -> Prompt:
        """The prompt of a conversation. The last ones are remembered: one is measured among others, and then used."""
        prompt_format = self.chat_model.format
        for place, (known_format, known, prompt) in enumerate(self._rendered):
            if known_format is prompt_format and known == conversation:
                self._rendered.append(self._rendered.pop(place))
                return prompt
        prompt = prompt_format.render(conversation)
        self._rendered = [*self._rendered, (prompt_format, conversation, prompt)][-_MOST_REMEMBERED:]
        return prompt

    def _conversation(self, running: Turn, history: History | None = None) -> Conversation:
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

    def _max_tokens(self, running: Turn) -> int:
        """How much one pass may write: what the settings allow it, or the rest of what they allow the turn."""
        in_turn = self._settings.max_turn_tokens - running.usage.generated_tokens
        return max(1, min(self._settings.max_tokens, in_turn))

    def _cut_off(self, n_tokens: int, max_tokens: int) -> str:
        """What is said of an answer of so many tokens that could not come to its end, and which limit that was."""
        limit = " (chat.maxTokens)" if max_tokens == self._settings.max_tokens else " (chat.maxTurnTokens)"
        if n_tokens < max_tokens:
            limit = ": the model's context is full"
        return f"The answer was cut off after {n_tokens:,} tokens{limit}."

    def _sampling(self) -> Sampling:
        if self._overrides is not None:
            return self._overrides
        return chosen_sampling(self.chat_model.sampling, self._settings)

    def _refuse_while_running(self) -> None:
        if self._running is not None:
            raise RuntimeError("a turn of this conversation is under way")


def _without_tokens(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(replace(message, content_tokens=None) for message in messages)
