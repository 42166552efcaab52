"""Tests of `sekisho.smtp.lines`."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.smtp.lines import LineBuffer, LineFault


def take_all_lines(pieces: list[bytes]) -> list[bytes | LineFault]:
    buffer = LineBuffer(10, 30)
    taken: list[bytes | LineFault] = []
    for piece in pieces:
        buffer.append(piece)
        while (line := buffer.take_line()) is not None:
            taken.append(line)
            if line in (LineFault.BARE_LINE_FEED, LineFault.ENDLESS):
                return taken
        assert len(buffer) <= 10
    return taken


@pytest.mark.parametrize(
    ("octets", "taken"),
    [
        (b"", []),
        (b"NOOP", []),
        (b"NOOP\r", []),
        (b"NOOP\r\n\r\nQUIT\r\n", [b"NOOP", b"", b"QUIT"]),
        (b"a\rb\r\n", [b"a\rb"]),
        (b"12345678\r\n", [b"12345678"]),
        (b"123456789\r\nNOOP\r\n", [LineFault.TOO_LONG, b"NOOP"]),
        (b"x" * 28 + b"\r\nNOOP\r\n", [LineFault.TOO_LONG, b"NOOP"]),
        (b"x" * 29 + b"\r\nNOOP\r\n", [LineFault.ENDLESS]),
        (b"x" * 31, [LineFault.ENDLESS]),
        (b"NOOP\nQUIT\r\n", [LineFault.BARE_LINE_FEED]),
        (b"\n", [LineFault.BARE_LINE_FEED]),
        (b"x" * 20 + b"\n", [LineFault.BARE_LINE_FEED]),
    ],
)
def test_a_line_ends_with_crlf_and_nothing_else(octets: bytes, taken: list[bytes | LineFault]) -> None:
    """RFC 5321 §2.3.8, §4.5.3.1.4."""
    assert take_all_lines([octets]) == taken
    assert take_all_lines([bytes([octet]) for octet in octets]) == taken


@settings(max_examples=150)
@given(
    octets=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bcdefg", b"x" * 12]), max_size=12).map(b"".join),
    places=st.lists(st.integers(0, 100), max_size=5),
)
def test_lines_are_the_same_however_the_octets_are_cut(octets: bytes, places: list[int]) -> None:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    assert take_all_lines([octets[a:b] for a, b in pairwise(edges)]) == take_all_lines([octets])


def test_a_fault_knows_how_its_line_began() -> None:
    buffer = LineBuffer(10, 30)
    for piece in (b"AUTH xxxxxxx", b"yyyyyyyy", b"\r\n"):
        buffer.append(piece)
        taken = buffer.take_line()
    assert (taken, buffer.start) == (LineFault.TOO_LONG, b"AUTH xxxxxxx")


def test_octets_can_be_taken_as_they_are() -> None:
    buffer = LineBuffer(10, 30)
    buffer.append(b"BDAT 3\r\na\nbNOOP\r\n")
    assert buffer.take_line() == b"BDAT 3"
    assert buffer.take_octets(3) == b"a\nb"
    assert len(buffer) == 6
    assert (buffer.take_all(), buffer.take_all(), buffer.take_octets(5)) == (b"NOOP\r\n", b"", b"")
