"""BGP flow specification (RFC 8955, RFC 8956), for ExaBGP and GoBGP.

Flow routes have no interface and no "except". What may pass is announced as routes of its own that come first: those
with a destination come before those without, and longer sources before shorter ones (RFC 8955 §5.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sekisho.edge.policy import PORT, Line, Phase, Policy
from sekisho.edge.policy import Action as NetworkAction
from sekisho.edge.prefix import BITS, Prefix

from .terms import Export, ExportError, common_limits, exempt_within, reachable

__all__ = ["FlowRoute", "Session", "export_exabgp", "export_gobgp", "routes"]

CUSTOMARY: Final = 50  # flow routes that upstreams commonly accept
MOST: Final = 5000
_OURS: Final = IPv4Address("192.0.2.2")
_PEER: Final = IPv4Address("192.0.2.1")


@dataclass(frozen=True, slots=True)
class Session:
    """The BGP session in the ExaBGP file. The defaults are for documentation: set your own."""

    local_address: IPv4Address | IPv6Address = _OURS
    peer_address: IPv4Address | IPv6Address = _PEER
    local_as: int = 64496
    peer_as: int = 64496
    router_id: IPv4Address = _OURS


@dataclass(frozen=True, slots=True)
class FlowRoute:
    """TCP to port 25 from *source* to *destination* (None: any) is accepted, or else discarded."""

    source: Prefix
    destination: Prefix | None
    accepts: bool

    @property
    def order(self) -> tuple[object, ...]:
        """RFC 8955 §5.1 for routes of one family: lower comes first."""
        there = self.destination
        first = (1, 0, 0) if there is None else (0, -there.length, there.first)
        return (*first, -self.source.length, self.source.first)


def routes(policy: Policy, today: date) -> tuple[FlowRoute, ...]:
    """The flow routes that networks in the enforce phase need, in the order of the RFC.

    Raises:
        ExportError: more than any router takes.
    """
    made: dict[FlowRoute, None] = {}
    for network in policy.networks:
        if network.line is Line.FIXED or policy.phase_of(network, today) is not Phase.ENFORCE:
            continue
        for family in BITS:
            own = [Prefix.of(p) for p in network.prefixes if p.version == family]
            for source in own:
                made[FlowRoute(source, None, False)] = None
                for destination in reachable(policy, network, family):
                    made[FlowRoute(source, destination, True)] = None
            if own:
                for source in exempt_within(policy, network, family, today):
                    made[FlowRoute(source, None, True)] = None
    if len(made) > MOST:
        raise ExportError(f"{len(made)} flow routes are too many; flow specification is for a handful of prefixes")
    return tuple(sorted(made, key=lambda route: (route.source.family, route.order)))


def export_exabgp(policy: Policy, today: date, session: Session = Session()) -> Export:  # frozen
    """A configuration of ExaBGP 4 or 5 with one neighbor that gets all routes."""
    made = routes(policy, today)
    lines = [
        f"neighbor {session.peer_address} {{",
        f"    router-id {session.router_id};",
        f"    local-address {session.local_address};",
        f"    local-as {session.local_as:d};",
        f"    peer-as {session.peer_as:d};",
        "    family {",
        "        ipv4 flow;",
        "        ipv6 flow;",
        "    }",
        "    flow {",
    ]
    for number, route in enumerate(made):
        lines += (f"        {line}" for line in _exabgp_route(number, route))
    lines += ["    }", "}"]
    return Export({"sekisho-exabgp.conf": "\n".join(lines) + "\n"}, _limits(policy, today, made))


def _exabgp_route(number: int, route: FlowRoute) -> Iterator[str]:
    yield f"route sekisho-{number} {{"
    yield "    match {"
    yield f"        source {route.source.network};"
    if route.destination is not None:
        yield f"        destination {route.destination.network};"
    yield f"        {'protocol' if route.source.family == 4 else 'next-header'} tcp;"
    yield f"        destination-port ={PORT};"
    yield "    }"
    yield "    then {"
    yield f"        {'accept' if route.accepts else 'discard'};"
    yield "    }"
    yield "}"


def export_gobgp(policy: Policy, today: date) -> Export:
    """A script of gobgp commands: one to announce, one to withdraw the same."""
    made = routes(policy, today)
    files = {}
    for verb, name in (("add", "sekisho-gobgp-add.sh"), ("del", "sekisho-gobgp-del.sh")):
        lines = ["#!/bin/sh", "set -eu"]
        lines += (f"gobgp global rib {verb} -a ipv{r.source.family}-flowspec {_gobgp_route(r)}" for r in made)
        files[name] = "\n".join(lines) + "\n"
    return Export(files, (*_limits(policy, today, made), _NOT_ATOMIC))


_NOT_ATOMIC = (
    "The script announces one route after the other, those that accept first; withdraw in the other order only when "
    "all of it is to go."
)


def _gobgp_route(route: FlowRoute) -> str:
    there = "" if route.destination is None else f"destination {route.destination.network} "
    then = "accept" if route.accepts else "discard"
    return f"match {there}source {route.source.network} protocol tcp destination-port '=={PORT}' then {then}"


def _limits(policy: Policy, today: date, made: tuple[FlowRoute, ...]) -> tuple[str, ...]:
    limits = [
        "Flow routes know no interface: sources outside the prefixes are not stopped (guard), and routes hold wherever "
        "the session reaches.",
        "Nothing is observed or explained: networks in these phases have no routes.",
        f"These are {len(made)} routes. Upstreams commonly accept {CUSTOMARY}, and close the session beyond it.",
        "Some hardware accepts IPv6 flow routes and does not act on them, and TCP behind an IPv6 extension header may "
        "get past: try it.",
        "Session addresses and AS numbers are for documentation unless you gave your own.",
    ]
    rejecting = any(
        n.action is NetworkAction.REJECT and policy.phase_of(n, today) is Phase.ENFORCE for n in policy.networks
    )
    if rejecting:
        limits.append("Reject becomes discard: flow specification has no action that answers.")
    return (*limits, *(line for line in common_limits(policy, today) if "explain" not in line))
