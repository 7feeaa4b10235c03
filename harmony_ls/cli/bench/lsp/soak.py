"""The soak: thousands of mixed requests, several at a time, as hours of an editor would bring them.

Memory is sampled on the way; every request must be answered, and once. It judges nothing.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.cli.bench.lsp.numbers import LspRecord, LspSizes
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.lsp.documents.text import Position

__all__ = ["soak"]

_N_AT_ONCE = 4
_N_DOCUMENTS = 6
_N_SAMPLES = 60
_PATIENCE_SECONDS = 120.0

_Request = Callable[[], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _Editor:
    """A client that does at random what a person does in an editor."""

    client: LspClient
    text: str
    randomness: random.Random
    opened: list[str] = field(default_factory=list)
    n_opened: int = 0
    n_turns: int = 0

    def next_request(self) -> _Request:
        """Change a document a little, and choose what to ask."""
        uri = self._a_document()
        line = self.randomness.randrange(self.client.text(uri).n_lines)
        place = Position(line, 0)
        self.client.change(uri, place, place, self.randomness.choice(("x", "ab = 1\n", "")))
        kind = self.randomness.choices(
            ("completion", "cancelled completion", "actions", "commands", "sessions", "doctor", "unknown", "chat",
             "cancelled chat"),
            (40, 10, 20, 10, 2, 2, 1, 1, 1),
        )[0]  # fmt: skip
        wire = {"line": line, "character": 0}
        place_of = {"textDocument": {"uri": uri}, "position": wire}
        match kind:
            case "completion" | "cancelled completion":
                params = place_of | {"context": {"triggerKind": 1}}
                return self._sent("textDocument/inlineCompletion", params, is_cancelled=kind != "completion")
            case "actions":
                params = {
                    "textDocument": {"uri": uri},
                    "range": {"start": wire, "end": wire},
                    "context": {"diagnostics": []},
                }
                return self._sent("textDocument/codeAction", params)
            case "commands" | "sessions":
                return self._sent(f"harmony/chat/{kind}", {})
            case "doctor":
                return self._sent("harmony/doctor", {})
            case "unknown":
                return self._sent("textDocument/unknown", {})
            case _:
                return self._chat(is_cancelled=kind != "chat")

    def _a_document(self) -> str:
        """An open document; some are closed on the way and others opened."""
        if len(self.opened) < _N_DOCUMENTS or self.randomness.random() < 0.01:
            if len(self.opened) >= _N_DOCUMENTS:
                self.client.close_document(self.opened.pop(0))
            self.n_opened += 1
            self.opened.append(f"file:///soak/{self.n_opened}.py")
            self.client.open(self.opened[-1], self.text)
        return self.randomness.choice(self.opened)

    def _sent(self, method: str, params: object, *, is_cancelled: bool = False) -> _Request:
        """Send at once, so that the order is the order of the choices; the result waits for the answer."""
        number = self.client.send_request(method, params)
        if is_cancelled:
            self.client.cancel(number)
        return lambda: self.client.answer(number)

    def _chat(self, *, is_cancelled: bool) -> _Request:
        self.n_turns += 1
        params = {"token": f"soak {self.n_turns}", "text": self.text[:200]}
        sent = self._sent("harmony/chat", params, is_cancelled=is_cancelled)

        async def turn() -> None:
            result = await sent()
            await self.client.request("harmony/chat/delete", {"sessionId": result["sessionId"]})

        return turn


async def soak(
    client: LspClient, text: str, sizes: LspSizes, record: LspRecord, advance: Callable[[int], None]
) -> None:
    """Send ``sizes.requests`` after ``sizes.warm_up``, a few at a time. ``advance`` hears how many were answered.

    Raises ServerGoneError where the server does not live through it.
    """
    editor = _Editor(client, text, random.Random("soak"))
    process = psutil.Process(client.process.pid)
    n_all = sizes.warm_up + sizes.requests
    every = max(1, sizes.requests // _N_SAMPLES)
    waiting: set[asyncio.Task[None]] = set()

    async def wait_for(request: _Request) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                with contextlib.suppress(ResponseError):  # an error is an answer
                    await request()
        except TimeoutError:
            record.n_unanswered += 1
        except ServerGoneError:
            record.n_unanswered += 1
            raise

    for number in range(n_all):
        waiting.add(asyncio.create_task(wait_for(editor.next_request())))
        if len(waiting) >= _N_AT_ONCE:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            _raise_from(done)
        record.n_requests += 1
        client.notifications.clear()
        if number >= sizes.warm_up and (number - sizes.warm_up) % every == 0:
            record.resident_bytes.append(_resident_bytes(process))
        if number % 500 == 0:
            advance(number)
    if waiting:
        done, _ = await asyncio.wait(waiting)
        _raise_from(done)
    # The answer to a last request comes behind whatever was answered twice.
    await client.request("harmony/chat/commands", {})
    record.n_surplus = len(client.surplus)


def _raise_from(done: set[asyncio.Task[None]]) -> None:
    """Raise what ended a task."""
    for task in done:
        task.result()


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error as error:
        raise ServerGoneError("the server has ended") from error
