"""From a policy to rules. Pure: the same policy on the same day gives the same rules, and `render` the same text.

The way of a packet through the rules, all on prerouting, before any routing or translation:

    classify (-290)   port 25 from an access interface: whose line is it, may it, and if not, what is to happen?
                      The answer is written into four bits of the packet mark.
    count    (-289)   in the other table, so that reading counters and replacing policy do not disturb each other.
                      A counter that is full counts no more; the verdict, in a chain of its own, does not notice.
    verdict  (-288)   drops or rejects by the mark, and clears it: nothing of it is left for routing or for others.
    explain  (-101)   translates port 25 of networks in that phase; only then is there connection tracking at all.
    unplaced (-99)    drops of these what could not be translated: a SYN+FIN would else get past the explainer.

Everything else passes each chain after one or two comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from sekisho.config import Network

from .policy import PORT, AccessNetwork, Line, Phase, Policy, SourceCheck
from .policy import Action as NetworkAction
from .prefix import BITS, Prefix, Ranges
from .render import (
    ATTEMPTS,
    COUNTERS,
    KEEP,
    PACKETS,
    RECENT,
    RETURNED,
    STRAY_SOURCES,
    Unrenderable,
    render,
    render_removal,
)
from .ruleset import (
    CLASSIFY,
    EXPLAIN,
    UNPLACED,
    VERDICT,
    Action,
    AddressMap,
    ByDestination,
    ByInterface,
    BySource,
    Chain,
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
    "compile_policy",
    "interface_groups",
    "render",
    "render_removal",
]

SAMPLE_PREFIX: Final = "sekisho"

_TO_25: Final = Ports(destination=PORT)
_FROM_25: Final = Ports(source=PORT)
_NOT_OURS: Final = Rule((LaterFragment(),), Return())
_MARKS: Final = {Phase.OBSERVE: Mark.OBSERVED, Phase.EXPLAIN: Mark.EXPLAINED}
_RETURN_MARKS: Final = {
    Phase.OBSERVE: Mark.RETURN_SEEN,
    Phase.EXPLAIN: Mark.RETURN_DROPPED,
    Phase.ENFORCE: Mark.RETURN_DROPPED,
}


def compile_policy(policy: Policy, today: date) -> Ruleset:
    """Turn *policy* as of *today* into rules."""
    return _Compiler(policy, today).ruleset()


class _Compiler:
    def __init__(self, policy: Policy, today: date) -> None:
        self.policy = policy
        self.phases = {network.name: policy.phase_of(network, today) for network in policy.networks}
        exempt = [e.prefix for e in policy.exemptions if e.expires is None or e.expires >= today]
        self.addresses: dict[str, Ranges] = {
            f"exempt{family}": ranges for family in BITS if (ranges := Ranges.of(family, exempt))
        }
        self.maps: dict[str, AddressMap] = {}
        self.chains: list[Chain] = []
        self.interface_maps: dict[str, dict[str, str]] = {}

    def ruleset(self) -> Ruleset:
        policy = self.policy
        groups = [group for group in interface_groups(policy) if self._is_active(group[1])]
        active = tuple(interface for interfaces, _ in groups for interface in interfaces)
        returned = [network for network in policy.networks if self._is_restricted(network) and network.triangular]
        explained = [n for n in policy.networks if self._is_restricted(n) and self.phases[n.name] is Phase.EXPLAIN]
        restricted = [network for network in policy.networks if self._is_restricted(network)]

        self._classify(bool(groups), bool(returned))
        for number, (interfaces, networks) in enumerate(groups):
            self._lines(number, interfaces, networks)
        for network in restricted:
            self._network(network)
        if groups:
            self.chains.append(Chain("pass", (Rule((), Return()),)))
        if returned:
            self._returns(returned)
        self._verdict(bool(groups), bool(returned))
        if explained:
            self._explain(groups)
        access = tuple(dict.fromkeys(i for network in policy.networks for i in network.interfaces))
        sets = {name: value for name, value in (("active", active), ("access", access if returned else ())) if value}
        if not restricted:
            self.addresses.clear()
        return Ruleset(
            interfaces=sets,
            interface_maps=self.interface_maps,
            addresses=self.addresses,
            maps=self.maps,
            chains=tuple(self.chains),
            folds=tuple(_folds(restricted)),
            mark_shift=policy.mark_shift,
        )

    def _is_restricted(self, network: AccessNetwork) -> bool:
        return network.line is Line.DYNAMIC and self.phases[network.name] is not Phase.OFF

    def _is_active(self, networks: tuple[AccessNetwork, ...]) -> bool:
        return any(self._is_restricted(n) or (n.guard and self.phases[n.name] is not Phase.OFF) for n in networks)

    def _classify(self, some: bool, returned: bool) -> None:
        rules = []
        if some:
            rules.append(Rule((_TO_25,), ByInterface("lines")))
        if returned:
            rules.append(Rule((_FROM_25, SynAck(), EnteredBy("access", negated=True)), Jump("returns", returns=False)))
        self.chains.append(Chain("classify", tuple(rules), CLASSIFY))

    def _lines(self, number: int, interfaces: tuple[str, ...], networks: tuple[AccessNetwork, ...]) -> None:
        """A group of interfaces with the same networks: whose line is it?"""
        chain = f"line_{number}"
        targets = {n.name: _chain("net", n) if self._is_restricted(n) else "pass" for n in networks}
        rules = [_NOT_OURS, Rule((), SetMark(Mark.NONE))]
        rules += [Rule((), BySource(name)) for name in self._map(f"sources_{number}", networks, targets)]
        stray = self._stray(networks)
        if stray is not Mark.NONE:
            rules.append(Rule((), SetMark(stray)))
            rules.append(Rule((), self._sample("stray")))
        self.interface_maps.setdefault("lines", {}).update(dict.fromkeys(interfaces, chain))
        self.chains.append(Chain(chain, tuple(rules)))

    def _stray(self, networks: tuple[AccessNetwork, ...]) -> Mark:
        guarding = {self.phases[network.name] for network in networks if network.guard}
        if guarding & {Phase.EXPLAIN, Phase.ENFORCE}:
            return Mark.STRAY_DROPPED
        return Mark.STRAY_SEEN if Phase.OBSERVE in guarding else Mark.NONE

    def _map(self, stem: str, networks: tuple[AccessNetwork, ...], targets: dict[str, str]) -> Iterator[str]:
        """Make a map from the networks' prefixes to chains, for each family that has any; yield the names."""
        for family in BITS:
            chains: dict[str, list[Prefix]] = {}
            for network in networks:
                own = [Prefix.of(p) for p in network.prefixes if p.version == family]
                if own and network.name in targets:
                    chains.setdefault(targets[network.name], []).extend(own)
            if chains:
                name = f"{stem}_{family}"
                self.maps[name] = AddressMap(name, family, {c: Ranges.of(family, p) for c, p in chains.items()})
                yield name

    def _network(self, network: AccessNetwork) -> None:
        phase = self.phases[network.name]
        if phase is Phase.ENFORCE:
            mark = Mark.REJECTED if network.action is NetworkAction.REJECT else Mark.DROPPED
        else:
            mark = _MARKS[phase]
        rules = [*self._permissions(network), Rule((), SetMark(mark)), Rule((), self._sample(network.name))]
        self.chains.append(Chain(_chain("net", network), tuple(rules)))

    def _permissions(self, network: AccessNetwork) -> Iterator[Rule]:
        """What lines of *network* may do after all."""
        for name in self._allowed(network):
            yield Rule((Within(False, name),), Return())
        if network.relay_only:
            return
        for family in BITS:
            if f"exempt{family}" in self.addresses and any(p.version == family for p in network.prefixes):
                matches: tuple[Match, ...] = (Within(True, f"exempt{family}"),)
                if self.policy.source_check is SourceCheck.ROUTE:
                    matches = (*matches, RouteBack())
                yield Rule(matches, Return())

    def _allowed(self, network: AccessNetwork) -> Iterator[str]:
        """Make the sets of addresses that *network* may reach; yield their names."""
        policy = self.policy
        reachable: list[Network] = list(policy.management)
        for name in network.relay_only or network.allowed:
            reachable += policy.server_group(name).prefixes
        if network.own_space and not network.relay_only:
            reachable += policy.own_space
        prefixes = [Prefix.of(p) for p in reachable]
        for family in BITS:
            ranges = Ranges.of(family, prefixes)
            if ranges:
                name = f"{_chain('allowed', network)}_{family}"
                self.addresses[name] = ranges
                yield name

    def _returns(self, networks: list[AccessNetwork]) -> None:
        """SYN+ACK from port 25 outside: towards a line that may not have sent the SYN?"""
        targets = {network.name: _chain("back", network) for network in networks}
        maps = list(self._map("returns", tuple(networks), targets))
        self.chains.append(Chain("returns", (_NOT_OURS, *(Rule((), ByDestination(name)) for name in maps))))
        for network in networks:
            rules = [Rule((), SetMark(Mark.NONE))]
            rules += [Rule((Within(True, name),), Return()) for name in self._allowed(network)]
            if not network.relay_only:
                rules += [
                    Rule((Within(False, f"exempt{family}"),), Return())
                    for family in BITS
                    if f"exempt{family}" in self.addresses
                ]
            rules.append(Rule((), SetMark(_RETURN_MARKS[self.phases[network.name]])))
            self.chains.append(Chain(targets[network.name], tuple(rules)))
        prefixes = [Prefix.of(p) for network in networks for p in network.prefixes]
        for family in BITS:
            if ranges := Ranges.of(family, prefixes):
                self.addresses[f"returned_{family}"] = ranges

    def _verdict(self, some: bool, returned: bool) -> None:
        rules: list[Rule] = []
        if some:
            rules.append(Rule((_TO_25, EnteredBy("active")), Jump("settle", returns=False)))
        if returned:
            rules += [
                Rule((_FROM_25, SynAck(), EnteredBy("access", True), Within(False, name)), Jump("settle", False))
                for name in (f"returned_{family}" for family in BITS)
                if name in self.addresses
            ]
        self.chains.append(Chain("verdict", tuple(rules), VERDICT))
        if not rules:
            return
        endings: list[tuple[Mark, Action]] = [
            (Mark.DROPPED, Drop()),
            (Mark.REJECTED, Reject()),
            (Mark.STRAY_DROPPED, Drop()),
            (Mark.RETURN_DROPPED, Drop()),
        ]
        settled = [Rule((Marked(mark),), action) for mark, action in endings]
        self.chains.append(Chain("settle", (_NOT_OURS, *settled, Rule((), SetMark(Mark.NONE)))))

    def _explain(self, groups: list[tuple[tuple[str, ...], tuple[AccessNetwork, ...]]]) -> None:
        """Asks once more, since by now the mark is cleared: nothing that is not translated may carry it."""
        self.chains.append(Chain("explain", (Rule((_TO_25,), ByInterface("explained")),), EXPLAIN, translates=True))
        self.chains.append(Chain("unplaced", (Rule((_TO_25, Unplaced()), ByInterface("untold")),), UNPLACED))
        explained: dict[str, AccessNetwork] = {}
        for number, (interfaces, networks) in enumerate(groups):
            here = tuple(n for n in networks if self._is_restricted(n) and self.phases[n.name] is Phase.EXPLAIN)
            if not here:
                continue
            explained |= {network.name: network for network in here}
            for stem, map_name in (("explain", "explained"), ("untold", "untold")):
                targets = {network.name: _chain(stem, network) for network in here}
                maps = self._map(f"{map_name}_{number}", here, targets)
                rules = (_NOT_OURS, *(Rule((), BySource(name)) for name in maps))
                self.interface_maps.setdefault(map_name, {}).update(dict.fromkeys(interfaces, f"{stem}_{number}"))
                self.chains.append(Chain(f"{stem}_{number}", rules))
        for network in explained.values():
            may = tuple(self._permissions(network))
            self.chains.append(Chain(_chain("explain", network), may + tuple(self._redirects())))
            self.chains.append(Chain(_chain("untold", network), (*may, Rule((), Drop()))))

    def _redirects(self) -> Iterator[Rule]:
        for family, endpoint in ((4, self.policy.explainer.ipv4), (6, self.policy.explainer.ipv6)):
            if endpoint is not None:
                yield Rule((OfFamily(family), _TO_25), Redirect(family, endpoint.host, endpoint.port))

    def _sample(self, name: str) -> Sample:
        return Sample(self.policy.log_group, self.policy.log_rate, f"{SAMPLE_PREFIX}:{name}")


def _chain(stem: str, network: AccessNetwork) -> str:
    """A name that no keyword of nft can be. Network names have hyphens but no underscores, so it stays unique."""
    return f"{stem}_n_{network.name.replace('-', '_')}"


def interface_groups(policy: Policy) -> list[tuple[tuple[str, ...], tuple[AccessNetwork, ...]]]:
    """Interfaces that carry the same networks, together with these."""
    carried: dict[str, list[AccessNetwork]] = {}
    for network in policy.networks:
        for interface in dict.fromkeys(network.interfaces):
            carried.setdefault(interface, []).append(network)
    groups: dict[tuple[str, ...], list[str]] = {}
    for interface, networks in carried.items():
        groups.setdefault(tuple(network.name for network in networks), []).append(interface)
    by_name = {network.name: network for network in policy.networks}
    return [(tuple(interfaces), tuple(by_name[name] for name in names)) for names, interfaces in groups.items()]


def _folds(networks: list[AccessNetwork]) -> Iterator[Fold]:
    for family in BITS:
        alike: dict[int, list[Prefix]] = {}
        for network in networks:
            bits = network.port_mask if family == 4 else network.delegated_prefix
            alike.setdefault(bits, []).extend(Prefix.of(p) for p in network.prefixes if p.version == family)
        for bits, prefixes in alike.items():
            if prefixes:
                yield Fold(family, Ranges.of(family, prefixes), bits)
