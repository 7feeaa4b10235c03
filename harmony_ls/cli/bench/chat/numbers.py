"""The measurements of ``harmony-ls bench chat``. They say how long things take and judge nothing."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harmony_ls.cli.bench.figures import ratio_of_pairs
from harmony_ls.cli.bench.turns import in_turns
from harmony_ls.engine.generation.request import Sampling
from harmony_ls.engine.measuring import measure
from harmony_ls.errors import UserError
from harmony_ls.events import Usage
from harmony_ls.messages import Conversation, Message, Role
from harmony_ls.prompts.format import Prompt
from harmony_ls.prompts.harmony.markers import markers_of
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Pass
from harmony_ls.session.session import Session
from harmony_ls.settings.models import ChatSettings

__all__ = ["ChatRecord", "ChatSizes", "measure_chat"]

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class ChatSizes:
    """How often each measurement is made, and how much is read and written in it."""

    decode_pairs: int = 7
    decode_tokens: int = 128
    prompt_characters: int = 2_000
    conversations: int = 3
    first_turn_tokens: int = 48
    second_turn_characters: int = 400
    prefill_tokens: int = 2_048
    parsed_tokens: int = 20_000
    parser_runs: int = 5

    @property
    def n_measurements(self) -> int:
        """How many times ``advance`` is called in all."""
        return self.decode_pairs + self.conversations + 2


@dataclass(slots=True)
class ChatRecord:
    """The raw figures of one model; lists that grow, so that an interrupted run leaves what it has.

    Rates are tokens per second. ``turn2`` holds (computed, new) tokens of second turns.
    """

    model: str = ""
    model_type: str = ""
    precision: str = ""
    summary: str = ""
    n_bytes: int = 0
    device: str = ""
    session_rates: list[float] = field(default_factory=list)
    mlx_lm_rates: list[float] = field(default_factory=list)
    turn2: list[tuple[int, int]] = field(default_factory=list)
    prefill_rate: float | None = None
    parser_us: float | None = None

    @property
    def decode_ratio(self) -> float | None:
        """Session / mlx-lm alone, the median of the pairs."""
        return ratio_of_pairs(self.session_rates, self.mlx_lm_rates)

    @property
    def turn2_ratio(self) -> float | None:
        """Computed / new tokens of second turns, the median."""
        return statistics.median(computed / new for computed, new in self.turn2) if self.turn2 else None


async def measure_chat(
    chat_model: ChatModel, text: str, sizes: ChatSizes, record: ChatRecord, advance: Advance
) -> None:
    """Fill ``record``; ``text`` is what is talked about.

    Raises UserError for a model that ends its answers too soon to be timed.
    """
    model = chat_model.model
    record.model, record.model_type = model.name, model.model_type
    record.precision, record.n_bytes = model.precision, model.n_bytes
    record.summary, record.device = chat_model.format.summary, chat_model.engine.device
    await _decode(chat_model, text[: sizes.prompt_characters], sizes, record, advance)
    for index in range(sizes.conversations):
        start = (index + 1) * sizes.prompt_characters
        await _second_turn(chat_model, text[start : start + 2 * sizes.prompt_characters], sizes, record)
        advance()
    record.prefill_rate = await _prefill_rate(chat_model, text, sizes)
    advance()
    record.parser_us = _parser_cost(chat_model, text, sizes)
    advance()


def _session(chat_model: ChatModel, max_tokens: int) -> Session:
    return Session(chat_model, ChatSettings(max_tokens=max_tokens), overrides=Sampling())


async def _turn(session: Session, text: str) -> Usage:
    """Say something and return the usage of the one pass that answers it."""
    usage = Usage()
    async for event in session.turn(text):
        if isinstance(event, Usage):
            usage = event
    return usage


async def _decode(chat_model: ChatModel, text: str, sizes: ChatSizes, record: ChatRecord, advance: Advance) -> None:
    """The same prompt through a session and through mlx-lm alone, alternating, in turns which is first."""
    engine, model, n_tokens = chat_model.engine, chat_model.model, sizes.decode_tokens

    async def ours() -> tuple[int, ...]:
        session = _session(chat_model, n_tokens)
        usage = await _turn(session, text)
        if usage.generated_tokens < n_tokens // 2 or not usage.decode_seconds:
            raise UserError(
                f"{model.name} ended its answer after {usage.generated_tokens} tokens; that is too short to be timed."
            )
        record.session_rates.append((usage.generated_tokens - 1) / usage.decode_seconds)
        assert session.last_pass is not None
        return session.last_pass.prompt.tokens

    async def theirs() -> None:
        record.mlx_lm_rates.append(await measure.mlx_lm_decode_rate(engine, model, prompt, n_tokens))

    prompt = await ours()
    record.session_rates.clear()
    await measure.mlx_lm_decode_rate(engine, model, prompt, 8)
    await in_turns(sizes.decode_pairs, ours, theirs, advance)


async def _second_turn(chat_model: ChatModel, text: str, sizes: ChatSizes, record: ChatRecord) -> None:
    """Two turns of one conversation; what the second computed of what is new in its prompt.

    New is what follows the longest beginning that the prompt shares with the first prompt and its answer, token by
    token: no cache could spare more.
    """
    session = _session(chat_model, sizes.first_turn_tokens)
    await _turn(session, text[: -sizes.second_turn_characters])
    first = session.last_pass
    usage = await _turn(session, text[-sizes.second_turn_characters :])
    second = session.last_pass
    assert first is not None
    assert second is not None
    record.turn2.append((usage.computed_tokens, len(second.prompt.tokens) - _shared(first, second)))


def _shared(first: Pass, second: Pass) -> int:
    seen = (*first.prompt.tokens, *first.generated)
    pairs = zip(seen, second.prompt.tokens, strict=False)
    return next(
        (index for index, (old, new) in enumerate(pairs) if old != new), min(len(seen), len(second.prompt.tokens))
    )


async def _prefill_rate(chat_model: ChatModel, text: str, sizes: ChatSizes) -> float | None:
    """Prompt tokens a second of one prompt that no cache knows."""
    tokenizer = chat_model.model.tokenizer
    n_tokens = min(sizes.prefill_tokens, chat_model.model.context_length - 2)
    # Read from the end, so that it shares no beginning with what was talked about before.
    tokens = tuple(reversed(tokenizer.encode(text)))[:n_tokens]
    return await measure.prefill_rate(chat_model.engine, chat_model.model, tokens) if tokens else None


def _parser_cost(chat_model: ChatModel, text: str, sizes: ChatSizes) -> float:
    """Microseconds that parsing costs a token, events included: an answer of many tokens, the median of some runs."""
    tokenizer = chat_model.model.tokenizer
    words = tokenizer.encode(text)
    answer = (words * (1 + sizes.parsed_tokens // max(1, len(words))))[: sizes.parsed_tokens]
    markers = markers_of(tokenizer)
    if markers is not None:
        half = len(answer) // 2
        opened = [markers.channel, *tokenizer.encode("analysis"), markers.message, *answer[:half], markers.end]
        final = [markers.start, *tokenizer.encode("assistant"), markers.channel, *tokenizer.encode("final")]
        answer = [*opened, *final, markers.message, *answer[half:], markers.return_]
    conversation = Conversation((Message(Role.USER, "Say it."),))
    costs = []
    for _ in range(sizes.parser_runs):
        parser = chat_model.format.parser(Prompt(()), conversation)
        started = time.perf_counter()
        n_events = sum(len(parser.feed(token)) for token in answer)
        seconds = time.perf_counter() - started
        assert n_events
        costs.append(seconds / len(answer) * 1e6)
    return statistics.median(costs)
