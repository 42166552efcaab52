"""Asking DNS servers, by dnspython: the one part of the resolver that knows it.

`sekisho.net.resolver` loads it with the first question. It is large, and a server whose mail all goes to a smarthost
with an address never asks one; where questions are to be expected `sekisho.supervise` loads it for all workers at once.
"""

from __future__ import annotations

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver

from .dns_answers import Answer, NoSuchDomain, ResolverTemporary
from .dns_settings import DnsSettings

__all__ = ["Servers"]


class Servers:
    """The configured servers, or those of the system."""

    def __init__(self, settings: DnsSettings) -> None:
        resolver = dns.asyncresolver.Resolver(configure=False)
        if settings.servers:
            servers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in settings.servers]
            resolver.nameservers = servers
        else:
            try:
                resolver.read_resolv_conf("/etc/resolv.conf")
            except dns.resolver.NoResolverConfiguration:
                resolver.nameservers = ["127.0.0.1"]  # as resolv.conf(5): none named means the local one
        resolver.lifetime = settings.timeout
        resolver.use_edns(0, 0, 1232)
        resolver.flags = dns.flags.RD | dns.flags.AD  # AD in a question asks for AD in the answer (RFC 6840 §5.7)
        self._dns = resolver

    async def ask(self, name: str, kind: str) -> Answer:
        """Ask for the records of *kind* (MX, A or AAAA) at *name*, CNAMEs followed.

        Raises:
            NoSuchDomain, ResolverTemporary
        """
        try:
            question = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NoSuchDomain(name, "not a domain name") from error
        try:
            answer = await self._dns.resolve(question, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchDomain(name, "no such domain") from error
        except dns.resolver.LifetimeTimeout as error:
            raise ResolverTemporary(name, "no answer in time") from error
        except (dns.exception.DNSException, OSError) as error:
            raise ResolverTemporary(name, "the DNS servers gave no usable answer") from error
        return _read(answer.response, dns.rdatatype.from_text(kind))


def _read(message: dns.message.Message, kind: dns.rdatatype.RdataType) -> Answer:
    records = [record for rrset in message.answer if rrset.rdtype == kind for record in rrset]
    soa = [rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    return Answer(
        tuple(value for record in records if (value := _value(record)) is not None),
        bool(message.flags & dns.flags.AD),
        min((rrset.ttl for rrset in message.answer), default=None),
        min((min(rrset.ttl, rrset[0].minimum) for rrset in soa), default=None),
    )


def _value(record: object) -> tuple[int, str] | None:
    if isinstance(record, dns.rdtypes.ANY.MX.MX):
        return record.preference, _text(record.exchange)
    if isinstance(record, (dns.rdtypes.IN.A.A, dns.rdtypes.IN.AAAA.AAAA)):
        return 0, record.address
    return None


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
