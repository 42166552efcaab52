"""Settings of delivery: retries, limits towards others, routes, local mail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sekisho.config import HOUR, MINUTE, Duration, Endpoint, Secret, at_least, between, setting
from sekisho.smtp import AddressError, Mailbox

__all__ = ["DeliverySettings", "LocalSettings", "LocalTransport", "RouteSettings", "TlsMode"]


class TlsMode(StrEnum):
    """How a connection to a next hop is protected."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"


class LocalTransport(StrEnum):
    """What takes mail for local domains."""

    MAILDIR = "maildir"
    LMTP = "lmtp"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliverySettings:
    """Delivery: how mail leaves for its next hop, and what happens when it cannot."""

    first_retry: Duration = setting(
        Duration(5 * MINUTE),
        "Wait this long before the second attempt; the wait then doubles with each attempt, give or take a tenth.",
        reload=True,
        check=at_least(1),
    )
    max_retry: Duration = setting(
        Duration(1 * HOUR),
        "The wait between two attempts grows no longer than this (RFC 5321 §4.5.4.1).",
        reload=True,
        check=at_least(1),
    )
    concurrency_per_destination: int = setting(
        20,
        "Connections to one destination at the same time, in each mail process.",
        reload=True,
        check=between(1, 1000),
    )
    max_connections: int = setting(
        200, "Outbound connections at the same time, in each mail process.", reload=True, check=between(1, 10_000)
    )
    recipients_per_transaction: int = setting(
        100,
        "Recipients in one transaction; every server takes 100 (RFC 5321 §4.5.3.1.8).",
        reload=True,
        check=between(1, 1000),
    )
    transactions_per_connection: int = setting(
        500, "Messages sent over one connection before it is closed.", reload=True, check=at_least(1)
    )
    idle_timeout: Duration = setting(
        Duration(5.0),
        "Keep a connection open this long for the next message to the same destination.",
        reload=True,
        check=at_least(0),
    )
    connect_timeout: Duration = setting(
        Duration(30.0),
        "Wait this long for one address to answer before the next is tried.",
        reload=True,
        check=at_least(1),
    )
    command_timeout: Duration = setting(
        Duration(5 * MINUTE),
        "Wait this long for the reply to a command (RFC 5321 §4.5.3.2).",
        reload=True,
        check=at_least(10),
    )
    content_timeout: Duration = setting(
        Duration(10 * MINUTE),
        "Wait this long for the reply to the final dot (RFC 5321 §4.5.3.2.6).",
        reload=True,
        check=at_least(10),
    )
    tls: TlsMode = setting(
        TlsMode.OPPORTUNISTIC,
        "Protection on the way to a domain's own servers: none, opportunistic (STARTTLS where it works) or required.",
        reload=True,
    )
    mx_port: int = setting(
        25,
        "Port on which the servers of other domains are reached; other than 25 only in a lab.",
        check=between(1, 65535),
    )
    max_received: int = setting(
        50,
        "A message with more Received fields than this is in a loop and comes back (RFC 5321 §6.3).",
        reload=True,
        check=at_least(10),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteSettings:
    """A route: mail that goes through a smarthost instead of to the servers of its domain.

    The first route wins that names the account, then one that names the sender's domain, then one that names the
    recipient's domain; a route that names none of them takes all the rest. A domain may be "example.jp", ".example.jp"
    (all below it), or "*".
    """

    name: str = setting(prose="Name of this route in logs and listings.", example="isp")
    accounts: tuple[str, ...] = setting((), "Logins whose mail takes this route.", reload=True)
    senders: tuple[str, ...] = setting((), "Domains of the reverse-path that take this route.", reload=True)
    recipients: tuple[str, ...] = setting((), "Domains of recipients that take this route.", reload=True)
    host: str = setting(prose="Name or address of the smarthost.", example="smtp.example.net", reload=True)
    port: int = setting(
        587, "Port of the smarthost: 587, 465 with implicit TLS, or 25.", reload=True, check=between(1, 65535)
    )
    tls: TlsMode = setting(
        TlsMode.REQUIRED,
        "Protection: none, opportunistic, required (STARTTLS), implicit (TLS from the first octet, port 465).",
        reload=True,
    )
    verify: bool = setting(True, "Check the smarthost's certificate against its name.", reload=True)
    username: str | None = setting(None, "Log in to the smarthost under this name.", reload=True)
    password: Secret | None = setting(None, "Password for the smarthost.", reload=True)
    mechanisms: tuple[str, ...] = setting(
        (), "SASL mechanisms allowed towards the smarthost, best first; without any, the best it offers.", reload=True
    )

    @property
    def takes_the_rest(self) -> bool:
        """It names nobody, and so takes all mail that no other route takes."""
        return not (self.accounts or self.senders or self.recipients)


def _is_mailbox(login: object) -> tuple[str, str] | None:
    try:
        Mailbox.parse(str(login))
    except AddressError as error:
        return error.problem, "Give the full address of an account, such as rin@example.jp."
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSettings:
    """Local mail: the domains whose mailboxes are here, and what takes their mail."""

    domains: tuple[str, ...] = setting((), "Domains whose mail ends here.", example=["example.jp"], reload=True)
    postmaster: str | None = setting(
        None,
        "Login that takes mail for the postmaster of a local domain without one of its own (RFC 5321 §4.5.1).",
        example="rin@example.jp",
        reload=True,
        check=_is_mailbox,
    )
    transport: LocalTransport = setting(
        LocalTransport.MAILDIR,
        "What takes local mail: maildir (directories) or lmtp (for instance Dovecot).",
        reload=True,
    )
    lmtp: Endpoint | None = setting(
        None, "Where the LMTP server listens.", example="unix:/run/dovecot/lmtp", reload=True
    )
    maildir: Path | None = setting(
        None, "Directory that holds one Maildir for each account, named after its login.", reload=True
    )
