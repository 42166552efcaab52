"""What a policy means for one packet: the reference that compiled rules are held against.

Written for reading, not for speed, and without the shapes of any firewall: no sets, no chains, no marks. It asks its
questions through `Facts`, so that the same words decide about one packet and about a whole region of them
(`edge.checker`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from .policy import PORT, AccessNetwork, Action, Line, Phase, Policy, SourceCheck
from .prefix import BITS, Address, Prefix
from .ruleset import Facts, Mark, Outcome, Ruleset, follow

__all__ = ["Fate", "Model", "Packet", "PacketFacts", "Verdict", "carry_out", "covers", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The header of a packet as the edge sees it.

    Fields:
        iif: name of the interface it came in by.
        protocol: "tcp", or any other.
        syn_ack: SYN and ACK are both set.
        later_fragment: not the first one; `sport` and `dport` are then what its content has in their place.
        route_back: the route to its source leaves by `iif`.
        unplaced: connection tracking, where it is on, cannot tell its connection: no SYN, a wrong checksum.
        mark: the four mark bits that the rules use, as the packet came.
    """

    iif: str
    source: Address
    destination: Address
    protocol: str = "tcp"
    sport: int = 40000
    dport: int = 25
    syn_ack: bool = False
    later_fragment: bool = False
    route_back: bool = True
    unplaced: bool = False
    mark: int = 0

    @property
    def family(self) -> int:
        return self.source.version


class Fate(StrEnum):
    """Where a packet goes. EXPLAIN: to the explainer, or nowhere when its connection cannot be told."""

    PASS = "pass"  # noqa: S105  # no password
    DROP = "drop"
    REJECT = "reject"
    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says about a packet.

    Fields:
        counted: what it is counted as; `Mark.NONE` when it is not.
        network: name of the network whose line sent it (or, for returns, would get it).
    """

    fate: Fate
    counted: Mark = Mark.NONE
    network: str | None = None


PASS = Verdict(Fate.PASS)
_ENFORCED = {Action.DROP: (Fate.DROP, Mark.DROPPED), Action.REJECT: (Fate.REJECT, Mark.REJECTED)}


def covers(pattern: str, interface: str) -> bool:
    """Whether *interface* is meant by *pattern*, a name or a beginning followed by ``*``."""
    return interface.startswith(pattern[:-1]) if pattern.endswith("*") else interface == pattern


class Model:
    """The policy on one day."""

    def __init__(self, policy: Policy, today: date) -> None:
        self.policy = policy
        self.access = tuple(dict.fromkeys(i for network in policy.networks for i in network.interfaces))
        self.phases = {network.name: policy.phase_of(network, today) for network in policy.networks}
        self._exempt = [e.prefix for e in policy.exemptions if e.expires is None or e.expires >= today]
        self._found: dict[int, dict[int, set[int]]] = {}  # of these: family, length, first address; see `is_member`
        self._small = {group: prefixes for group, prefixes in self.groups().items() if group != "exempt"}

    def decide(self, packet: Packet) -> Verdict:
        return self.judge(PacketFacts(packet, self.is_member))

    def judge(self, facts: Facts) -> Verdict:
        """The policy in words: only TCP towards port 25, from access interfaces, is a matter of this policy."""
        if not facts.tcp():
            return PASS
        inside = facts.entered_by(self.access)
        if inside and facts.destination_port(PORT):
            return self._outbound(facts)
        if not inside and facts.source_port(PORT) and facts.syn_ack():
            return self._answer(facts)
        return PASS

    def _outbound(self, facts: Facts) -> Verdict:
        here = [network for network in self.policy.networks if facts.entered_by(network.interfaces)]
        for network in here:
            if facts.source_in(("network", network.name)):
                return self._from_line(network, facts)
        guarding = {self.phases[network.name] for network in here if network.guard}
        if guarding & {Phase.EXPLAIN, Phase.ENFORCE}:
            return Verdict(Fate.DROP, Mark.STRAY_DROPPED)
        if Phase.OBSERVE in guarding:
            return Verdict(Fate.PASS, Mark.STRAY_SEEN)
        return PASS

    def _from_line(self, network: AccessNetwork, facts: Facts) -> Verdict:
        phase = self.phases[network.name]
        if phase is Phase.OFF or network.line is Line.FIXED or self._may_reach(network, facts.destination_in):
            return PASS
        if not network.relay_only and facts.source_in("exempt") and self._is_itself(facts):
            return PASS
        if phase is Phase.OBSERVE:
            return Verdict(Fate.PASS, Mark.OBSERVED, network.name)
        if phase is Phase.EXPLAIN:
            return Verdict(Fate.EXPLAIN, Mark.EXPLAINED, network.name)
        return Verdict(*_ENFORCED[network.action], network.name)

    def _is_itself(self, facts: Facts) -> bool:
        return self.policy.source_check is SourceCheck.INTERFACE or facts.route_back()

    def _may_reach(self, network: AccessNetwork, within: Callable[[object], bool]) -> bool:
        """Whether lines of *network* may use the far end's port 25; *within* asks about the far end's address."""
        groups: list[object] = ["management"]
        groups += [("servers", name) for name in network.relay_only or network.allowed]
        if network.own_space and not network.relay_only:
            groups.append("own_space")
        return any(within(group) for group in groups)

    def _answer(self, facts: Facts) -> Verdict:
        for network in self.policy.networks:
            phase = self.phases[network.name]
            if not network.triangular or network.line is Line.FIXED or phase is Phase.OFF:
                continue
            if not facts.destination_in(("network", network.name)):
                continue
            if self._may_reach(network, facts.source_in):
                return PASS
            if not network.relay_only and facts.destination_in("exempt"):
                return PASS
            if phase is Phase.OBSERVE:
                return Verdict(Fate.PASS, Mark.RETURN_SEEN, network.name)
            return Verdict(Fate.DROP, Mark.RETURN_DROPPED, network.name)
        return PASS

    def groups(self) -> dict[object, list[Prefix]]:
        """Every group of addresses that `judge` asks about."""
        policy = self.policy
        groups: dict[object, list[Prefix]] = {
            "management": [Prefix.of(p) for p in policy.management],
            "own_space": [Prefix.of(p) for p in policy.own_space],
            "exempt": self._exempt,
        }
        groups |= {("servers", group.name): [Prefix.of(p) for p in group.prefixes] for group in policy.servers}
        groups |= {("network", network.name): [Prefix.of(p) for p in network.prefixes] for network in policy.networks}
        return groups

    def is_member(self, group: object, address: Address) -> bool:
        if group != "exempt":
            return any(prefix.holds(address) for prefix in self._small[group])
        if not self._found:
            self._found = {4: {}, 6: {}}
            for family, first, length in self._exempt:
                self._found[family].setdefault(length, set()).add(first)
        number, bits = int(address), BITS[address.version]
        return any(
            number >> (bits - length) << (bits - length) in firsts
            for length, firsts in self._found[address.version].items()
        )


class PacketFacts:
    """Answers about one packet. *is_member* knows the groups of addresses that will be asked about."""

    def __init__(self, packet: Packet, is_member: Callable[[object, Address], bool]) -> None:
        self.packet = packet
        self.is_member = is_member

    def tcp(self) -> bool:
        return self.packet.protocol == "tcp" and not self.packet.later_fragment

    def later_fragment(self) -> bool:
        return self.packet.protocol == "tcp" and self.packet.later_fragment

    def family(self) -> int:
        return self.packet.family

    def source_port(self, port: int) -> bool:
        return self.packet.sport == port

    def destination_port(self, port: int) -> bool:
        return self.packet.dport == port

    def syn_ack(self) -> bool:
        return self.packet.syn_ack

    def entered_by(self, patterns: tuple[str, ...]) -> bool:
        return any(covers(pattern, self.packet.iif) for pattern in patterns)

    def source_in(self, group: object) -> bool:
        return self.is_member(group, self.packet.source)

    def destination_in(self, group: object) -> bool:
        return self.is_member(group, self.packet.destination)

    def route_back(self) -> bool:
        return self.packet.route_back

    def unplaced(self) -> bool:
        return self.packet.unplaced

    def marked(self, mark: Mark) -> bool:
        return self.packet.mark == mark


def decide(policy: Policy, packet: Packet, today: date) -> Verdict:
    """What *policy* says about *packet* on *today*. For many packets keep a `Model`."""
    return Model(policy, today).decide(packet)


def carry_out(ruleset: Ruleset, packet: Packet) -> Outcome:
    """What the compiled rules do to *packet*."""
    groups = ruleset.groups()

    def is_member(group: object, address: Address) -> bool:
        ranges = groups[group]
        return ranges.family == address.version and int(address) in ranges

    return follow(ruleset, PacketFacts(packet, is_member))
