"""What clients are told, filled in from the configuration that the service runs on."""

from __future__ import annotations

from sekisho.autoconfig.provider import Protocol, Provider, Security, Server
from sekisho.autoconfig.settings import IncomingTls
from sekisho.smtp.address import to_a_labels

from .sections import PORTS, Settings, listeners

OUTGOING = (("submissions", Security.TLS), ("submission", Security.STARTTLS))  # RFC 8314 §3.3: implicit TLS first
INCOMING = {IncomingTls.IMPLICIT: Security.TLS, IncomingTls.STARTTLS: Security.STARTTLS}


def provider(settings: Settings) -> Provider:
    """Return the service as automatic configuration describes it."""
    own = settings.autoconfig
    domains = own.domains or _domains(settings)
    name = own.name or (domains[0] if domains else settings.hostname)
    return Provider(
        hostname=settings.hostname,
        domains=domains,
        name=name,
        short_name=own.short_name or name,
        incoming=_incoming(settings),
        outgoing=_outgoing(settings),
        web_host=own.web_host or settings.hostname,
        help_url=own.help_url,
        mx=own.mx or ((settings.hostname,) if settings.local.domains and settings.listener.mx.enabled else ()),
        report_address=own.report_address,
        dmarc=own.dmarc,
        mta_sts=own.mta_sts,
    )


def _domains(settings: Settings) -> tuple[str, ...]:
    default = settings.accounts.default_domain
    every = [*settings.local.domains, *([default] if default else [])]
    if default in every:
        every.insert(0, every.pop(every.index(default)))
    return tuple(dict.fromkeys(to_a_labels(domain.lower()) for domain in every))


def _incoming(settings: Settings) -> tuple[Server, ...]:
    incoming = settings.incoming
    found = [
        Server(protocol, host, port, INCOMING[tls], incoming.user_name)
        for protocol, host, port, tls in (
            (Protocol.IMAP, incoming.imap, incoming.imap_port, incoming.imap_tls),
            (Protocol.POP3, incoming.pop3, incoming.pop3_port, incoming.pop3_tls),
        )
        if host is not None
    ]
    return tuple(sorted(found, key=lambda server: server.protocol != incoming.preferred))


def _outgoing(settings: Settings) -> tuple[Server, ...]:
    enabled = listeners(settings)
    return tuple(
        Server(Protocol.SMTP, settings.hostname, _port(kind, settings), security)
        for kind, security in OUTGOING
        if kind in enabled
    )


def _port(kind: str, settings: Settings) -> int:
    """Return the port clients connect to: the usual one if the listener has it, else the first that it has."""
    ports = [endpoint.port for endpoint in listeners(settings)[kind].addresses if endpoint.port]
    return PORTS[kind] if not ports or PORTS[kind] in ports else ports[0]
