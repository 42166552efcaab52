"""Whom the blocking would hit, and where they send."""

from __future__ import annotations

import csv
import io
import json
from ipaddress import ip_address

import pytest

from sekisho.config import parse_network
from sekisho.edge.policy import AccessNetwork, Policy, ServerGroup
from sekisho.edge.report import DestinationClass, Report, Reporter
from sekisho.edge.sightings import Kind, Sighting

OWN, KNOWN = DestinationClass.OWN, DestinationClass.KNOWN_SUBMISSION
FOREIGN, MANY = DestinationClass.FOREIGN_SUBMISSION, DestinationClass.MANY_MX
START = 1_767_225_600.0
DAY = 86400


def network(name: str, **more: object) -> AccessNetwork:
    return AccessNetwork(
        name=name,
        product=name,
        interfaces=("ppp*",),
        prefixes=(),
        allowed=("mail",),
        **more,  # type: ignore[arg-type]  # fields by name
    )


POLICY = Policy(
    name="example",
    management=(parse_network("192.0.2.240/28"),),
    own_space=(parse_network("198.51.100.0/24"),),
    servers=(
        ServerGroup(name="mail", prefixes=(parse_network("192.0.2.25"), parse_network("2001:db8:25::/48"))),
        ServerGroup(name="relay", prefixes=(parse_network("192.0.2.26"),)),
        ServerGroup(name="submission-services", prefixes=(parse_network("203.0.113.0/28"),)),
    ),
    networks=(
        network("ftth"),
        network("campus", own_space=True),
        network("dorm", relay_only=("relay",), own_space=True),
    ),
)


def sighting(
    line: str, destination: str, at: float = START, net: str = "ftth", kind: Kind = Kind.COUNTED, **counts: int
) -> Sighting:
    return Sighting(line, net, ip_address(destination), at, kind=kind, **counts)


def report(*sightings: Sighting) -> Report:
    reporter = Reporter(POLICY)
    for one in sightings:
        reporter.saw(one)
    return reporter.report()


@pytest.mark.parametrize(
    ("net", "destination", "expected"),
    [
        ("ftth", "192.0.2.25", OWN),
        ("ftth", "2001:db8:25::1", OWN),
        ("ftth", "192.0.2.241", OWN),
        ("ftth", "203.0.113.7", KNOWN),
        ("ftth", "192.0.2.26", KNOWN),  # a group of ours, but not one that this network may use
        ("ftth", "198.51.100.9", FOREIGN),
        ("campus", "198.51.100.9", OWN),
        ("dorm", "198.51.100.9", FOREIGN),  # only the relay
        ("dorm", "192.0.2.25", KNOWN),
        ("dorm", "192.0.2.26", OWN),
        ("nowhere", "192.0.2.25", FOREIGN),
    ],
)
def test_each_destination_has_its_class(net: str, destination: str, expected: DestinationClass) -> None:
    (row,) = report(sighting("100.64.0.1", destination, net=net)).rows
    assert row.kind is expected


def test_a_line_has_the_class_of_its_gravest_destination_and_counts_what_is_hit_apart() -> None:
    (row,) = report(
        sighting("100.64.0.1", "192.0.2.25", attempts=5, packets=5),
        sighting("100.64.0.1", "203.0.113.7", START + DAY, attempts=2, packets=14),
        sighting("100.64.0.1", "192.0.2.25", START - DAY),
    ).rows
    assert row.kind is KNOWN
    assert (row.attempts, row.hit_attempts, row.packets, row.days) == (8, 2, 20, 3)
    assert (row.first, row.last) == (START - DAY, START + DAY)
    assert row.destinations == ("192.0.2.25", "203.0.113.7")


def test_many_networks_make_many_servers_and_many_addresses_of_one_do_not() -> None:
    rows = report(
        *(sighting("100.64.0.1", f"100.100.{n}.1") for n in range(8)),
        *(sighting("100.64.0.2", f"100.100.7.{n}") for n in range(30)),
    ).rows
    assert [(row.line, row.kind) for row in rows] == [("100.64.0.1", MANY), ("100.64.0.2", FOREIGN)]
    assert rows[1].destination_count == 16
    assert len(rows[1].destinations) == 4


def test_numbers_come_from_the_most_exact_source() -> None:
    samples = [sighting("100.64.0.1", f"198.51.100.{n}", kind=Kind.SAMPLED) for n in range(3)]
    counted = sighting("100.64.0.1", "198.51.100.1", attempts=40, packets=90)
    for order in ([*samples, counted], [counted, *samples]):
        (row,) = report(*order).rows
        assert (row.attempts, row.packets) == (40, 90)
        assert row.destination_count == 3
        assert row.destinations[0] == "198.51.100.1"


def test_the_list_for_the_announcement_has_those_alone_who_are_hit() -> None:
    whole = report(
        sighting("100.64.0.1", "192.0.2.25"),
        sighting("100.64.0.2", "198.51.100.9"),
        sighting("100.64.0.3", "198.51.100.9", net="campus"),
        sighting("100.64.0.4", "203.0.113.7", net="campus"),
    )
    assert [row.line for row in whole.hit().rows] == ["100.64.0.2", "100.64.0.4"]
    assert [row.line for row in whole.hit(["campus"]).rows] == ["100.64.0.4"]
    assert whole.counts()["ftth", OWN] == 1


def test_csv_json_and_text_say_the_same() -> None:
    whole = report(
        sighting("2001:db8:0:100::/56", "2001:db8:99::1", attempts=3, packets=9),
        sighting("100.64.0.1", "192.0.2.25"),
    )
    rows = list(csv.DictReader(io.StringIO(whole.csv())))
    assert rows[0] == {
        "line": "2001:db8:0:100::/56",
        "network": "ftth",
        "class": "foreign-submission",
        "hit": "yes",
        "attempts": "3",
        "hit_attempts": "3",
        "packets": "9",
        "days": "1",
        "destinations": "2001:db8:99::1",
        "first": "2026-01-01T00:00:00Z",
        "last": "2026-01-01T00:00:00Z",
    }
    document = json.loads(whole.json())
    assert document["counts"] == {"ftth": {"foreign-submission": 1, "own": 1}}
    assert document["lines"][1]["hit"] is False
    assert document["lines"][0]["destinations"] == ["2001:db8:99::1"]
    text = whole.text("ja")
    assert "他社の送信サーバー" in text
    assert "2001:db8:0:100::/56" in text
    assert "100.64.0.1" not in whole.text("en", limit=1)


def test_no_cell_is_a_formula() -> None:
    rows = list(csv.reader(io.StringIO(report(sighting('=HYPERLINK("x")', "192.0.2.1")).csv())))
    assert rows[1][0] == '\'=HYPERLINK("x")'


def test_memory_is_bounded_and_what_was_left_out_is_told() -> None:
    reporter = Reporter(POLICY, size=2)
    for n in range(5):
        reporter.saw(sighting(f"100.64.0.{n}", "198.51.100.9"))
    assert len(reporter.report().rows) == 2
    assert json.loads(reporter.report().json())["left_out"] == 3
