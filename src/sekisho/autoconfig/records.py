"""Every DNS record of the service: what to publish, why, and as a zone file.

Source: RFC 5321 §5.1 (MX), RFC 6186 §3 and RFC 8314 §5.1 (SRV), RFC 7208 (SPF), RFC 7489 (DMARC), RFC 8461 (MTA-STS),
RFC 8460 (TLS reports), draft-ietf-mailmaint-pacc-02.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .errors import NotOffered
from .pacc import pacc, pacc_digest
from .provider import Protocol, Provider, Security, Server
from .settings import StsMode

__all__ = ["NOT_SIGNED", "STS_PATH", "Kind", "Record", "records", "sts_policy", "zone"]

STS_PATH = ".well-known/mta-sts.txt"  # on mta-sts.DOMAIN
STS_AGE = {
    StsMode.TESTING: 86_400,
    StsMode.ENFORCE: 604_800,
}  # seconds; RFC 8461 §3.2: "weeks or greater" once it holds
NOT_SIGNED = "DKIM: mail is not signed here yet, so there is no key to publish"


class Kind(StrEnum):
    """The type of a record."""

    ADDRESS = "A/AAAA"
    MX = "MX"
    SRV = "SRV"
    TXT = "TXT"
    CNAME = "CNAME"


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish.

    Fields:
        name: without final dot.
        value: as in a zone file, host names without final dot; TXT without quotes. Empty for addresses, which only
            the operator knows.
        why: what it is for, in a few words.
        tag: how a TXT record of this purpose begins; others at the same name are none of ours.
    """

    name: str
    kind: Kind
    value: str
    why: str
    tag: str = ""


def records(provider: Provider) -> list[Record]:
    """Return the records of all domains, grouped as one would publish them.

    Raises:
        NotOffered: there is no domain.
    """
    provider.domain()
    hosts = [provider.hostname, *(server.host for server in provider.incoming), provider.web_host, *provider.mx]
    found = [Record(host, Kind.ADDRESS, "", "addresses of this host") for host in dict.fromkeys(hosts)]
    for domain in provider.domains:
        found += _mail(provider, domain)
        found += _services(provider, domain)
        found += _documents(provider, domain)
    return found


def _mail(provider: Provider, domain: str) -> Iterator[Record]:
    for place, host in enumerate(provider.mx):
        yield Record(domain, Kind.MX, f"{10 * (place + 1)} {host}", "mail for the domain comes here")
    sources = "mx" if provider.hostname in provider.mx else f"a:{provider.hostname}"
    yield Record(domain, Kind.TXT, f"v=spf1 {sources} -all", "SPF: who sends with these addresses", "v=spf1")
    reports = provider.report_address or f"postmaster@{domain}"
    dmarc = f"v=DMARC1; p={provider.dmarc}; rua=mailto:{reports}"
    yield Record(f"_dmarc.{domain}", Kind.TXT, dmarc, "DMARC: what to do with mail that fails", "v=DMARC1")
    if not provider.mx:
        return
    if provider.mta_sts is not StsMode.OFF:
        value = f"v=STSv1; id={_sts_id(provider)}"
        yield Record(f"_mta-sts.{domain}", Kind.TXT, value, "MTA-STS: there is a policy, of this version", "v=STSv1")
    tls = f"v=TLSRPTv1; rua=mailto:{reports}"
    yield Record(f"_smtp._tls.{domain}", Kind.TXT, tls, "where reports of TLS failures go", "v=TLSRPTv1")


def _services(provider: Provider, domain: str) -> Iterator[Record]:
    labels = {
        ("submissions", Protocol.SMTP, Security.TLS): 0,  # RFC 8314 §5.1: implicit TLS first
        ("submission", Protocol.SMTP, Security.STARTTLS): 10,
        ("imaps", Protocol.IMAP, Security.TLS): 0,
        ("imap", Protocol.IMAP, Security.STARTTLS): 10,
        ("pop3s", Protocol.POP3, Security.TLS): 0,
        ("pop3", Protocol.POP3, Security.STARTTLS): 10,
    }
    servers = (*provider.incoming, *provider.outgoing)
    for (label, protocol, security), priority in labels.items():
        server = next((s for s in servers if s.protocol is protocol and s.security is security), None)
        yield _service(f"_{label}._tcp.{domain}", server, priority, label)


def _service(name: str, server: Server | None, priority: int, label: str) -> Record:
    if server is None:
        return Record(name, Kind.SRV, "0 0 0 .", f"{label} is not offered (RFC 6186)")
    return Record(name, Kind.SRV, f"{priority} 1 {server.port} {server.host}", f"clients find {label}")


def _documents(provider: Provider, domain: str) -> Iterator[Record]:
    whats = {
        "autoconfig": "settings for Thunderbird and others",
        "autodiscover": "settings for Outlook",
    }
    if provider.mx and provider.mta_sts is not StsMode.OFF:
        whats["mta-sts"] = "the MTA-STS policy"
    digest = None
    try:
        digest = pacc_digest(pacc(provider))
        whats["ua-auto-config"] = "settings by PACC"
    except NotOffered:
        pass
    for label, what in whats.items():
        yield Record(f"{label}.{domain}", Kind.CNAME, provider.web_host, what)
    if digest is not None:
        yield Record(f"_ua-auto-config.{domain}", Kind.TXT, digest, "digest of the PACC document", "v=UAAC1")


def sts_policy(provider: Provider) -> bytes:
    """Return the MTA-STS policy (RFC 8461 §3.2), the same for each domain.

    Raises:
        NotOffered
    """
    if provider.mta_sts is StsMode.OFF or not provider.mx:
        raise NotOffered("there is no MTA-STS policy: autoconfig.mta_sts is off, or no server takes the domains' mail")
    lines = ["version: STSv1", f"mode: {provider.mta_sts}", *(f"mx: {host}" for host in provider.mx)]
    return "".join(f"{line}\r\n" for line in [*lines, f"max_age: {STS_AGE[provider.mta_sts]}"]).encode()


def _sts_id(provider: Provider) -> str:
    """RFC 8461 §3.1: it changes when the policy does, and otherwise stays."""
    return hashlib.sha256(sts_policy(provider)).hexdigest()[:20]


def zone(found: list[Record]) -> str:
    """Return *found* as lines for a zone file."""
    width = max((len(record.name) for record in found), default=0) + 1
    lines = []
    for record in found:
        name = f"{record.name}.".ljust(width)
        if record.kind is Kind.ADDRESS:
            lines.append(f"; {name}  IN  A      ...  put the addresses of this host here (A, and AAAA if it has IPv6)")
        else:
            lines.append(f"{name}  IN  {record.kind.ljust(5)}  {_in_zone(record)}  ; {record.why}")
    return "".join(f"{line}\n" for line in [*lines, f"; {NOT_SIGNED}"])


def _in_zone(record: Record) -> str:
    if record.kind is Kind.TXT:
        value = record.value.replace("\\", "\\\\").replace('"', '\\"')
        return " ".join(f'"{value[start : start + 255]}"' for start in range(0, len(value), 255))  # RFC 1035 §3.3.14
    return record.value if record.value.endswith(".") else f"{record.value}."
