"""Talking to the server, as the chat of an editor does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lsp.peer import Peer, handshake, starting

__all__ = ["Turn", "chatting", "say"]

PATIENCE = 60.0


@dataclass
class Turn:
    """What came of one request: its deltas, then its result or error."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        assert "result" in self.answer, self.answer
        result: dict[str, Any] = self.answer["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        assert "error" in self.answer, self.answer
        error: dict[str, Any] = self.answer["error"]
        return error

    @property
    def text(self) -> str:
        return self.joined("text")

    def joined(self, kind: str) -> str:
        return "".join(part["text"] for part in self.parts if part["kind"] == kind)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["kind"] == kind]


@asynccontextmanager
async def chatting(model: Path, state: Path, folder: Path | None = None, **options: Any) -> AsyncIterator[Peer]:
    """A server whose chat model is ``model``, and which keeps its conversations below ``state``."""
    environment = {"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state / "config")}
    settings = {"chat": {"model": str(model), "temperature": 0}, **options.pop("settings", {})}
    async with starting("--trust-remote-code", environment=environment) as peer:
        await handshake(peer, folder=folder, options=settings, **options)
        yield peer


async def say(
    peer: Peer, text: str, *, until: Callable[[Turn], bool] = lambda _turn: False, cancel: bool = False, **params: Any
) -> Turn:
    """Say something and wait for the answer; with ``cancel``, end the turn once ``until`` is true of it."""
    token = f"turn {len(peer.received)}"
    turn = Turn()
    number = peer.send_request("harmony/chat", {"token": token, "text": text, **params})
    n_seen, is_cancelled = 0, False
    async with asyncio.timeout(PATIENCE):
        while True:
            messages, n_seen = peer.received[n_seen:], len(peer.received)
            for message in messages:
                if message.get("method") == "harmony/chat/delta" and message["params"]["token"] == token:
                    turn.parts.append(message["params"]["part"])
                if "method" not in message and message["id"] == number:
                    turn.answer = message
                    return turn
            if cancel and not is_cancelled and until(turn):
                is_cancelled = True
                peer.notify("$/cancelRequest", {"id": number})
            await peer.next_messages()
