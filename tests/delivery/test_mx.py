"""Which hosts take a domain's mail (RFC 5321 §5)."""

from __future__ import annotations

import asyncio

import pytest
from tests.delivery.doubles import FixedLookup

from sekisho.delivery.mx import MAX_HOSTS, addresses_of, next_hops
from sekisho.smtp import DeliveryFailure, PermanentFailure, TemporaryFailure

OWN = "mail.example.jp"


def hops(domain: str, lookup: FixedLookup) -> list[str]:
    found = asyncio.run(next_hops(domain, lookup, own_name=OWN, shuffle=lambda names: names.reverse()))
    return [hop.name for hop in found]


def test_hosts_are_tried_by_preference_and_equal_ones_in_random_order() -> None:
    """RFC 5321 §5.1."""
    lookup = FixedLookup({"x.example": [(20, "c"), (10, "a"), (10, "b"), (5, "z")]})
    assert hops("x.example", lookup) == ["z", "b", "a", "c"]


def test_a_domain_without_mx_is_its_own_host() -> None:
    """RFC 5321 §5.1: the implicit MX."""
    assert hops("x.example", FixedLookup(hosts={"x.example": ["192.0.2.1"]})) == ["x.example"]


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        ([(10, "a"), (20, OWN), (20, "b"), (30, "c")], ["a"]),
        ([(10, "a"), (20, OWN), (30, OWN)], ["a"]),
        ([(10, "a"), (10, "b"), (20, "MAIL.example.jp".lower())], ["b", "a"]),
    ],
)
def test_hosts_no_better_than_ourselves_are_left_out(records: list[tuple[int, str]], kept: list[str]) -> None:
    """RFC 5321 §5.1."""
    assert hops("x.example", FixedLookup({"x.example": records})) == kept


@pytest.mark.parametrize(
    ("domain", "lookup", "kind", "status"),
    [
        ("x.example", FixedLookup({"x.example": [(0, "")]}), PermanentFailure, "5.1.10"),
        ("x.example", FixedLookup({"x.example": [(10, OWN), (20, "b")]}), PermanentFailure, "5.4.6"),
        ("missing.example", FixedLookup(), PermanentFailure, "5.1.2"),
        ("slow.example", FixedLookup({"slow.example": [(0, "?")]}), TemporaryFailure, "4.4.3"),
        ("[not an address]", FixedLookup(), PermanentFailure, "5.1.3"),
    ],
)
def test_what_dns_says_becomes_a_failure_of_the_right_kind(
    domain: str, lookup: FixedLookup, kind: type[DeliveryFailure], status: str
) -> None:
    """RFC 7505 §3, RFC 5321 §5.1, RFC 3463 §3."""
    with pytest.raises(kind) as caught:
        hops(domain, lookup)
    assert caught.value.reply.status == status


def test_the_number_of_hosts_is_bounded() -> None:
    lookup = FixedLookup({"x.example": [(number, f"mx{number}") for number in range(50)]})
    assert len(hops("x.example", lookup)) == MAX_HOSTS


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("[192.0.2.7]", ["192.0.2.7"]),
        ("[IPv6:2001:db8::7]", ["2001:db8::7"]),
        ("192.0.2.8", ["192.0.2.8"]),
        ("both.example", ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]),
        ("four.example", ["192.0.2.4"]),
    ],
)
def test_addresses_of_both_families_take_turns(name: str, found: list[str]) -> None:
    lookup = FixedLookup(
        hosts={
            "both.example": ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"],
            "four.example": ["192.0.2.4"],
        }
    )
    assert asyncio.run(addresses_of(name, lookup)) == found


def test_a_host_without_address_is_not_a_silent_name_server() -> None:
    lookup = FixedLookup(hosts={"none.example": [], "slow.example": ["?"]})
    with pytest.raises(PermanentFailure):
        asyncio.run(addresses_of("none.example", lookup))
    with pytest.raises(TemporaryFailure):
        asyncio.run(addresses_of("slow.example", lookup))
