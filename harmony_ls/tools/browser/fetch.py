"""Asks web servers, within limits of addresses, size, time and redirects. What the bytes mean is not decided here.

Nothing of the user's goes along: no cookies, no credentials, no proxy of the environment. Every request has a
connection of its own, which ends with it, also where the task is cancelled.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import aiohttp
from yarl import URL

from harmony_ls.errors import UserError
from harmony_ls.tools.browser.guard import AddressGuard

__all__ = ["FetchError", "Fetched", "Fetcher", "Limits", "WebRequest", "domain_of", "host_and_port", "parse_url"]

_HEADERS = {
    "User-Agent": "harmony-ls",
    "Accept": "text/html, text/plain, text/markdown, application/json;q=0.9, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "Accept-Language": "en, *;q=0.5",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Others would be unpacked, too, wherever packages for them happen to be installed.
_ENCODINGS = {"", "identity", "gzip", "deflate"}
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK_BYTES = 65_536
_LONGEST_URL = 4000


class FetchError(UserError):
    """A page that cannot be read. The message is one line, for the model and for people."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_bytes`` of a page are read after decompression, the rest is left out; ``seconds`` are for the whole of it,
    redirects included."""

    max_bytes: int = 2_000_000
    seconds: float = 20.0
    connect_seconds: float = 10.0
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class WebRequest:
    """A request. ``headers`` may hold a key: they are neither logged nor shown, and not sent on by a redirect."""

    url: URL
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: object = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: where it came from at last, what the server calls it, and its bytes. ``is_cut``: there were more."""

    url: URL
    content_type: str
    charset: str | None
    content: bytes
    is_cut: bool = False


class Fetcher:
    """Asks web servers. ``allowed_hosts`` are ``host:port`` whose addresses may be private.

    ``resolver`` answers for names instead of the system's; it is aiohttp's own interface.
    """

    def __init__(
        self,
        allowed_hosts: Iterable[str] = (),
        limits: Limits | None = None,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        self._allowed = frozenset(_normal_host(host) for host in allowed_hosts)
        self.limits = limits or Limits()
        self._resolver = resolver

    def may_be_private(self, url: URL) -> bool:
        """Whether the user allowed the address of this host to be a private one."""
        return host_and_port(url) in self._allowed

    async def fetch(self, request: WebRequest, may_follow: Callable[[URL], bool]) -> Fetched:
        """Ask, and follow redirects that ``may_follow`` agrees to. Raises FetchError."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self._followed(request, may_follow)
        except TimeoutError:
            raise FetchError(f"the server took longer than {self.limits.seconds:g} seconds") from None

    async def _followed(self, request: WebRequest, may_follow: Callable[[URL], bool]) -> Fetched:
        for _ in range(self.limits.max_redirects + 1):
            answer = await self._asked(request)
            if isinstance(answer, Fetched):
                return answer
            target = parse_url(answer, base=request.url)
            if request.url.scheme == "https" and target.scheme == "http":
                raise FetchError(f"the server redirects to `{_shown(target)}`, which is not encrypted")
            if request.method != "GET" or not may_follow(target):
                raise FetchError(
                    f"the server redirects to `{_shown(target)}`; open that address if it is what you want"
                )
            request = WebRequest(target)
        raise FetchError(f"the server redirects more than {self.limits.max_redirects} times")

    async def _asked(self, request: WebRequest) -> Fetched | str:
        """The answer of one server, or the address that it redirects to."""
        guard = AddressGuard(allows_private=self.may_be_private(request.url))
        try:
            connector = aiohttp.TCPConnector(
                socket_factory=guard.socket, resolver=self._resolver, force_close=True, use_dns_cache=False
            )
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_seconds),
                ) as session,
                session.request(
                    request.method,
                    request.url,
                    headers=_HEADERS | dict(request.headers),
                    json=request.json,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    return location
                if response.status >= 400:
                    raise FetchError(f"the server answers {_status(response.status)}")
                if response.headers.get("Content-Encoding", "").strip().lower() not in _ENCODINGS:
                    raise FetchError("the server compresses its answer in a way that was not asked for")
                content, is_cut = await _read(response, self.limits.max_bytes)
                content_type = response.content_type if "/" in response.headers.get("Content-Type", "") else ""
                return Fetched(request.url, content_type, response.charset, content, is_cut)
        except aiohttp.ClientError as error:
            raise FetchError(_reason(error, guard, request.url)) from error
        except (ValueError, UnicodeError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise FetchError(_reason(error, guard, request.url)) from error


def parse_url(text: str, base: URL | None = None) -> URL:
    """The address of a page. One without a scheme is taken for https. Raises FetchError for what is no web address."""
    text = text.strip()
    if len(text) > _LONGEST_URL:
        raise FetchError(f"the address is longer than {_LONGEST_URL} characters")
    try:
        url = URL(text)
        if base is not None:
            url = base.join(url)
        elif not url.scheme or (url.scheme not in _DEFAULT_PORTS and text[len(url.scheme) + 1 :][:1].isdigit()):
            url = URL(f"https://{text.removeprefix('//')}")
        if url.scheme not in _DEFAULT_PORTS:
            raise FetchError(f"only http and https addresses can be opened, not {url.scheme[:20]!r}")
        if not url.host or url.port is None:
            raise FetchError("the address names no host")
    except ValueError as error:
        raise FetchError(f"not an address: {_one_line(error)}") from None
    if url.user is not None or url.password is not None:
        raise FetchError("addresses that carry a user name are not opened")
    return url.with_fragment(None)


def domain_of(url: URL) -> str:
    """What a person allows: the host, without ``www.``, with its port where that is not the usual one."""
    host = (url.raw_host or "").rstrip(".").removeprefix("www.")
    host = f"[{host}]" if ":" in host else host
    return host if url.port == _DEFAULT_PORTS.get(url.scheme) else f"{host}:{url.port}"


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, bool]:
    """The body, in pieces, so that no more of a compressed one is unpacked than is wanted."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > max_bytes:
            return bytes(content[:max_bytes]), True
    return bytes(content), False


def _reason(error: Exception, guard: AddressGuard, url: URL) -> str:
    """Why it did not work, in one line and without what the server may have written into the error."""
    match error:
        case _ if guard.refusals:
            return f"{guard.refusals[0]}; pages are read from public addresses only, and from browser.allowedHosts"
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLError() | aiohttp.ClientSSLError():
            return f"the server's certificate or encryption is not valid ({_one_line(error)})"
        case aiohttp.ClientConnectorDNSError():
            return f"there is no host {url.host!r}, or its name cannot be looked up now"
        case aiohttp.InvalidURL():
            return f"{url.host!r} is an odd spelling of what may be a private address"
        case aiohttp.ClientConnectorError():
            return f"no connection ({error.strerror or _one_line(error)})"
        case aiohttp.ServerDisconnectedError():
            return "the server ended the connection"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return f"the server's answer is broken ({type(error).__name__})"
        case _:
            return f"{type(error).__name__}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _shown(url: URL) -> str:
    return " ".join(str(url).split())[:1024]


def host_and_port(url: URL) -> str:
    """Where a server listens, as ``browser.allowedHosts`` names it."""
    return _normal_host(f"[{url.host}]:{url.port}" if ":" in (url.host or "") else f"{url.host}:{url.port}")


def _normal_host(host: Any) -> str:
    return unquote(str(host)).lower()
