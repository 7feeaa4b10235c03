"""The replay: real files typed key by key into the real server over stdio, and beside it, on some lines, the rival.

Each key is an incremental change and a request; the next key waits for the answer. No suggestion is ever accepted: all
is typed through. What the server did for a key, it says itself. Nothing is summed up here.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from harmony_ls.cli.bench.inline.rival import MlxLmServer, RivalAnswer
from harmony_ls.cli.bench.inline.subject import ModelFacts
from harmony_ls.cli.bench.inline.typing_blocks import Block, Key
from harmony_ls.cli.typist import model_ready, press
from harmony_ls.features.inline.window import PromptWindow
from harmony_ls.lsp.client import LspClient

__all__ = ["Comparison", "KeyRecord", "choose_compared", "replay"]

_SHORTEST_COMPARED = 10
_IDLE_WINDOW_SECONDS = 0.02
_IDLE_PATIENCE_SECONDS = 2.0

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key and what came of it.

    ``client_ms`` is from before the change is sent to the answer as the client sees it; ``server_ms`` is the server's
    own part. ``first_token_ms`` counts from the request on the server to the first token that adds to what was typed
    or ends the answer; None where none was made for this key.
    """

    block: int
    line: int
    column: int
    inserted: str
    outcome: str
    detail: str
    client_ms: float
    server_ms: float
    first_token_ms: float | None
    prompt_tokens: int
    computed_tokens: int
    generated_tokens: int
    shown: str
    rival: RivalAnswer | None = None

    @property
    def used_model(self) -> bool:
        """Whether a generation was started for this key."""
        return self.prompt_tokens > 0

    @property
    def client_first_token_ms(self) -> float:
        """The server's time to the first token, and the time that this key spent outside the server.

        LSP sends one answer, so no client sees a first token. Where none was made for this key, it is the whole time:
        to an answer without the model, or to the deadline.
        """
        if self.first_token_ms is None:
            return self.client_ms
        return self.client_ms - self.server_ms + self.first_token_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which typed lines (block, line) the rival is asked about too, and how."""

    rival: MlxLmServer
    facts: ModelFacts
    max_tokens: int
    lines: frozenset[tuple[int, int]]


def choose_compared(blocks: Sequence[Block], n_lines: int) -> frozenset[tuple[int, int]]:
    """Lines for the comparison, spread evenly over all that is typed; blank and very short ones are passed over."""
    long_enough = [
        (number, line)
        for number, block in enumerate(blocks)
        for line, text in enumerate(block.lines)
        if len(text.strip()) >= _SHORTEST_COMPARED
    ]
    n_chosen = min(n_lines, len(long_enough))
    return frozenset(long_enough[(2 * index + 1) * len(long_enough) // (2 * n_chosen)] for index in range(n_chosen))


async def replay(
    client: LspClient,
    blocks: Sequence[Block],
    records: list[KeyRecord],
    advance: Advance,
    comparison: Comparison | None = None,
    *,
    compared_only: bool = False,
) -> None:
    """Type the blocks. ``records`` grows key by key, so that an interrupted replay leaves what it has.

    With ``compared_only`` the lines outside the comparison are inserted at once and nothing is asked about them.
    Raises UserError when the model cannot be loaded.
    """
    for number, block in enumerate(blocks):
        uri = f"file:///bench/{number}/{block.file.package}/{block.file.path}"
        client.open(uri, block.text_without)
        if number == 0:
            await model_ready(client)
        await _type_block(client, uri, number, block, records, advance, comparison, compared_only)
        client.close_document(uri)


async def _type_block(
    client: LspClient,
    uri: str,
    number: int,
    block: Block,
    records: list[KeyRecord],
    advance: Advance,
    comparison: Comparison | None,
    compared_only: bool,
) -> None:
    text, offset = block.text_without, block.offset
    window = PromptWindow()
    keys = list(block.keystrokes())
    for index, key in enumerate(keys):
        start = offset
        text, offset = text[:start] + key.inserted + text[start:], start + len(key.inserted)
        prompt = ""
        if comparison is not None:
            prompt = comparison.facts.usual_prompt(window.place(text, offset, comparison.facts.limits))
        if comparison is not None and (number, key.line) in comparison.lines:
            records.append(await _ask_both(client, uri, number, key, start, prompt, comparison))
        elif compared_only:
            client.insert(uri, start, key.inserted)
        else:
            records.append(await _ask(client, uri, number, key, start))
        next_line = keys[index + 1].line if index + 1 < len(keys) else -1
        if comparison is not None and next_line != key.line and (number, next_line) in comparison.lines:
            # Its prompt cache shall be as warm as if it had been asked at every key before.
            await _ask_rival(comparison, prompt)
        advance()


async def _ask_both(
    client: LspClient, uri: str, number: int, key: Key, start: int, prompt: str, comparison: Comparison
) -> KeyRecord:
    """Ask both about one key, in turns which comes first; each waits until the other's process is idle."""
    rival_first = key.column % 2 == 1
    answer = None
    if rival_first:
        await _idle(client.process.pid)
        answer = await _ask_rival(comparison, prompt)
    await _idle(comparison.rival.pid)
    record = await _ask(client, uri, number, key, start)
    if answer is None:
        await _idle(client.process.pid)
        answer = await _ask_rival(comparison, prompt)
    return dataclasses.replace(record, rival=answer)


async def _ask(client: LspClient, uri: str, number: int, key: Key, start: int) -> KeyRecord:
    """Press the key in our server: change and request are both timed."""
    answer = await press(client, uri, start, key.inserted)
    return KeyRecord(
        block=number,
        line=key.line,
        column=key.column,
        inserted=key.inserted,
        outcome=answer.outcome,
        detail=answer.detail,
        client_ms=answer.client_ms,
        server_ms=answer.stats["total_ms"],
        first_token_ms=answer.stats["first_token_ms"],
        prompt_tokens=answer.stats["prompt_tokens"],
        computed_tokens=answer.stats["computed_prompt_tokens"],
        generated_tokens=answer.stats["generated_tokens"],
        shown=answer.shown,
    )


async def _ask_rival(comparison: Comparison, prompt: str) -> RivalAnswer:
    facts = comparison.facts
    return await comparison.rival.complete(
        prompt, max_tokens=comparison.max_tokens, stop=facts.line_ends, single_line=facts.single_line
    )


async def _idle(pid: int | None) -> None:
    """Wait until a process uses no processor time: what it still winds up would slow the other one down."""
    if pid is None:
        return
    process = psutil.Process(pid)
    deadline = time.monotonic() + _IDLE_PATIENCE_SECONDS
    used = -1.0
    while time.monotonic() < deadline:
        times = process.cpu_times()
        if times.user + times.system == used:
            return
        used = times.user + times.system
        await asyncio.sleep(_IDLE_WINDOW_SECONDS)
