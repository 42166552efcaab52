"""Terms mean what the policy means, but for what no packet filter can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.strategies import TODAY, packets, policies

from sekisho.edge.exporters import EXPORTERS, ExportError
from sekisho.edge.exporters.terms import Effect, Filter, Group, filters
from sekisho.edge.load import load_policy
from sekisho.edge.model import Fate, Model, Packet, covers
from sekisho.edge.policy import Policy

FATES = {Effect.PERMIT: Fate.PASS, Effect.WATCH: Fate.PASS, Effect.DROP: Fate.DROP, Effect.REJECT: Fate.REJECT}


def fate(made: tuple[Filter, ...], packet: Packet) -> Fate:
    """What a router does that has these filters and reads them from the top."""
    if packet.protocol != "tcp" or packet.later_fragment or packet.dport != 25:
        return Fate.PASS
    for one in made:
        if not any(covers(pattern, packet.iif) for pattern in one.interfaces):
            continue
        for term in one.terms[packet.family]:
            if within(packet.source, term.source) and within(packet.destination, term.destination):
                return FATES[term.effect]
    return Fate.PASS


def within(address: object, group: Group | None) -> bool:
    return group is None or any(address in prefix.network for prefix in group.prefixes)


@given(data=st.data(), policy=policies())
@settings(max_examples=80, deadline=None)
def test_terms_and_model_agree_about_any_packet(data: st.DataObject, policy: Policy) -> None:
    """Left out: the explainer (watched instead), the route back (taken as right), answers to forged packets."""
    made, model = filters(policy, TODAY), Model(policy, TODAY)
    for _ in range(6):
        packet = replace(data.draw(packets(policy)), route_back=True, syn_ack=False)
        wanted = model.decide(packet).fate
        assert fate(made, packet) is (Fate.PASS if wanted is Fate.EXPLAIN else wanted)


@given(policies())
@settings(max_examples=25, deadline=None)
def test_every_exporter_takes_every_policy_and_repeats_itself(policy: Policy) -> None:
    for export in EXPORTERS.values():
        made = export(policy, TODAY)
        assert made == export(policy, TODAY)
        assert made.limits
        for name, text in made.files.items():
            assert name.startswith("sekisho")
            assert text.endswith("\n")
            assert text.isascii()


@pytest.mark.parametrize("name", sorted(EXPORTERS))
@pytest.mark.parametrize(
    "evil", ["eth0\nno access-list", "eth0'; reboot; '", 'eth0"', "eth 0", "eth0;x", "*", "eth0{}"]
)
def test_no_name_brings_words_of_its_own(name: str, evil: str) -> None:
    policy = policy_with_interface(evil)
    try:
        text = "".join(EXPORTERS[name](policy, TODAY).files.values())
    except ExportError:
        return
    assert evil not in text  # flow routes name no interface


def policy_with_interface(interface: str) -> Policy:
    policy = load_policy(Path(__file__).parents[1] / "example.toml", today=date(2026, 12, 1))
    return replace(policy, networks=tuple(replace(n, interfaces=(interface,)) for n in policy.networks))
