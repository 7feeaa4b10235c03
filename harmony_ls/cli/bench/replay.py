"""The replay: real files typed key by key into the real server over stdio, and beside it, on some lines, the rival.

Each key is an incremental change and a request; the next key waits for the answer. What the server did for it, it says
itself (``harmony/inlineCompletion/outcome``). Nothing is summed up here.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from harmony_ls.cli.bench.rival import MlxLmServer, RivalAnswer
from harmony_ls.cli.bench.subject import ModelFacts
from harmony_ls.cli.bench.typing_blocks import Block, Key
from harmony_ls.errors import UserError
from harmony_ls.features.inline.window import PromptWindow
from harmony_ls.lsp.client import EDITOR_CAPABILITIES, LspClient, ServerGoneError
from harmony_ls.settings.models import Settings

__all__ = ["Comparison", "KeyRecord", "choose_compared", "replay", "start_server"]

OUTCOME: Final = "harmony/inlineCompletion/outcome"
_STATUS: Final = "harmony/status"
_SHORTEST_COMPARED = 10
_LOAD_SECONDS = 600
_IDLE_WINDOW_SECONDS = 0.02
_IDLE_PATIENCE_SECONDS = 2.0

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key and what came of it.

    ``client_ms`` is from the change to the answer as the client sees it; ``server_ms`` is the server's own part.
    ``first_token_ms`` counts from the request on the server, None where no token was made for this key.
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
        """Time to the first token as the client sees it; for an answer without the model, to the answer."""
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


async def start_server(client: LspClient, settings: Settings) -> None:
    """Do the handshake as an editor does, with all settings said, so that nobody's own settings change the figures."""
    capabilities = {**EDITOR_CAPABILITIES, "experimental": {"harmonyOutcomes": True}}
    options = settings.model_dump(mode="json", by_alias=True)
    await client.initialize(capabilities=capabilities, options=options, name="harmony-ls bench")


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
            await _model_ready(client)
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
        text, offset = text[:offset] + key.inserted + text[offset:], offset + len(key.inserted)
        started = time.perf_counter()
        client.insert(uri, offset - len(key.inserted), key.inserted)
        prompt = ""
        if comparison is not None:
            prompt = comparison.facts.usual_prompt(window.place(text, offset, comparison.facts.limits))
        if comparison is not None and (number, key.line) in comparison.lines:
            records.append(await _ask_both(client, uri, number, key, offset, prompt, comparison))
        elif not compared_only:
            records.append(await _ask(client, uri, number, key, offset, started))
        next_line = keys[index + 1].line if index + 1 < len(keys) else -1
        if comparison is not None and next_line != key.line and (number, next_line) in comparison.lines:
            # Its prompt cache shall be as warm as if it had been asked at every key before.
            await _ask_rival(comparison, prompt)
        advance()


async def _ask_both(
    client: LspClient, uri: str, number: int, key: Key, offset: int, prompt: str, comparison: Comparison
) -> KeyRecord:
    """Ask both about one key, in turns which comes first; each waits until the other's process is idle."""
    rival_first = key.column % 2 == 1
    answer = None
    if rival_first:
        await _idle(client.process.pid)
        answer = await _ask_rival(comparison, prompt)
    await _idle(comparison.rival.pid)
    record = await _ask(client, uri, number, key, offset, time.perf_counter())
    if answer is None:
        await _idle(client.process.pid)
        answer = await _ask_rival(comparison, prompt)
    return dataclasses.replace(record, rival=answer)


async def _ask(client: LspClient, uri: str, number: int, key: Key, offset: int, started: float) -> KeyRecord:
    """Ask our server; milliseconds count from ``started``, which is before the change was sent."""
    items = await client.inline_completion(uri, client.text(uri).position_at(offset))
    client_ms = (time.perf_counter() - started) * 1000
    outcome = _last_outcome(client, uri)
    stats: dict[str, Any] = outcome["stats"]
    return KeyRecord(
        block=number,
        line=key.line,
        column=key.column,
        inserted=key.inserted,
        outcome=outcome["outcome"],
        detail=outcome["detail"],
        client_ms=client_ms,
        server_ms=stats["total_ms"],
        first_token_ms=stats["first_token_ms"],
        prompt_tokens=stats["prompt_tokens"],
        computed_tokens=stats["computed_prompt_tokens"],
        generated_tokens=stats["generated_tokens"],
        shown=items[0]["insertText"] if items else "",
    )


async def _ask_rival(comparison: Comparison, prompt: str) -> RivalAnswer:
    facts = comparison.facts
    return await comparison.rival.complete(
        prompt, max_tokens=comparison.max_tokens, stop=facts.line_ends, single_line=facts.single_line
    )


def _last_outcome(client: LspClient, uri: str) -> dict[str, Any]:
    for method, params in reversed(client.notifications):
        if method == OUTCOME and params["uri"] == uri:
            client.notifications.clear()
            return dict(params)
    raise ServerGoneError("the server did not say how the completion ended")


async def _model_ready(client: LspClient) -> None:
    def decided(method: str, params: Any) -> bool:
        return method == _STATUS and params["state"] in ("ready", "busy", "error")

    status = await asyncio.wait_for(client.notified(decided), _LOAD_SECONDS)
    if status["state"] == "error":
        raise UserError(status["message"])


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
