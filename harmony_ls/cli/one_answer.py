"""One pass of a model as events, without a conversation around it: of messages, or of a text that is gone on with.

It shows nothing. `harmony-ls generate` is its front end.
"""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from harmony_ls.engine.engine import Engine, Generation
from harmony_ls.engine.model import Model
from harmony_ls.engine.request import GenerationRequest, Sampling, Token
from harmony_ls.engine.stop_strings import StopStrings
from harmony_ls.engine.tokenizer import Tokenizer
from harmony_ls.errors import PromptTooLongError, UserError
from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallFinished, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, Role, ToolCall
from harmony_ls.prompts.format import EventParser
from harmony_ls.session.chat_model import ChatModel

__all__ = ["Answer", "Asked", "OneAnswer", "ask", "go_on_with"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that is ready for the model: its tokens, what ends the answer, and how the answer is read."""

    tokens: tuple[int, ...]
    stop_tokens: frozenset[int]
    parser: EventParser


@dataclass(slots=True)
class Answer:
    """What was written so far; complete once the events have ended. ``tokens`` are all of them, markers included."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = FinishReason.CANCELLED
    usage: Usage = field(default_factory=Usage)
    tokens: list[Token] = field(default_factory=list)


def ask(chat_model: ChatModel, conversation: Conversation) -> Asked:
    """The prompt of a conversation. Raises ModelError where the model cannot be spoken to like this."""
    prompt = chat_model.format.render(conversation)
    return Asked(prompt.tokens, chat_model.format.stop_tokens, chat_model.format.parser(prompt, conversation))


def go_on_with(model: Model, text: str) -> Asked:
    """The prompt that is nothing but ``text``; the model goes on with it."""
    tokenizer = model.tokenizer
    bos = tokenizer.bos_token_id
    tokens = (*(() if bos is None else (bos,)), *tokenizer.encode(text))
    return Asked(tokens, tokenizer.eos_token_ids, _PlainParser(tokenizer))


class OneAnswer:
    """The pass. Iterate over ``events`` once; ``answer`` grows meanwhile.

    ``stops`` are texts before which the answer ends. ``max_tokens`` is limited to what the model's context has room
    for. ``n_top`` is how many of the likeliest tokens come with each token.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        asked: Asked,
        *,
        sampling: Sampling,
        max_tokens: int,
        stops: Sequence[str] = (),
        n_top: int = 0,
    ) -> None:
        room = model.context_length - len(asked.tokens)
        if not asked.tokens:
            raise UserError("The prompt is empty: there is nothing to go on with.")
        if room < 1:
            raise PromptTooLongError(
                f"The prompt has {len(asked.tokens):,} tokens, and {model.name} takes {model.context_length:,} in all. "
                "Shorten it, or choose a model with a longer context."
            )
        self.answer = Answer()
        self._engine = engine
        self._model = model
        self._parser = asked.parser
        self._stops = StopStrings(stops)
        self._is_cancelled = False
        self._generation: Generation | None = None
        self._request = GenerationRequest(
            prompt=asked.tokens,
            max_tokens=min(max_tokens, room),
            stop_tokens=asked.stop_tokens,
            sampling=sampling,
            top_logprobs=n_top,
        )

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self._model.name

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._model.tokenizer

    def cancel(self) -> None:
        """End the answer before the next step; what was written stays."""
        self._is_cancelled = True
        if self._generation is not None:
            self._generation.cancel()

    async def events(self) -> AsyncIterator[Event | Token]:
        """Each token, followed by the events that it completes."""
        if self._is_cancelled:
            return
        generation = self._generation = self._engine.generate(self._model, self._request)
        answer, parser = self.answer, self._parser
        first_at = last_at = 0.0
        n_reasoning = 0
        is_stopped = False
        try:
            async for token in generation:
                last_at = time.perf_counter()
                first_at = first_at or last_at
                answer.tokens.append(token)
                yield token
                for event in parser.feed(token.id):
                    shown, is_stopped = self._take(event)
                    if shown is not None:
                        yield shown
                    if is_stopped:
                        break
                n_reasoning += parser.in_reasoning
                if is_stopped or parser.is_over:
                    generation.cancel()
                    break
            answer.reason = self._reason(generation, is_stopped=is_stopped)
            for event in self._rest(is_stopped=is_stopped):
                yield event
        finally:
            generation.cancel()
            stats = generation.stats
            answer.usage = Usage(
                prompt_tokens=stats.prompt_tokens,
                computed_tokens=stats.computed_tokens,
                generated_tokens=len(answer.tokens),
                reasoning_tokens=n_reasoning,
                first_token_ms=stats.first_token_ms,
                decode_seconds=last_at - first_at,
            )

    def _reason(self, generation: Generation, *, is_stopped: bool) -> FinishReason:
        if is_stopped or self._parser.is_over:
            return FinishReason.STOP
        return generation.stats.finish_reason or FinishReason.STOP

    def _rest(self, *, is_stopped: bool) -> Iterator[Event]:
        """What was held back until the end was certain."""
        if is_stopped:
            return
        answer = self.answer
        for event in self._parser.finish(complete=answer.reason is FinishReason.STOP):
            shown, is_stopped = self._take(event)
            if shown is not None:
                yield shown
            if is_stopped:
                return
        if rest := self._stops.flush():
            answer.text += rest
            yield TextDelta(rest)
        if answer.tool_calls and answer.reason is FinishReason.STOP:
            answer.reason = FinishReason.TOOL_CALLS

    def _take(self, event: Event) -> tuple[Event | None, bool]:
        """Note an event: what of it can be shown now, and whether a stop string was met."""
        match event:
            case TextDelta(text):
                released, is_stopped = self._stops.feed(text)
                self.answer.text += released
                return (TextDelta(released) if released else None), is_stopped
            case ReasoningDelta(text):
                self.answer.reasoning += text
            case ToolCallFinished(_, call):
                self.answer.tool_calls.append(call)
        return event, False


class _PlainParser:
    """Reads an answer that has no format."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()
        self._text = ""

    @property
    def is_over(self) -> bool:
        """Never: only the model ends it."""
        return False

    @property
    def in_reasoning(self) -> bool:
        """Never: without a format nothing is known to be reasoning."""
        return False

    def feed(self, token: int) -> list[Event]:
        """The text that the token completes."""
        text = self._decoder.feed(token)
        self._text += text
        return [TextDelta(text)] if text else []

    def finish(self, *, complete: bool) -> list[Event]:
        """Nothing more: the bytes of half a character are no text."""
        return []

    def message(self) -> Message:
        """What was written."""
        return Message(Role.ASSISTANT, self._text)
