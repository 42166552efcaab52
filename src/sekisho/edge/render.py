"""Rules as nft text: one transaction that replaces the policy table and keeps every counter.

Nothing here comes from the policy unchecked: addresses are numbers, names have been matched against a pattern, and an
interface or sample prefix that could end its quotes is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .policy import PORT
from .prefix import Prefix, Ranges, address_text
from .ruleset import (
    CAUGHT,
    COUNT,
    COUNT_TABLE,
    POLICY_TABLE,
    RETURNS,
    STRAYS,
    Action,
    ByDestination,
    ByInterface,
    BySource,
    Drop,
    EnteredBy,
    Fold,
    Jump,
    LaterFragment,
    Mark,
    Marked,
    Match,
    OfFamily,
    Ports,
    Redirect,
    Reject,
    Return,
    RouteBack,
    Rule,
    Ruleset,
    Sample,
    SetMark,
    SynAck,
    Unplaced,
    Within,
)

__all__ = [
    "ATTEMPTS",
    "COUNTERS",
    "KEEP",
    "PACKETS",
    "RECENT",
    "RETURNED",
    "STRAY_SOURCES",
    "Unrenderable",
    "interface_element",
    "render",
    "render_removal",
]

PACKETS: Final = {4: "packets4", 6: "packets6"}
"""Packets of a line to a destination. Keys: IPv4 address . port block . destination; IPv6 line prefix . destination."""

ATTEMPTS: Final = {4: "attempts4", 6: "attempts6"}
"""Connection attempts of a line to a destination, retransmissions not counted; keyed like `PACKETS`."""

RECENT: Final = {4: "recent4", 6: "recent6"}
"""Attempts under way (source . destination . source port): a packet that is in here is a retransmission."""

STRAY_SOURCES: Final = "strays"
"""Packets with a source that does not belong there, by interface."""

RETURNED: Final = {4: "returned4", 6: "returned6"}
"""SYN+ACK from outside towards lines that may not send there, by the line's address."""

KEEP: Final = "1d"
UNDER_WAY: Final = "5m"  # Linux sends its last SYN of an attempt 127 s after the first
COUNTERS: Final[Mapping[str, tuple[str, int, str]]] = {  # type of key, size, timeout
    PACKETS[4]: ("ipv4_addr . inet_service . ipv4_addr", 131072, KEEP),
    PACKETS[6]: ("ipv6_addr . ipv6_addr", 131072, KEEP),
    ATTEMPTS[4]: ("ipv4_addr . inet_service . ipv4_addr", 131072, KEEP),
    ATTEMPTS[6]: ("ipv6_addr . ipv6_addr", 131072, KEEP),
    RECENT[4]: ("ipv4_addr . ipv4_addr . inet_service", 262144, UNDER_WAY),
    RECENT[6]: ("ipv6_addr . ipv6_addr . inet_service", 262144, UNDER_WAY),
    STRAY_SOURCES: ("ifname", 4096, KEEP),
    RETURNED[4]: ("ipv4_addr", 65536, KEEP),
    RETURNED[6]: ("ipv6_addr", 65536, KEEP),
}
"""The sets of the count table. They never change shape, so that a new policy keeps what was counted."""

PER_LINE: Final = 16
_LATER_FRAGMENT: Final = "ip frag-off & 0x1fff != 0"
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}\*?")  # IFNAMSIZ is 16 octets with the final NUL
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,60}")
_PREFIX: Final = re.compile(r"[a-z][a-z0-9:-]{0,100}")


class Unrenderable(ValueError):
    """A name that nft or the kernel could not take, such as an interface of another maker's router."""


def render(ruleset: Ruleset) -> str:
    """Write *ruleset* as one nft transaction. Raises `Unrenderable`."""
    return "\n".join((*_policy_table(ruleset), *_count_table(ruleset), ""))


def render_removal() -> str:
    """The transaction that takes everything of ours away, whether it is there or not."""
    return "".join(f"add table inet {table}\ndelete table inet {table}\n" for table in (POLICY_TABLE, COUNT_TABLE))


def _policy_table(ruleset: Ruleset) -> Iterator[str]:
    """Deleted and made anew within the transaction: nothing of an earlier policy is left, and no packet sees a gap."""
    yield f"add table inet {POLICY_TABLE}"
    yield f"delete table inet {POLICY_TABLE}"
    yield f"table inet {POLICY_TABLE} {{"
    for name, interfaces in ruleset.interfaces.items():
        yield from _set(name, "ifname", (interface_element(i) for i in interfaces))
    for name, ranges in ruleset.addresses.items():
        yield from _set(name, f"ipv{ranges.family}_addr", ranges.texts(), merged=True)
    for name, targets in ruleset.interface_maps.items():
        yield from _map(
            name, "ifname", (f"{interface_element(i)} : goto {_word(chain)}" for i, chain in targets.items())
        )
    for found in ruleset.maps.values():
        elements = (
            f"{text} : goto {_word(chain)}" for chain, ranges in found.chains.items() for text in ranges.texts()
        )
        yield from _map(found.name, f"ipv{found.family}_addr", elements)
    for chain in ruleset.chains:
        yield f"\tchain {_word(chain.name)} {{"
        if chain.priority is not None:
            kind = "nat" if chain.translates else "filter"
            yield f"\t\ttype {kind} hook prerouting priority {chain.priority}; policy accept;"
        yield from (f"\t\t{_rule(rule, ruleset)}" for rule in chain.rules)
        yield "\t}"
    yield "}"


def _set(name: str, kind: str, elements: Iterable[str], *, merged: bool = False) -> Iterator[str]:
    yield f"\tset {_word(name)} {{"
    yield f"\t\ttype {kind}"
    yield "\t\tflags interval"
    if merged:
        yield "\t\tauto-merge"
    yield from _elements(elements)
    yield "\t}"


def _map(name: str, kind: str, elements: Iterable[str]) -> Iterator[str]:
    yield f"\tmap {_word(name)} {{"
    yield f"\t\ttype {kind} : verdict"
    yield "\t\tflags interval"
    yield from _elements(elements)
    yield "\t}"


def _elements(elements: Iterable[str]) -> Iterator[str]:
    rows = list(elements)
    yield "\t\telements = {"
    for at in range(0, len(rows), PER_LINE):
        yield f"\t\t\t{', '.join(rows[at : at + PER_LINE])},"
    yield "\t\t}"


def _rule(rule: Rule, ruleset: Ruleset) -> str:
    words = [_match(match, ruleset) for match in rule.matches]
    words.append(_action(rule.action, ruleset.mark_shift))
    return " ".join(words)


def _match(match: Match, ruleset: Ruleset) -> str:
    if isinstance(match, Ports):
        words = [] if match.source is None else [f"tcp sport {match.source:d}"]
        words += [] if match.destination is None else [f"tcp dport {match.destination:d}"]
        return " ".join(words)
    if isinstance(match, EnteredBy):
        return f"iifname {'!= ' if match.negated else ''}@{_word(match.group)}"
    if isinstance(match, Within):
        family = "ip" if ruleset.addresses[match.group].family == 4 else "ip6"
        return f"{family} {'saddr' if match.is_source else 'daddr'} @{_word(match.group)}"
    if isinstance(match, RouteBack):
        return "fib saddr . iif oif exists"
    if isinstance(match, LaterFragment):
        return _LATER_FRAGMENT
    if isinstance(match, Unplaced):
        return "ct state { invalid, untracked }"
    if isinstance(match, Marked):
        return _marked(match.mark, ruleset.mark_shift)
    if isinstance(match, OfFamily):
        return f"meta nfproto ipv{match.family}"
    assert isinstance(match, SynAck)
    return "tcp flags & (syn | ack) == (syn | ack)"


def _marked(mark: Mark, shift: int) -> str:
    return f"meta mark & {0xF << shift:#010x} == {mark << shift:#010x}"


def _action(action: Action, shift: int) -> str:
    if isinstance(action, SetMark):
        kept = 0xFFFFFFFF & ~(0xF << shift)
        text = f"meta mark set meta mark & {kept:#010x}"
        return text if action.mark is Mark.NONE else f"{text} | {action.mark << shift:#010x}"
    if isinstance(action, Jump):
        return f"{'jump' if action.returns else 'goto'} {_word(action.chain)}"
    if isinstance(action, ByInterface):
        return f"iifname vmap @{_word(action.map)}"
    if isinstance(action, BySource | ByDestination):
        side = "saddr" if isinstance(action, BySource) else "daddr"
        return f"{'ip' if action.map.endswith('_4') else 'ip6'} {side} vmap @{_word(action.map)}"
    if isinstance(action, Sample):
        if _PREFIX.fullmatch(action.prefix) is None:
            raise Unrenderable(f"{action.prefix!r} cannot be a log prefix")
        return (
            f"limit rate {action.rate:d}/second burst {action.rate:d} packets "
            f'log prefix "{action.prefix}" group {action.group:d} snaplen 96 queue-threshold 16'
        )
    if isinstance(action, Redirect):
        return _redirect(action)
    return {Return: "return", Drop: "drop", Reject: "reject with icmpx admin-prohibited"}[type(action)]


def _redirect(action: Redirect) -> str:
    if not action.host:
        return f"redirect to :{action.port:d}"
    if action.family == 4:
        return f"dnat ip to {_address(action.host, 4)}:{action.port:d}"
    return f"dnat ip6 to [{_address(action.host, 6)}]:{action.port:d}"


def _count_table(ruleset: Ruleset) -> Iterator[str]:
    """Sets stay as they are, with what they hold; chains are emptied and filled again."""
    table = f"inet {COUNT_TABLE}"
    yield f"add table {table}"
    for name, (kind, size, timeout) in COUNTERS.items():
        yield f"add set {table} {name} {{ type {kind}; size {size}; flags dynamic,timeout; timeout {timeout}; }}"
    yield f"add chain {table} count {{ type filter hook prerouting priority {COUNT}; policy accept; }}"
    chains = ("line", "stray", "back", "again")
    for chain in chains:
        yield f"add chain {table} {chain}"
    for chain in ("count", *chains):
        yield f"flush chain {table} {chain}"
    rules = {"count": _dispatch(ruleset), "line": _line_rules(ruleset.folds), **_FIXED_RULES}
    for chain, lines in rules.items():
        for line in lines:
            yield f"add rule {table} {chain} {line}"


def _dispatch(ruleset: Ruleset) -> Iterator[str]:
    shift = ruleset.mark_shift

    def to(marks: Iterable[Mark], chain: str) -> str:
        values = ", ".join(f"{mark << shift:#010x}" for mark in marks)
        return f"meta mark & {0xF << shift:#010x} {{ {values} }} goto {chain}"

    if "active" in ruleset.interfaces:
        inside = (
            f"tcp dport {PORT} iifname {{ {', '.join(interface_element(i) for i in ruleset.interfaces['active'])} }}"
        )
        yield f"{inside} {to(CAUGHT, 'line')}"
        yield f"{inside} {to(STRAYS, 'stray')}"
    if "access" in ruleset.interfaces:
        access = ", ".join(interface_element(i) for i in ruleset.interfaces["access"])
        outside = f"tcp sport {PORT} tcp flags & (syn | ack) == (syn | ack) iifname != {{ {access} }}"
        for family, side in ((4, "ip daddr"), (6, "ip6 daddr")):
            ranges = ruleset.addresses.get(f"returned_{family}")
            if ranges:
                yield f"{outside} {side} {{ {', '.join(ranges.texts())} }} {to(RETURNS, 'back')}"


def _line_rules(folds: tuple[Fold, ...]) -> Iterator[str]:
    """Packets first. Then, unless this is one of an attempt under way, the attempt."""
    yield f"{_LATER_FRAGMENT} return"
    for fold in folds:
        yield f"{_fold_match(fold)} update @{PACKETS[fold.family]} {{ {_fold_key(fold)} counter }}"
    yield f"ip saddr . ip daddr . tcp sport @{RECENT[4]} goto again"
    yield f"ip6 saddr . ip6 daddr . tcp sport @{RECENT[6]} goto again"
    for fold in folds:
        yield f"{_fold_match(fold)} update @{ATTEMPTS[fold.family]} {{ {_fold_key(fold)} counter }}"
    yield "goto again"


def _fold_match(fold: Fold) -> str:
    return f"{'ip' if fold.family == 4 else 'ip6'} saddr {{ {', '.join(fold.prefixes.texts())} }}"


def _fold_key(fold: Fold) -> str:
    if fold.family == 4:
        return f"ip saddr . tcp sport & {fold.bits:#06x} . ip daddr"
    mask = ((1 << fold.bits) - 1) << (128 - fold.bits)
    return f"ip6 saddr & {address_text(6, mask)} . ip6 daddr"


_FIXED_RULES: Final = {
    "stray": (
        f"{_LATER_FRAGMENT} return",
        f"update @{STRAY_SOURCES} {{ iifname counter }}",
    ),
    "back": (
        f"{_LATER_FRAGMENT} return",
        f"update @{RETURNED[4]} {{ ip daddr counter }}",
        f"update @{RETURNED[6]} {{ ip6 daddr counter }}",
    ),
    "again": (
        f"update @{RECENT[4]} {{ ip saddr . ip daddr . tcp sport }}",
        f"update @{RECENT[6]} {{ ip6 saddr . ip6 daddr . tcp sport }}",
    ),
}


def interface_element(name: str) -> str:
    if _INTERFACE.fullmatch(name) is None:
        raise Unrenderable(f"{name!r} cannot be an interface of Linux (15 characters at most)")
    return f'"{name}"'


def _word(name: str) -> str:
    if _WORD.fullmatch(name) is None:
        raise Unrenderable(f"{name!r} cannot be a name in nft")
    return name


def _address(text: str, family: int) -> str:
    ranges = Ranges.of(family, [_parsed(text, family)])
    return next(ranges.texts())


def _parsed(text: str, family: int) -> Prefix:
    prefix = Prefix.parse(text)
    if prefix.family != family:
        raise Unrenderable(f"{text!r} is no IPv{family} address")
    return prefix
