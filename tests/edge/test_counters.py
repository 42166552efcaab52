"""Counters as nft lists them: folded to lines, attempts apart from packets, differences across time-outs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest

from sekisho.edge.counters import BESIDE, Beside, Counted, Differences, beside, counted, documents, sighting_of
from sekisho.edge.load import load_policy
from sekisho.edge.nflog import Sample
from sekisho.edge.nft import Absent, NftError
from sekisho.edge.policy import Policy
from sekisho.edge.sightings import Kind

EXAMPLE = Path(__file__).parent / "example.toml"
DAY = 86400


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(EXAMPLE, today=date(2026, 12, 1))


def listing(name: str, *elements: tuple[Sequence[object], int, int]) -> str:
    """As nft 1.0.6 writes it: key, packets, seconds left."""
    rows = [
        {"elem": {"val": {"concat": key}, "expires": left, "counter": {"packets": packets, "bytes": packets * 60}}}
        for key, packets, left in elements
    ]
    described = {"family": "inet", "name": name, "table": "sekisho_count", "timeout": DAY, "elem": rows}
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": described}]})


def test_strays_and_answers_are_told_by_interface_and_address() -> None:
    rows = [{"elem": {"val": "ppp0", "expires": 5, "counter": {"packets": 3, "bytes": 180}}}]
    six = [{"elem": {"val": "2001:db8:100::1", "counter": {"packets": 2, "bytes": 80}}}]
    four = [{"elem": {"val": "198.51.100.7", "counter": {"packets": 1, "bytes": 40}}}]
    found = {
        name: json.dumps({"nftables": [{"set": {"elem": rows}}]})
        for name, rows in zip(BESIDE, (rows, four, six), strict=True)
    }
    assert beside(found) == Beside({"ppp0": 3}, {"198.51.100.7": 1, "2001:db8:100::1": 2})
    assert beside({}) == Beside({}, {})
    with pytest.raises(NftError):
        beside({BESIDE[0]: '{"nftables": [{"set": {"elem": [5]}}]}'})


HOME = ["198.51.100.7", 0, "203.0.113.5"]
SHARED = ["100.64.0.9", 16, "203.0.113.5"]
SIX = ["2001:db8:100:700::", "2001:db8:ffff::25"]


def reading(packets: int, attempts: int, left: int = DAY - 10) -> dict[str, str]:
    return {
        "packets4": listing("packets4", (HOME, packets, left)),
        "attempts4": listing("attempts4", (HOME, attempts, left)),
    }


def test_totals_are_told_by_line_with_packets_and_attempts_apart(policy: Policy) -> None:
    listings = {
        "packets4": listing("packets4", (HOME, 21, DAY - 5), (SHARED, 4, DAY)),
        "attempts4": listing("attempts4", (HOME, 3, DAY - 5), (SHARED, 4, DAY)),
        "packets6": listing("packets6", (SIX, 7, DAY)),
        "attempts6": listing("attempts6", (SIX, 1, DAY)),
    }
    found = counted(listings, policy)
    assert found[0] == Counted("198.51.100.7", "home", ip_address("203.0.113.5"), 21, 1260, 3, 5.0)
    assert (found[1].line, found[1].network, found[1].attempts) == ("100.64.0.9:4112-4127", "shared", 4)
    assert (found[2].line, found[2].packets, found[2].attempts) == ("2001:db8:100:700::/56", 7, 1)


def test_a_line_that_the_policy_does_not_know_any_more_keeps_its_address(policy: Policy) -> None:
    listings = {"packets4": listing("packets4", (["203.0.113.250", 0, "192.0.2.1"], 1, DAY)),
                "packets6": listing("packets6", (["2001:db8:9900::", "2001:db8::1"], 1, DAY))}  # fmt: skip
    assert [(one.line, one.network) for one in counted(listings, policy)][1] == ("2001:db8:9900::", "unknown")


def test_differences_tell_what_is_new_alone(policy: Policy) -> None:
    differences = Differences()
    assert differences.read(reading(10, 2), policy, 1000.0) == []
    assert differences.read(reading(10, 2), policy, 1010.0) == []
    (sighting,) = differences.read(reading(17, 3), policy, 1020.0)
    assert (sighting.packets, sighting.attempts, sighting.at, sighting.kind) == (7, 1, 1010.0, Kind.COUNTED)
    assert (sighting.line, sighting.network) == ("198.51.100.7", "home")


def test_an_element_that_timed_out_and_came_again_begins_at_zero(policy: Policy) -> None:
    differences = Differences()
    differences.read(reading(10, 2), policy, 0.0)
    (again,) = differences.read(reading(4, 1), policy, 10.0)
    assert (again.packets, again.attempts) == (4, 1)
    assert differences.read({}, policy, 20.0) == []
    (back,) = differences.read(reading(2, 1), policy, 30.0)
    assert (back.packets, back.attempts) == (2, 1)


def test_retransmissions_alone_are_no_attempt(policy: Policy) -> None:
    differences = Differences(from_zero=True)
    differences.read(reading(1, 1), policy, 0.0)
    (sighting,) = differences.read(reading(6, 1), policy, 10.0)
    assert (sighting.packets, sighting.attempts) == (5, 0)


def test_attempts_are_never_more_than_packets(policy: Policy) -> None:
    """The two sets are listed one after the other."""
    (sighting,) = Differences(from_zero=True).read(reading(3, 4), policy, 0.0)
    assert sighting.attempts == sighting.packets == 3


@pytest.mark.parametrize("text", ["", "[]", '{"nftables": [{"set": {"elem": [5]}}]}', '{"nftables": 5}'])
def test_a_listing_that_cannot_be_read_is_an_error_and_not_zero(text: str, policy: Policy) -> None:
    with pytest.raises(NftError):
        counted({"packets4": text}, policy)


def test_sets_that_are_not_there_are_left_out() -> None:
    def run(arguments: object, text: str = "", /) -> str:
        raise Absent("no such set")

    assert documents(run) == {}


def test_a_sample_becomes_a_sighting_of_its_line(policy: Policy) -> None:
    def sample(source: str, flags: int) -> Sample:
        return Sample(5.0, "sekisho:home", 3, ip_address(source), ip_address("203.0.113.5"), 4112, 25, flags, 1)

    found = sighting_of(sample("100.64.0.9", 0x02), policy)
    assert found is not None
    assert (found.line, found.attempts, found.packets, found.kind) == ("100.64.0.9:4112-4127", 1, 1, Kind.SAMPLED)
    again = sighting_of(sample("198.51.100.7", 0x10), policy)
    assert again is not None
    assert again.attempts == 0
    assert sighting_of(sample("203.0.114.1", 0x02), policy) is None
