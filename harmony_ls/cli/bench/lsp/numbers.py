"""The measurements of ``harmony-ls bench lsp`` but the soak, all made by a client of the real server. They judge
nothing."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.cli.bench.lsp.record import LspRecord, LspSizes, TypingRecord
from harmony_ls.cli.bench.lsp.running_chat import chat_running, parts_noted, question
from harmony_ls.cli.bench.turns import in_turns
from harmony_ls.cli.typist import Answer, press
from harmony_ls.engine.measuring import measure
from harmony_ls.errors import UserError
from harmony_ls.lsp.client import LspClient
from harmony_ls.lsp.documents.text import Position
from harmony_ls.session.chat_model import ChatModel

__all__ = ["measure_chat", "measure_code_actions", "measure_keys", "measure_typing"]

Advance = Callable[[], None]

_REQUEST = "harmony/chat/commands"
"""The smallest request there is: it is looked at after the change before it, so its answer says that one is done."""

_KEYS_APART_SECONDS = 0.02


async def measure_typing(
    client: LspClient,
    deep_client: LspClient,
    uri: str,
    text: str,
    sizes: LspSizes,
    record: LspRecord,
    advance: Advance,
) -> None:
    """Changes of a document: while nothing else is done, while a chat is written, and while one is written by a model
    whose steps are several times as long, on a server of its own. The two chats take turns, block by block.
    """
    randomness = random.Random("changes")
    await _pairs(client, uri, sizes.idle_changes, randomness, record.idle, advance)
    record.change_cpu_ms.append(await _change_cpu_ms(client, uri, sizes.burst_changes, randomness))
    for block in range(sizes.blocks):
        n_pairs = sizes.changes * (block + 1) // sizes.blocks - sizes.changes * block // sizes.blocks
        for asked, into in ((client, record.busy), (deep_client, record.busy_deep)):
            async with chat_running(asked, text) as chat:
                await _pairs(asked, uri, n_pairs, randomness, into, advance)
            if chat.step_ms is not None:
                into.steps_ms.append(chat.step_ms)


async def _pairs(
    client: LspClient, uri: str, n_pairs: int, randomness: random.Random, record: TypingRecord, advance: Advance
) -> None:
    """The request alone and the change with the request behind it, in turns which is first."""
    process = psutil.Process(client.process.pid)

    async def any_moment() -> None:
        # At any moment of the model's steps, not always as one begins.
        await asyncio.sleep(randomness.uniform(0, _KEYS_APART_SECONDS))

    async def change() -> None:
        await any_moment()
        record.change_ms.append(await _change(client, uri, randomness))

    async def request() -> None:
        await any_moment()
        record.request_ms.append(await _timed(client, _REQUEST, {}))

    started, cpu_before = time.perf_counter(), _cpu_seconds(process)
    await in_turns(n_pairs, change, request, advance)
    record.cpu_seconds += _cpu_seconds(process) - cpu_before
    record.seconds += time.perf_counter() - started


async def _change_cpu_ms(client: LspClient, uri: str, n_changes: int, randomness: random.Random) -> float:
    """Milliseconds of the server's processor for one of many changes that come in a row."""
    process = psutil.Process(client.process.pid)
    before = _cpu_seconds(process)
    for _ in range(n_changes):
        place = _anywhere(client, uri, randomness)
        client.change(uri, place, place, "x")
    await client.request(_REQUEST, {})
    return (_cpu_seconds(process) - before) * 1000 / n_changes


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
    """The tokens of a chat as the client gets them, and mlx-lm alone, alternating, in turns which is first.

    ``chat_model`` is the model of the chat in this process. Each token of its answers is a part of its own, so that
    the client can count them: raises UserError where it is not.
    """
    engine, model = chat_model.engine, chat_model.model

    async def ours() -> int:
        usage, times = await _whole_turn(client, text[: 2 * sizes.decode_tokens])
        n_tokens = int(usage["generatedTokens"])
        if len(times) != n_tokens or n_tokens < 2:
            raise UserError(f"{len(times)} parts of a chat came for {n_tokens} tokens, so that they cannot be timed.")
        record.chat_rates.append((n_tokens - 1) / (times[-1] - times[0]))
        return int(usage["promptTokens"])

    n_prompt = await ours()
    record.chat_rates.clear()
    tokens = tuple(model.tokenizer.encode(text))
    prompt = (tokens * (1 + n_prompt // len(tokens)))[:n_prompt]

    async def theirs() -> None:
        rate = await measure.mlx_lm_decode_rate(engine, model, prompt, sizes.decode_tokens)
        record.mlx_lm_rates.append(rate)

    await measure.mlx_lm_decode_rate(engine, model, prompt, 8)
    await in_turns(sizes.decode_pairs, ours, theirs, advance)


async def measure_keys(client: LspClient, text: str, sizes: LspSizes, record: LspRecord, advance: Advance) -> None:
    """The same keys typed into two documents: one while nothing else is done, one while a chat calls tool after tool.

    They take turns which is first. A key comes at a random moment between two answers of the tools: while the model
    writes a call, while the patch is applied by the client, or while the model reads what came of it.
    """
    randomness = random.Random("keys")
    start = text.rfind("\n", 0, len(text) // 2) + 1
    documents = {is_busy: f"file:///bench/{'busy' if is_busy else 'idle'}.py" for is_busy in (False, True)}
    for uri in documents.values():
        client.open(uri, text[:start])
        await press(client, uri, start, "#")  # the document's first prompt is read here; what follows is typing

    async def busy(offset: int, key: str) -> Answer:
        async with chat_running(client, text) as chat:
            began = time.perf_counter()
            await chat.until(lambda: bool(chat.result_times))
            await asyncio.sleep(randomness.uniform(0, chat.result_times[0] - began))
            answer = await press(client, documents[True], offset, key)
            record.n_tool_calls += len(chat.result_times)
        return answer

    for number, key in enumerate(text[start : start + 2 * sizes.keys]):
        if len(record.busy_key_ms) >= sizes.keys:
            return
        offset = start + 1 + number
        answers: dict[bool, Answer] = {}
        for is_busy in (number % 2 == 0, number % 2 == 1):
            answers[is_busy] = await (busy(offset, key) if is_busy else press(client, documents[False], offset, key))
        # Only keys that both asked the model tell of it.
        if all(answer.stats["prompt_tokens"] for answer in answers.values()):
            record.idle_key_ms.append(answers[False].client_ms)
            record.busy_key_ms.append(answers[True].client_ms)
            advance()


async def _whole_turn(client: LspClient, text: str) -> tuple[dict[str, Any], list[float]]:
    """One turn in a session of its own: its usage, and the moments at which its parts came."""
    times: list[float] = []

    def note(kind: str) -> None:
        if kind in ("text", "reasoning"):
            times.append(time.perf_counter())

    with parts_noted(client, note):
        result = await client.request("harmony/chat", question(text))
    await client.request("harmony/chat/delete", {"sessionId": result["sessionId"]})
    return result["usage"], times


def _anywhere(client: LspClient, uri: str, randomness: random.Random) -> Position:
    """The beginning of some line of the document."""
    return Position(randomness.randrange(client.text(uri).n_lines), 0)


async def _change(client: LspClient, uri: str, randomness: random.Random) -> float:
    """A key, and the request behind it."""
    place = _anywhere(client, uri, randomness)
    started = time.perf_counter()
    client.change(uri, place, place, "x")
    await client.request(_REQUEST, {})
    return (time.perf_counter() - started) * 1000


async def _timed(client: LspClient, method: str, params: object) -> float:
    started = time.perf_counter()
    await client.request(method, params)
    return (time.perf_counter() - started) * 1000


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _code_action(uri: str, line: int, n_lines: int) -> dict[str, Any]:
    """A question for code actions on a few lines, with a diagnostic on the first."""
    end = min(line + 5, n_lines - 1)
    places = {"start": {"line": line, "character": 0}, "end": {"line": end, "character": 0}}
    diagnostic = {"range": places, "severity": 1, "source": "bench", "message": "something is wrong"}
    return {"textDocument": {"uri": uri}, "range": places, "context": {"diagnostics": [diagnostic], "triggerKind": 1}}
