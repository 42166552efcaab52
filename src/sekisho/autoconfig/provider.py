"""What there is to tell: one value from which every document and every DNS record is made.

The composition root fills it in from the running configuration, so that no document can differ from what the service
does, nor from another document.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sekisho.smtp import AddressError, Mailbox

from .errors import AddressRefused, DomainNotOurs, NotOffered
from .settings import DmarcPolicy, StsMode, UserName

__all__ = ["Protocol", "Provider", "Security", "Server"]


class Protocol(StrEnum):
    """What a server speaks."""

    IMAP = "imap"
    POP3 = "pop3"
    SMTP = "smtp"


class Security(StrEnum):
    """How a connection is protected. There is no third way: cleartext is never told to a client (RFC 8314 §3)."""

    TLS = "SSL/TLS"
    STARTTLS = "STARTTLS"


IMPLICIT_TLS_PORTS = {Protocol.IMAP: 993, Protocol.POP3: 995, Protocol.SMTP: 465}  # RFC 8314 §7


@dataclass(frozen=True, slots=True)
class Server:
    """One way to reach one service."""

    protocol: Protocol
    host: str
    port: int
    security: Security
    user_name: UserName = UserName.ADDRESS

    def login(self, mailbox: Mailbox) -> str:
        """Return what the owner of *mailbox* types as the user name."""
        return str(mailbox) if self.user_name is UserName.ADDRESS else mailbox.local_part

    @property
    def has_standard_tls_port(self) -> bool:
        """Whether a client that is told the host alone finds it: TLS from the first octet, on the port for that."""
        return self.security is Security.TLS and self.port == IMPLICIT_TLS_PORTS[self.protocol]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The service as its clients and its domains' correspondents see it.

    Fields:
        hostname: name of this server.
        domains: of the addresses, A-labels; the first is the main one.
        incoming, outgoing: servers, best first.
        web_host: the web server of the documents.
        mx: hosts that take the domains' mail, best first.
        report_address: None means postmaster of the domain.
    """

    hostname: str
    domains: tuple[str, ...]
    name: str
    short_name: str
    incoming: tuple[Server, ...]
    outgoing: tuple[Server, ...]
    web_host: str
    help_url: str | None = None
    mx: tuple[str, ...] = ()
    report_address: str | None = None
    dmarc: DmarcPolicy = DmarcPolicy.NONE
    mta_sts: StsMode = StsMode.TESTING

    def domain(self, name: str | None = None) -> str:
        """Return *name* as one of our domains; the main one for None.

        Raises:
            DomainNotOurs, NotOffered (there is no domain at all)
        """
        if not self.domains:
            raise NotOffered("no domain is set up: list yours in local.domains or autoconfig.domains")
        if name is None:
            return self.domains[0]
        wanted = name.lower().rstrip(".")
        if wanted not in self.domains:
            raise DomainNotOurs(
                f"{_quoted(name)} is not one of the domains that are set up here ({', '.join(self.domains)}); "
                "list it in local.domains or autoconfig.domains if it should be"
            )
        return wanted

    def mailbox(self, address: str) -> Mailbox:
        """Return *address*, as a client sent it, as one of a domain of ours. Whether it exists is not asked.

        Raises:
            AddressRefused, DomainNotOurs
        """
        try:
            mailbox = Mailbox.parse(address)
        except AddressError as error:
            raise AddressRefused(f"{_quoted(address)} is no mail address: {error.problem}") from error
        if not mailbox.domain or mailbox.domain.startswith("["):
            raise AddressRefused(f"{_quoted(address)} has no domain that could be set up")
        self.domain(mailbox.domain)
        return mailbox

    def require_servers(self) -> None:
        """Make sure that there is something to tell a mail client.

        Raises:
            NotOffered
        """
        if not self.incoming:
            raise NotOffered("clients need a server to read mail from: set incoming.imap or incoming.pop3")
        if not self.outgoing:
            raise NotOffered("neither listener.submissions nor listener.submission is enabled: clients cannot send")


def _quoted(text: str) -> str:
    """Return text from outside for a message: short, and without control characters."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return f'"{shown if len(shown) <= 80 else shown[:77] + "..."}"'
