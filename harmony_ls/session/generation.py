"""One pass of the model as events: prompt in, parsed events out, and what the pass left behind.

The turn loop (`harmony_ls.session.session`) makes as many of these as the tools need; `harmony-ls generate` makes one,
without a conversation around it.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.generation import Generation
from harmony_ls.engine.generation.request import GenerationRequest, Sampling, Token
from harmony_ls.engine.generation.stop_strings import StopStrings
from harmony_ls.engine.models.model import Model
from harmony_ls.events import Event, TextDelta, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, Role
from harmony_ls.prompts.format import EventParser, Prompt
from harmony_ls.session.chat_model import ChatModel

__all__ = ["Asked", "Pass", "run_pass", "written"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that is ready for a model: what ends the answer, and how it is read.

    ``stops`` are texts before which the answer ends. ``n_top`` is how many of the likeliest tokens come with each
    token.
    """

    prompt: Prompt
    parser: EventParser
    stop_tokens: frozenset[int]
    stops: Sequence[str] = ()
    n_top: int = 0


@dataclass(slots=True)
class Pass:
    """What one pass of the model has done so far; complete once `written` has ended.

    ``generated`` are the token ids in their order, a stop token included. ``message`` is the assistant's message.
    """

    prompt: Prompt
    generated: list[int] = field(default_factory=list)
    message: Message = field(default_factory=lambda: Message(Role.ASSISTANT))
    reason: FinishReason = FinishReason.CANCELLED
    usage: Usage = field(default_factory=Usage)
    generation: Generation | None = None

    def cancel(self) -> None:
        """End the pass before its next step; what was written stays."""
        if self.generation is not None:
            self.generation.cancel()


async def run_pass(
    chat_model: ChatModel,
    conversation: Conversation,
    current: Pass,
    *,
    max_tokens: int,
    sampling: Sampling,
    cache_owner: str,
) -> AsyncGenerator[Event]:
    """Generate after ``current.prompt`` as a conversation does, and yield the events as they come; see `written`."""
    prompt_format = chat_model.format
    asked = Asked(current.prompt, prompt_format.parser(current.prompt, conversation), prompt_format.stop_tokens)
    items = written(
        chat_model.engine,
        chat_model.model,
        asked,
        current,
        max_tokens=max_tokens,
        sampling=sampling,
        cache_owner=cache_owner,
    )
    async with contextlib.aclosing(items):
        async for item in items:
            if not isinstance(item, Token):
                yield item


async def written(
    engine: Engine,
    model: Model,
    asked: Asked,
    current: Pass,
    *,
    max_tokens: int,
    sampling: Sampling,
    cache_owner: str = "",
) -> AsyncGenerator[Token | Event]:
    """Generate and yield each token, followed by the events that it completes; ``current`` is kept up to date.

    A pass that is left early (closed, cancelled) frees the model within one step, and keeps what was written.
    """
    parser, prompt, stops = asked.parser, asked.prompt, StopStrings(asked.stops)
    request = GenerationRequest(
        prompt=prompt.tokens,
        max_tokens=max_tokens,
        stop_tokens=asked.stop_tokens,
        sampling=sampling,
        top_logprobs=asked.n_top,
        cache_owner=cache_owner,
        # Its own end is named too: then the prompt is prefilled so that the next turn finds a checkpoint there.
        checkpoints=(*prompt.checkpoints, len(prompt.tokens)),
    )
    generation = current.generation = engine.generate(model, request)
    first_at = last_at = 0.0
    n_reasoning = 0
    is_finished = False
    try:
        async for token in generation:
            last_at = time.perf_counter()
            first_at = first_at or last_at
            current.generated.append(token.id)
            yield token
            for event in _before_stops(parser.feed(token.id), stops):
                yield event
            n_reasoning += parser.in_reasoning
            if parser.is_over or stops.is_stopped:
                generation.cancel()
                break
        current.reason = _reason(generation, is_over=parser.is_over or stops.is_stopped)
        is_finished = True
        for event in _before_stops(parser.finish(complete=current.reason is FinishReason.STOP), stops):
            yield event
        if not stops.is_stopped and (rest := stops.flush()):
            yield TextDelta(rest)
    finally:
        generation.cancel()
        if not is_finished:
            parser.finish(complete=False)
        stats = generation.stats
        current.message = parser.message()
        current.usage = Usage(
            prompt_tokens=stats.prompt_tokens,
            computed_tokens=stats.computed_tokens,
            generated_tokens=len(current.generated),
            reasoning_tokens=n_reasoning,
            first_token_ms=stats.first_token_ms,
            decode_seconds=last_at - first_at,
        )


def _before_stops(events: Iterable[Event], stops: StopStrings) -> Iterator[Event]:
    """The events up to where a stop string begins; what might be the beginning of one is held back.

    An event that is no text ends the text before it, which then cannot become a stop string any more.
    """
    for event in events:
        if stops.is_stopped:
            return
        if isinstance(event, TextDelta):
            released, _ = stops.feed(event.text)
            if released:
                yield TextDelta(released)
            continue
        if rest := stops.flush():
            yield TextDelta(rest)
        yield event


def _reason(generation: Generation, *, is_over: bool) -> FinishReason:
    """Why the pass ended; one that was stopped because its answer was over is as good as one that stopped itself."""
    reason = FinishReason.STOP if is_over else generation.stats.finish_reason
    assert reason is not None  # its tokens have come to their end
    return reason
