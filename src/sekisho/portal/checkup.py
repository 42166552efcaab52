"""What the self-check knows of a visitor: gathered from log, gate, queue and accounts, each of which may be away."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sekisho.accounts import Account
from sekisho.edge.lookups import EdgeUnavailable, LineRecord, Lookups
from sekisho.guide.agents import Prospect, known_agents, prospect
from sekisho.guide.seen import read_entries
from sekisho.guide.situation import (
    AccountFacts,
    EdgeFacts,
    LineFacts,
    Log,
    Mail,
    Place,
    Service,
    Ways,
    account_seen,
    edge_facts,
)
from sekisho.queue import Filter, SpoolError, SpoolReader, State
from sekisho.store import StoreError
from sekisho.telemetry import Entry, Recall

from . import health
from .parts import Parts
from .visitor import Visitor, normal_address

__all__ = ["Checkup"]

DAY = 86400.0
SLICES = 40  # of the log, read for one visitor who comes before it has been read whole
RECALLED = 14  # days that `Recall` goes back at most
MAILS = 50
RETURNED_FOR = 3 * DAY
CLIENTS = 3


class Checkup:
    """Gathers facts. One for each set of parts; it keeps nothing of a visitor."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._health = health.Checkup(parts)
        edge = parts.settings.portal.edge
        self._lookups = Lookups(edge, parts.now) if edge is not None else None
        self._domains = frozenset(
            domain.lower() for domain in (*parts.settings.local.domains, parts.settings.hostname)
        ) | {each.domain.lower() for each in parts.card.audiences}

    @property
    def has_gate(self) -> bool:
        """Whether a gate is to be asked at all."""
        return self._lookups is not None

    @property
    def knows_networks(self) -> bool:
        """Whether anybody has told which networks are which; without, everybody would seem to be elsewhere."""
        portal = self._parts.settings.portal
        return self.has_gate or bool(portal.own_lines or portal.campus_networks or portal.vpn_networks)

    def ways(self, visitor: Visitor) -> Ways:
        """Return what is open to *visitor*."""
        portal = self._parts.settings.portal
        is_anywhere = not portal.campus_networks and not portal.vpn_networks
        is_inside = visitor.known and str(visitor.place) in (Place.CAMPUS, Place.VPN)
        parameters = self._parts.card.parameters
        return Ways(
            password_page=is_anywhere or is_inside,
            vpn="operator.vpn_url" in parameters,
            webmail="operator.webmail_url" in parameters,
        )

    async def line(self, visitor: Visitor, port: int | None) -> LineFacts:
        """Return what is known of the line that *visitor* asks from.

        Args:
            port: source port of the connection, which tells lines behind one address apart; None through a proxy.
        """
        service, (edge, edge_away), (log, since, entries) = await asyncio.gather(
            self._service(), self._gate(visitor, port), self._entries(visitor)
        )
        facts = LineFacts(
            now=self._parts.now(),
            place=_place(visitor, edge),
            ways=self.ways(visitor),
            log=log,
            since=since,
            seen=read_entries(entries, self._domains),
            edge=edge,
            edge_away=edge_away,
            service=service,
        )
        return facts if facts.is_shared else replace(facts, clients=self._clients(entries))

    async def place(self, visitor: Visitor, port: int | None) -> Place | None:
        """Return where *visitor* is; None when nobody has told which networks are which."""
        edge, _ = await self._gate(visitor, port)
        return _place(visitor, edge) if self.knows_networks and visitor.known else None

    async def account(self, account: Account, visitor: Visitor) -> AccountFacts:
        """Return what is known of the account that *visitor* is logged in to.

        Raises:
            Unavailable: the accounts cannot be read.
        """
        present = (await self._parts.accounts.call(lambda store: store.show(account.login))).account
        recall = await self._recall()
        entries = recall.of_account(account.login)
        here = normal_address(visitor.address)
        mails = await asyncio.to_thread(self._mails, account.login)
        refused = [each for each in entries if each.event == "message.refused"]
        senders = [str(each.fields.get("sender", "")) for each in reversed(refused)]
        return AccountFacts(
            seen=account_seen(entries, lambda client: _is_near(client, here), self._domains),
            suspended=present.suspended,
            renewal_needed=bool(present.renewal),
            password_changed=max((each.time for each in entries if each.event == "account.password_set"), default=None),
            second_factor=present.second_factor,
            refused_senders=tuple(dict.fromkeys(each for each in senders if each not in ("", "<>")))[:3],
            mails=mails,
            clients=self._clients(entries),
        )

    async def line_of(self, visitor: Visitor, port: int | None) -> LineRecord | None:
        """Return the gate's record of the visitor's line; None when there is none, or nobody knows who asks."""
        if self._lookups is None or not visitor.known:
            return None
        try:
            return await asyncio.to_thread(self._lookups.line, visitor.address, port)
        except EdgeUnavailable:
            return None

    async def behind(self, code: str) -> LineRecord | None:
        """Return the record of the line behind a code; None when there is none or the gate is away."""
        if self._lookups is None:
            return None
        try:
            return await asyncio.to_thread(self._lookups.code, code)
        except EdgeUnavailable:
            return None

    # ------------------------------------------------------------------ inside

    async def _service(self) -> Service:
        states = {check.name: check.state for check in await self._health.look()}
        if states["mail"] is health.State.BAD:
            return Service.AWAY
        return Service.FULL if states["disk"] is health.State.BAD else Service.WELL

    async def _gate(self, visitor: Visitor, port: int | None) -> tuple[EdgeFacts | None, bool]:
        if self._lookups is None or not visitor.known:
            return None, False
        try:
            record = await asyncio.to_thread(self._lookups.line, visitor.address, port)
        except EdgeUnavailable:
            return None, True
        return edge_facts(record), bool(record.unknown)

    async def _entries(self, visitor: Visitor) -> tuple[Log, float | None, tuple[Entry, ...]]:
        if not visitor.known:
            return Log.NOBODY, None, ()
        if self._parts.settings.log.client_addresses != "full":
            return Log.WITHOUT_ADDRESSES, None, ()
        recall = await self._recall()
        if recall.problem is not None or not self._parts.where.log.is_dir():
            return Log.AWAY, None, ()
        since = max(recall.since or 0.0, self._parts.now() - RECALLED * DAY)
        return Log.READ, since, recall.of_client(visitor.address)

    async def _recall(self) -> Recall:
        recall = self._parts.recall
        if recall.is_caught_up:
            return await self._parts.fresh_recall()
        await asyncio.to_thread(_catch_up, recall)
        return recall

    def _mails(self, login: str) -> tuple[Mail, ...] | None:
        """Return the letters of an account that were not delivered, None when the queue cannot be read."""
        recently = self._parts.now() - RETURNED_FOR
        waiting = Filter(states=(State.DEFERRED,), account=login)
        ended = Filter(states=(State.FAILED, State.EXPIRED), account=login, arrived_after=recently)
        try:
            with SpoolReader(self._parts.where.queue) as spools:
                found = [(each, each.next_attempt) for each in spools.list(waiting, limit=MAILS)]
                found += [(each, None) for each in spools.list(ended, limit=MAILS)]
        except (SpoolError, StoreError, OSError):
            return None
        return tuple(Mail(each.arrived, next_attempt, each.last_reply or "") for each, next_attempt in found)

    def _clients(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """Return the versions that sent lately, the latest first."""
        found: dict[str, None] = {}
        for agent in _agents(entries):
            recognized = known_agents().recognize(agent)
            if recognized is None or not recognized.versions:
                continue
            if len(recognized.versions) == 1 or prospect(recognized, self._parts.catalog, self._parts.card) in (
                Prospect.RETIRED,
                Prospect.OLDER,
            ):
                found[recognized.versions[0].id] = None
        return tuple(found)[:CLIENTS]


def _place(visitor: Visitor, edge: EdgeFacts | None) -> Place:
    """Return the visitor's place; the gate knows lines of ours that the portal's settings do not name."""
    place = Place(visitor.place.value)
    return Place.LINE if place is Place.OUTSIDE and edge is not None and edge.ours else place


def _agents(entries: Iterable[Entry]) -> Iterable[str]:
    for entry in sorted(entries, key=lambda each: -each.time):
        agent = entry.fields.get("agent")
        if entry.event == "message.accepted" and isinstance(agent, str):
            yield agent


def _is_near(client: object, here: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Tell whether *client* is of the line *here*: IPv4 the same address, IPv6 the same /64."""
    if here is None or not isinstance(client, str):
        return False
    other = normal_address(client)
    if other is None or other.version != here.version:
        return False
    shift = 64 if other.version == 6 else 0
    return int(other) >> shift == int(here) >> shift


def _catch_up(recall: Recall) -> None:
    end = time.monotonic() + 2.0
    for _ in range(SLICES):
        if not recall.refresh() or time.monotonic() > end:
            return
