"""What a packet filter of any maker can say of a policy: for each group of interfaces, terms about port 25 in order.

Every term is about TCP to port 25 and nothing else; whatever meets no term is permitted. What no such filter can do
(explain, watch routes, watch answers) is left out, and each export says so in its limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sekisho.edge.compile import interface_groups
from sekisho.edge.policy import INTERFACE, NAME, AccessNetwork, Line, Phase, Policy
from sekisho.edge.policy import Action as NetworkAction
from sekisho.edge.prefix import BITS, Prefix, Ranges


class Effect(StrEnum):
    """What a term does."""

    PERMIT = "permit"
    WATCH = "watch"  # permit, and count
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Group:
    """Addresses of one family under a name of small letters, digits and hyphens."""

    name: str
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """TCP to port 25 from *source* to *destination*; None: any."""

    name: str
    source: Group | None
    destination: Group | None
    effect: Effect


@dataclass(frozen=True, slots=True)
class Filter:
    """The terms for packets that enter by *interfaces*, by family."""

    number: int
    interfaces: tuple[str, ...]
    terms: Mapping[int, tuple[Term, ...]]

    def groups(self, family: int) -> Iterator[Group]:
        """Each group once, in the order of use."""
        seen: set[str] = set()
        for term in self.terms[family]:
            for group in (term.source, term.destination):
                if group is not None and group.name not in seen:
                    seen.add(group.name)
                    yield group


@dataclass(frozen=True, slots=True)
class Export:
    """What was written for a router, and what it does not do.

    Fields:
        files: text by file name.
        limits: one sentence each, for the operator.
    """

    files: Mapping[str, str]
    limits: tuple[str, ...]


class ExportError(ValueError):
    """The policy holds something that this router's language has no word for."""


def filters(policy: Policy, today: date) -> tuple[Filter, ...]:
    """The policy as of *today* in terms that filters can say. Interfaces where nothing is watched have no filter."""
    made: list[Filter] = []
    for interfaces, networks in interface_groups(policy):
        for name in (*interfaces, *(network.name for network in networks)):
            if INTERFACE.fullmatch(name) is None and NAME.fullmatch(name) is None:
                raise ExportError(f"{name!r} cannot be written")
        terms = {family: tuple(_terms(policy, networks, family, today)) for family in BITS}
        if any(term.effect is not Effect.PERMIT for rows in terms.values() for term in rows):
            made.append(Filter(len(made), interfaces, terms))
    return tuple(made)


def _terms(policy: Policy, networks: tuple[AccessNetwork, ...], family: int, today: date) -> Iterator[Term]:
    for network in networks:
        own = tuple(Prefix.of(p) for p in network.prefixes if p.version == family)
        if own:
            yield from _network_terms(policy, network, Group(f"{network.name}-lines", own), family, today)
    guarding = {policy.phase_of(network, today) for network in networks if network.guard}
    if guarding & {Phase.EXPLAIN, Phase.ENFORCE}:
        yield Term("strays", None, None, Effect.DROP)
    elif Phase.OBSERVE in guarding:
        yield Term("strays", None, None, Effect.WATCH)


def _network_terms(policy: Policy, network: AccessNetwork, lines: Group, family: int, today: date) -> Iterator[Term]:
    name, phase = network.name, policy.phase_of(network, today)
    if phase is Phase.OFF or network.line is Line.FIXED:
        yield Term(f"{name}-free", lines, None, Effect.PERMIT)
        return
    servers = reachable(policy, network, family)
    if servers:
        yield Term(f"{name}-servers", lines, Group(f"{name}-servers", servers), Effect.PERMIT)
    exempt = exempt_within(policy, network, family, today)
    if exempt:
        yield Term(f"{name}-exempt", Group(f"{name}-exempt", exempt), None, Effect.PERMIT)
    if phase is Phase.ENFORCE:
        effect = Effect.REJECT if network.action is NetworkAction.REJECT else Effect.DROP
        yield Term(f"{name}-blocked", lines, None, effect)
    else:
        yield Term(f"{name}-watched", lines, None, Effect.WATCH)


def reachable(policy: Policy, network: AccessNetwork, family: int) -> tuple[Prefix, ...]:
    """Where lines of *network* may use port 25 in any phase."""
    rows = list(policy.management)
    for name in network.relay_only or network.allowed:
        rows += policy.server_group(name).prefixes
    if network.own_space and not network.relay_only:
        rows += policy.own_space
    return tuple(Ranges.of(family, map(Prefix.of, rows)).prefixes())


def exempt_within(policy: Policy, network: AccessNetwork, family: int, today: date) -> tuple[Prefix, ...]:
    """The exemptions that count for *network* on *today*; none where a relay is the only way."""
    if network.relay_only:
        return ()
    own = Ranges.of(family, map(Prefix.of, network.prefixes))
    rows = (
        e.prefix
        for e in policy.exemptions
        if e.prefix.family == family and e.prefix.first in own and (e.expires is None or e.expires >= today)
    )
    return tuple(Ranges.of(family, rows).prefixes())


def tag(made: tuple[Filter, ...]) -> str:
    """A short name for exactly these filters: new ones get new names, and old and new can stand side by side."""
    return hashlib.sha256(repr(made).encode()).hexdigest()[:8]


def common_limits(policy: Policy, today: date) -> tuple[str, ...]:
    """What no packet filter of a router does."""
    limits = [
        "Exemptions count for the interfaces of their network: that a neighbor does not use an exempt address is up to "
        "the router's own source check (unicast reverse-path forwarding, BCP 38).",
        "Counters are those of whole terms, not of single lines.",
    ]
    if any(policy.phase_of(network, today) is Phase.EXPLAIN for network in policy.networks):
        limits.append("Networks in the explain phase are only watched: a filter cannot redirect to the explainer.")
    if any(network.triangular for network in policy.networks):
        limits.append("Answers to forged packets that left by other networks (triangular) are not stopped.")
    return tuple(limits)
