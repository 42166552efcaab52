"""Who asks, and from where: decided from the connection, and from headers only where a trusted proxy wrote them. Pure.

A proxy appends the address it was called from to what it received, so a header is read from its right end: the first
address there that is not itself a trusted proxy is the visitor, and everything left of it is hearsay. Only the kind of
header that the operator names is read: a proxy passes the other kind on as the visitor sent it.

Whatever is missing or malformed takes rights away, and never gives any: such a visitor is at no known place.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sekisho.config import Network
from sekisho.supervise.portal_settings import PortalSettings

__all__ = ["Place", "Surroundings", "Visitor", "look_at", "normal_address"]

MAX_HOPS = 32  # of one header; a longer chain is not read

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""

_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*')  # RFC 7239 §4
_PORT = re.compile(r"\d{1,5}|_[A-Za-z0-9._-]+", re.ASCII)


class Place(StrEnum):
    """Where a visitor is, as far as the operator's networks tell."""

    CAMPUS = "campus"
    VPN = "vpn"
    LINE = "line"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of one request.

    Fields:
        address: IPv4 or IPv6 in its usual form, IPv4 inside IPv6 as IPv4.
        secure: nobody on the way can read along: passwords may be asked for.
        proxied: through a trusted proxy.
        known: the address is the visitor's own; otherwise it is that of a proxy that did not tell.
        https: the browser speaks TLS, be it with us or with the proxy.
        operator: inside the networks from which operators work.
    """

    address: str
    secure: bool
    place: Place
    proxied: bool
    known: bool = True
    https: bool = False
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The networks that mean something, from the settings."""

    proxies: tuple[Network, ...] = ()
    header: str = "x-forwarded"
    campus: tuple[Network, ...] = ()
    vpn: tuple[Network, ...] = ()
    lines: tuple[Network, ...] = ()
    operators: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: PortalSettings) -> Surroundings:
        """Take them from the settings."""
        return cls(
            settings.trusted_proxies,
            settings.proxy_header,
            settings.campus_networks,
            settings.vpn_networks,
            settings.own_lines,
            settings.operator_networks,
        )


@functools.lru_cache(maxsize=8192)
def normal_address(text: str) -> Address | None:
    """Return an address as it is compared; None when *text* is none. A zone is left away, IPv4 inside IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def look_at(peer: str, headers: Headers, *, tls: bool, around: Surroundings) -> Visitor:
    """Return who sent a request.

    Args:
        peer: address at the other end of the connection.
        headers: all of them; only those that *around* names are read, and only when *peer* is a trusted proxy.
        tls: the connection itself is encrypted.
    """
    address = normal_address(peer)
    if address is None:
        return Visitor(peer, tls, Place.OUTSIDE, proxied=False, known=False, https=tls)
    if not _within(address, around.proxies):
        return _direct(address, headers, tls, around)
    hop = _nearest(_forwarded(headers) if around.header == "forwarded" else _x_forwarded(headers), around.proxies)
    found = hop.address
    if found is None or _within(found, around.proxies):
        # a proxy does not tell, or somebody sits at its machine: nobody can say which
        return Visitor(str(found or address), hop.https, Place.OUTSIDE, proxied=True, known=False, https=hop.https)
    return Visitor(
        str(found),
        hop.https,
        _place(found, around),
        proxied=True,
        https=hop.https,
        operator=_within(found, around.operators),
    )


def _nearest(hops: Sequence[_Hop], proxies: Iterable[Network]) -> _Hop:
    """Return the right-most hop that is no proxy of ours; the first one when all are."""
    for hop in reversed(hops):
        if hop.address is None or not _within(hop.address, proxies):
            return hop
    return hops[0]


def _direct(address: Address, headers: Headers, tls: bool, around: Surroundings) -> Visitor:
    if address.is_loopback and _has_been_forwarded(headers):
        # a web server on this machine that is not in trusted_proxies: its visitors must not count as sitting here
        return Visitor(str(address), tls, Place.OUTSIDE, proxied=False, known=False, https=tls)
    return Visitor(
        str(address),
        tls or address.is_loopback,
        _place(address, around),
        proxied=False,
        https=tls,
        operator=_within(address, around.operators),
    )


_MARKS = frozenset({b"forwarded", b"via", b"x-real-ip"})


def _has_been_forwarded(headers: Headers) -> bool:
    return any(name in _MARKS or name.startswith(b"x-forwarded-") for name, _ in headers)


def _place(address: Address, around: Surroundings) -> Place:
    if _within(address, around.campus):
        return Place.CAMPUS
    if _within(address, around.vpn):
        return Place.VPN
    return Place.LINE if _within(address, around.lines) else Place.OUTSIDE


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


@dataclass(frozen=True, slots=True)
class _Hop:
    """One element of a chain: who called a proxy, and whether by https; None for what cannot be told."""

    address: Address | None
    https: bool


def _joined(headers: Headers, wanted: bytes) -> str:
    """Return all header lines *wanted* in their order, as one list (RFC 9110 §5.3)."""
    return ",".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _split(text: str, separator: str) -> list[str]:
    """Split outside of quotes."""
    parts: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for character in text:
        if character == separator and not quoted:
            parts.append("".join(current))
            current = []
            continue
        current.append(character)
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
    return [*parts, "".join(current)]


def _x_forwarded(headers: Headers) -> list[_Hop]:
    """Read X-Forwarded-For; X-Forwarded-Proto must say https throughout, for nobody tells which hop it is about."""
    protocols = _joined(headers, b"x-forwarded-proto").lower().split(",")
    https = all(protocol.strip() == "https" for protocol in protocols)
    elements = _joined(headers, b"x-forwarded-for").split(",")[-MAX_HOPS:]
    return [_Hop(_node(element.strip()), https) for element in elements]


def _forwarded(headers: Headers) -> list[_Hop]:
    return [_hop(element) for element in _split(_joined(headers, b"forwarded"), ",")[-MAX_HOPS:]]


def _hop(element: str) -> _Hop:
    """Read one element of Forwarded (RFC 7239 §4)."""
    found: dict[str, str] = {}
    for part in _split(element, ";"):
        pair = _PAIR.fullmatch(part)
        if pair is None or pair[1].lower() in found:
            return _Hop(None, False)
        value = pair[2]
        found[pair[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
    return _Hop(_node(found.get("for", "")), found.get("proto", "").lower() == "https")


def _node(text: str) -> Address | None:
    """Read ``192.0.2.1``, ``192.0.2.1:47``, ``2001:db8::1`` or ``[2001:db8::1]:47`` (RFC 7239 §6, and what is sent)."""
    if len(text) > 80:
        return None
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        if not bracket or (port and (port[0] != ":" or not _PORT.fullmatch(port[1:]))):
            return None
        return normal_address(inside)
    if text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _PORT.fullmatch(port):
            return None
    return normal_address(text)
