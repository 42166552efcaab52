"""Prefixes and ranges, held against the standard library's networks."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge.prefix import Prefix, Ranges

NETWORKS_4 = st.builds(
    lambda number, bits: IPv4Network((number >> (32 - bits) << (32 - bits), bits)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
NETWORKS_6 = st.builds(
    lambda number, bits: IPv6Network((number >> (128 - bits) << (128 - bits), bits)),
    st.integers(0, 2**128 - 1),
    st.integers(1, 128),
)


@given(st.one_of(NETWORKS_4, NETWORKS_6))
def test_a_prefix_reads_what_it_writes_and_what_the_library_writes(network: IPv4Network | IPv6Network) -> None:
    prefix = Prefix.parse(str(network))
    assert Prefix.parse(str(prefix)) == prefix == Prefix.of(network)
    assert prefix.network == network
    assert prefix.last == int(network.broadcast_address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "192.0.2.0/",
        "192.0.2.0/-1",
        "192.0.2.0/２４",
        "2001:db8::1/64",
        "192.0.2.0/24/8",
        "2001:db8::/129",
        "192.0.2.1\n",
        "192.0.2.1; flush ruleset",
        "::ffff:0:0:0:0:0:0:0:1",
        "01.2.3.4",
        "fe80::1%eth0",
        " 192.0.2.1",
        "192.0.2.0/255.255.255.0",
        "\x00",
        "192.0.2.1\x00",
    ],
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Prefix.parse(text)


@given(st.lists(NETWORKS_4, max_size=12))
@settings(max_examples=80)
def test_ranges_hold_the_same_addresses_as_the_librarys_collapsed_networks(networks: list[IPv4Network]) -> None:
    ranges = Ranges.of(4, map(Prefix.of, networks))
    collapsed = list(collapse_addresses(networks))
    assert [prefix.network for prefix in ranges.prefixes()] == collapsed
    for network in networks:
        for number in (int(network[0]), int(network[-1])):
            assert number in ranges
            assert (number + 1 in ranges) == any(ip_address(min(number + 1, 2**32 - 1)) in n for n in collapsed) or (
                number == 2**32 - 1
            )


@given(st.lists(NETWORKS_6, max_size=8))
@settings(max_examples=50)
def test_ranges_of_ipv6_likewise(networks: list[IPv6Network]) -> None:
    ranges = Ranges.of(6, map(Prefix.of, networks))
    assert [prefix.network for prefix in ranges.prefixes()] == list(collapse_addresses(networks))


def test_ranges_are_written_as_address_prefix_or_range() -> None:
    rows = ["192.0.2.1", "192.0.2.16/28", "192.0.2.33", "192.0.2.34/31"]
    assert list(Ranges.of(4, map(Prefix.parse, rows)).texts()) == [
        "192.0.2.1",
        "192.0.2.16/28",
        "192.0.2.33-192.0.2.35",
    ]


def test_a_prefix_knows_what_lies_within_it() -> None:
    prefix = Prefix.parse("192.0.2.0/24")
    assert prefix.holds(ip_address("192.0.2.255"))
    assert not prefix.holds(ip_address("192.0.3.0"))
    assert not prefix.holds(ip_address("::192.0.2.1"))
    assert prefix.covers(Prefix.parse("192.0.2.128/25"))
    assert not prefix.covers(Prefix.parse("192.0.0.0/16"))
