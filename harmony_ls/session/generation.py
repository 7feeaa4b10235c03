"""One pass of the model as events: prompt in, parsed events out, and what the pass left behind.

The turn loop (`harmony_ls.session.session`) makes as many of these as the tools need.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from harmony_ls.engine.engine import Generation
from harmony_ls.engine.request import GenerationRequest, Sampling
from harmony_ls.events import Event, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, Role
from harmony_ls.prompts.format import EventParser, Prompt
from harmony_ls.session.chat_model import ChatModel

__all__ = ["Pass", "run_pass"]


@dataclass(slots=True)
class Pass:
    """What one pass of the model has done so far; complete once `run_pass` has ended.

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
    """Generate after ``current.prompt`` and yield the events as they come; ``current`` is kept up to date.

    A pass that is left early (closed, cancelled) frees the model within one step, and keeps what was written.
    """
    prompt = current.prompt
    parser = chat_model.format.parser(prompt, conversation)
    request = GenerationRequest(
        prompt=prompt.tokens,
        max_tokens=max_tokens,
        stop_tokens=chat_model.format.stop_tokens,
        sampling=sampling,
        cache_owner=cache_owner,
        # Its own end is named too: then the prompt is prefilled so that the next turn finds a checkpoint there.
        checkpoints=(*prompt.checkpoints, len(prompt.tokens)),
    )
    generation = current.generation = chat_model.engine.generate(chat_model.model, request)
    first_at = last_at = 0.0
    n_reasoning = 0
    is_finished = False
    try:
        async for token in generation:
            last_at = time.perf_counter()
            first_at = first_at or last_at
            current.generated.append(token.id)
            for event in parser.feed(token.id):
                yield event
            n_reasoning += parser.in_reasoning
            if parser.is_over:
                generation.cancel()
                break
        current.reason = _reason(generation, parser)
        is_finished = True
        for event in parser.finish(complete=current.reason is FinishReason.STOP):
            yield event
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


def _reason(generation: Generation, parser: EventParser) -> FinishReason:
    """Why the pass ended; one that was stopped because its answer was over is as good as one that stopped itself."""
    if parser.is_over:
        return FinishReason.STOP
    # One that was ended before its first step has no reason of its own.
    return generation.stats.finish_reason or FinishReason.CANCELLED
