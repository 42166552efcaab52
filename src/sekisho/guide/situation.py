"""What is known when somebody asks why sending fails: facts, gathered by the portal and judged by `diagnose`.

`LineFacts` is what anybody on that line may see, so it has no field for a user name, a mail address or a recipient.
`AccountFacts` is for the account's owner, after login. What could not be had is None or says why, never empty: nothing
seen and nothing known are two things.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from sekisho.edge import Phase
from sekisho.edge.lookups import LineRecord
from sekisho.edge.verdicts import VerdictKind
from sekisho.telemetry import Entry

from .seen import Seen, read_entries

__all__ = [
    "AccountFacts",
    "EdgeFacts",
    "LineFacts",
    "Log",
    "Mail",
    "Place",
    "Service",
    "Used",
    "Ways",
    "account_seen",
    "edge_facts",
]


class Place(StrEnum):
    """Where a person is, as far as the operator's networks tell."""

    CAMPUS = "campus"
    VPN = "vpn"
    LINE = "line"
    OUTSIDE = "outside"


class Log(StrEnum):
    """What the event log can tell about an address."""

    READ = "read"
    WITHOUT_ADDRESSES = "without-addresses"  # the operator keeps them out of it
    AWAY = "away"  # it cannot be read now
    NOBODY = "nobody"  # which address asks is not known: an untrusted web server stands before the portal


class Service(StrEnum):
    """How the mail service is."""

    WELL = "well"
    FULL = "full"  # there is no room for mail
    AWAY = "away"  # no mail process answers
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ways:
    """What the operator offers to this person here.

    Fields:
        password_page: the page for passwords opens from where the person is.
        vpn, webmail: the operator has them.
    """

    password_page: bool
    vpn: bool
    webmail: bool


@dataclass(frozen=True, slots=True)
class EdgeFacts:
    """What the gate knows of a line.

    Fields:
        ours: the line is one of an access network of ours.
        closed: port 25 to foreign servers is explained or blocked now.
        closed_since: when these rules were made, UTC seconds since the epoch.
        free: exempt or fixed: port 25 stays open.
        shared: several lines have this address; nothing below is about one of them alone then, and is left out.
        attempts, last_attempt: on port 25, in the last hour; None when nothing was seen.
        explained: connections that were answered with an explanation, the first and the last of them.
        destinations: addresses it wanted to reach.
        program: what its mail program called itself.
        held_until: it is in quarantine until then.
        closes_on: day on which port 25 will be closed, ISO 8601.
    """

    ours: bool = False
    closed: bool = False
    closed_since: float | None = None
    free: bool = False
    shared: bool = False
    attempts: int = 0
    last_attempt: float | None = None
    explained: int = 0
    first_explained: float | None = None
    last_explained: float | None = None
    destinations: tuple[str, ...] = ()
    program: str | None = None
    verdict: VerdictKind = VerdictKind.QUIET
    held_until: float | None = None
    closes_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFacts:
    """What is known of the line that somebody asks from.

    Fields:
        seen: what its clients did, the oldest first.
        since: what happened before this moment is not known; None when *log* is not read.
        edge: None without a gate, or when it is away: *edge_away* tells the two apart.
        clients: versions of the catalog that sent from here lately, the latest first; none from a shared line.
    """

    now: float
    place: Place
    ways: Ways
    log: Log = Log.READ
    since: float | None = None
    seen: tuple[Seen, ...] = ()
    edge: EdgeFacts | None = None
    edge_away: bool = False
    service: Service = Service.UNKNOWN
    clients: tuple[str, ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether many people have this address, so that what was seen may be about any of them."""
        return self.place in (Place.CAMPUS, Place.VPN) or (self.edge is not None and self.edge.shared)


@dataclass(frozen=True, slots=True)
class Used:
    """How much of an hourly limit is used; *limit* 0: there is none."""

    used: int
    limit: int

    @property
    def is_reached(self) -> bool:
        return 0 < self.limit <= self.used


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter of the account's that was not delivered.

    Fields:
        at: when it was given to us.
        next_attempt: None when there is none any more: it was returned.
        reply: of the other server; it is searched, never shown.
    """

    at: float
    next_attempt: float | None
    reply: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What is known of the account that its owner has logged in to.

    Fields:
        seen: what its clients did, those of strangers who tried its name left out.
        refused_senders: addresses that its clients wanted to send as, and may not.
        mails: None when the queue could not be asked.
        messages, recipients: of this hour; None when that is not known.
        clients: versions of the catalog, the latest first.
    """

    seen: tuple[Seen, ...] = ()
    suspended: bool = False
    renewal_needed: bool = False
    password_changed: float | None = None
    second_factor: bool = False
    refused_senders: tuple[str, ...] = ()
    mails: tuple[Mail, ...] | None = ()
    messages: Used | None = None
    recipients: Used | None = None
    clients: tuple[str, ...] = ()


def edge_facts(record: LineRecord) -> EdgeFacts:
    """Return what may be told of the line in *record* to whoever sits on it."""
    change = record.next_change
    closes_on = None
    if change is not None and change[1] in (Phase.EXPLAIN, Phase.ENFORCE) and not record.closed:
        closes_on = change[0].isoformat()
    free = record.fixed or record.exemption is not None
    common = EdgeFacts(
        ours=bool(record.network),
        closed=record.closed,
        closed_since=record.applied or None,
        free=free,
        shared=record.shared,
        closes_on=None if free else closes_on,
    )
    if record.shared:
        return common
    measured = {each.name: each.value for each in record.verdict.evidence} if record.verdict is not None else {}
    last = measured.get("last_seen")
    explained = record.explained
    return replace(
        common,
        attempts=int(measured.get("attempts_per_hour", 0)),
        last_attempt=float(last) if isinstance(last, int | float) else None,
        explained=sum(each.connections for each in explained),
        first_explained=min((each.first for each in explained), default=None),
        last_explained=max((each.last for each in explained), default=None),
        destinations=tuple(dict.fromkeys(to for each in explained for to in each.destinations))[:4],
        program=next((each.name for each in explained if each.name), None),
        verdict=record.verdict.kind if record.verdict is not None else VerdictKind.QUIET,
        held_until=record.held.until if record.held is not None else None,
    )


def account_seen(
    entries: Iterable[Entry], is_here: Callable[[object], bool], domains: Collection[str]
) -> tuple[Seen, ...]:
    """Return what the owner's clients did by the entries of an account.

    Failed logins count only from where the account has been logged in to, and from here: anybody can try its name.

    Args:
        is_here: tells whether a client's address is of the line that the owner asks from.
        domains: ours.
    """
    kept = list(entries)
    own = {each.fields.get("client") for each in kept if each.event in ("auth.accepted", "message.accepted")}
    own.discard(None)

    def is_own(client: object) -> bool:
        return is_here(client) or client in own

    known = [each for each in kept if each.event != "auth.refused" or is_own(each.fields.get("client"))]
    return read_entries(known, domains, is_here=is_here)
