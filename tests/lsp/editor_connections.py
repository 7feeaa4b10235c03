"""How the tests' editor reaches a server: one in this process, or one in a process of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.connection.framing import Body, FrameDecoder, encode
from harmony_ls.lsp.documents.text import PositionEncoding
from harmony_ls.lsp.server import HarmonyServer
from tests.lsp.editor import CAPABILITIES, Editor
from tests.lsp.peer import PATIENCE, Peer, handshake

__all__ = ["EditorPeer", "chatting_editor", "connected_editor"]


class EditorPeer(Peer):
    """A server process whose client is an `Editor`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.editor = Editor(self.send)
        self.editor.all_read = self.doctor
        super().__init__(process)

    def _receive(self, message: dict[str, Any]) -> None:
        if "id" in message and self.editor.receive(message):
            self.received.append(message)
            asyncio.get_running_loop().create_task(self._tell())
            return
        if "method" in message:
            self.editor.receive(message)
        super()._receive(message)


@asynccontextmanager
async def chatting_editor(
    model: Path,
    state: Path,
    folder: Path | None = None,
    *,
    capabilities: Mapping[str, Any] = CAPABILITIES,
    settings: Mapping[str, Any] | None = None,
    own_settings: str = "",
) -> AsyncIterator[EditorPeer]:
    """A server process whose chat model is ``model``, and the editor that is its client.

    It keeps its files below ``state``. ``settings`` are the editor's, ``own_settings`` what the person's own file says.
    """
    if own_settings:
        config = state / "config" / "harmony-ls" / "config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(own_settings)
    environment = {"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state / "config")}
    options = {
        "chat": {"model": str(model), "temperature": 0},
        "inlineCompletion": {"enabled": False},
        **(settings or {}),
    }
    async with await EditorPeer.start(("--trust-remote-code",), environment=environment) as peer:
        await handshake(peer, folder=folder, options=options, capabilities=capabilities)
        yield peer


@asynccontextmanager
async def connected_editor(
    folder: Path, *, capabilities: dict[str, Any] = CAPABILITIES, encoding: str = "utf-16"
) -> AsyncIterator[tuple[HarmonyServer, Editor]]:
    """A server in this process, without a model, and the editor that is its client."""
    server = HarmonyServer(Backend(), {}, on_exit=lambda _code: None)
    to_server: asyncio.Queue[bytes] = asyncio.Queue()
    editor = Editor(lambda message: to_server.put_nowait(encode(message)))
    editor.all_read = to_server.join
    initialized = asyncio.Event()
    server.protocol.connect(_ToEditor(editor, to_server, initialized))
    reading = asyncio.create_task(_read_messages(server, to_server), name="read the editor")
    editor.encoding = PositionEncoding(encoding)
    params = {
        "processId": None,
        "capabilities": capabilities | {"general": {"positionEncodings": [encoding]}},
        "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}],
        "initializationOptions": {"inlineCompletion": {"enabled": False}},
    }
    to_server.put_nowait(encode({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}))
    to_server.put_nowait(encode({"jsonrpc": "2.0", "method": "initialized", "params": {}}))
    try:
        async with asyncio.timeout(PATIENCE):
            await initialized.wait()
        assert server.documents.encoding == encoding
        yield server, editor
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await server.close()


class _ToEditor:
    """Where the server's messages go."""

    def __init__(self, editor: Editor, to_server: asyncio.Queue[bytes], initialized: asyncio.Event) -> None:
        self._editor, self._to_server, self._initialized = editor, to_server, initialized
        self._decoder = FrameDecoder()

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            assert isinstance(frame, Body)
            asyncio.get_running_loop().call_soon(self._take, frame)

    def _take(self, frame: Body) -> None:
        message = json.loads(frame.octets)
        if message.get("id") == 0 and "method" not in message:
            self._initialized.set()
        elif not self._editor.receive(message):
            result = [None] if message.get("method") == "workspace/configuration" else None
            self._to_server.put_nowait(encode({"jsonrpc": "2.0", "id": message["id"], "result": result}))


async def _read_messages(server: HarmonyServer, messages: asyncio.Queue[bytes]) -> None:
    decoder = FrameDecoder()
    while True:
        await server.protocol.receive_all(decoder.feed(await messages.get()))
        messages.task_done()
