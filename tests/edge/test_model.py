"""What the policy means, told by cases; the compiled rules must mean the same (test_compile, test_checker)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest

from sekisho.edge.load import load_policy
from sekisho.edge.model import Fate, Model, Packet, Verdict, covers, decide
from sekisho.edge.policy import UNTOUCHED_PORTS, Phase, Policy
from sekisho.edge.ruleset import Mark

OBSERVING = date(2026, 12, 1)
EXPLAINING = date(2027, 2, 1)
ENFORCING = date(2027, 4, 1)
FOREIGN_MX = "203.0.114.1"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(Path(__file__).parent / "example.toml", today=OBSERVING)


def packet(iif: str, source: str, destination: str, **header: object) -> Packet:
    base = Packet(iif=iif, source=ip_address(source), destination=ip_address(destination))
    return replace(base, **header)  # type: ignore[arg-type]  # fields by name, as the cases give them


HOME = packet("ppp3", "198.51.100.9", FOREIGN_MX)
HOME_6 = packet("ppp3", "2001:db8:100::9", "2001:db9::25")


@pytest.mark.parametrize("sent", [HOME, HOME_6])
@pytest.mark.parametrize(
    ("day", "verdict"),
    [
        (OBSERVING, Verdict(Fate.PASS, Mark.OBSERVED, "home")),
        (EXPLAINING, Verdict(Fate.EXPLAIN, Mark.EXPLAINED, "home")),
        (date(2027, 3, 31), Verdict(Fate.EXPLAIN, Mark.EXPLAINED, "home")),
        (ENFORCING, Verdict(Fate.DROP, Mark.DROPPED, "home")),
    ],
)
def test_the_phases_come_one_after_another_alike_for_both_families(
    policy: Policy, sent: Packet, day: date, verdict: Verdict
) -> None:
    assert decide(policy, sent, day) == verdict


@pytest.mark.parametrize("port", UNTOUCHED_PORTS)
@pytest.mark.parametrize("phase", list(Phase))
def test_reading_and_submitting_mail_is_never_touched(policy: Policy, port: int, phase: Phase) -> None:
    every = replace(policy, waves=(), networks=tuple(replace(n, phase=phase) for n in policy.networks))
    for source in ("198.51.100.9", "203.0.113.7", "192.0.2.99"):
        for flags in (False, True):
            sent = packet("ppp0", source, FOREIGN_MX, dport=port, syn_ack=flags, route_back=False)
            assert decide(every, sent, ENFORCING) == Verdict(Fate.PASS)


def test_only_tcp_with_its_ports_in_sight_is_a_matter_of_this(policy: Policy) -> None:
    assert decide(policy, replace(HOME, protocol="udp"), ENFORCING).fate is Fate.PASS
    assert decide(policy, replace(HOME, later_fragment=True), ENFORCING).fate is Fate.PASS


def test_the_own_mail_servers_and_the_management_network_stay_reachable(policy: Policy) -> None:
    for destination in ("192.0.2.25", "192.0.2.241"):
        assert decide(policy, packet("ppp3", "198.51.100.9", destination), ENFORCING) == Verdict(Fate.PASS)
    assert decide(policy, packet("ppp3", "2001:db8:100::9", "2001:db8:0:25::1"), ENFORCING) == Verdict(Fate.PASS)


def test_an_exempt_host_may_send_unless_a_neighbor_uses_its_address(policy: Policy) -> None:
    exempt = packet("ppp3", "198.51.100.25", FOREIGN_MX)
    assert decide(policy, exempt, ENFORCING) == Verdict(Fate.PASS)
    assert decide(policy, replace(exempt, route_back=False), ENFORCING).fate is Fate.DROP


def test_an_exemption_counts_through_its_last_day(policy: Policy) -> None:
    sent = packet("ppp3", "198.51.100.17", FOREIGN_MX)
    assert decide(policy, sent, date(2027, 3, 31)).fate is Fate.PASS
    assert decide(policy, sent, date(2027, 4, 1)).fate is Fate.DROP


def test_forged_sources_are_dropped_once_something_is_done_at_all(policy: Policy) -> None:
    forged = packet("ppp3", "192.0.2.99", FOREIGN_MX)
    quiet = replace(policy, networks=tuple(replace(n, guard=n.name == "home") for n in policy.networks))
    assert decide(quiet, forged, OBSERVING) == Verdict(Fate.PASS, Mark.STRAY_SEEN)
    assert decide(quiet, forged, EXPLAINING) == Verdict(Fate.DROP, Mark.STRAY_DROPPED)
    another_networks = packet("eth2", "198.51.100.25", FOREIGN_MX)
    assert decide(policy, another_networks, OBSERVING) == Verdict(Fate.DROP, Mark.STRAY_DROPPED)


def test_a_fixed_line_is_exempt_but_only_where_it_belongs(policy: Policy) -> None:
    assert decide(policy, packet("eth3", "198.51.100.130", FOREIGN_MX), ENFORCING) == Verdict(Fate.PASS)
    assert decide(policy, packet("eth2", "198.51.100.130", FOREIGN_MX), ENFORCING).fate is Fate.DROP


def test_a_network_with_a_relay_may_use_nothing_else(policy: Policy) -> None:
    relay, other = packet("eth2", "203.0.113.7", "192.0.2.40"), packet("eth2", "203.0.113.7", "192.0.2.25")
    assert decide(policy, relay, ENFORCING) == Verdict(Fate.PASS)
    assert decide(policy, other, ENFORCING) == Verdict(Fate.REJECT, Mark.REJECTED, "campus")


def test_the_answers_of_a_server_inside_and_mail_to_it_pass(policy: Policy) -> None:
    answer = packet("ppp3", "198.51.100.25", FOREIGN_MX, sport=25, dport=40000, syn_ack=True)
    inbound = packet("eth0", FOREIGN_MX, "198.51.100.25", dport=25)
    for passing in (answer, inbound, replace(inbound, destination=ip_address("198.51.100.9"))):
        assert decide(policy, passing, ENFORCING) == Verdict(Fate.PASS)


def test_the_answer_to_a_packet_that_left_by_another_network_is_dropped(policy: Policy) -> None:
    """M3AAWG on triangular spam: the line sent nothing by port 25 that an outside server could answer."""
    back = packet("eth0", FOREIGN_MX, "198.51.100.9", sport=25, dport=40000, syn_ack=True)
    assert decide(policy, back, OBSERVING) == Verdict(Fate.PASS, Mark.RETURN_SEEN, "home")
    assert decide(policy, back, ENFORCING) == Verdict(Fate.DROP, Mark.RETURN_DROPPED, "home")
    assert decide(policy, replace(back, syn_ack=False), ENFORCING) == Verdict(Fate.PASS)
    for passing in (
        replace(back, source=ip_address("192.0.2.25")),
        replace(back, destination=ip_address("198.51.100.25")),
        replace(back, iif="ppp4"),
    ):
        assert decide(policy, passing, ENFORCING) == Verdict(Fate.PASS)


def test_a_network_that_is_off_is_as_if_there_were_no_policy(policy: Policy) -> None:
    assert decide(policy, packet("mape0", "100.64.0.9", FOREIGN_MX), ENFORCING) == Verdict(Fate.PASS)
    assert decide(policy, packet("mape0", "192.0.2.99", FOREIGN_MX), ENFORCING) == Verdict(Fate.PASS)


def test_a_pattern_means_its_beginning_and_a_name_itself_alone() -> None:
    assert covers("ppp*", "ppp17")
    assert not covers("ppp*", "pp0")
    assert not covers("eth1", "eth10")


def test_a_model_can_be_asked_again_and_again(policy: Policy) -> None:
    model = Model(policy, ENFORCING)
    assert [model.decide(HOME).fate, model.decide(HOME_6).fate, model.decide(HOME).fate] == [Fate.DROP] * 3
