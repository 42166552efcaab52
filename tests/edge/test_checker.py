"""The proof: it holds for what the compiler makes, and finds every change that makes a difference to a packet."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings

from sekisho.config import Endpoint
from sekisho.edge.checker import Problem, prove
from sekisho.edge.compile import compile_policy
from sekisho.edge.load import load_policy
from sekisho.edge.model import Model, Packet, carry_out
from sekisho.edge.policy import Exemption, Explainer, Policy
from sekisho.edge.prefix import Prefix, Ranges, address_of
from sekisho.edge.ruleset import Drop, Mark, Ports, Rule, Ruleset

from .strategies import TODAY, policies, prefixes_of

HERE = Path(__file__).parent
DAYS = (date(2026, 12, 1), date(2027, 2, 1), date(2027, 4, 1))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(HERE / "example.toml", today=DAYS[0])


@given(policies())
@settings(max_examples=60, deadline=None)
def test_what_the_compiler_makes_is_proven(policy: Policy) -> None:
    assert prove(policy, compile_policy(policy, TODAY), TODAY) == []


def variants(ruleset: Ruleset) -> Iterator[tuple[str, Ruleset]]:
    """*ruleset* with one thing changed: a rule dropped or exchanged with the next, a set or map without its last."""
    for at, chain in enumerate(ruleset.chains):
        for number in range(len(chain.rules)):
            fewer = chain.rules[:number] + chain.rules[number + 1 :]
            yield f"{chain.name} without rule {number}", with_chain(ruleset, at, fewer)
        for number in range(len(chain.rules) - 1):
            swapped = list(chain.rules)
            swapped[number : number + 2] = reversed(swapped[number : number + 2])
            yield f"{chain.name} with rules {number} and {number + 1} swapped", with_chain(ruleset, at, tuple(swapped))
    for name, ranges in ruleset.addresses.items():
        if len(ranges) > 1:
            shorter = Ranges(ranges.family, ranges.firsts[:-1], ranges.lasts[:-1])
            yield f"{name} without its last", replace(ruleset, addresses={**ruleset.addresses, name: shorter})
        wider = Ranges(ranges.family, ranges.firsts, [*ranges.lasts[:-1], ranges.lasts[-1] + 1])
        yield f"{name} one address too wide", replace(ruleset, addresses={**ruleset.addresses, name: wider})
    for name, found in ruleset.maps.items():
        for chain_name in found.chains:
            fewer_chains = {c: r for c, r in found.chains.items() if c != chain_name}
            less = replace(found, chains=fewer_chains)
            yield f"{name} without {chain_name}", replace(ruleset, maps={**ruleset.maps, name: less})


def with_chain(ruleset: Ruleset, at: int, rules: tuple[Rule, ...]) -> Ruleset:
    chains = list(ruleset.chains)
    chains[at] = replace(chains[at], rules=rules)
    return replace(ruleset, chains=tuple(chains))


def some_packets(policy: Policy, count: int) -> list[Packet]:
    """Packets at the boundaries of everything in *policy*, most of them towards port 25; the same ones each time."""
    chance = random.Random(25)
    edges = {4: [1, int(ip_address("203.0.114.1"))], 6: [1, int(ip_address("2001:db9::1"))]}
    for prefix in prefixes_of(policy):
        edges[prefix.family] += [prefix.first - 1, prefix.first, prefix.last, prefix.last + 1]
    made = []
    for _ in range(count):
        family = chance.choice((4, 6))
        ports = chance.choice(((40000, 25), (40000, 25), (25, 40000), (25, 25), (40000, 587)))
        made.append(
            Packet(
                iif=chance.choice(("ppp0", "ppp9", "eth3", "eth2", "mape0", "eth0")),
                source=address_of(family, chance.choice(edges[family])),
                destination=address_of(family, chance.choice(edges[family])),
                sport=ports[0],
                dport=ports[1],
                syn_ack=chance.random() < 0.5,
                route_back=chance.random() < 0.7,
                mark=chance.choice((0, 0, 3, 6, 8)),
            )
        )
    return made


def agrees(model: Model, ruleset: Ruleset, packet: Packet) -> bool:
    verdict, outcome = model.decide(packet), carry_out(ruleset, packet)
    return outcome.action == verdict.fate and (outcome.mark or Mark.NONE) is verdict.counted and outcome.clean


@pytest.mark.parametrize("day", DAYS)
def test_every_mutation_is_found_with_a_packet_that_shows_it_or_makes_no_difference(policy: Policy, day: date) -> None:
    original = compile_policy(policy, day)
    model = Model(policy, day)
    packets = some_packets(policy, 600)
    assert all(agrees(model, original, packet) for packet in packets)
    found = []
    for what, mutant in variants(original):
        problems = prove(policy, mutant, day)
        if problems:
            found.append(what)
            shown = [p.packet for p in problems if p.packet is not None and "touched" not in p.text]
            assert not any(agrees(model, mutant, packet) for packet in shown), what
        else:
            assert all(agrees(model, mutant, packet) for packet in packets), what
    for what in ("classify without rule 0", "verdict without rule 0", "net_n_campus without rule 2", "line_0 without"):
        assert any(name.startswith(what) for name in found), what
    assert all(f"{name} one address too wide" in found for name in original.addresses)


def test_a_rule_that_touches_submission_is_found_with_a_packet_to_show_it(policy: Policy) -> None:
    ruleset = compile_policy(policy, DAYS[2])
    at = next(n for n, chain in enumerate(ruleset.chains) if chain.name == "verdict")
    wrong = (Rule((Ports(destination=587),), Drop()), *ruleset.chains[at].rules)
    problems = prove(policy, with_chain(ruleset, at, wrong), DAYS[2])
    assert any("touched" in problem.text and problem.packet and problem.packet.dport == 587 for problem in problems)


def test_a_rule_for_any_source_port_25_is_found(policy: Policy) -> None:
    ruleset = compile_policy(policy, DAYS[2])
    at = next(n for n, chain in enumerate(ruleset.chains) if chain.name == "verdict")
    wrong = (Rule((Ports(source=25),), Drop()), *ruleset.chains[at].rules)
    assert prove(policy, with_chain(ruleset, at, wrong), DAYS[2]) != []


def test_an_exemption_that_the_rules_still_have_is_found(policy: Policy) -> None:
    stale = compile_policy(policy, date(2027, 3, 31))
    problems = prove(policy, stale, date(2027, 4, 1))
    assert problems


def test_another_explainer_other_mark_bits_and_other_folds_are_found(policy: Policy) -> None:
    ruleset = compile_policy(policy, DAYS[1])
    elsewhere = Explainer(ipv4=Endpoint.parse(":2526"), ipv6=policy.explainer.ipv6)
    assert "another explainer" in str(prove(replace(policy, explainer=elsewhere), ruleset, DAYS[1])[0])
    assert "mark bits" in str(prove(replace(policy, mark_shift=0), ruleset, DAYS[1])[0])
    folds = tuple(replace(fold, bits=fold.bits + 4) for fold in ruleset.folds)
    assert "not counted" in str(prove(policy, replace(ruleset, folds=folds), DAYS[1])[0])


def test_sets_out_of_order_are_not_trusted(policy: Policy) -> None:
    ruleset = compile_policy(policy, DAYS[2])
    ranges = ruleset.addresses["exempt4"]
    upside_down = Ranges(4, [*ranges.firsts, 5], [*ranges.lasts, 6])
    problems = prove(policy, replace(ruleset, addresses={**ruleset.addresses, "exempt4": upside_down}), DAYS[2])
    assert "not sorted" in str(problems[0])


def test_fifty_thousand_exemptions_are_proven_in_a_moment(policy: Policy) -> None:
    network = replace(policy.networks[0], prefixes=(*policy.networks[0].prefixes, ip_network("10.0.0.0/8")))
    rows = tuple(Exemption(Prefix(4, (10 << 24) + 2 * n, 32), f"owner {n}", "own server") for n in range(50_000))
    large = replace(policy, networks=(network, *policy.networks[1:]), exemptions=rows)
    ruleset = compile_policy(large, DAYS[2])
    started = time.process_time()
    assert prove(large, ruleset, DAYS[2]) == []
    spent = time.process_time() - started
    assert spent < 1.5, f"{spent:.2f} s"


def test_one_missing_exemption_of_fifty_thousand_is_found(policy: Policy) -> None:
    network = replace(policy.networks[0], prefixes=(*policy.networks[0].prefixes, ip_network("10.0.0.0/8")))
    rows = tuple(Exemption(Prefix(4, (10 << 24) + 2 * n, 32), f"owner {n}", "own server") for n in range(50_000))
    large = replace(policy, networks=(network, *policy.networks[1:]), exemptions=rows)
    fewer = compile_policy(replace(large, exemptions=rows[:31_000] + rows[31_001:]), DAYS[2])
    problems = prove(large, fewer, DAYS[2])
    assert "10.0.242.48" in [str(problem.packet.source) for problem in problems if problem.packet]


def test_a_problem_says_what_packet_shows_it() -> None:
    assert str(Problem("text")) == "text"
