"""Asking about other providers: `guide.lookup` with the resolver and the refused networks of this portal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekisho.autoconfig.lookup import Lookup, LookupFailed
from sekisho.guide.lookup import Fetcher, Finder, may_connect
from sekisho.net.resolver import Resolver, ResolverError

from .parts import Parts

__all__ = ["Others", "others"]


@dataclass(frozen=True, slots=True)
class Others:
    """What the pages about other providers need.

    Fields:
        own: domains that are ours, which need no looking up.
    """

    finder: Finder
    fetcher: Fetcher
    own: frozenset[str]


class _Names:
    """`guide.lookup.Names`, from DNS as the configuration has it."""

    def __init__(self, resolver: Resolver, lookup: Lookup) -> None:
        self._resolver = resolver
        self._lookup = lookup

    async def addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (await self._resolver.addresses(host)).texts
        except ResolverError:
            return ()

    async def exchangers(self, domain: str) -> tuple[tuple[int, str], ...]:
        try:
            return (await self._resolver.mail_exchangers(domain)).hosts
        except ResolverError:
            return ()

    async def services(self, name: str) -> tuple[tuple[int, int, int, str], ...]:
        try:
            values = await self._lookup.values(name, "SRV")
        except LookupFailed:
            return ()
        return tuple(found for value in values if (found := _service(value.split())) is not None)


def _service(fields: Sequence[str]) -> tuple[int, int, int, str] | None:
    if len(fields) != 4 or not all(each.isascii() and each.isdigit() for each in fields[:3]):
        return None
    return int(fields[0]), int(fields[1]), int(fields[2]), fields[3]


def others(parts: Parts) -> Others:
    """Make what the pages about other providers need. Nobody is asked yet."""
    settings = parts.settings
    portal = settings.portal
    refused = (
        *portal.campus_networks,
        *portal.vpn_networks,
        *portal.own_lines,
        *portal.operator_networks,
        *portal.trusted_proxies,
        *settings.relay.networks,
    )
    names = _Names(Resolver(settings.dns), Lookup(settings.dns))
    fetcher = Fetcher(names, allowed=lambda address: may_connect(address, refused))
    own = {domain.lower() for domain in (*settings.local.domains, settings.hostname)}
    return Others(
        Finder(fetcher, database=portal.lookup_database),
        fetcher,
        frozenset(own | {each.domain.lower() for each in parts.card.audiences}),
    )
