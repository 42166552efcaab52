"""The one value for what was seen."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge.sightings import Kind, Sighting, SightingError

ONE = Sighting("2001:db8:0:100::/56", "ftth", ip_address("192.0.2.25"), 1_767_225_600.25, 7, 2, Kind.SAMPLED)


@settings(max_examples=50)
@given(
    destination=st.ip_addresses(),
    at=st.floats(0, 9e10),
    numbers=st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
    kind=st.sampled_from(Kind),
)
def test_what_is_written_is_read_back(destination: object, at: float, numbers: tuple[int, int], kind: Kind) -> None:
    one = Sighting("192.0.2.7", "ftth", ip_address(str(destination)), at, max(numbers), min(numbers), kind)
    assert Sighting.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "change",
    [
        {"destination": "mail.example.jp"},
        {"attempts": 8},
        {"attempts": -1},
        {"at": -1},
        {"at": float("inf")},
        {"at": float("nan")},
        {"kind": "guessed"},
        {"line": "x" * 300},
        {"packets": None},
    ],
)
def test_what_is_no_sighting_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SightingError):
        Sighting.from_json(json.dumps({**json.loads(ONE.to_json()), **change}))


@settings(max_examples=100)
@given(octets=st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b"1" * 5000, b"null", b"{}"]))
def test_nothing_undocumented_is_raised(octets: bytes) -> None:
    with pytest.raises(SightingError):
        Sighting.from_json(octets)
