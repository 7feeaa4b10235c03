"""Chats as the client that asked for them sees them: their parts as they come, and one that is written while something
else is measured."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from harmony_ls.errors import UserError
from harmony_ls.lsp.client import LspClient

__all__ = ["RunningChat", "chat_running", "parts_noted", "question"]

_TOKEN = "bench"
_QUESTION_CHARACTERS = 500


class RunningChat:
    """A turn that goes on until it is cancelled.

    ``n_parts`` counts what was written of it so far, ``result_times`` are the moments (`time.perf_counter`) at which
    its tools had answered. ``step_ms`` is the mean length of the model's steps, known once the turn has ended.
    """

    def __init__(self, answer: "asyncio.Future[Any]") -> None:
        self.n_parts = 0
        self.result_times: list[float] = []
        self.step_ms: float | None = None
        self._answer = answer
        self._more = asyncio.Event()

    def note(self, kind: str) -> None:
        """A part has come."""
        if kind == "toolResult":
            self.result_times.append(time.perf_counter())
        elif kind in ("text", "reasoning", "toolCall"):
            self.n_parts += 1
        self._more.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds, which is looked at with each part. Raises UserError where the chat ends before,
        and what its request was answered with where that is an error."""
        while not condition():
            self._more.clear()
            more = asyncio.ensure_future(self._more.wait())
            await asyncio.wait({more, self._answer}, return_when=asyncio.FIRST_COMPLETED)
            more.cancel()
            self.refuse_ended()

    def refuse_ended(self) -> None:
        """Raise UserError where the chat has ended."""
        if self._answer.done():
            self._answer.result()
            raise UserError("The chat ended while something was measured beside it.")


def question(text: str) -> dict[str, str]:
    """The parameters of a turn in a new session that goes on with a text."""
    return {"token": _TOKEN, "text": f"Go on with this text.\n\n{text}"}


@contextmanager
def parts_noted(client: LspClient, note: Callable[[str], None]) -> Iterator[None]:
    """Have the kind of each part of a `question`'s answer noted as it comes, while the block runs."""
    before = client.on_notification

    def on_notification(method: str, params: Any) -> None:
        if method == "harmony/chat/delta" and params["token"] == _TOKEN:
            note(params["part"]["kind"])
        before(method, params)

    client.on_notification = on_notification
    try:
        yield
    finally:
        client.on_notification = before


@asynccontextmanager
async def chat_running(client: LspClient, text: str) -> AsyncIterator[RunningChat]:
    """A chat, in a session of its own, that is being written while the block runs; it is cancelled and deleted at the
    end. Raises UserError where it ends before the block does."""
    number = client.send_request("harmony/chat", question(text[:_QUESTION_CHARACTERS]))
    answer = asyncio.ensure_future(client.answer(number))
    chat = RunningChat(answer)
    try:
        with parts_noted(client, chat.note):
            await chat.until(lambda: chat.n_parts > 0)
            yield chat
            chat.refuse_ended()
    finally:
        client.cancel(number)
        await asyncio.gather(answer, return_exceptions=True)
        if not answer.cancelled() and answer.exception() is None:
            usage = answer.result()["usage"]
            chat.step_ms = usage["decodeSeconds"] * 1000 / max(1, usage["generatedTokens"] - 1)
            await client.request("harmony/chat/delete", {"sessionId": answer.result()["sessionId"]})
