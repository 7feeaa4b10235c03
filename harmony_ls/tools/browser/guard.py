"""Which addresses pages are read from: public ones, and those that the user named. It opens no connection.

The check is made where the socket is made, on the address that is connected to. A check of names or of the answer of a
resolver would be too early: odd spellings skip the resolver, redirects skip the first check, and a name may mean
another address a moment later (DNS rebinding).
"""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import psutil  # type: ignore[import-untyped]

__all__ = ["AddressGuard", "own_addresses", "why_not_public"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

# RFC 6890 and its registry. `is_global` of Python is not used: it calls multicast, relays and translated addresses
# global, and its answers differ between versions.
_NOT_PUBLIC_IPV4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private network",
    "100.64.0.0/10": "carrier's network",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud metadata",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private network",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "relay",
    "192.168.0.0/16": "private network",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_IPV4 = [(ipaddress.IPv4Network(network), kind) for network, kind in _NOT_PUBLIC_IPV4.items()]

# Of IPv6 only this is given to anybody, so what is public is listed and not what is private.
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = {
    "2001::/23": "protocol assignments and Teredo",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
}
_IPV6 = [(ipaddress.IPv6Network(network), kind) for network, kind in _NOT_PUBLIC_IPV6.items()]

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
# What a network without IPv4 makes of public IPv4 addresses (RFC 6052); they must work where the IPv4 address would.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def why_not_public(address: str) -> str | None:
    """What kind of private address this is; None for a public one. Raises ValueError for what is no address."""
    known = ipaddress.ip_address(address)
    if isinstance(known, ipaddress.IPv6Address):
        if known in _MAPPED or known in _NAT64:
            return _why_ipv4(ipaddress.IPv4Address(int(known) & 0xFFFF_FFFF))
        if known not in _PUBLIC_IPV6:
            return "loopback" if known.is_loopback else "not a public range"
        return next((kind for network, kind in _IPV6 if known in network), None)
    return _why_ipv4(known)


def _why_ipv4(address: ipaddress.IPv4Address) -> str | None:
    return next((kind for network, kind in _IPV4 if address in network), None)


def own_addresses() -> frozenset[str]:
    """The addresses of this machine. They may be public, and what listens on them is still not for pages to ask."""
    return frozenset(
        each.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family in (socket.AF_INET, socket.AF_INET6)
    )


class AddressGuard:
    """Makes the sockets of one connection, to public addresses alone unless ``allows_private``.

    ``refusals`` are the reasons why sockets were not made, for people. ``own`` lists this machine's addresses.
    """

    def __init__(self, *, allows_private: bool = False, own: Callable[[], frozenset[str]] = own_addresses) -> None:
        self._allows_private = allows_private
        self._own = own
        self.refusals: list[str] = []

    def socket(self, info: _AddressInfo) -> socket.socket:
        """A socket for the address in ``info``, which is one of ``getaddrinfo``. Raises OSError where it is refused."""
        family, kind, protocol, _, where = info
        address = str(where[0])
        if not self._allows_private and (why := self._refusal(address)) is not None:
            self.refusals.append(f"{address} is a private address ({why})")
            raise OSError(self.refusals[-1])
        return socket.socket(family=family, type=kind, proto=protocol)

    def _refusal(self, address: str) -> str | None:
        try:
            why = why_not_public(address)
        except ValueError:
            return "not an address of the internet"
        return why or ("of this machine" if address.partition("%")[0] in self._own() else None)
