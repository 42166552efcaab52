"""Durations, sizes, endpoints, networks and secrets read from text, and are written so that they read back."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.config import (
    DAY,
    Endpoint,
    Secret,
    parse_duration,
    parse_network,
    parse_size,
    render_duration,
    render_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5d", 5 * DAY), ("1h30m", 5400), ("200ms", 0.2), ("1w", 7 * DAY), ("12", 12), (" 1.5m ", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "5 parsecs", "1h x", "١s", "s", "1e5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(milliseconds=st.integers(0, 10**11))
def test_a_rendered_duration_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(render_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(("text", "octets"), [("25MiB", 26214400), ("1 kb", 1000), ("1.5KiB", 1536), ("7", 7)])
def test_sizes(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "big", "-1", "1TiB", "1IB", "0x10"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(octets=st.integers(0, 10**14))
def test_a_rendered_size_reads_back(octets: int) -> None:
    assert parse_size(render_size(octets)) == octets


@pytest.mark.parametrize("text", ["127.0.0.1:587", "[::1]:587", "mail.example.jp:25", "unix:/run/lmtp", ":25"])
def test_an_endpoint_reads_back(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["", "localhost", "::1:25", "[::g]:25", "h:65536", "h:", "unix:", "a b:1", "h:-1"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError):
        Endpoint.parse(text)


def test_a_network_may_be_one_address_but_not_a_host_in_a_network() -> None:
    assert str(parse_network("2001:db8::1")) == "2001:db8::1/128"
    with pytest.raises(ValueError):
        parse_network("192.0.2.1/24")


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]} %s" % secret
    assert secret == Secret("hush")
    assert secret != Secret("other")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
