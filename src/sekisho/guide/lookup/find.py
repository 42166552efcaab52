"""Where a domain's submission settings are published: its own configuration, that of its mail host, DNS, a database.

In this order; the first that answers wins. Without a domain's own word nothing is guessed. RFC 6186 and RFC 8314 §5.1
for the SRV records; draft-ietf-mailmaint-autoconfig-03 for the documents.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sekisho.smtp import is_domain, to_a_labels

from .document import BadDocument, Outgoing, Published, is_host_name, read_document
from .fetch import Crowded, Fetcher, FetchError

__all__ = ["Answer", "Finder", "Source", "registered_part"]

KEPT: Final = 1000  # answers
KEPT_FOR: Final = 6 * 3600.0  # seconds
NONE_KEPT_FOR: Final = 600.0
MAX_DOMAIN: Final = 253
SECOND_LEVEL: Final = frozenset(
    ("ac", "ad", "co", "com", "ed", "edu", "go", "gov", "gr", "lg", "mil", "ne", "net", "nom", "or", "org")
)
"""Labels under which a country's registry registers, so that nobody speaks for the two labels together."""


class Source(StrEnum):
    """Who says so."""

    DOMAIN = "domain"  # the domain itself
    MAIL_HOST = "mail-host"  # whoever runs its mail
    DNS = "dns"  # its SRV records
    DATABASE = "database"  # one that the operator of this portal named


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for a domain; *published* is None when nothing was."""

    domain: str
    source: Source | None = None
    published: Published | None = None


class Finder:
    """Finds settings and remembers the answers for a while."""

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        database: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to find.

        Args:
            database: base address of an ISPDB, to which the domain is appended.
            clock: seconds that only grow.
        """
        self._fetcher = fetcher
        self._names = fetcher.names
        self._database = database
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Answer]] = {}

    def domain_of(self, text: str) -> str | None:
        """Return the domain of an address or domain as somebody typed it; None when it can be none."""
        typed = text.strip().rpartition("@")[2].strip().rstrip(".").lower()
        if not typed or len(typed) > MAX_DOMAIN:
            return None
        domain = to_a_labels(typed)
        return domain if is_host_name(domain) and len(domain) <= MAX_DOMAIN else None

    def is_kept(self, domain: str) -> bool:
        """Tell whether `find` will answer without asking anybody."""
        kept = self._kept.get(domain)
        return kept is not None and kept[0] > self._clock()

    async def find(self, domain: str) -> Answer:
        """Return what is published for *domain*, as `domain_of` spells it. Never raises."""
        kept = self._kept.get(domain)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        task = self._asking.get(domain)
        if task is None:
            task = self._asking[domain] = asyncio.get_running_loop().create_task(self._find(domain))
            task.add_done_callback(lambda done: self._answered(domain, done))
        try:
            return await asyncio.shield(task)  # a visitor who leaves must not end it for another
        except Crowded:  # not remembered: whoever keeps us busy must not hide what others publish
            return Answer(domain)

    def _answered(self, domain: str, task: asyncio.Task[Answer]) -> None:
        del self._asking[domain]
        if task.cancelled() or task.exception() is not None:
            return
        answer = task.result()
        self._kept[domain] = self._clock() + (KEPT_FOR if answer.published else NONE_KEPT_FOR), answer
        self._kept.move_to_end(domain)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def _find(self, domain: str) -> Answer:
        own = (
            f"https://autoconfig.{domain}/mail/config-v1.1.xml",
            f"https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
        )
        if (found := await self._first(own)) is not None:
            return Answer(domain, Source.DOMAIN, found)
        if (host := await self._mail_host(domain)) is not None:
            found = await self._first((f"https://autoconfig.{host}/mail/config-v1.1.xml",))
            if found is not None:
                return Answer(domain, Source.MAIL_HOST, found)
        if servers := await self._services(domain):
            return Answer(domain, Source.DNS, Published("", servers))
        if self._database is not None:
            found = await self._first((f"{self._database.rstrip('/')}/{domain}",))
            if found is not None:
                return Answer(domain, Source.DATABASE, found)
        return Answer(domain)

    async def _first(self, urls: Collection[str]) -> Published | None:
        """Return the first document that can be read, in the order of *urls*; they are asked for at the same time."""
        answers = await asyncio.gather(*(self._read(url) for url in urls))
        return next((each for each in answers if each is not None), None)

    async def _read(self, url: str) -> Published | None:
        try:
            return read_document((await self._fetcher.get(url)).body)
        except Crowded:
            raise
        except (FetchError, BadDocument):
            return None

    async def _mail_host(self, domain: str) -> str | None:
        """Return the domain of the most preferred MX, when it is not this one: a hoster's, most often."""
        hosts = sorted(await self._names.exchangers(domain))
        host = registered_part(hosts[0][1]) if hosts else None
        return host if host is not None and host != domain else None

    async def _services(self, domain: str) -> tuple[Outgoing, ...]:
        found = []
        for name, security in (("_submissions", "tls"), ("_submission", "starttls")):
            for _, _, port, host in sorted(await self._names.services(f"{name}._tcp.{domain}"))[:2]:
                if is_host_name(host) and 0 < port < 65536:  # "." says: not offered
                    found.append(Outgoing(host, port, security))
        return tuple(found)


def registered_part(host: str) -> str | None:
    """Return *host* without its first label; None when that could be a registry's own: nobody here speaks for it."""
    labels = host.lower().rstrip(".").split(".")[1:]
    if len(labels) < 2 or not is_domain(".".join(labels)):
        return None
    if len(labels) == 2 and len(labels[1]) == 2 and labels[0] in SECOND_LEVEL:
        return None
    return ".".join(labels)
