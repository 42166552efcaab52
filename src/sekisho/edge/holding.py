"""Rules for the quarantine set, as nft text. Pure, and made of numbers and of names that were matched.

A table of its own, made when the first line comes and removed with the last::

    quarantine (-280)   after the verdict on port 25, before tracking and routing: is this packet of a line in the set?
    garden (-102)       sends port 80 of its lines to this router; only then are connections tracked
    unplaced (-98)      drops of these what could not be sent there

Each line is an element with a timeout in three sets: one that finds it, and two whose elements each carry a limit of
their own, for connections and for other packets. The kernel keeps and forgets both by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .lines import LineKey
from .policy import Policy, Quarantine, QuarantineAction
from .prefix import BITS, Prefix, Ranges
from .render import Unrenderable, interface_element

__all__ = ["QUARANTINE_TABLE", "elements", "removal", "structure"]

QUARANTINE_TABLE: Final = "inet sekisho_quarantine"
SET_SIZE: Final = 65_536
BURST: Final = 5  # seconds' worth of what is allowed
ALWAYS: Final = "53, 67, 547"  # UDP: DNS, DHCP
NEIGHBORS: Final = "nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert"  # without these a line is dead


@dataclass(frozen=True, slots=True)
class _Kind:
    """Lines that are found in one way.

    Fields:
        stem: end of the names of their sets and chains.
        key: what of a packet is looked up.
        first: what else must hold for that.
    """

    family: int
    stem: str
    key: str
    type: str
    flags: str
    first: str = ""


def _kinds(policy: Policy) -> Iterator[_Kind]:
    yield _Kind(4, "4", "ip saddr", "ipv4_addr", "interval,timeout")
    yield _Kind(6, "6", "ip6 saddr", "ipv6_addr", "interval,timeout")
    for mask in sorted({network.port_mask for network in policy.networks} - {0}):
        key, first = f"ip saddr . th sport & {mask:#06x}", "meta l4proto { tcp, udp } ip frag-off & 0x1fff == 0 "
        yield _Kind(4, _stem(mask), key, "ipv4_addr . inet_service", "timeout", first)


def _stem(mask: int) -> str:
    return f"_{mask:04x}"


def removal() -> str:
    """Return what takes the table away, whether it is there or not."""
    return f"add table {QUARANTINE_TABLE}\ndelete table {QUARANTINE_TABLE}\n"


def elements(policy: Policy, held: Iterable[tuple[LineKey, int]]) -> str:
    """Return what makes these lines, each with its seconds left, the only ones in the set."""
    rows: dict[str, list[str]] = {kind.stem: [] for kind in _kinds(policy)}
    for key, seconds in held:
        stem = _stem(key.mask) if key.mask else str(key.prefix.family)
        rows[stem].append(f"{key.element} timeout {max(1, seconds):d}s")
    lines = []
    for stem, texts in rows.items():
        for name in ("lines", "opens", "others"):
            lines.append(f"flush set {QUARANTINE_TABLE} {name}{stem}\n")
            if texts:
                lines.append(f"add element {QUARANTINE_TABLE} {name}{stem} {{ {', '.join(texts)} }}\n")
    return "".join(lines)


def structure(policy: Policy) -> str:
    """Return the table with empty sets, in the place of whatever it was. Raises `Unrenderable`."""
    told = policy.quarantine
    if told.action is QuarantineAction.OFF:
        raise Unrenderable("no rules are made for a quarantine that is off")
    return "\n".join((f"{removal()}table {QUARANTINE_TABLE} {{", *_rows(policy, told), "}", ""))


def _rows(policy: Policy, told: Quarantine) -> Iterator[str]:
    kinds = tuple(_kinds(policy))
    access = dict.fromkeys(i for network in policy.networks for i in network.interfaces)
    interfaces = ", ".join(map(interface_element, access))
    yield f"\tset access {{ type ifname; flags interval; elements = {{ {interfaces} }}; }}"
    reachable = _reachable(policy)
    for family, ranges in reachable.items():
        rows = f" elements = {{ {', '.join(ranges.texts())} }};" if ranges else ""
        yield f"\tset reach{family} {{ type ipv{family}_addr; flags interval;{rows} }}"
    for kind in kinds:
        shape = f"type {kind.type}; flags {kind.flags}; size {SET_SIZE};"
        yield f"\tset lines{kind.stem} {{ {shape} }}"
        for name, rate in (("opens", told.connections_per_second), ("others", told.packets_per_second)):
            limit = f"limit rate over {rate:d}/second burst {rate * BURST:d} packets;"
            yield f"\tset {name}{kind.stem} {{ {shape} {limit} }}"
    for kind in kinds:
        yield f"\tchain held{kind.stem} {{"
        yield from (f"\t\t{rule}" for rule in _held(kind, told))
        yield "\t}"
    found = [f"{kind.first}{kind.key} @lines{kind.stem} goto held{kind.stem}" for kind in kinds]
    yield from _chain("find", found)
    hook = "\t\ttype {} hook prerouting priority {}; policy accept;"
    yield from _chain("quarantine", [hook.format("filter", -280), "iifname @access goto find"])
    if told.action is QuarantineAction.GARDEN:
        port = f"{told.garden_port:d}"
        own = [f"{'ip' if family == 4 else 'ip6'} daddr @reach{family} return" for family in BITS]
        sent = [f"tcp dport 80 {kind.first}{kind.key} @lines{kind.stem} redirect to :{port}" for kind in kinds]
        lost = [f"{kind.first}{kind.key} @lines{kind.stem} drop" for kind in kinds]
        yield from _chain("send", [*own, *sent])
        yield from _chain("garden", [hook.format("nat", -102), "iifname @access tcp dport 80 goto send"])
        yield from _chain("lose", [*own, *lost])
        unplaced = "iifname @access tcp dport 80 fib daddr type != local goto lose"
        yield from _chain("unplaced", [hook.format("filter", -98), unplaced])


def _chain(name: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"\tchain {name} {{"
    yield from (f"\t\t{rule.strip()}" for rule in rules)
    yield "\t}"


def _held(kind: _Kind, told: Quarantine) -> Iterator[str]:
    """What becomes of a packet of a line in the set."""
    opens = f"tcp flags & (syn | ack) == syn {kind.key} @opens{kind.stem} drop"
    yield f"{'ip' if kind.family == 4 else 'ip6'} daddr @reach{kind.family} return"
    if kind.family == 6:
        yield f"icmpv6 type {{ {NEIGHBORS} }} return"
    if told.action is QuarantineAction.LIMIT:
        yield opens
        yield f"meta l4proto != tcp {kind.key} @others{kind.stem} drop"
        return
    yield f"udp dport {{ {ALWAYS} }} {kind.key} @others{kind.stem} drop"
    yield f"udp dport {{ {ALWAYS} }} return"
    yield f"tcp dport {{ 53, 80 }} {opens}"
    yield "tcp dport { 53, 80 } return"
    yield "drop"


def _reachable(policy: Policy) -> dict[int, Ranges]:
    """What is never closed to anybody: servers, management, portal, and the explainer where it is elsewhere."""
    prefixes = [Prefix.of(p) for p in (*policy.management, *policy.quarantine.reachable)]
    prefixes += [Prefix.of(p) for group in policy.servers for p in group.prefixes]
    for endpoint in (policy.explainer.ipv4, policy.explainer.ipv6):
        if endpoint is not None and endpoint.host:
            prefixes.append(Prefix.parse(endpoint.host))
    return {family: Ranges.of(family, prefixes) for family in BITS}
