"""Asking DNS for records of any type, past every cache of ours: what is published now."""

from __future__ import annotations

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.resolver

from sekisho.net.dns_settings import DnsSettings

__all__ = ["Lookup", "LookupFailed"]


class LookupFailed(Exception):
    """No server gave an answer; ``str()`` says why."""


class Lookup:
    """Asks the configured servers, or those of the system."""

    def __init__(self, settings: DnsSettings) -> None:
        self._dns = dns.asyncresolver.Resolver(configure=False)
        if settings.servers:
            servers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in settings.servers]
            self._dns.nameservers = servers
        else:
            try:
                self._dns.read_resolv_conf("/etc/resolv.conf")
            except dns.resolver.NoResolverConfiguration:
                self._dns.nameservers = ["127.0.0.1"]  # as resolv.conf(5)
        self._dns.lifetime = settings.timeout
        self._dns.use_edns(0, 0, 1232)

    async def values(self, name: str, kind: str) -> list[str]:
        """Return the values at *name* in the form that `records.Record` has; none where there is nothing.

        A CNAME at *name* is followed, except where *kind* asks for it.

        Raises:
            LookupFailed
        """
        try:
            answer = await self._dns.resolve(dns.name.from_text(name), kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return []
        except dns.resolver.LifetimeTimeout as error:
            raise LookupFailed("no DNS server answered in time") from error
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed("the DNS servers gave no usable answer") from error
        wanted = dns.rdatatype.from_text(kind)
        rdatas = [rdata for rrset in answer.response.answer if rrset.rdtype == wanted for rdata in rrset]
        return [_text(rdata) for rdata in rdatas]


def _text(rdata: object) -> str:
    if isinstance(rdata, dns.rdtypes.txtbase.TXTBase):
        return b"".join(rdata.strings).decode("utf-8", "replace")
    text = str(rdata).lower()
    return text if text.endswith(" .") else text.rstrip(".")
