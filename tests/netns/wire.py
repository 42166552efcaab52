"""Packets as octets, and a little edge router in the present namespace that they can be sent through."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from sekisho.edge.model import Packet

ALL = 0x0003  # ETH_P_ALL
OUTGOING = 4  # PACKET_OUTGOING
UPSTREAM = "upstream"
PROTOCOLS = {"tcp": 6, "udp": 17}
SYN, SYN_ACK = 0x02, 0x12
FIRST = ip_address("203.0.113.250"), ip_address("203.0.113.251")
SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
}


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def octets_of(packet: Packet, token: bytes) -> bytes:
    """The IP packet, with *token* (8 octets) as its content."""
    number = PROTOCOLS[packet.protocol]
    source, destination = packet.source.packed, packet.destination.packed
    if packet.protocol == "tcp":
        flags = SYN_ACK if packet.syn_ack else SYN
        head = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, 1, 0, 5 << 4, flags, 65535, 0, 0)
        place = 16
    else:
        head = struct.pack("!HHHH", packet.sport, packet.dport, 16, 0)
        place = 6
    body = head + token
    pseudo = source + destination + struct.pack("!II", len(body), number)
    summed = checksum(pseudo + body) or 0xFFFF
    body = body[:place] + struct.pack("!H", summed) + body[place + 2 :]
    if packet.family == 4:
        where = 64 if packet.later_fragment else 0  # in units of 8 octets
        start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, where, 64, number, 0) + source + destination
        return start[:10] + struct.pack("!H", checksum(start)) + start[12:] + body
    if packet.later_fragment:
        body = struct.pack("!BBHI", number, 0, 64 << 3, 7) + body
        number = 44
    return struct.pack("!IHBB", 6 << 28, len(body), number, 64) + source + destination + body


@dataclass(slots=True)
class Edge:
    """The router: each access interface is one end of a pair whose other end, "p-NAME", is the line's."""

    lines: dict[str, tuple[socket.socket, bytes]]
    ear: socket.socket

    def fate(self, packet: Packet, token: bytes, patience: float = 0.05) -> str:
        """Send *packet*; return "pass", "drop", "reject" or "explain", by what the router sends out."""
        while select.select([self.ear], [], [], 0)[0]:
            self.ear.recvfrom(2048)
        line, mac = self.lines[packet.iif]
        kind = 0x0800 if packet.family == 4 else 0x86DD
        line.send(mac + b"\x02\0\0\0\0\x01" + struct.pack("!H", kind) + octets_of(packet, token))
        while select.select([self.ear], [], [], patience)[0]:
            octets, (interface, _, direction, *_) = self.ear.recvfrom(2048)
            if direction == OUTGOING and not interface.startswith("p-"):
                seen = told(octets[14:], packet, token)
                if seen:
                    return seen
        return "drop"


def told(octets: bytes, packet: Packet, token: bytes) -> str:
    """What an outgoing IP packet tells of the one that was sent; "" when nothing."""
    if octets[0] >> 4 == 4:
        number, destination, body = octets[9], octets[16:20], octets[(octets[0] & 15) * 4 :]
    else:
        number, destination, body = octets[6], octets[24:40], octets[40:]
    if octets.endswith(token) and number in (6, 17, 44):
        port = struct.unpack("!H", body[2:4])[0]
        is_same = destination == packet.destination.packed and (packet.later_fragment or port == packet.dport)
        return "pass" if is_same else "explain"
    if (number, body[:2]) in ((1, b"\x03\x0d"), (58, b"\x01\x01")):
        return "reject"
    if number == 6 and destination == packet.source.packed and body[13] & 0x04:
        return "explain"  # the router itself refuses, for no explainer listens here
    return ""


@contextlib.contextmanager
def edge(interfaces: tuple[str, ...]) -> Iterator[Edge]:
    """Build the router in the namespace we are in, which should be one that nobody else has."""
    commands = ["link set lo up"]
    for number, name in enumerate((*interfaces, UPSTREAM), 1):
        commands += [
            f"link add {name} address 02:00:00:00:01:{number:02x} type veth peer name p-{name}",
            f"link set {name} arp off up",
            f"link set p-{name} arp off up",
            f"addr add 192.0.2.{200 + number}/32 dev {name}",
            f"addr add 2001:db8:ffff::{number}/128 dev {name} nodad",
        ]
    commands += [f"route add default dev {UPSTREAM}", f"-6 route add default dev {UPSTREAM}"]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    for name, value in SETTINGS.items():
        Path("/proc/sys/net", name).write_text(value)
    for interface in (*interfaces, UPSTREAM):
        Path(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter").write_text("0")
        Path(f"/proc/sys/net/ipv6/conf/p-{interface}/disable_ipv6").write_text("1")
    lines = {}
    for number, name in enumerate(interfaces, 1):
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        line.bind((f"p-{name}", 0))
        lines[name] = (line, bytes((2, 0, 0, 0, 1, number)))
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    router = Edge(lines, ear)
    try:
        for name in interfaces:  # the kernel takes a moment to begin with a link that has come up
            first = Packet(iif=name, source=FIRST[0], destination=FIRST[1], protocol="udp", dport=9)
            assert any(router.fate(first, b"are you?") == "pass" for _ in range(100)), name
        yield router
    finally:
        ear.close()
        for line, _ in lines.values():
            line.close()
