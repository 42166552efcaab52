"""Raw packets: written from the standards, sent as frames, and recognized again by a number in their headers."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from sekisho.edge.model import Packet

from .namespaces import Node, join, nodes

Address = IPv4Address | IPv6Address
PROTOCOLS = {"tcp": 6, "udp": 17}
SYN, ACK = 0x02, 0x10


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport(packet: Packet, *, flags: int | None = None, sequence: int = 1) -> bytes:
    """TCP or UDP header with its checksum over the pseudo header."""
    pseudo = packet.source.packed + packet.destination.packed
    if packet.protocol == "udp":
        head, at = struct.pack("!HHHH", packet.sport, packet.dport, 8, 0), 6
    else:
        flags = (SYN | ACK if packet.syn_ack else SYN) if flags is None else flags
        acknowledged = 1 if flags & ACK else 0
        head = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, sequence, acknowledged, 80, flags, 1024, 0, 0)
        at = 16
    number = PROTOCOLS[packet.protocol]
    if packet.family == 4:  # RFC 9293 §3.1, RFC 8200 §8.1
        pseudo += struct.pack("!BBH", 0, number, len(head))
    else:
        pseudo += struct.pack("!IxxxB", len(head), number)
    return head[:at] + struct.pack("!H", checksum(pseudo + head) or 0xFFFF) + head[at + 2 :]


def rendered(packet: Packet, number: int, *, flags: int | None = None, sequence: int = 1) -> bytes:
    """The packet from the IP header on; *number* goes into IPv4's identification or IPv6's flow label."""
    payload = transport(packet, flags=flags, sequence=sequence)
    protocol = PROTOCOLS[packet.protocol]
    if packet.family == 4:
        fragment = 185 if packet.later_fragment else 0  # in units of eight octets
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0,
                           packet.source.packed, packet.destination.packed)  # fmt: skip
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    if packet.later_fragment:  # RFC 8200 §4.5
        payload = struct.pack("!BBHI", protocol, 0, 185 << 3, number) + payload
        protocol = 44
    return struct.pack("!IHBB16s16s", 6 << 28 | number, len(payload), protocol, 64,
                       packet.source.packed, packet.destination.packed) + payload  # fmt: skip


class Wire:
    """One end of cables, in the namespace where it is made: sends frames by any of them, hears all of them."""

    def __init__(self, targets: dict[str, str]) -> None:
        """*targets* names the interfaces here and the hardware address at the other end of each."""
        self._targets = {name: bytes.fromhex(mac.replace(":", "")) for name, mac in targets.items()}
        self._sockets = {}
        for name in targets:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((name, 0))
            self._sockets[name] = made
        self._ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._ear.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 16 << 20)
        self._ear.setblocking(False)

    def send(self, interface: str, packet: bytes) -> None:
        kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self._sockets[interface].send(self._targets[interface] + b"\x02\0\0\0\0\x01" + kind + packet)

    def heard(self) -> list[bytes]:
        """Packets that came in by any cable, from the IP header on."""
        found: list[bytes] = []
        while True:
            try:
                octets, (_, _, kind, *_) = self._ear.recvfrom(2048)
            except BlockingIOError:
                return found
            if kind != socket.PACKET_OUTGOING:
                found.append(octets)

    def close(self) -> None:
        for one in (self._ear, *self._sockets.values()):
            one.close()


def arrived(packets: Iterable[bytes]) -> set[tuple[int, int, Address]]:
    """Family, number and destination of packets as they came."""
    found: set[tuple[int, int, Address]] = set()
    for octets in packets:
        if octets[0] >> 4 == 4:
            found.add((4, int.from_bytes(octets[4:6], "big"), ip_address(octets[16:20])))
        else:
            found.add((6, int.from_bytes(octets[:4], "big") & 0xFFFFF, ip_address(octets[24:40])))
    return found


LINE, UPLINK = "ppp0", "up0"
WITNESS = """
table netdev witness {
    chain seen { type filter hook ingress device "u" priority 0; policy accept;
        ip id 1 counter
        ip id 2 counter
        ip6 flowlabel 1 counter
        ip6 flowlabel 2 counter
    }
}
"""


@dataclass(frozen=True, slots=True)
class Street:
    """A router with one line and one uplink; whoever sends and hears is at the other end of both, "l" and "u"."""

    router: Node
    far: Node
    wire: Wire

    def watch(self) -> None:
        """Count, from now on, every packet that comes out of the uplink with the number 1 or 2."""
        subprocess.run(["ip", "netns", "exec", self.far.name, "nft", "-f", "-"], input=WITNESS, text=True, check=True)

    def witnessed(self) -> dict[int, int]:
        """How many those were: exact, where `Wire.heard` may miss some."""
        listed = self.far.run("nft", "list", "table", "netdev", "witness")
        found = {1: 0, 2: 0}
        for number, packets in re.findall(r"(?:id|flowlabel) (\d) counter packets (\d+)", listed):
            found[int(number)] += int(packets)
        return found


@contextlib.contextmanager
def street() -> Iterator[Street]:
    """Build it. Every address of the line's networks is reached by the line, all others by the uplink."""
    with nodes("router", "far") as (router, far):
        join(router, LINE, far, "l")
        join(router, UPLINK, far, "u")
        with router.inside():
            for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", key).write_text("1")
            for key in ("all", LINE, UPLINK):
                Path(f"/proc/sys/net/ipv4/conf/{key}/rp_filter").write_text("0")
        lines = ""
        for number, name in enumerate((LINE, UPLINK), 1):
            lines += (
                f"addr add 100.127.{number}.1/24 dev {name}\naddr add 2001:db8:fffe:{number}::1/64 dev {name} nodad\n"
            )
            for gateway in (f"100.127.{number}.2", f"fe80::{number}:2"):
                lines += f"neigh add {gateway} lladdr 02:00:00:00:00:01 dev {name} nud permanent\n"
        for prefix in ("198.51.100.0/24", "100.64.0.0/20"):
            lines += f"route add {prefix} via 100.127.1.2 dev {LINE}\n"
        lines += f"route add 2001:db8:100::/40 via fe80::1:2 dev {LINE}\n"
        lines += f"route add default via 100.127.2.2 dev {UPLINK}\nroute add default via fe80::2:2 dev {UPLINK}\n"
        router.ips(lines)
        while "NO-CARRIER" in router.run("ip", "-o", "link"):
            time.sleep(0.02)
        listed = json.loads(router.run("ip", "-j", "link"))
        macs = {row["ifname"]: row["address"] for row in listed}
        with far.inside():
            wire = Wire({"l": macs[LINE], "u": macs[UPLINK]})
        with contextlib.closing(wire):
            yield Street(router, far, wire)
