"""A small LSP client that starts ``harmony-ls lsp`` and speaks to it over stdio, the way an editor does.

``demo`` and ``bench`` drive the real server with it. Messages are plain dictionaries; it keeps its own copy of each
document, so that edits go out as an editor sends them. It imports nothing of pygls and shows nothing.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from harmony_ls.lsp.connection.framing import Body, FrameDecoder, encode
from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text

__all__ = ["EDITOR_CAPABILITIES", "SERVER_COMMAND", "LspClient", "ResponseError", "ServerGoneError"]

EDITOR_CAPABILITIES: Final[dict[str, Any]] = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {
        "configuration": True,
        "didChangeConfiguration": {"dynamicRegistration": True},
        "didChangeWatchedFiles": {"dynamicRegistration": True, "relativePatternSupport": True},
        "workspaceFolders": True,
    },
    "window": {"workDoneProgress": True, "showMessage": {}},
    "textDocument": {
        "synchronization": {"dynamicRegistration": True, "didSave": True},
        "completion": {"dynamicRegistration": True, "completionItem": {"documentationFormat": ["markdown"]}},
        "inlineCompletion": {"dynamicRegistration": True},
    },
}
"""What VS Code declares, as far as this server looks at it."""

SERVER_COMMAND: Final = (sys.executable, "-P", "-m", "harmony_ls", "lsp")
"""Without ``-P``, Python would import the modules of the folder that it is started in before those that are installed:
a repository with a ``typer.py`` would have it executed."""

_CHUNK_BYTES = 64 * 1024
INVOKED: Final = 1
AUTOMATIC: Final = 2


class ResponseError(Exception):
    """The server answered a request with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class ServerGoneError(Exception):
    """The server ended, or closed its output, while an answer was awaited."""


class LspClient:
    """One client and its server process. Use `start` as an asynchronous context manager.

    ``on_notification`` gets each notification as (method, params). ``notifications`` keeps them all. ``surplus`` are
    the ids of answers that came to no request, or to one that was answered before. ``replies`` makes the results of the
    server's own requests from their parameters, by method; a request that is not in it gets null.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.notifications: list[tuple[str, Any]] = []
        self.surplus: list[Any] = []
        self.on_notification: Callable[[str, Any], None] = lambda _method, _params: None
        self.replies: dict[str, Callable[[Any], Any]] = {}
        self.configuration: dict[str, Any] | None = None
        self.encoding = PositionEncoding.UTF_16
        self.server_capabilities: dict[str, Any] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._answered: set[int] = set()
        self._documents: dict[str, Text] = {}
        self._versions: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="read the server")

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str] = (),
        *,
        command: Sequence[str] = SERVER_COMMAND,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Start the server: ``command`` and ``arguments``. ``stderr`` is as in ``subprocess``, by default ours."""
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=None if environment is None else {**os.environ, **environment},
            cwd=folder,
        )
        return cls(process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # The life of a connection

    async def initialize(
        self,
        *,
        capabilities: Mapping[str, Any] = EDITOR_CAPABILITIES,
        folder: Path | None = None,
        options: Mapping[str, Any] | None = None,
        configuration: dict[str, Any] | None = None,
        name: str = "harmony-ls client",
    ) -> dict[str, Any]:
        """Do the handshake. ``folder`` is absolute; ``configuration`` answers the server's question for settings."""
        self.configuration = configuration
        uri = folder.as_uri() if folder else None
        result: dict[str, Any] = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": name},
                "rootUri": uri,
                "workspaceFolders": [{"uri": uri, "name": folder.name}] if folder and uri else None,
                "capabilities": dict(capabilities),
                "initializationOptions": options,
            },
        )
        self.server_capabilities = result["capabilities"]
        self.encoding = PositionEncoding(self.server_capabilities.get("positionEncoding", "utf-16"))
        self.notify("initialized", {})
        return result

    async def shutdown(self) -> int:
        """Leave in order; return the server's exit code."""
        await self.request("shutdown", None)
        self.notify("exit", None)
        return await self.process.wait()

    async def close(self) -> int:
        """End the server if it still runs, by closing its input, and wait for it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        exit_code = await self.process.wait()
        await self._reading
        if self.process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                await self.process.stdin.wait_closed()
        return exit_code

    # Documents

    def open(self, uri: str, text: str, language_id: str = "python") -> None:
        """``textDocument/didOpen``."""
        self._documents[uri] = Text(text, self.encoding)
        self._versions[uri] = 1
        item = {"uri": uri, "languageId": language_id, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, uri: str, start: Position, end: Position, text: str) -> None:
        """Replace a range, as one incremental ``textDocument/didChange``."""
        self._documents[uri].replace(start, end, text)
        places = {"start": _wire(start), "end": _wire(end)}
        self._send_change(uri, {"range": places, "text": text})

    def replace_all(self, uri: str, text: str) -> None:
        """Send a whole new text."""
        self._documents[uri].replace_all(text)
        self._send_change(uri, {"text": text})

    def insert(self, uri: str, offset: int, text: str) -> None:
        """Type ``text`` at an offset in code points."""
        place = self._documents[uri].position_at(offset)
        self.change(uri, place, place, text)

    def close_document(self, uri: str) -> None:
        """``textDocument/didClose``."""
        del self._documents[uri], self._versions[uri]
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def text(self, uri: str) -> Text:
        """Return this client's copy of a document."""
        return self._documents[uri]

    async def inline_completion(
        self, uri: str, position: Position, *, trigger_kind: int = AUTOMATIC, selected: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """``textDocument/inlineCompletion``: return the items."""
        context: dict[str, Any] = {"triggerKind": trigger_kind}
        if selected is not None:
            context["selectedCompletionInfo"] = dict(selected)
        params = {"textDocument": {"uri": uri}, "position": _wire(position), "context": context}
        result = await self.request("textDocument/inlineCompletion", params)
        if isinstance(result, dict):
            result = result["items"]
        return list(result or [])

    async def doctor(self, *, digests: bool = False) -> dict[str, Any]:
        """``harmony/doctor``."""
        report: dict[str, Any] = await self.request("harmony/doctor", {"digests": digests})
        return report

    # Messages

    async def request(self, method: str, params: object) -> Any:
        """Send a request and wait for its result. A cancelled wait sends ``$/cancelRequest``, as editors do."""
        number = self.send_request(method, params)
        try:
            return await self._waiting[number]
        except asyncio.CancelledError:
            self.cancel(number)
            raise

    def send_request(self, method: str, params: object) -> int:
        """Send a request and return its id, with which `answer` waits."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            self._waiting[number].set_exception(ServerGoneError("the server has ended"))
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    async def answer(self, number: int) -> Any:
        """Wait for the answer to a request."""
        return await self._waiting[number]

    def cancel(self, number: int) -> None:
        """``$/cancelRequest``."""
        self.notify("$/cancelRequest", {"id": number})

    def notify(self, method: str, params: object) -> None:
        """Send a notification."""
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def send(self, message: Mapping[str, Any]) -> None:
        """Send any message."""
        self.send_bytes(encode(dict(message)))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(data)

    async def notified(self, matches: Callable[[str, Any], bool]) -> Any:
        """Wait until a notification matches, those that came already included; return its parameters."""
        async for method, params in self._all_notifications():
            if matches(method, params):
                return params
        raise ServerGoneError("the server ended without the notification")

    async def _all_notifications(self) -> AsyncIterator[tuple[str, Any]]:
        n_seen = 0
        while True:
            while n_seen < len(self.notifications):
                n_seen += 1
                yield self.notifications[n_seen - 1]
            async with self._changed:
                if n_seen == len(self.notifications):
                    if self._reading.done():
                        return
                    await self._changed.wait()

    def _send_change(self, uri: str, change: dict[str, Any]) -> None:
        self._versions[uri] += 1
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    async def _read(self) -> None:
        assert self.process.stdout is not None
        decoder = FrameDecoder()
        while chunk := await self.process.stdout.read(_CHUNK_BYTES):
            for frame in decoder.feed(chunk):
                if isinstance(frame, Body):
                    self._receive(json.loads(frame.octets))
            async with self._changed:
                self._changed.notify_all()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ServerGoneError("the server closed its output"))
                future.exception()  # a wait may have been given up
        asyncio.get_running_loop().create_task(self._wake())

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _receive(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            number = message.get("id")
            future = self._waiting.get(number)  # type: ignore[arg-type]
            if future is None or number in self._answered:
                self.surplus.append(number)
                return
            self._answered.add(number)  # type: ignore[arg-type]
            if future.done():  # the wait was given up
                return
            if "error" in message:
                future.set_exception(ResponseError(message["error"]["code"], message["error"]["message"]))
                future.exception()  # a wait may have been given up
            else:
                future.set_result(message["result"])
            return
        method, params = message["method"], message.get("params")
        if "id" in message:
            result = self._answer_to(method, params)
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
            return
        self.notifications.append((method, params))
        self.on_notification(method, params)

    def _answer_to(self, method: str, params: Any) -> Any:
        if method == "workspace/configuration":
            return [self.configuration for _item in params["items"]]
        answer = self.replies.get(method)
        return None if answer is None else answer(params)


def _wire(position: Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}
