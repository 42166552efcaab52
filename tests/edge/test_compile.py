"""Compiled rules: the same fate as the model for any packet of any policy, and the same text as in the golden files."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge.checks import mistakes_of
from sekisho.edge.compile import compile_policy
from sekisho.edge.load import load_policy
from sekisho.edge.model import Model, Packet, carry_out
from sekisho.edge.policy import Exemption, Policy
from sekisho.edge.prefix import Prefix
from sekisho.edge.render import Unrenderable, render, render_removal
from sekisho.edge.ruleset import Mark, SetMark

from .golden_files import golden
from .strategies import TODAY, packets, policies

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(HERE / "example.toml", today=date(2026, 12, 1))


def many_exemptions(policy: Policy, count: int) -> Policy:
    """*policy* with *count* exempt addresses of which no two are neighbors."""
    network = replace(policy.networks[0], prefixes=(*policy.networks[0].prefixes, ip_network("10.0.0.0/8")))
    rows = tuple(Exemption(Prefix(4, (10 << 24) + 2 * n, 32), f"owner {n}", "own server") for n in range(count))
    return replace(policy, networks=(network, *policy.networks[1:]), exemptions=(*policy.exemptions, *rows))


@given(data=st.data(), policy=policies())
@settings(max_examples=80, deadline=None)
def test_rules_and_model_agree_about_any_packet_of_any_policy(data: st.DataObject, policy: Policy) -> None:
    assert mistakes_of(policy, TODAY) == []
    ruleset = compile_policy(policy, TODAY)
    model = Model(policy, TODAY)
    for _ in range(8):
        packet = data.draw(packets(policy))
        verdict, outcome = model.decide(packet), carry_out(ruleset, packet)
        assert outcome.action == verdict.fate
        assert (outcome.mark or Mark.NONE) is verdict.counted
        assert outcome.clean


@pytest.mark.parametrize(
    ("day", "name"),
    [("2026-12-01", "observe"), ("2027-02-01", "explain"), ("2027-04-01", "enforce")],
)
def test_the_text_for_each_phase_is_the_golden_one(policy: Policy, day: str, name: str) -> None:
    golden(f"nftables-{name}.nft", render(compile_policy(policy, date.fromisoformat(day))))


def test_connection_tracking_comes_with_the_explain_phase_alone(policy: Policy) -> None:
    observed, explained, enforced = (
        render(compile_policy(policy, day)) for day in (date(2026, 12, 1), date(2027, 2, 1), date(2027, 4, 1))
    )
    assert "type nat" in explained
    assert "type nat" not in observed + enforced
    assert not re.search(r"\bct\b", observed + enforced)
    assert explained.count("ct state { invalid, untracked }") == 1


def test_a_policy_that_is_off_everywhere_leaves_no_rule_that_touches_a_packet(policy: Policy) -> None:
    off = replace(policy, waves=(), networks=tuple(replace(n, phase=type(n.phase).OFF) for n in policy.networks))
    ruleset = compile_policy(off, TODAY)
    assert all(not chain.rules for chain in ruleset.chains)
    assert "elements" not in render(ruleset)


def test_the_number_of_rules_does_not_grow_with_the_exemptions(policy: Policy) -> None:
    few, many = (compile_policy(many_exemptions(policy, count), TODAY) for count in (10, 5000))
    assert few.chains == many.chains


def test_fifty_thousand_exemptions_are_compiled_and_written_at_once(policy: Policy) -> None:
    large = many_exemptions(policy, 50_000)
    started = time.process_time()
    text = render(compile_policy(large, TODAY))
    spent = time.process_time() - started
    assert text.count("10.") >= 50_000
    assert spent < 0.4, f"{spent:.2f} s"


def test_an_action_stands_alone_in_its_rule(policy: Policy) -> None:
    """A full set or a spent limit ends its rule: what stands behind it would not happen."""
    for day in (date(2026, 12, 1), date(2027, 2, 1), date(2027, 4, 1)):
        for line in render(compile_policy(policy, day)).splitlines():
            acting = [word for word in ("update @", "limit rate", " drop", "reject", "redirect") if word in line]
            assert len(acting) <= 1, line
            assert not ("update @" in line and re.search(r"\b(goto|return)\b", line)), line


def test_no_mark_of_another_program_is_read_or_changed_beyond_port_25(policy: Policy) -> None:
    ruleset = compile_policy(policy, date(2027, 4, 1))
    for mark in range(16):
        other = Packet(iif="ppp0", source=ip_address("198.51.100.9"), destination=ip_address("203.0.114.1"), dport=443)
        outcome = carry_out(ruleset, replace(other, mark=mark))
        assert (outcome.action, outcome.mark, outcome.clean) == ("pass", None, True)
    assert SetMark(Mark.NONE) in [rule.action for rule in ruleset.by_name["settle"].rules]


@pytest.mark.parametrize("name", ["GigabitEthernet0/0/1", "eth0:very-long-interface"])
def test_the_interface_of_another_makers_router_cannot_be_written_for_nft(policy: Policy, name: str) -> None:
    first = replace(policy.networks[0], interfaces=(name,))
    with pytest.raises(Unrenderable, match="cannot be an interface"):
        render(compile_policy(replace(policy, networks=(first, *policy.networks[1:])), TODAY))


@pytest.mark.parametrize("name", ['x"; flush ruleset; "', "a\nflush ruleset", "a b", '"', "", "x" * 16])
def test_no_interface_name_ends_its_quotes(policy: Policy, name: str) -> None:
    first = replace(policy.networks[0], interfaces=(name,))
    with pytest.raises(Unrenderable):
        render(compile_policy(replace(policy, networks=(first, *policy.networks[1:])), TODAY))


def test_the_removal_names_our_tables_alone() -> None:
    assert render_removal().split() == [
        word
        for table in ("sekisho_edge", "sekisho_count")
        for verb in ("add", "delete")
        for word in (verb, "table", "inet", table)
    ]
