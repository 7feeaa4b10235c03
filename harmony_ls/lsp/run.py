"""Running language servers: one on stdio, whose end is the end of the process, or many on TCP around one model."""

import asyncio
import contextlib
import ipaddress
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.connection.ending import GRACE_SECONDS, Ending, watch_parent
from harmony_ls.lsp.connection.framing import FrameDecoder
from harmony_ls.lsp.connection.handshake import Greeter
from harmony_ls.lsp.connection.logs import ClientLog, set_level, start_logging
from harmony_ls.lsp.connection.protocol import Stage
from harmony_ls.lsp.connection.stdio import StdioStreams
from harmony_ls.lsp.server import HarmonyServer

__all__ = ["ServeOptions", "serve_stdio", "serve_tcp"]

_logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 0.8 * GRACE_SECONDS
_BROKEN_PIPE_SECONDS = 2.0
_MAX_UNSENT_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says. ``settings`` are settings by their camelCase names; they outrank all others."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = "info"
    log_file: Path | None = None


def serve_stdio(options: ServeOptions, streams: StdioStreams, greeter: Greeter) -> int:
    """Serve the client at the other end of ``streams``; return the exit code of the process."""
    listener = start_logging(options.log_level, options.log_file)
    try:
        return asyncio.run(_serve_stdio(options, streams, greeter))
    finally:
        listener.stop()


def serve_tcp(options: ServeOptions, host: str, port: int) -> int:
    """Serve whoever connects to ``host``:``port`` until a signal comes; return the exit code of the process."""
    listener = start_logging(options.log_level, options.log_file)
    try:
        return asyncio.run(_serve_tcp(options, host, port))
    finally:
        listener.stop()


async def _serve_stdio(options: ServeOptions, streams: StdioStreams, greeter: Greeter) -> int:
    loop = asyncio.get_running_loop()
    ending = Ending(loop)
    ending.on_signals()
    backend = Backend()
    server = HarmonyServer(
        backend,
        options.settings,
        on_exit=lambda code: ending.decide(code, "the client said exit"),
        on_process_id=partial(watch_parent, ending=ending),
    )
    server.on_settings = lambda settings: set_level(settings.log_level)
    log = ClientLog(server, loop)
    log.attach()
    server.protocol.connect(streams)
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    streams.attach(loop, chunks.put_nowait, partial(ending.decide, 1, "the client does not read what it is sent"))
    server.greeted_encoding = greeter.encoding
    server.protocol.answered = greeter.answered  # whatever comes from now on is answered by the server itself
    reading = asyncio.create_task(_read_stdio(server, streams, chunks, ending), name="read stdio")
    exit_code = await ending.wait()
    reading.cancel()
    log.detach()
    letting_go = server.close()
    await asyncio.to_thread(streams.flush, _CLOSE_SECONDS / 3)
    await asyncio.wait({letting_go}, timeout=_CLOSE_SECONDS / 3)
    if not await backend.close(_CLOSE_SECONDS / 3):
        _logger.warning("the engine is still busy; leaving without it")
        await asyncio.sleep(GRACE_SECONDS)  # the end is forced meanwhile
    return exit_code


async def _read_stdio(
    server: HarmonyServer, streams: StdioStreams, chunks: asyncio.Queue[bytes], ending: Ending
) -> None:
    decoder = FrameDecoder()
    loop = asyncio.get_running_loop()
    while chunk := await chunks.get():
        await server.protocol.receive_all(decoder.feed(chunk))
        streams.taken()
        if streams.broken:
            # The client reads no more. If it is leaving in order, its last words are on their way.
            loop.call_later(_BROKEN_PIPE_SECONDS, ending.decide, _code_without_exit(server), "the output is closed")
    ending.decide(_code_without_exit(server), "the input has ended")


def _code_without_exit(server: HarmonyServer) -> int:
    return 0 if server.protocol.stage is Stage.SHUT_DOWN else 1


async def _serve_tcp(options: ServeOptions, host: str, port: int) -> int:
    ending = Ending(asyncio.get_running_loop())
    ending.on_signals()
    backend = Backend()
    connections: set[asyncio.Task[Any]] = set()
    listening = await asyncio.start_server(partial(_serve_connection, options, backend, connections), host, port)
    for socket in listening.sockets:
        address, bound_port, *_ = socket.getsockname()
        print(f"harmony-ls listens on {address}:{bound_port}", file=sys.stderr, flush=True)
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            _logger.warning(
                "%s is open to the network: whoever reaches it can have models of their choice downloaded and loaded, "
                "use up memory and processor, and read settings and paths of this machine",
                address,
            )
    exit_code = await ending.wait()
    listening.close()
    for connection in connections:
        connection.cancel()
    if connections:  # what their conversations hold is kept and let go of while there is a model
        await asyncio.wait(connections, timeout=_CLOSE_SECONDS / 2)
    await backend.close(_CLOSE_SECONDS / 2)
    return exit_code


async def _serve_connection(
    options: ServeOptions,
    backend: Backend,
    connections: set[asyncio.Task[Any]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serve one client. Its ``exit`` ends the connection; the model stays for the next."""
    # The log tells of all connections, so it is sent to none of them.
    server = HarmonyServer(backend, options.settings, on_exit=lambda _code: writer.close())
    server.protocol.connect(_SocketOutput(writer))
    if (task := asyncio.current_task()) is not None:
        connections.add(task)
        task.add_done_callback(connections.discard)
    decoder = FrameDecoder()
    try:
        start = await reader.read(_CHUNK_BYTES)
        if not _begins_like_a_client(start):
            _logger.warning("a connection that does not speak LSP was closed")
            return
        chunk = start
        while chunk and not writer.is_closing():
            await server.protocol.receive_all(decoder.feed(chunk))
            chunk = await reader.read(_CHUNK_BYTES)
    except (ConnectionError, TimeoutError) as error:
        _logger.info("a connection was lost: %s", type(error).__name__)
    finally:
        letting_go = server.close()
        writer.close()
        with contextlib.suppress(asyncio.CancelledError):  # the process ends: that must not stop what is being kept
            await asyncio.shield(letting_go)
        await letting_go


def _begins_like_a_client(start: bytes) -> bool:
    """Refuse what is no LSP client: a web page can make a browser post a message to a port of this machine."""
    name = b"content-"
    head = start.lstrip()[: len(name)].lower()
    return bool(head) and name.startswith(head)


class _SocketOutput:
    """Where the messages of one TCP connection go."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        """Send ``data`` when the client takes it; give up on a client that takes nothing."""
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._writer.transport.abort()
            return
        self._writer.write(data)
