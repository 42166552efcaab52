"""Rules as data: what `edge.compile` makes, `edge.checker` proves and `edge.compile.render` writes for nft.

The language is small on purpose. It cannot say what must never be said on an edge: no connection tracking but for the
explain phase, no guesses at extension headers, no linear lists of addresses, and no rule in which counting or logging
stands before a verdict, since a full set or a spent rate limit ends the rule it is in. Each rule has matches and one
action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from .prefix import Ranges

POLICY_TABLE: Final = "sekisho_edge"
COUNT_TABLE: Final = "sekisho_count"

CLASSIFY: Final = -290  # priorities on prerouting; before connection tracking (-200), if there is any
COUNT: Final = -289
VERDICT: Final = -288
EXPLAIN: Final = -101  # before others translate
UNPLACED: Final = -99  # after that


class Mark(IntEnum):
    """What the first chain found out about a packet, kept in four mark bits until the last chain acts on it."""

    NONE = 0
    OBSERVED = 1  # would be blocked
    EXPLAINED = 2
    DROPPED = 3
    REJECTED = 4
    STRAY_SEEN = 5  # source outside the prefixes of its interface
    STRAY_DROPPED = 6
    RETURN_SEEN = 7  # SYN+ACK towards a line that may not send there
    RETURN_DROPPED = 8


CAUGHT: Final = (Mark.OBSERVED, Mark.EXPLAINED, Mark.DROPPED, Mark.REJECTED)
STRAYS: Final = (Mark.STRAY_SEEN, Mark.STRAY_DROPPED)
RETURNS: Final = (Mark.RETURN_SEEN, Mark.RETURN_DROPPED)


class Facts(Protocol):
    """Answers about one packet, or about a set of packets that the one who answers splits by each question."""

    def tcp(self) -> bool:
        """TCP with its ports in sight: not a later fragment."""

    def later_fragment(self) -> bool:
        """A later fragment of a TCP segment: what stands where ports would be is content."""

    def family(self) -> int: ...
    def source_port(self, port: int) -> bool: ...
    def destination_port(self, port: int) -> bool: ...
    def syn_ack(self) -> bool: ...
    def entered_by(self, patterns: tuple[str, ...]) -> bool:
        """By one of these interfaces; a trailing ``*`` stands for any rest."""

    def source_in(self, group: object) -> bool: ...
    def destination_in(self, group: object) -> bool: ...
    def route_back(self) -> bool:
        """The route to the source leaves by the interface that the packet entered by."""

    def unplaced(self) -> bool:
        """Connection tracking cannot tell its connection, and so translates nothing."""

    def marked(self, mark: Mark) -> bool:
        """The four bits, as the packet came."""


@dataclass(frozen=True, slots=True)
class Ports:
    """``tcp sport`` or ``tcp dport``; None: any.

    A later fragment of IPv4 may meet it by chance, for the kernel then compares content (seen with Linux 6.18; IPv6 is
    not met). So whatever acts on it asks for `LaterFragment` first.
    """

    source: int | None = None
    destination: int | None = None


@dataclass(frozen=True, slots=True)
class SynAck:
    """SYN and ACK are set, whatever else is."""


@dataclass(frozen=True, slots=True)
class EnteredBy:
    """The interface is, or is not, in a set of interfaces."""

    group: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """Source or destination address is in a set of one family."""

    is_source: bool
    group: str


@dataclass(frozen=True, slots=True)
class RouteBack:
    """The route back to the source leaves by the interface the packet came in by."""


@dataclass(frozen=True, slots=True)
class LaterFragment:
    """A fragment of IPv4 that is not the first, and so has no ports."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Connection tracking cannot tell its connection. Only for the explain phase: elsewhere nothing is tracked."""


@dataclass(frozen=True, slots=True)
class Marked:
    mark: Mark


@dataclass(frozen=True, slots=True)
class OfFamily:
    family: int


Match = Ports | SynAck | EnteredBy | Within | RouteBack | LaterFragment | Unplaced | Marked | OfFamily


@dataclass(frozen=True, slots=True)
class Return:
    """Back to the chain that jumped here; in the first chain of a hook: on to the next hook."""


@dataclass(frozen=True, slots=True)
class Drop:
    """No answer."""


@dataclass(frozen=True, slots=True)
class Reject:
    """ICMP administratively prohibited, of either family."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To the explainer. host "": this machine."""

    family: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SetMark:
    mark: Mark


@dataclass(frozen=True, slots=True)
class Jump:
    chain: str
    returns: bool = True  # False: goto


@dataclass(frozen=True, slots=True)
class ByInterface:
    """Go to the chain that a map names for the interface; go on when it names none."""

    map: str


@dataclass(frozen=True, slots=True)
class BySource:
    """Go to the chain that a map names for the source address; go on when it names none."""

    map: str


@dataclass(frozen=True, slots=True)
class ByDestination:
    """Go to the chain that a map names for the destination address; go on when it names none."""

    map: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A copy of some packets for NFLOG, so many each second."""

    group: int
    rate: int
    prefix: str


Action = Return | Drop | Reject | Redirect | SetMark | Jump | ByInterface | BySource | ByDestination | Sample


@dataclass(frozen=True, slots=True)
class Rule:
    matches: tuple[Match, ...]
    action: Action


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order. With a priority it hangs on prerouting (of type nat when `translates`), else it is jumped to."""

    name: str
    rules: tuple[Rule, ...]
    priority: int | None = None
    translates: bool = False


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Disjoint prefixes of one family, each with its chain."""

    name: str
    family: int
    chains: Mapping[str, Ranges]


@dataclass(frozen=True, slots=True)
class Fold:
    """How the lines of some networks are told apart in the counters.

    Fields:
        prefixes: of the networks, one family.
        bits: IPv6: length of a line's prefix; IPv4: mask of the source port's bits that count (0: none).
    """

    family: int
    prefixes: Ranges
    bits: int


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One policy on one day, as rules.

    Fields:
        interfaces: sets of interfaces (a trailing ``*`` stands for any rest).
        interface_maps: interface to chain, by name.
        addresses: address sets, by name; each of one family.
        maps: address to chain, by name.
        chains: of the policy table.
        folds: how the count table tells lines apart.
    """

    interfaces: Mapping[str, tuple[str, ...]]
    interface_maps: Mapping[str, Mapping[str, str]]
    addresses: Mapping[str, Ranges]
    maps: Mapping[str, AddressMap]
    chains: tuple[Chain, ...]
    folds: tuple[Fold, ...]
    mark_shift: int
    by_name: Mapping[str, Chain] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {chain.name: chain for chain in self.chains})

    def groups(self) -> dict[object, Ranges]:
        """Every group of addresses that `follow` asks about."""
        groups: dict[object, Ranges] = {("set", name): ranges for name, ranges in self.addresses.items()}
        for found in self.maps.values():
            groups |= {("map", found.name, chain): ranges for chain, ranges in found.chains.items()}
        return groups


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules do to a packet.

    Fields:
        action: "pass", "drop", "reject" or "explain".
        mark: what the count table sees; None where the bits are as they came.
        clean: the four bits go on as they came, or emptied: no trace of ours is left for routing.
    """

    action: str
    mark: Mark | None
    clean: bool = True
    target: Redirect | None = None


class _Done(Exception):
    def __init__(self, action: str, target: Redirect | None = None) -> None:
        self.action = action
        self.target = target


LOOP_LIMIT: Final = 16


class _Walk:
    """One packet's way through the chains."""

    def __init__(self, ruleset: Ruleset, facts: Facts) -> None:
        self.ruleset = ruleset
        self.facts = facts
        self.mark: Mark | None = None  # None: as it came

    def run(self) -> Outcome:
        counted: Mark | None = None
        bases = sorted((c for c in self.ruleset.chains if c.priority is not None), key=lambda c: c.priority or 0)
        action, target = "pass", None
        try:
            for number, chain in enumerate(bases):
                self.chain(chain, 0)
                if number == 0:
                    counted = self.mark
        except _Done as done:
            action, target = done.action, done.target
        return Outcome(action, counted, self.mark in (None, Mark.NONE) or action in ("drop", "reject"), target)

    def chain(self, chain: Chain, depth: int) -> None:
        if depth > LOOP_LIMIT:
            raise RuntimeError("chains go round in a circle")
        for rule in chain.rules:
            if not all(self.holds(match) for match in rule.matches):
                continue
            action = rule.action
            if isinstance(action, Return):
                return
            if isinstance(action, SetMark):
                self.mark = action.mark
            elif isinstance(action, Jump):
                self.chain(self.ruleset.by_name[action.chain], depth + 1)
                if not action.returns:
                    return
            elif isinstance(action, ByInterface | BySource | ByDestination):
                target = self.look_up(action)
                if target is not None:
                    self.chain(self.ruleset.by_name[target], depth + 1)
                    return
            elif isinstance(action, Drop):
                raise _Done("drop")
            elif isinstance(action, Reject):
                raise _Done("reject")
            elif isinstance(action, Redirect) and self.facts.family() == action.family:
                raise _Done("explain", action)

    def look_up(self, action: ByInterface | BySource | ByDestination) -> str | None:
        facts = self.facts
        if isinstance(action, ByInterface):
            for interface, chain in self.ruleset.interface_maps[action.map].items():
                if facts.entered_by((interface,)):
                    return chain
            return None
        found = self.ruleset.maps[action.map]
        if facts.family() != found.family:
            return None
        ask: Callable[[object], bool] = facts.source_in if isinstance(action, BySource) else facts.destination_in
        for chain in found.chains:
            if ask(("map", found.name, chain)):
                return chain
        return None

    def holds(self, match: Match) -> bool:
        facts = self.facts
        if isinstance(match, Ports):
            return (
                (facts.tcp() or (facts.later_fragment() and facts.family() == 4))
                and (match.source is None or facts.source_port(match.source))
                and (match.destination is None or facts.destination_port(match.destination))
            )
        if isinstance(match, EnteredBy):
            return facts.entered_by(self.ruleset.interfaces[match.group]) is not match.negated
        if isinstance(match, Within):
            ranges = self.ruleset.addresses[match.group]
            if facts.family() != ranges.family:
                return False
            return (facts.source_in if match.is_source else facts.destination_in)(("set", match.group))
        if isinstance(match, RouteBack):
            return facts.route_back()
        if isinstance(match, LaterFragment):
            return facts.later_fragment() and facts.family() == 4
        if isinstance(match, Unplaced):
            return facts.unplaced()
        if isinstance(match, Marked):
            return facts.marked(match.mark) if self.mark is None else self.mark is match.mark
        if isinstance(match, OfFamily):
            return facts.family() == match.family
        return facts.syn_ack()


def follow(ruleset: Ruleset, facts: Facts) -> Outcome:
    """What *ruleset* does to the packet that *facts* answers for. Pure; asks only what the rules ask."""
    return _Walk(ruleset, facts).run()
