"""What the engine costs over mlx-lm alone, how fast it lets go, and how fast it turns to a person who types."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harmony_ls.cli.bench.inline.corpus import SourceFile
from harmony_ls.cli.bench.inline.subject import Subject
from harmony_ls.cli.bench.turns import in_turns
from harmony_ls.engine.generation.generation import Generation
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.measuring import measure
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.completer import InlineCompleter
from harmony_ls.features.inline.journal import Journal
from harmony_ls.features.inline.request import InlineCompletionRequest

__all__ = ["EngineRecord", "EngineSizes", "measure_engine"]

_CHAT_TOKENS = 160
_PROMPT_CHARACTERS = 6_000
_NEVER_ENDING = 1024
_FEW_TOKENS = 6
_FIRST_CHAT_TOKENS = 4

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class EngineSizes:
    """How often each measurement is made, and how large its jobs are."""

    decode_pairs: int = 11
    decode_tokens: int = 80
    cancels: int = 40
    cancels_per_whole_job: int = 4
    cancelled_prompt_tokens: int = 512
    cancelled_tokens: int = 40
    preempt_pairs: int = 40
    preempt_attempts: int = 200

    @property
    def n_measurements(self) -> int:
        """How many times ``advance`` is called in all, if no pair of the last kind is lost."""
        return self.decode_pairs + self.cancels + self.preempt_pairs


@dataclass(slots=True)
class EngineRecord:
    """The raw figures; lists that grow, so that an interrupted run leaves what it has.

    ``n_preempt_not_counted`` pairs came to no first token, or their chat had ended before the completion had.
    """

    engine_rates: list[float] = field(default_factory=list)
    mlx_lm_rates: list[float] = field(default_factory=list)
    steps: list[measure.Step] = field(default_factory=list)
    cancel_ms: list[float] = field(default_factory=list)
    device_idle_ms: list[float] = field(default_factory=list)
    idle_first_token_ms: list[float] = field(default_factory=list)
    busy_first_token_ms: list[float] = field(default_factory=list)
    n_preempt_not_counted: int = 0


async def measure_engine(
    subject: Subject, file: SourceFile, sizes: EngineSizes, seed: int, record: EngineRecord, advance: Advance
) -> None:
    """Fill ``record``; ``file`` gives the text of the prompts."""
    tokens = tuple(subject.completion.model.tokenizer.encode(file.text[:_PROMPT_CHARACTERS]))
    room = subject.completion.model.context_length - sizes.decode_tokens - 1
    tokens = tokens or (0,)
    await _decode(subject, tokens[: min(256, room)], sizes, record, advance)
    randomness = random.Random(f"{seed} engine")
    n_prompt = min(sizes.cancelled_prompt_tokens, room)
    await _cancel(subject, tokens, n_prompt, sizes, randomness, record, advance)
    await _preempt(subject, file, tokens[: min(_CHAT_TOKENS, room)], sizes, randomness, record, advance)


async def _decode(
    subject: Subject, prompt: tuple[int, ...], sizes: EngineSizes, record: EngineRecord, advance: Advance
) -> None:
    """Decode the same through the engine and through mlx-lm, alternating, in turns which is first."""
    engine, model, n_tokens = subject.engine, subject.completion.model, sizes.decode_tokens

    async def ours() -> None:
        record.engine_rates.append(await measure.decode_rate(engine, model, prompt, n_tokens))

    async def theirs() -> None:
        record.mlx_lm_rates.append(await measure.mlx_lm_decode_rate(engine, model, prompt, n_tokens))

    await measure.decode_rate(engine, model, prompt, 8)
    await measure.mlx_lm_decode_rate(engine, model, prompt, 8)
    await in_turns(sizes.decode_pairs, ours, theirs, advance)


def _cold_request(tokens: tuple[int, ...], n_prompt: int, turn: int, n_tokens: int) -> GenerationRequest:
    """A request whose prompt shares no beginning with those before, so that its prefill is really done."""
    start = 1 + 13 * turn
    rotated = (tokens * (2 + (start + n_prompt) // len(tokens)))[start : start + n_prompt]
    return GenerationRequest(prompt=rotated, max_tokens=n_tokens, cache_owner="bench")


async def _cancel(
    subject: Subject,
    tokens: tuple[int, ...],
    n_prompt: int,
    sizes: EngineSizes,
    randomness: random.Random,
    record: EngineRecord,
    advance: Advance,
) -> None:
    """Cancel jobs at random moments of their lives; in between, time the steps of whole ones."""
    durations: list[float] = []
    for turn in range(sizes.cancels):
        if turn % sizes.cancels_per_whole_job == 0:
            whole = _cold_request(tokens, n_prompt, 2 * turn, sizes.cancelled_tokens)
            steps = await measure.run_in_steps(subject.engine, subject.completion.model, whole)
            record.steps += steps
            durations.append(sum(step.milliseconds for step in steps) / 1000)
        request = _cold_request(tokens, n_prompt, 2 * turn + 1, sizes.cancelled_tokens)
        generation = subject.engine.generate(subject.completion.model, request)
        await asyncio.sleep(randomness.uniform(0.02, 0.95) * statistics.median(durations))
        started = time.perf_counter()
        generation.cancel()
        await generation.ended()
        record.cancel_ms.append((time.perf_counter() - started) * 1000)
        await measure.synchronize(subject.engine)
        record.device_idle_ms.append((time.perf_counter() - started) * 1000)
        advance()


async def _preempt(
    subject: Subject,
    file: SourceFile,
    chat_prompt: tuple[int, ...],
    sizes: EngineSizes,
    randomness: random.Random,
    record: EngineRecord,
    advance: Advance,
) -> None:
    """Type the same keys into two documents, one while the engine is idle, one while a chat is being written.

    The two take turns which is first. Only whole pairs count.
    """
    # Only the first token counts here.
    inline = subject.settings.inline_completion.model_copy(update={"max_tokens": _FEW_TOKENS})
    settings = subject.settings.model_copy(update={"inline_completion": inline})
    completer = InlineCompleter(subject.engine, subject.resident, settings, Journal())
    text = file.text
    begin = text.rfind("\n", 0, int(len(text) * 0.4)) + 1

    async def idle(offset: int) -> float | None:
        return await _first_token(completer, file, text, offset, busy=False)

    async def busy(offset: int) -> float | None:
        chat = _start_chat(subject, chat_prompt)
        try:
            pace = await _writing(chat)
            # At any moment of the chat's steps, not always as one begins.
            await asyncio.sleep(randomness.uniform(0, 2 * pace))
            taken = await _first_token(completer, file, text, offset, busy=True)
            return taken if await _goes_on(chat) else None
        finally:
            chat.cancel()
            await chat.ended()

    try:
        # Each document's first prompt is read here, so that what follows is typing.
        await _first_token(completer, file, text, begin, busy=False)
        await _first_token(completer, file, text, begin, busy=True)
        for attempt in range(sizes.preempt_attempts):
            taken: dict[bool, float | None] = {}
            for is_busy in (attempt % 2 == 0, attempt % 2 == 1):
                await measure.synchronize(subject.engine)
                taken[is_busy] = await (busy if is_busy else idle)(begin + 1 + attempt)
            during, alone = taken[True], taken[False]
            if during is None or alone is None:
                record.n_preempt_not_counted += 1
                continue
            record.busy_first_token_ms.append(during)
            record.idle_first_token_ms.append(alone)
            advance()
            if len(record.busy_first_token_ms) == sizes.preempt_pairs:
                return
    finally:
        completer.close()


def _start_chat(subject: Subject, prompt: tuple[int, ...]) -> Generation:
    """A generation of chat priority without stop tokens: it goes on until it is cancelled."""
    room = subject.completion.model.context_length - len(prompt) - 1
    request = GenerationRequest(
        prompt=prompt,
        max_tokens=min(_NEVER_ENDING, room),
        priority=Priority.INTERACTIVE,
        cache_owner="chat",
    )
    return subject.engine.generate(subject.completion.model, request)


async def _writing(chat: Generation) -> float:
    """Wait until a chat is past its prompt; return the seconds that one token takes."""
    await anext(chat)
    started = time.perf_counter()
    for _ in range(_FIRST_CHAT_TOKENS - 1):
        await anext(chat)
    return (time.perf_counter() - started) / (_FIRST_CHAT_TOKENS - 1)


async def _goes_on(chat: Generation) -> bool:
    """Whether a chat still writes: a token comes that was not there yet."""
    n_missing = chat.stats.generated_tokens - _FIRST_CHAT_TOKENS + 1
    try:
        for _ in range(n_missing):
            await anext(chat)
    except StopAsyncIteration:
        return False
    return True


async def _first_token(
    completer: InlineCompleter, file: SourceFile, text: str, offset: int, *, busy: bool
) -> float | None:
    """Milliseconds to the first token of a completion that a person asks for at ``offset``, what follows left out."""
    line_end = text.find("\n", offset)
    shown = text[:offset] + text[line_end if line_end >= 0 else len(text) :]
    uri = f"file:///bench/{'busy' if busy else 'idle'}/{file.path}"
    document = DocumentSnapshot(uri, None, "python", offset, shown)
    completer.forget(uri)  # an answer that is remembered would need no token
    offer = await completer.offer(InlineCompletionRequest(document, offset, invoked=True))
    return offer.stats.first_token_ms if offer.stats.prompt_tokens else None
