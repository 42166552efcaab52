"""Proof that compiled rules do what the policy says, over the whole header space and not over a sample.

The theory. Model (`edge.model`) and rules (`edge.ruleset.follow`) know a packet only by the answers of `Facts`. For
addresses these answers are memberships in groups of prefixes. One sweep over all boundaries of all groups, those of
the policy as it is written and those of the rules as they were compiled, cuts the address space into cells; cells that
are in the same groups can be told apart by neither side, so they become one *kind*. Fifty thousand exemptions make
a hundred thousand cells, but a dozen kinds.

Then both sides are run together on a region of packets, at first all of them. A question that not all packets of the
region answer alike splits it; both halves are run. So regions multiply only where an answer matters, and when no
region is left unvisited, every packet there is has been judged by both sides.

Besides, whatever the model may say, no region outside port 25 of the access networks may be touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from .model import Fate, Model, Packet, Verdict, covers
from .policy import PORT, UNTOUCHED_PORTS, Policy
from .prefix import BITS, Prefix, address_of
from .ruleset import CLASSIFY, EXPLAIN, UNPLACED, VERDICT, Chain, Mark, Outcome, Ruleset, Unplaced, follow

__all__ = ["Problem", "prove"]

MAX_PROBLEMS: Final = 20
MAX_REGIONS: Final = 2_000_000
ELSEWHERE: Final = "\x00elsewhere"  # an interface that no pattern means
_TCP, _UDP, _OTHER, _LATER = 1, 2, 4, 8
_PAYLOADS: Final = {_TCP: "tcp", _UDP: "udp", _OTHER: "gre", _LATER: "tcp"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not proven, with a packet that shows it where there is one."""

    text: str
    packet: Packet | None = None

    def __str__(self) -> str:
        if self.packet is None:
            return self.text
        p = self.packet
        fragment = ", later fragment" if p.later_fragment else ""
        flags = ", SYN+ACK" if p.syn_ack else ""
        forged = "" if p.route_back else ", route back elsewhere"
        iif = "another interface" if p.iif == ELSEWHERE else p.iif
        way = f"{p.protocol} {p.source} port {p.sport} to {p.destination} port {p.dport} by {iif}"
        return f"{self.text}: {way}{flags}{fragment}{forged}"


def prove(policy: Policy, ruleset: Ruleset, today: date) -> list[Problem]:
    """Hold *ruleset* against *policy* as of *today*, for every packet there can be. Empty: proven."""
    problems = list(_shape(policy, ruleset))
    if problems:
        return problems
    model = Model(policy, today)
    universe = _Universe(model, ruleset)
    for region, verdict, outcome in _regions(universe, model, ruleset):
        problems += _compare(policy, universe, region, verdict, outcome)
        if len(problems) >= MAX_PROBLEMS:
            return problems
    return problems + list(_folds(model, ruleset))


def _shape(policy: Policy, ruleset: Ruleset) -> Iterator[Problem]:
    """What the proof itself relies on: sets are sorted and disjoint, chains hang where their order is known."""
    for group, ranges in ruleset.groups().items():
        end = -1
        for first, last in ranges:
            if not end < first <= last < 1 << BITS[ranges.family]:
                yield Problem(f"{group} is not sorted and disjoint")
                break
            end = last
    places = {chain.priority: chain for chain in ruleset.chains if chain.priority is not None}
    if set(places) - {CLASSIFY, VERDICT, EXPLAIN, UNPLACED} or len(places) != sum(
        c.priority is not None for c in ruleset.chains
    ):
        yield Problem("a chain hangs where none is expected")
    for priority, chain in places.items():
        if chain.translates is not (priority == EXPLAIN):
            yield Problem(f"chain {chain.name} has the wrong type for its place")
    if EXPLAIN not in places and any(_is_tracked(chain) for chain in ruleset.chains):
        yield Problem("connections are tracked though nothing is explained")
    if len(ruleset.by_name) != len(ruleset.chains):
        yield Problem("two chains have one name")
    if ruleset.mark_shift != policy.mark_shift:
        yield Problem("the rules use other mark bits than the policy says")


def _is_tracked(chain: Chain) -> bool:
    return any(isinstance(match, Unplaced) for rule in chain.rules for match in rule.matches)


def _folds(model: Model, ruleset: Ruleset) -> Iterator[Problem]:
    """Every line that can be counted is counted as one line."""
    for network in model.policy.networks:
        if not any(chain.name.endswith(f"_n_{network.name.replace('-', '_')}") for chain in ruleset.chains):
            continue
        for prefix in map(Prefix.of, network.prefixes):
            wanted = network.port_mask if prefix.family == 4 else network.delegated_prefix
            folds = [f for f in ruleset.folds if f.family == prefix.family and prefix.first in f.prefixes]
            if [fold.bits for fold in folds] != [wanted] or prefix.last not in folds[0].prefixes:
                yield Problem(f"lines of {prefix} (network {network.name}) are not counted as the policy says")


# --- the universe: kinds of packets -------------------------------------------------------------------------------


class _Universe:
    """All packets, as bits: one for each kind in each dimension of the header."""

    def __init__(self, model: Model, ruleset: Ruleset) -> None:
        families: dict[int, dict[object, Iterable[tuple[int, int]]]] = {4: {}, 6: {}}
        for group, prefixes in model.groups().items():
            for family in BITS:
                families[family][("policy", group)] = _union(family, prefixes)
        for group, ranges in ruleset.groups().items():
            families[ranges.family][("rules", group)] = ranges
        self.samples: dict[int, list[int]] = {}
        self.members: dict[int, dict[object, int]] = {}
        for family, groups in families.items():
            self.samples[family], self.members[family] = _kinds(groups)
        self.interfaces = _interfaces(model, ruleset)
        self.sports = _around({PORT})
        self.dports = _around({PORT, *UNTOUCHED_PORTS})
        self.marks = list(range(16))

    def everything(self) -> dict[str, int]:
        return {
            "family": 0b11,
            "payload": _TCP | _UDP | _OTHER | _LATER,
            "iif": _all(self.interfaces),
            "source4": _all(self.samples[4]),
            "source6": _all(self.samples[6]),
            "destination4": _all(self.samples[4]),
            "destination6": _all(self.samples[6]),
            "sport": _all(self.sports),
            "dport": _all(self.dports),
            "syn_ack": 0b11,
            "route_back": 0b11,
            "unplaced": 0b11,
            "mark": _all(self.marks),
        }

    def packet(self, region: Mapping[str, int]) -> Packet:
        """One packet of *region*."""
        family = 4 if region["family"] & 1 else 6
        samples = self.samples[family]
        payload = region["payload"] & -region["payload"]
        return Packet(
            iif=self.interfaces[_lowest(region["iif"])],
            source=address_of(family, samples[_lowest(region[f"source{family}"])]),
            destination=address_of(family, samples[_lowest(region[f"destination{family}"])]),
            protocol=_PAYLOADS[payload],
            later_fragment=payload == _LATER,
            sport=self.sports[_lowest(region["sport"])],
            dport=self.dports[_lowest(region["dport"])],
            syn_ack=_lowest(region["syn_ack"]) == 1,
            route_back=_lowest(region["route_back"]) == 1,
            unplaced=_lowest(region["unplaced"]) == 1,
            mark=self.marks[_lowest(region["mark"])],
        )


def _all(kinds: list[int] | list[str]) -> int:
    return (1 << len(kinds)) - 1


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _union(family: int, prefixes: Iterable[Prefix]) -> list[tuple[int, int]]:
    """Disjoint ranges of the policy's own prefixes; made here once more, not taken from the compiler."""
    bits = BITS[family]
    rows = [(first, first + (1 << (bits - length)) - 1) for own, first, length in prefixes if own == family]
    rows.sort()
    ranges: list[tuple[int, int]] = []
    end = -1
    for row in rows:
        if row[0] > end:
            ranges.append(row)
            end = row[1]
        elif row[1] > end:
            end = row[1]
            ranges[-1] = (ranges[-1][0], end)
    return ranges


def _kinds(groups: Mapping[object, Iterable[tuple[int, int]]]) -> tuple[list[int], dict[object, int]]:
    """Sweep over all boundaries. Return an address of each kind, and for each group the kinds within it."""
    turns: dict[int, int] = {0: 0}  # address → groups that begin or end there
    for ranges, bits in _alike(groups.values()):
        for first, last in ranges:
            turns[first] = turns.get(first, 0) ^ bits
            turns[last + 1] = turns.get(last + 1, 0) ^ bits
    seen: dict[int, int] = {}  # membership → number of the kind
    samples: list[int] = []
    inside = 0
    end = max(turns)
    for address in sorted(turns):
        inside ^= turns[address]
        if inside not in seen and not (address == end and inside == 0 and 0 in seen):
            seen[inside] = len(samples)
            samples.append(address)
    members = {
        group: sum(1 << kind for membership, kind in seen.items() if membership >> number & 1)
        for number, group in enumerate(groups)
    }
    return samples, members


def _alike(groups: Iterable[Iterable[tuple[int, int]]]) -> list[tuple[list[tuple[int, int]], int]]:
    """Put groups of the very same ranges together, as the exemptions of policy and rules should be; a bit for each."""
    found: list[tuple[list[tuple[int, int]], int]] = []
    for number, ranges in enumerate(groups):
        rows = list(ranges)
        for at, (known, bits) in enumerate(found):
            if rows == known:
                found[at] = (known, bits | 1 << number)
                break
        else:
            found.append((rows, 1 << number))
    return found


def _interfaces(model: Model, ruleset: Ruleset) -> list[str]:
    patterns = set(model.access)
    for interfaces in ruleset.interfaces.values():
        patterns.update(interfaces)
    for targets in ruleset.interface_maps.values():
        patterns.update(targets)
    names = {_meant_by(pattern, patterns) for pattern in patterns}
    kinds: dict[tuple[bool, ...], str] = {}
    ordered = sorted(patterns)
    for name in (*sorted(names), ELSEWHERE):
        kinds.setdefault(tuple(covers(pattern, name) for pattern in ordered), name)
    return list(kinds.values())


def _meant_by(pattern: str, patterns: set[str]) -> str:
    """An interface that *pattern* means, and no longer pattern of a plain name."""
    if not pattern.endswith("*"):
        return pattern
    return next(name for n in range(len(patterns) + 1) if (name := f"{pattern[:-1]}{n}") not in patterns)


def _around(ports: set[int]) -> list[int]:
    """A port of each cell that these ports cut out of all."""
    cells = {0}
    for port in ports:
        cells |= {port, port + 1}
    return sorted(cells)


# --- regions: model and rules run together ------------------------------------------------------------------------


class _RegionFacts:
    """Answers for a region of packets, made smaller by each question that splits it."""

    def __init__(self, universe: _Universe, turns: list[bool]) -> None:
        self.universe = universe
        self.region = universe.everything()
        self.turns = turns  # the way through the questions that split; longer after the run
        self.taken = 0
        self.side = ""  # who is asking: "policy" or "rules"

    def ask(self, dimension: str, mask: int) -> bool:
        have = self.region[dimension]
        yes = have & mask
        if yes == have:
            return True
        if not yes:
            return False
        if self.taken == len(self.turns):
            self.turns.append(True)
        answer = self.turns[self.taken]
        self.taken += 1
        self.region[dimension] = yes if answer else have & ~mask
        return answer

    def tcp(self) -> bool:
        return self.ask("payload", _TCP)

    def later_fragment(self) -> bool:
        return self.ask("payload", _LATER)

    def family(self) -> int:
        return 4 if self.ask("family", 1) else 6

    def source_port(self, port: int) -> bool:
        return self.ask("sport", 1 << self.universe.sports.index(port))

    def destination_port(self, port: int) -> bool:
        return self.ask("dport", 1 << self.universe.dports.index(port))

    def syn_ack(self) -> bool:
        return self.ask("syn_ack", 0b10)

    def entered_by(self, patterns: tuple[str, ...]) -> bool:
        mask = 0
        for bit, name in enumerate(self.universe.interfaces):
            if any(covers(pattern, name) for pattern in patterns):
                mask |= 1 << bit
        return self.ask("iif", mask)

    def source_in(self, group: object) -> bool:
        return self._address("source", group)

    def destination_in(self, group: object) -> bool:
        return self._address("destination", group)

    def _address(self, side: str, group: object) -> bool:
        family = self.family()
        mask = self.universe.members[family].get((self.side, group), 0)
        return self.ask(f"{side}{family}", mask)

    def route_back(self) -> bool:
        return self.ask("route_back", 0b10)

    def unplaced(self) -> bool:
        return self.ask("unplaced", 0b10)

    def marked(self, mark: Mark) -> bool:
        return self.ask("mark", 1 << mark)


def _regions(universe: _Universe, model: Model, ruleset: Ruleset) -> Iterator[tuple[dict[str, int], Verdict, Outcome]]:
    """Every region within which both sides see no difference, with what each says about it."""
    turns: list[bool] = []
    for _ in range(MAX_REGIONS):
        facts = _RegionFacts(universe, turns)
        facts.side = "rules"
        outcome = follow(ruleset, facts)
        facts.side = "policy"
        verdict = model.judge(facts)
        yield facts.region, verdict, outcome
        while turns and not turns[-1]:
            turns.pop()
        if not turns:
            return
        turns[-1] = False
    raise RuntimeError("too many regions to prove")


def _compare(
    policy: Policy, universe: _Universe, region: Mapping[str, int], verdict: Verdict, outcome: Outcome
) -> Iterator[Problem]:
    def problem(text: str) -> Problem:
        return Problem(text, universe.packet(region))

    if outcome.action != verdict.fate:
        yield problem(f"the rules {outcome.action}, the policy says {verdict.fate}")
    elif (outcome.mark or Mark.NONE) is not verdict.counted:
        counted = (outcome.mark or Mark.NONE).name.lower()
        yield problem(f"counted as {counted}, the policy says {verdict.counted.name.lower()}")
    if not outcome.clean:
        yield problem("a mark of ours is left on a packet that goes on")
    if verdict.fate is Fate.EXPLAIN and outcome.target is not None:
        wanted = policy.explainer.ipv4 if region["family"] == 1 else policy.explainer.ipv6
        if wanted is None or (wanted.host, wanted.port) != (outcome.target.host, outcome.target.port):
            yield problem("sent to another explainer than the policy's")
    if (outcome.action != "pass" or outcome.mark is not None) and not _is_ours(universe, region):
        yield problem("touched, though it is not port 25 of an access network")


def _is_ours(universe: _Universe, region: Mapping[str, int]) -> bool:
    """Whether all of *region* may be touched: TCP to port 25 from access interfaces, SYN+ACK from port 25 by others."""
    if region["payload"] != _TCP:
        return False
    outside = 1 << universe.interfaces.index(ELSEWHERE)
    to_25 = region["dport"] == 1 << universe.dports.index(PORT) and not region["iif"] & outside
    from_25 = region["sport"] == 1 << universe.sports.index(PORT) and region["syn_ack"] == 0b10
    return to_25 or (from_25 and region["iif"] == outside)
