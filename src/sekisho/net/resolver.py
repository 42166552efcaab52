"""The DNS resolver: typed answers to the few questions mail asks, cached for their TTL.

`sekisho.delivery` asks it where mail goes. It keeps the AD flag with each answer (RFC 4035 §3.2.3), so that DANE can
tell an answer that was validated from one that was not. RFC 1035, RFC 2308 (negative answers).

Exceptions:
    ResolverError
    ├── NoSuchDomain        the name does not exist: permanent
    └── ResolverTemporary   no answer now: try again later
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver

from .dns_settings import DnsSettings

__all__ = ["Addresses", "MailExchangers", "NoSuchDomain", "Resolver", "ResolverError", "ResolverTemporary"]

MIN_TTL = 5.0  # seconds; a TTL of 0 must not cost one question per message
MAX_TTL = 86_400.0
NEGATIVE_TTL = 300.0  # at most; RFC 2308 §5
FAILURE_TTL = 5.0  # RFC 9520 §3.2: failures are cached for at least one second, at most five minutes


class ResolverError(Exception):
    """A question without an answer."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


class NoSuchDomain(ResolverError):
    """The name does not exist (NXDOMAIN), or cannot be a name at all."""


class ResolverTemporary(ResolverError):
    """No server gave an answer: time-out, SERVFAIL, REFUSED, or none to be reached."""


@dataclass(frozen=True, slots=True)
class MailExchangers:
    """The MX records of a domain, in no order; none when the name exists without any.

    Fields:
        hosts: (preference, host name without final dot; "" for the root, which is the null MX of RFC 7505).
        secure: the resolver says that it validated the answer.
    """

    hosts: tuple[tuple[int, str], ...]
    secure: bool


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a host, IPv6 first; none when the name exists without any."""

    texts: tuple[str, ...]
    secure: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    answer: dns.message.Message | ResolverError


class Resolver:
    """Asks the configured servers. One for each process; safe to share between tasks of one loop."""

    def __init__(self, settings: DnsSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            clock: seconds that only grow, for the TTLs.
        """
        self._clock = clock
        self._cache: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._max_entries = settings.cache_entries
        self._asking: dict[tuple[str, str], asyncio.Task[dns.message.Message]] = {}
        self._dns = _configured(settings)

    async def mail_exchangers(self, domain: str) -> MailExchangers:
        """Return the MX records of *domain*, CNAMEs followed.

        Raises:
            NoSuchDomain, ResolverTemporary
        """
        message = await self._ask(domain, "MX")
        hosts = tuple(
            (record.preference, _text(record.exchange))
            for record in _records(message, "MX")
            if isinstance(record, dns.rdtypes.ANY.MX.MX)
        )
        return MailExchangers(hosts, _is_secure(message))

    async def addresses(self, host: str) -> Addresses:
        """Return the IPv6 and IPv4 addresses of *host*, asked for at the same time.

        One family failing does not hide the other's addresses.

        Raises:
            NoSuchDomain, ResolverTemporary
        """
        six, four = await asyncio.gather(self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True)
        texts: list[str] = []
        secure = True
        failures: list[BaseException] = []
        for answer, kind in ((six, "AAAA"), (four, "A")):
            if isinstance(answer, BaseException):
                failures.append(answer)
                continue
            secure = secure and _is_secure(answer)
            texts += [
                record.address
                for record in _records(answer, kind)
                if isinstance(record, (dns.rdtypes.IN.A.A, dns.rdtypes.IN.AAAA.AAAA))
            ]
        if failures and not texts:
            raise next((failure for failure in failures if not isinstance(failure, NoSuchDomain)), failures[0])
        return Addresses(tuple(texts), secure and not failures)

    async def _ask(self, name: str, kind: str) -> dns.message.Message:
        key = (name.lower(), kind)
        kept = self._cache.get(key)
        if kept is not None and kept.until > self._clock():
            if isinstance(kept.answer, ResolverError):
                raise type(kept.answer)(kept.answer.name, kept.answer.detail)
            return kept.answer
        task = self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask_servers(*key))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)  # several wait for one question; one giving up must not end it

    def _answered(self, key: tuple[str, str], task: asyncio.Task[dns.message.Message]) -> None:
        self._asking.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._keep(key, task.result(), _ttl(task.result()))
        elif isinstance(error, NoSuchDomain):
            self._keep(key, error, NEGATIVE_TTL)
        elif isinstance(error, ResolverError):
            self._keep(key, error, FAILURE_TTL)

    def _keep(self, key: tuple[str, str], answer: dns.message.Message | ResolverError, ttl: float) -> None:
        self._cache[key] = _Kept(self._clock() + ttl, answer)
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)

    async def _ask_servers(self, name: str, kind: str) -> dns.message.Message:
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
        return answer.response


def _configured(settings: DnsSettings) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    if settings.servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in settings.servers]
    else:
        try:
            resolver.read_resolv_conf("/etc/resolv.conf")
        except dns.resolver.NoResolverConfiguration:
            resolver.nameservers = ["127.0.0.1"]  # as resolv.conf(5): none named means the local one
    resolver.lifetime = settings.timeout
    resolver.use_edns(0, 0, 1232)
    resolver.flags = dns.flags.RD | dns.flags.AD  # AD in a question asks for AD in the answer (RFC 6840 §5.7)
    return resolver


def _records(message: dns.message.Message, kind: str) -> list[object]:
    rdtype = dns.rdatatype.from_text(kind)
    return [record for rrset in message.answer if rrset.rdtype == rdtype for record in rrset]


def _is_secure(message: dns.message.Message) -> bool:
    return bool(message.flags & dns.flags.AD)


def _ttl(message: dns.message.Message) -> float:
    """Return how long an answer may be kept: the least TTL in it, or for an empty one the SOA's word (RFC 2308 §5)."""
    positive = [rrset.ttl for rrset in message.answer]
    negative = [min(rrset.ttl, rrset[0].minimum) for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    if positive:
        return min(max(float(min(positive)), MIN_TTL), MAX_TTL)
    return min(max(float(min(negative, default=60)), MIN_TTL), NEGATIVE_TTL)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
