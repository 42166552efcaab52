"""The DNS resolver: typed answers to the few questions mail asks, cached for their TTL.

`sekisho.delivery` asks it where mail goes. It keeps the AD flag with each answer (RFC 4035 §3.2.3), so that DANE can
tell an answer that was validated from one that was not. RFC 1035, RFC 2308 (negative answers).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .dns_answers import Answer, NoSuchDomain, ResolverError, ResolverTemporary
from .dns_settings import DnsSettings

if TYPE_CHECKING:
    from .dns_servers import Servers

__all__ = ["Addresses", "MailExchangers", "NoSuchDomain", "Resolver", "ResolverError", "ResolverTemporary"]

MIN_TTL = 5.0  # seconds; a TTL of 0 must not cost one question per message
MAX_TTL = 86_400.0
NEGATIVE_TTL = 300.0  # at most; RFC 2308 §5
FAILURE_TTL = 5.0  # RFC 9520 §3.2: failures are cached for at least one second, at most five minutes


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
    answer: Answer | ResolverError


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
        self._asking: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._settings = settings
        self._servers: Servers | None = None

    async def mail_exchangers(self, domain: str) -> MailExchangers:
        """Return the MX records of *domain*, CNAMEs followed.

        Raises:
            NoSuchDomain, ResolverTemporary
        """
        answer = await self._ask(domain, "MX")
        return MailExchangers(answer.records, answer.secure)

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
        for answer in (six, four):
            if isinstance(answer, BaseException):
                failures.append(answer)
                continue
            secure = secure and answer.secure
            texts += [text for _, text in answer.records]
        if failures and not texts:
            raise next((failure for failure in failures if not isinstance(failure, NoSuchDomain)), failures[0])
        return Addresses(tuple(texts), secure and not failures)

    async def _ask(self, name: str, kind: str) -> Answer:
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

    def _answered(self, key: tuple[str, str], task: asyncio.Task[Answer]) -> None:
        self._asking.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._keep(key, task.result(), _seconds_to_keep(task.result()))
        elif isinstance(error, NoSuchDomain):
            self._keep(key, error, NEGATIVE_TTL)
        elif isinstance(error, ResolverError):
            self._keep(key, error, FAILURE_TTL)

    def _keep(self, key: tuple[str, str], answer: Answer | ResolverError, ttl: float) -> None:
        self._cache[key] = _Kept(self._clock() + ttl, answer)
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)

    async def _ask_servers(self, name: str, kind: str) -> Answer:
        if self._servers is None:
            from .dns_servers import Servers

            self._servers = Servers(self._settings)
        return await self._servers.ask(name, kind)


def _seconds_to_keep(answer: Answer) -> float:
    if answer.ttl is not None:
        return min(max(float(answer.ttl), MIN_TTL), MAX_TTL)
    return min(max(float(60 if answer.negative_ttl is None else answer.negative_ttl), MIN_TTL), NEGATIVE_TTL)
