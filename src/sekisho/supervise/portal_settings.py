"""Settings of the portal: the web pages of this service. They stand here because the portal itself stands above."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sekisho.config import DAY, HOUR, MINUTE, Duration, Endpoint, Network, at_least, between, setting
from sekisho.smtp.address import is_domain

__all__ = ["LinkSettings", "PortalSettings"]

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _are_names(values: Any) -> tuple[str, str] | None:
    for value in values:
        if value != value.lower() or not is_domain(value):
            return f'"{value}" is not a host name in lower case', "Such as help.example.jp, without https:// and port."
    return None


def _is_link(value: Any) -> tuple[str, str] | None:
    text = str(value)
    if text.startswith(("https://", "http://", "mailto:", "/")) and text.isascii() and " " not in text:
        return None
    return f'"{text}" is not an address of a page', "Such as https://www.example.jp/privacy."


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkSettings:
    """A link at the foot of every page."""

    url: str = setting(prose="Where it leads.", example="https://www.example.jp/privacy", check=_is_link, reload=True)
    ja: str = setting(prose="What it says in Japanese.", example="プライバシーポリシー", reload=True)
    en: str = setting(prose="What it says in English.", example="Privacy policy", reload=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class PortalSettings:
    """The portal: guide, self-check, account pages and automatic configuration over HTTP. Without addresses it is off.

    Visitors are told apart by their address. Behind a web server that address is in a header, which is believed from
    `trusted_proxies` alone.
    """

    addresses: tuple[Endpoint, ...] = setting(
        (),
        'Where the portal listens; empty: no portal. Behind a web server of yours "127.0.0.1:8080"; on its own ":443" '
        'and ":80", which mean every address of this machine, with TLS on 443.',
        example=["127.0.0.1:8080"],
    )
    tls: Literal["auto", "on", "off"] = setting(
        "auto",
        "TLS with the certificate of [tls]: on, off, or auto: on everywhere but on loopback addresses and on port 80, "
        "which then leads to the others.",
    )
    names: tuple[str, ...] = setting(
        (),
        "Further host names under which people reach the portal; hostname, autoconfig.web_host and the names of "
        "automatic configuration are known without. Requests for other names are turned away.",
        example=["mail-help.example.jp"],
        reload=True,
        check=_are_names,
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (),
        "Networks of the web servers in front of the portal. From them, and nobody else, the visitor's address and "
        "protocol are taken from headers.",
        example=["127.0.0.1/32", "::1/128"],
        reload=True,
    )
    proxy_header: Literal["x-forwarded", "forwarded"] = setting(
        "x-forwarded",
        "Which headers the web servers in front set: X-Forwarded-For and X-Forwarded-Proto, or Forwarded (RFC 7239). "
        "The other kind is ignored, for a visitor could send it.",
        reload=True,
    )
    campus_networks: tuple[Network, ...] = setting(
        (),
        "Networks on the premises. Passwords can be changed from there and from vpn_networks only; without "
        "either, from anywhere.",
        example=["192.0.2.0/24", "2001:db8:1::/48"],
        reload=True,
    )
    vpn_networks: tuple[Network, ...] = setting(
        (), "Networks that the VPN gives its users.", example=["198.51.100.0/25"], reload=True
    )
    own_lines: tuple[Network, ...] = setting(
        (),
        "Access lines of this provider, where port 25 is blocked: the flow chart then knows the answer.",
        example=["203.0.113.0/24"],
        reload=True,
    )
    operator_networks: tuple[Network, ...] = setting(
        LOOPBACK, "Networks from which the operator's pages open, after login.", example=["192.0.2.16/28"], reload=True
    )
    edge: Path | None = setting(
        None,
        "State directory of the gate on this machine (`sekisho edge`), whose counters the self-check reads.",
        example="/var/lib/sekisho-edge",
        reload=True,
    )
    session_idle: Duration = setting(
        Duration(30 * MINUTE), "A login ends after this long without a request.", reload=True, check=between(60, DAY)
    )
    session_lifetime: Duration = setting(
        Duration(12 * HOUR), "A login ends after this long in any case.", reload=True, check=between(60, 30 * DAY)
    )
    requests_per_minute: int = setting(
        300, "Requests that one address (IPv6: one /64) may make in a minute.", reload=True, check=at_least(10)
    )
    max_connections: int = setting(
        2000, "Connections at the same time; further ones are closed at once.", reload=True, check=at_least(10)
    )
    max_connections_per_address: int = setting(
        100,
        "Connections of one address (IPv6: one /64) at the same time. Those of trusted_proxies are not counted.",
        reload=True,
        check=at_least(4),
    )
    logo: Path | None = setting(
        None, "Your logo as SVG, PNG or WebP, up to 64 KiB.", example="/etc/sekisho/logo.svg", reload=True
    )
    link: tuple[LinkSettings, ...] = setting((), "Links at the foot of every page.", reload=True)
    lookup: bool = setting(
        True,
        "Ask other providers' public configuration (autoconfig.DOMAIN and the like) for visitors whose mail address is "
        "someone else's.",
        reload=True,
    )
    lookup_database: str | None = setting(
        None,
        "A database of providers' configuration to ask as well, such as Thunderbird's: the domain is appended. Without "
        "it no third party hears which domain a visitor asks about.",
        example="https://autoconfig.thunderbird.net/v1.1",
        reload=True,
        check=lambda text: None if text.startswith("https://") else ("is no https address", "Begin it with https://."),
    )

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """Settings that contradict each other: key, problem, remedy."""
        for endpoint in self.addresses:
            if endpoint.path is not None:
                yield "addresses", f"{endpoint} is a Unix socket", "The portal needs address:port."
        if self.session_lifetime < self.session_idle:
            yield "session_lifetime", "is shorter than session_idle", "Raise it, or lower session_idle."
        for network in self.trusted_proxies:
            if network.prefixlen == 0:
                yield (
                    "trusted_proxies",
                    f"{network} believes everybody",
                    "Name the web servers in front, and no others.",
                )

    def speaks_tls(self, endpoint: Endpoint) -> bool:
        """Tell whether the portal speaks TLS itself on *endpoint*."""
        if self.tls == "auto":
            return endpoint.port != 80 and not is_loopback(endpoint)
        return self.tls == "on"


def is_loopback(endpoint: Endpoint) -> bool:
    """Tell whether only this machine reaches *endpoint*."""
    if endpoint.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return False
