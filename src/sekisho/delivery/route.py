"""Where a recipient's mail goes next. Pure: settings in, destination out; nothing is looked up.

Local domains go to the local transport, then the operator's routes are asked, then the domain's own servers (MX).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sekisho.config import Endpoint
from sekisho.smtp import Mailbox

from .settings import LocalSettings, LocalTransport, RouteSettings, TlsMode

__all__ = ["Destination", "DestinationKind", "Router", "Security", "asks_names"]


class DestinationKind(StrEnum):
    """What speaks at the other end."""

    MX = "mx"
    SMARTHOST = "smarthost"
    LMTP = "lmtp"
    MAILDIR = "maildir"
    NONE = "none"  # a local domain without any transport to take it


@dataclass(frozen=True, slots=True)
class Security:
    """How a connection must be protected, and how the peer proves its name.

    MX destinations have the operator's default here; MTA-STS and DANE raise it for one attempt.
    """

    tls: TlsMode = TlsMode.OPPORTUNISTIC
    verify: bool = False

    @property
    def is_required(self) -> bool:
        """True when mail waits rather than travel in clear."""
        return self.tls in (TlsMode.REQUIRED, TlsMode.IMPLICIT)


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """A next hop that shares connections, limits and back-off. Compared by identity; `Router` keeps each one once.

    Fields:
        name: for logs and listings: the domain, the route's name, "lmtp" or "maildir".
        host: the domain whose MX is asked, the smarthost, or "" for LMTP over a Unix socket and for Maildir.
        route: the smarthost's settings, for its credentials.
    """

    kind: DestinationKind
    name: str
    security: Security
    host: str = ""
    port: int = 25
    route: RouteSettings | None = None
    endpoint: Endpoint | None = None

    @property
    def is_local(self) -> bool:
        return self.kind in (DestinationKind.LMTP, DestinationKind.MAILDIR, DestinationKind.NONE)


def asks_names(routes: Iterable[RouteSettings]) -> bool:
    """Tell whether mail has to ask DNS where to go: not where all of it takes routes that are written as addresses."""
    every = list(routes)
    return not any(route.takes_the_rest for route in every) or any(not _is_address(route.host) for route in every)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Router:
    """The routing table made from settings; a reload makes a new one."""

    def __init__(
        self,
        routes: Iterable[RouteSettings],
        local: LocalSettings,
        *,
        mx_tls: TlsMode = TlsMode.OPPORTUNISTIC,
        mx_port: int = 25,
        kept: int = 10_000,
    ) -> None:
        """Prepare the table.

        Args:
            mx_tls, mx_port: for destinations reached by MX.
            kept: destinations remembered at most.
        """
        self._local_domains = frozenset(_domain(domain) for domain in local.domains)
        self._local = _local_destination(local)
        self._by_account: dict[str, Destination] = {}
        self._by_sender: dict[str, Destination] = {}
        self._by_recipient: dict[str, Destination] = {}
        self._default: Destination | None = None
        for route in routes:
            self._add(route)
        self._mx_security = Security(mx_tls)
        self._mx_port = mx_port
        self._mx: dict[str, Destination] = {}
        self._kept = kept

    def _add(self, route: RouteSettings) -> None:
        security = Security(route.tls, route.verify)
        destination = Destination(
            DestinationKind.SMARTHOST, route.name, security, host=route.host, port=route.port, route=route
        )
        for account in route.accounts:
            self._by_account.setdefault(account.lower(), destination)
        for domain in route.senders:
            self._by_sender.setdefault(_domain(domain), destination)
        for domain in route.recipients:
            self._by_recipient.setdefault(_domain(domain), destination)
        if route.takes_the_rest and self._default is None:
            self._default = destination

    def destination(self, account: str | None, reverse_path: Mailbox | None, recipient: Mailbox) -> Destination:
        """Decide for one recipient.

        Args:
            account: login that submitted the message, None for mail from elsewhere.
        """
        domain = recipient.domain
        if domain in self._local_domains or not domain:  # RFC 5321 §4.5.1: the bare "postmaster" is ours
            return self._local
        if account is not None and self._by_account and (found := self._by_account.get(account.lower())):
            return found
        if self._by_sender and reverse_path is not None and (found := _match(self._by_sender, reverse_path.domain)):
            return found
        if self._by_recipient and (found := _match(self._by_recipient, domain)):
            return found
        return self._default or self._by_mx(domain)

    def _by_mx(self, domain: str) -> Destination:
        found = self._mx.get(domain)
        if found is None:
            if len(self._mx) >= self._kept:
                self._mx.clear()
            found = Destination(DestinationKind.MX, domain, self._mx_security, host=domain, port=self._mx_port)
            self._mx[domain] = found
        return found


def _local_destination(local: LocalSettings) -> Destination:
    none = Security(TlsMode.NONE)
    if local.transport is LocalTransport.LMTP and local.lmtp is not None:
        endpoint = local.lmtp
        return Destination(
            DestinationKind.LMTP, "lmtp", none, host=endpoint.host, port=endpoint.port, endpoint=endpoint
        )
    if local.transport is LocalTransport.MAILDIR and local.maildir is not None:
        return Destination(DestinationKind.MAILDIR, "maildir", none)
    return Destination(DestinationKind.NONE, "local", none)


def _domain(text: str) -> str:
    return text.strip().lower().rstrip(".")


def _match(table: dict[str, Destination], domain: str) -> Destination | None:
    """Look a domain up: itself, then each parent as ".parent", nearest first, then "*"."""
    if (found := table.get(domain)) is not None:
        return found
    rest = domain
    while (dot := rest.find(".")) >= 0:
        rest = rest[dot + 1 :]
        if (found := table.get(f".{rest}")) is not None:
            return found
    return table.get("*")
