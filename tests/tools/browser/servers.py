"""Web servers on loopback for the tests of the browser, a person who answers, and a resolver that says what it is told.

It holds no tests.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from harmony_ls.tools.tool import ApprovalRequest, Decision

__all__ = ["Person", "Resolver", "Site", "raw_site", "redirect", "reply", "site"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawAnswer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A web server and what it was asked."""

    port: int
    requests: list[web.Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"


@asynccontextmanager
async def site(handlers: Mapping[str, Handler | str]) -> AsyncIterator[Site]:
    """Serve paths: by a handler, or a text as HTML."""
    served = Site(0)

    async def answer(request: web.Request) -> web.StreamResponse:
        served.requests.append(request)
        handler = handlers.get(request.path)
        if handler is None:
            raise web.HTTPNotFound
        if isinstance(handler, str):
            return web.Response(text=handler, content_type="text/html")
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_site(answer: RawAnswer, address: str = "127.0.0.1") -> AsyncIterator[Site]:
    """A server that says bytes, after it has read the head of a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield Site(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def redirect(target: str) -> Handler:
    """A handler that sends the client elsewhere."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    return answer


def reply(body: bytes | str, content_type: str, **headers: str) -> Handler:
    """A handler that answers with these bytes; the type is written as it is given."""

    async def answer(_request: web.Request) -> web.Response:
        content = body.encode() if isinstance(body, str) else body
        return web.Response(body=content, headers={"Content-Type": content_type} | headers)

    return answer


class Resolver(AbstractResolver):
    """Knows names; each has addresses for one lookup after another, of which the last one stays."""

    def __init__(self, names: Mapping[str, list[str]]) -> None:
        self._names = {name: list(addresses) for name, addresses in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self._names:
            raise OSError(None, "no such name")
        addresses = self._names[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@dataclass
class Person:
    """Answers as it was told, and remembers what it was asked."""

    decision: Decision = Decision.ONCE
    asked: list[ApprovalRequest] = field(default_factory=list)

    async def approve(self, request: ApprovalRequest) -> Decision:
        self.asked.append(request)
        return self.decision
