"""Packets from NFLOG: decoded from octets as the kernel sends them, and nothing they hold raises."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge.netlink import attribute, message
from sekisho.edge.nflog import INDEV, PACKET, PAYLOAD, PREFIX, SEQUENCE, TIMESTAMP, decode

TCP = struct.pack("!HHIIBBHHH", 40000, 25, 1, 0, 5 << 4, 0x02, 1024, 0, 0)


def v4(payload: bytes = TCP, *, fragment: int = 0, protocol: int = 6) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0,
                       IPv4Address("192.0.2.7").packed, IPv4Address("203.0.113.5").packed)  # fmt: skip
    return head + payload


def v6(payload: bytes = TCP, *, following: int = 6) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), following, 64,
                       IPv6Address("2001:db8::7").packed, IPv6Address("2001:db8:5::25").packed) + payload  # fmt: skip


def logged(packet: bytes, sequence: int = 9) -> bytes:
    body = (
        attribute(TIMESTAMP, struct.pack("!QQ", 1_800_000_000, 500_000))
        + attribute(INDEV, struct.pack("!I", 3))
        + attribute(PREFIX, b"sekisho:home\0")
        + attribute(SEQUENCE, struct.pack("!I", sequence))
        + attribute(PAYLOAD, packet)
    )
    return message(PACKET, 0, 0, 525, body)


def test_an_ipv4_syn_is_read() -> None:
    (sample,) = decode(logged(v4()), 0.0)
    assert (str(sample.source), str(sample.destination)) == ("192.0.2.7", "203.0.113.5")
    assert (sample.source_port, sample.destination_port, sample.opens) == (40000, 25, True)
    assert (sample.at, sample.prefix, sample.interface, sample.sequence) == (1_800_000_000.5, "sekisho:home", 3, 9)


def test_an_ipv6_syn_is_found_behind_extension_headers() -> None:
    """RFC 8200 §4: hop-by-hop, destination options, then TCP."""
    packet = v6(bytes([60, 0]) + bytes(6) + bytes([6, 1]) + bytes(14) + TCP, following=0)
    (sample,) = decode(logged(packet), 0.0)
    assert (str(sample.source), sample.destination_port) == ("2001:db8::7", 25)


def test_a_later_fragment_has_addresses_but_no_ports() -> None:
    (four,) = decode(logged(v4(fragment=0x2010)), 0.0)
    (six,) = decode(logged(v6(struct.pack("!BBHI", 6, 0, 0x0100, 1) + TCP, following=44)), 0.0)
    assert (four.source_port, six.source_port, four.opens, six.opens) == (0, 0, False, False)


def test_syn_with_other_flags_opens_too_but_an_answer_does_not() -> None:
    for flags, opens in ((0x02, True), (0xC2, True), (0x0A, True), (0x12, False), (0x10, False)):
        (sample,) = decode(logged(v4(TCP[:13] + bytes([flags]) + TCP[14:])), 0.0)
        assert sample.opens is opens


def test_one_datagram_may_hold_many_packets() -> None:
    octets = b"".join(logged(v4(), number) for number in range(5))
    assert [sample.sequence for sample in decode(octets, 0.0)] == [0, 1, 2, 3, 4]


def test_what_is_not_tcp_or_cut_short_is_left_out() -> None:
    for packet in (b"", b"\x45", v4(protocol=17), v4()[:19], v6()[:39], v6(following=58), b"\x00" * 60):
        assert list(decode(logged(packet), 0.0)) == []


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_octets_raise(octets: bytes) -> None:
    list(decode(octets, 0.0))
    list(decode(logged(octets), 0.0))


@given(st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_no_changed_octet_raises(at: int, value: int) -> None:
    for packet in (v4(), v6(bytes([6, 0]) + bytes(6) + TCP, following=0)):
        octets = bytearray(logged(packet))
        octets[at % len(octets)] = value
        list(decode(bytes(octets), 0.0))
