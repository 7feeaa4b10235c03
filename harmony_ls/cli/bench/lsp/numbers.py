"""The measurements of ``harmony-ls bench lsp``, all made by a client of the real server. They judge nothing."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from harmony_ls.cli.typist import press
from harmony_ls.engine import measure
from harmony_ls.errors import UserError
from harmony_ls.lsp.client import LspClient
from harmony_ls.lsp.documents.text import Position
from harmony_ls.session.chat_model import ChatModel

__all__ = ["LspRecord", "LspSizes", "measure_chat", "measure_code_actions", "measure_keys", "measure_typing"]

Advance = Callable[[], None]

_BARRIER = "harmony/chat/commands"
"""The smallest request there is: it is looked at after the change before it, so its answer says that one is done."""

_PROMPT = "Go on with this text.\n\n"
_KEYS_APART_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class LspSizes:
    """How often each measurement is made, and how much is written in it."""

    changes: int = 600
    code_actions: int = 200
    decode_pairs: int = 5
    decode_tokens: int = 128
    keys: int = 40
    requests: int = 20_000
    warm_up: int = 4_000


@dataclass(slots=True)
class LspRecord:
    """The raw figures; lists that grow, so that an interrupted run leaves what it has. Times are in milliseconds.

    ``barrier_ms`` is what the small request costs alone: ``change_ms`` holds it too. ``resident_bytes`` were taken
    evenly over the requests of the soak, after its warm-up. ``n_surplus`` counts answers beyond the first to a request.
    """

    barrier_ms: list[float] = field(default_factory=list)
    idle_change_ms: list[float] = field(default_factory=list)
    change_ms: list[float] = field(default_factory=list)
    token_ms: list[float] = field(default_factory=list)
    code_action_ms: list[float] = field(default_factory=list)
    chat_rates: list[float] = field(default_factory=list)
    mlx_lm_rates: list[float] = field(default_factory=list)
    idle_key_ms: list[float] = field(default_factory=list)
    busy_key_ms: list[float] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    n_requests: int = 0
    n_unanswered: int = 0
    n_surplus: int = 0


async def measure_typing(client: LspClient, uri: str, text: str, sizes: LspSizes, record: LspRecord) -> None:
    """Changes of a document, each to the answer of the request behind it: alone, idle, and while a chat is written."""
    randomness = random.Random("changes")
    for _ in range(sizes.changes // 4):
        record.barrier_ms.append(await _timed(client, _BARRIER, {}))
    for _ in range(sizes.changes // 4):
        record.idle_change_ms.append(await _change(client, uri, randomness))
    async with chat_running(client, text) as chat:
        for _ in range(sizes.changes):
            # At any moment of the model's steps, not always as one begins.
            await asyncio.sleep(randomness.uniform(0, _KEYS_APART_SECONDS))
            record.change_ms.append(await _change(client, uri, randomness))
        record.token_ms += chat.gaps_ms


async def measure_code_actions(client: LspClient, uri: str, sizes: LspSizes, record: LspRecord) -> None:
    """The list of code actions for selections all over the document."""
    randomness = random.Random("code actions")
    n_lines = client.text(uri).n_lines
    for _ in range(sizes.code_actions):
        line = randomness.randrange(n_lines)
        record.code_action_ms.append(await _timed(client, "textDocument/codeAction", _code_action(uri, line, n_lines)))


async def measure_chat(
    client: LspClient, chat_model: ChatModel, text: str, sizes: LspSizes, record: LspRecord, advance: Advance
) -> None:
    """The tokens of a chat as the client gets them, and mlx-lm alone, alternating, in turns which is first."""
    engine, model = chat_model.engine, chat_model.model

    async def ours() -> int:
        usage, seconds = await _whole_turn(client, text[: 2 * sizes.decode_tokens])
        n_tokens = int(usage["generatedTokens"])
        if n_tokens < sizes.decode_tokens // 2:
            raise UserError(f"The model ended its answer after {n_tokens} tokens; that is too short to be timed.")
        record.chat_rates.append((n_tokens - 1) / seconds)
        return int(usage["promptTokens"])

    n_prompt = await ours()
    record.chat_rates.clear()
    tokens = tuple(model.tokenizer.encode(text))
    prompt = (tokens * (1 + n_prompt // len(tokens)))[:n_prompt]

    async def theirs() -> None:
        rate = await measure.mlx_lm_decode_rate(engine, model, prompt, sizes.decode_tokens)
        record.mlx_lm_rates.append(rate)

    await measure.mlx_lm_decode_rate(engine, model, prompt, 8)
    for pair in range(sizes.decode_pairs):
        for is_ours in (pair % 2 == 0, pair % 2 == 1):
            await (ours() if is_ours else theirs())
        advance()


async def measure_keys(client: LspClient, text: str, sizes: LspSizes, record: LspRecord, advance: Advance) -> None:
    """The same keys typed into two documents, one while nothing else is done, one while a chat is written."""
    start = text.rfind("\n", 0, len(text) // 2) + 1
    documents = {is_busy: f"file:///bench/{'busy' if is_busy else 'idle'}.py" for is_busy in (False, True)}
    for uri in documents.values():
        client.open(uri, text[:start])
        await press(client, uri, start, "#")  # the document's first prompt is read here; what follows is typing
    offset = start + 1
    for key in text[start : start + 2 * sizes.keys]:
        if len(record.busy_key_ms) >= sizes.keys:
            return
        alone = await press(client, documents[False], offset, key)
        async with chat_running(client, text) as chat:
            await chat.written(2)
            during = await press(client, documents[True], offset, key)
        offset += 1
        # Only keys that both asked the model tell of it.
        if alone.stats["prompt_tokens"] and during.stats["prompt_tokens"]:
            record.idle_key_ms.append(alone.client_ms)
            record.busy_key_ms.append(during.client_ms)
            advance()


class _RunningChat:
    """A turn that goes on until it is cancelled; ``gaps_ms`` are the times between its parts."""

    def __init__(self) -> None:
        self.gaps_ms: list[float] = []
        self._n_parts = 0
        self._last = 0.0
        self._more = asyncio.Event()

    def note(self) -> None:
        """A part has come."""
        now = time.perf_counter()
        if self._n_parts:
            self.gaps_ms.append((now - self._last) * 1000)
        self._n_parts, self._last = self._n_parts + 1, now
        self._more.set()

    async def written(self, n_more: int) -> None:
        """Wait until so many more parts have come."""
        target = self._n_parts + n_more
        while self._n_parts < target:
            self._more.clear()
            await self._more.wait()


@asynccontextmanager
async def chat_running(client: LspClient, text: str) -> AsyncIterator[_RunningChat]:
    """A chat that is being written while the block runs. Raises UserError where it ends before."""
    chat = _RunningChat()
    before = client.on_notification

    def note(method: str, params: Any) -> None:
        if method == "harmony/chat/delta" and params["token"] == "bench" and params["part"]["kind"] != "usage":
            chat.note()
        before(method, params)

    client.on_notification = note
    number = client.send_request("harmony/chat", {"token": "bench", "text": _PROMPT + text[:500]})
    answer = asyncio.ensure_future(client.answer(number))
    try:
        first = asyncio.ensure_future(chat.written(1))
        await asyncio.wait({first, answer}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if answer.done():
            answer.result()
            raise UserError("The chat ended before it was measured.")
        yield chat
        if answer.done():
            raise UserError("The chat ended while it was measured; choose a model that writes more.")
    finally:
        client.cancel(number)
        client.on_notification = before
        await asyncio.gather(answer, return_exceptions=True)


async def _whole_turn(client: LspClient, text: str) -> tuple[dict[str, Any], float]:
    """One turn in a session of its own: its usage, and the seconds from its first part to its last."""
    times: list[float] = []
    before = client.on_notification

    def note(method: str, params: Any) -> None:
        if method == "harmony/chat/delta" and params["part"]["kind"] in ("text", "reasoning"):
            times.append(time.perf_counter())
        before(method, params)

    client.on_notification = note
    try:
        result = await client.request("harmony/chat", {"token": "bench", "text": _PROMPT + text})
    finally:
        client.on_notification = before
    await client.request("harmony/chat/delete", {"sessionId": result["sessionId"]})
    if len(times) < 2:
        raise UserError("The chat ended before it could be timed.")
    return result["usage"], times[-1] - times[0]


async def _change(client: LspClient, uri: str, randomness: random.Random) -> float:
    """A key somewhere in the document, and the request behind it."""
    started = time.perf_counter()
    line = randomness.randrange(client.text(uri).n_lines)
    client.change(uri, Position(line, 0), Position(line, 0), "x")
    await client.request(_BARRIER, {})
    return (time.perf_counter() - started) * 1000


async def _timed(client: LspClient, method: str, params: object) -> float:
    started = time.perf_counter()
    await client.request(method, params)
    return (time.perf_counter() - started) * 1000


def _code_action(uri: str, line: int, n_lines: int) -> dict[str, Any]:
    """A question for code actions on a few lines, with a diagnostic on the first."""
    end = min(line + 5, n_lines - 1)
    places = {"start": {"line": line, "character": 0}, "end": {"line": end, "character": 0}}
    diagnostic = {"range": places, "severity": 1, "source": "bench", "message": "something is wrong"}
    return {"textDocument": {"uri": uri}, "range": places, "context": {"diagnostics": [diagnostic], "triggerKind": 1}}
