"""What a policy answers about itself: phases by date, lines by address, exemptions that end."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest

from sekisho.edge.load import load_policy
from sekisho.edge.policy import Phase, Policy, Wave, expiring


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(Path(__file__).parent / "example.toml", today=date(2026, 12, 1))


def test_the_latest_wave_that_has_come_tells_the_phase(policy: Policy) -> None:
    days = {"2027-01-31": "observe", "2027-02-01": "explain", "2027-03-31": "explain", "2027-04-01": "enforce"}
    assert {day: policy.phase_of("home", date.fromisoformat(day)) for day in days} == days


def test_waves_may_stand_in_any_order_and_may_go_back(policy: Policy) -> None:
    back = Wave(name="respite", networks=("home",), phase=Phase.OBSERVE, on=date(2027, 4, 10))
    waves = replace(policy, waves=(back, *policy.waves))
    assert waves.phase_of("home", date(2027, 4, 9)) is Phase.ENFORCE
    assert waves.phase_of("home", date(2027, 4, 10)) is Phase.OBSERVE


def test_exemptions_that_end_are_listed_ahead_the_soonest_first(policy: Policy) -> None:
    assert [e.owner for e in expiring(policy, date(2027, 3, 1), 31)] == ["Example Trading, contract 4711"]
    assert [str(e.prefix) for e in expiring(policy, date(2027, 3, 1), 400)] == [
        "198.51.100.17",
        "2001:db8:100:2500::/56",
    ]
    assert expiring(policy, date(2027, 3, 1), 29) == ()
    assert expiring(policy, date(2028, 3, 1), 0)[0].owner == "Example Trading, contract 4711"


def test_the_next_day_on_which_rules_must_be_made_anew(policy: Policy) -> None:
    assert policy.next_change(date(2026, 12, 1)) == date(2027, 2, 1)
    assert policy.next_change(date(2027, 2, 1)) == date(2027, 4, 1)
    assert policy.next_change(date(2027, 3, 31)) == date(2027, 4, 1)
    assert policy.next_change(date(2027, 4, 1)) == date(2028, 1, 1)
    assert policy.next_change(date(2028, 1, 1)) is None


@pytest.mark.parametrize(
    ("source", "port", "line"),
    [
        ("198.51.100.9", 40000, "198.51.100.9"),
        ("2001:db8:100:1234::9", 40000, "2001:db8:100:1200::/56"),
        ("2001:db8:400:12:3::9", 40000, "2001:db8:400:12::/64"),
        ("192.0.2.1", 40000, None),
        ("100.64.0.1", 0x1340, "100.64.0.1:4928-4943"),
        ("100.64.0.1", 0xF340, "100.64.0.1:4928-4943"),
        ("100.64.0.1", 0x134F, "100.64.0.1:4928-4943"),
        ("100.64.0.1", 0x1350, "100.64.0.1:4944-4959"),
    ],
)
def test_a_line_is_an_address_a_delegated_prefix_or_its_ports(
    policy: Policy, source: str, port: int, line: str | None
) -> None:
    """RFC 7597 §5.1: the first four bits of a MAP-E port do not tell lines apart."""
    assert policy.line_of(ip_address(source), port) == line


def test_contiguous_ports_of_a_shared_address(policy: Policy) -> None:
    shared = replace(policy.network("home"), shared_ports=1024)
    assert shared.line_of(ip_address("198.51.100.9"), 5000) == "198.51.100.9:4096-5119"
    assert shared.port_mask == 0xFC00


def test_unknown_names_are_key_errors(policy: Policy) -> None:
    with pytest.raises(KeyError):
        policy.network("nobody")
    with pytest.raises(KeyError):
        policy.server_group("nobody")
