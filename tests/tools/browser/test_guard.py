"""Which addresses pages are read from. The numbers are those of the cases that the project must survive."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.tools.browser.fetch import Fetcher, FetchError, WebRequest, parse_url
from harmony_ls.tools.browser.guard import AddressGuard, own_addresses, why_not_public
from tests.tools.browser.servers import Resolver, redirect, site

PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.8", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "192.88.99.1", "100.100.100.200"),
    *("::", "::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
]
TRANSLATED = [
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::80ff:fffe",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_49_private_addresses(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize("address", TRANSLATED)
def test_53_addresses_inside_addresses(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert why_not_public(address) is None


@given(st.ip_addresses(v=4))
def test_53_a_mapped_address_is_what_is_mapped(address: ipaddress.IPv4Address) -> None:
    why = why_not_public(str(address))
    assert why_not_public(f"::ffff:{address}") == why
    assert why_not_public(f"64:ff9b::{address}") == why
    # What Python finds private is private here, too.
    assert why is not None or address.is_global


def test_49_the_addresses_of_this_machine() -> None:
    assert "127.0.0.1" in own_addresses()
    guard = AddressGuard(own=lambda: frozenset({"93.184.216.34"}))
    with pytest.raises(OSError, match="of this machine"):
        guard.socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("93.184.216.34", 80)))
    guard.socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("1.1.1.1", 80))).close()


SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0.0.0.0", "localhost"),
    *("①②⑦.0.0.1", "127。0。0。1", "[::1]", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "localhost.", "127.0.0.1."),
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_49_spellings_of_loopback(host: str) -> None:
    async with site({"/": "secret"}) as served:
        with pytest.raises(FetchError, match=r"private address|no host"):
            await read(f"http://{host}:{served.port}/")
        assert served.requests == []


async def test_49_the_name_of_this_machine() -> None:
    async with site({"/": "secret"}) as served:
        with pytest.raises(FetchError, match=r"private address|no host|no connection"):
            await read(f"http://{socket.gethostname()}:{served.port}/")
        assert served.requests == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "64:ff9b::7f00:1"])
async def test_50_public_names_of_private_addresses(address: str) -> None:
    with pytest.raises(FetchError, match="private address"):
        await read("http://public.example/", Fetcher(resolver=Resolver({"public.example": [address]})))


async def test_51_a_name_that_changes_its_mind() -> None:
    """The name is looked up by whoever checks it, and again for the connection."""
    async with site({"/": "secret"}) as served:
        resolver = Resolver({"rebind.example": ["192.0.2.1", "127.0.0.1"]})
        fetcher = Fetcher(resolver=resolver)
        for _ in range(3):
            with pytest.raises(FetchError, match="private address"):
                await read(f"http://rebind.example:{served.port}/", fetcher)
        assert (len(resolver.asked), served.requests) == (3, [])


async def test_52_redirects_to_private_addresses() -> None:
    async with site({"/": "secret"}) as inner:
        named = f"http://inner.example:{inner.port}/"
        elsewhere = {"/1": redirect(inner.url()), "/2": redirect("/1"), "/name": redirect(named)}
        async with site(elsewhere) as outer:
            fetcher = Fetcher([outer.host], resolver=Resolver({"inner.example": ["127.0.0.1"]}))
            for path in ("/1", "/2", "/name"):
                with pytest.raises(FetchError, match="private address"):
                    await read(outer.url(path), fetcher)
        assert inner.requests == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://example.org/", "gopher://x/", "javascript:alert(1)", "data:,x"]
)
async def test_52_redirects_to_other_schemes(target: str) -> None:
    async with site({"/1": redirect(target), "/2": redirect("/1")}) as served:
        for path in ("/1", "/2"):
            with pytest.raises(FetchError, match="only http and https"):
                await read(served.url(path), Fetcher([served.host]))


async def test_52_redirects_without_end() -> None:
    async with site({"/": redirect("/")}) as served:
        with pytest.raises(FetchError, match="more than 5 times"):
            await read(served.url(), Fetcher([served.host]))
        assert len(served.requests) == 6


async def test_an_allowance_is_for_one_port() -> None:
    async with site({"/": "one"}) as one, site({"/": "two"}) as two:
        fetcher = Fetcher([one.host])
        assert await read(one.url(), fetcher) == b"one"
        with pytest.raises(FetchError, match="private address"):
            await read(two.url(), fetcher)
        assert two.requests == []


async def test_a_name_can_be_allowed() -> None:
    async with site({"/": "wiki"}) as served:
        resolver = Resolver({"wiki.internal": ["127.0.0.1"]})
        url = f"http://Wiki.internal:{served.port}/"
        assert await read(url, Fetcher([f"wiki.Internal:{served.port}"], resolver=resolver)) == b"wiki"


@pytest.mark.parametrize(
    "address", ["http://me:secret@example.org/", "http://example.org@127.0.0.1/", "http://", "http:///x"]
)
def test_49_addresses_that_say_two_things(address: str) -> None:
    with pytest.raises(FetchError):
        parse_url(address)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        url = parse_url(text)
    except FetchError:
        return
    assert (url.scheme in ("http", "https"), url.user, url.fragment) == (True, None, "")


async def read(url: str, fetcher: Fetcher | None = None) -> bytes:
    fetched = await (fetcher or Fetcher()).fetch(WebRequest(parse_url(url)), lambda _target: True)
    return fetched.content
