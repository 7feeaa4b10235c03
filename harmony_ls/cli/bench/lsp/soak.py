"""The soak: thousands of mixed requests, several at a time, as hours of an editor would bring them.

Completions and lists of code actions, as they come while a person types, are most of it; among them are code actions
that are carried out, whole chats whose model calls a tool, with the questions and the edits that come of it, sessions
that are listed, opened, forked and deleted, requests that are cancelled, and requests that there are not. Memory is
sampled on the way; every request must be answered, and once. It judges nothing.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.cli.bench.lsp.editing import EditingHand
from harmony_ls.cli.bench.lsp.record import LspRecord, LspSizes
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.lsp.documents.text import Position

__all__ = ["soak"]

_N_AT_ONCE = 4
_N_DOCUMENTS = 6
_DOCUMENT_CHARACTERS = (4_000, 4_000, 20_000, 100_000)
_N_SAMPLES = 60
_PATIENCE_SECONDS = 120.0

_Request = Callable[[], Awaitable[Any]]

_MIX = {
    "completion": 40,
    "cancelled completion": 10,
    "actions": 20,
    "resolved action": 2,
    "cancelled action": 1,
    "commands": 8,
    "sessions": 3,
    "doctor": 2,
    "unknown": 1,
    "chat": 1,
    "cancelled chat": 1,
}
"""How often each kind is chosen, in proportion."""


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
        [kind] = self.randomness.choices(list(_MIX), list(_MIX.values()))
        wire = {"line": line, "character": 0}
        place_of = {"textDocument": {"uri": uri}, "position": wire}
        match kind:
            case "completion" | "cancelled completion":
                params = place_of | {"context": {"triggerKind": 1}}
                return self._sent("textDocument/inlineCompletion", params, is_cancelled=kind != "completion")
            case "actions":
                return self._sent("textDocument/codeAction", self._actions(uri, line))
            case "resolved action" | "cancelled action":
                return self._action(uri, line, is_cancelled=kind != "resolved action")
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
            self.client.open(self.opened[-1], self.text[: self.randomness.choice(_DOCUMENT_CHARACTERS)])
        return self.randomness.choice(self.opened)

    def _sent(self, method: str, params: object, *, is_cancelled: bool = False) -> _Request:
        """Send at once, so that the order is the order of the choices; the result waits for the answer."""
        number = self.client.send_request(method, params)
        if is_cancelled:
            self.client.cancel(number)
        return lambda: self.client.answer(number)

    def _actions(self, uri: str, line: int) -> dict[str, Any]:
        """A question for the code actions at a line that has a diagnostic."""
        place = {"start": {"line": line, "character": 0}, "end": {"line": line, "character": 0}}
        context = {"diagnostics": [{"range": place, "severity": 1, "message": "something is wrong"}], "triggerKind": 1}
        return {"textDocument": {"uri": uri}, "range": place, "context": context}

    def _action(self, uri: str, line: int, *, is_cancelled: bool) -> _Request:
        """One of the actions at a place, carried out by the model."""
        listed = self._sent("textDocument/codeAction", self._actions(uri, line))

        async def resolve() -> None:
            actions = [action for action in await listed() if action.get("data") is not None]
            if actions:
                action = self.randomness.choice(actions)
                await self._sent("codeAction/resolve", action, is_cancelled=is_cancelled)()

        return resolve

    def _chat(self, *, is_cancelled: bool) -> _Request:
        """A turn in a new session; what is kept of it is opened, goes on in a fork, and is deleted."""
        self.n_turns += 1
        token = f"soak {self.n_turns}"
        line = self.randomness.randrange(self.client.text(self.opened[0]).n_lines)
        lines = {"start": {"line": line, "character": 0}, "end": {"line": line + 20, "character": 0}}
        attached = {"kind": "selection", "uri": self.opened[0], "range": lines}
        params = {"token": token, "text": self.text[:200], "attachments": [attached] if self.n_turns % 2 else []}
        sent = self._sent("harmony/chat", params, is_cancelled=is_cancelled)

        async def turn() -> None:
            session = {"sessionId": (await sent())["sessionId"]}
            await self.client.request("harmony/chat/open", session)
            fork = await self.client.request("harmony/chat/fork", session)
            await self.client.request("harmony/chat/delete", session)
            forked = {"sessionId": fork["sessionId"]}
            await self.client.request("harmony/chat", {"token": f"{token} fork", "text": "Go on.", **forked})
            await self.client.request("harmony/chat/delete", forked)

        return turn


async def soak(client: LspClient, text: str, sizes: LspSizes, record: LspRecord, advance: Callable[[], None]) -> None:
    """Send ``sizes.requests`` after ``sizes.warm_up``, a few at a time; what follows upon one of them is not counted.

    Raises ServerGoneError where the server does not live through it.
    """
    randomness = random.Random("soak")
    editor = _Editor(client, text, randomness)
    hand = EditingHand(client, lambda titles: randomness.choice((*titles, None)))
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
        advance()
    if waiting:
        done, _ = await asyncio.wait(waiting)
        _raise_from(done)
    # The answer to a last request comes behind whatever was answered twice.
    await client.request("harmony/chat/commands", {})
    record.n_surplus = len(client.surplus)
    record.n_edits = hand.n_edits


def _raise_from(done: set[asyncio.Task[None]]) -> None:
    """Raise what ended a task."""
    for task in done:
        task.result()


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error as error:
        raise ServerGoneError("the server has ended") from error
