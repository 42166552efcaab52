"""Netlink messages and attributes, as `nflog` and `nftables` need them: octets in, octets out, and one small question.

Source: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. Header fields are in the machine's
byte order, netfilter's own numbers in network order.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

__all__ = ["ACK", "ERROR", "REQUEST", "attribute", "attributes", "generation", "message", "messages"]

NETFILTER = 12  # NETLINK_NETFILTER
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
FAMILY = struct.Struct("=BB")  # address family, version; then the resource id in network order
REQUEST, ACK = 1, 4  # NLM_F_REQUEST, NLM_F_ACK
ERROR = 2  # NLMSG_ERROR
TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

TABLES = 10  # NFNL_SUBSYS_NFTABLES
GET_GENERATION, NEW_GENERATION = TABLES << 8 | 16, TABLES << 8 | 15
GENERATION_ID = 1  # NFTA_GEN_ID


def attribute(kind: int, value: bytes) -> bytes:
    """Render one attribute, padded to four octets."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def attributes(octets: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the attributes in *octets*; stops at the first that does not fit."""
    at, end = 0, len(octets)
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", octets, at)
        if length < 4 or at + length > end:
            return
        yield kind & TYPE_MASK, octets[at + 4 : at + length]
        at += (length + 3) & ~3


def message(kind: int, flags: int, sequence: int, resource: int, body: bytes, *, family: int = 0) -> bytes:
    """Render one netfilter message."""
    inner = FAMILY.pack(family, 0) + struct.pack("!H", resource) + body
    return HEADER.pack(HEADER.size + len(inner), kind, flags, sequence, 0) + inner


def messages(octets: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield type, sequence and body (behind netfilter's own four octets, for an error from its number on)."""
    at, end = 0, len(octets)
    while at + HEADER.size <= end:
        length, kind, _, sequence, _ = HEADER.unpack_from(octets, at)
        if length < HEADER.size or at + length > end:
            return
        yield kind, sequence, octets[at + HEADER.size + (0 if kind == ERROR else 4) : at + length]
        at += (length + 3) & ~3


def generation() -> int:
    """Return how often anybody has changed the rules of this network namespace; 0 when the kernel does not tell.

    An equal number before and after means that nobody changed any table in between. Counters and dynamic elements that
    packets add do not count.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER) as question:
            question.settimeout(2.0)
            question.sendto(message(GET_GENERATION, REQUEST, 1, 0, b""), (0, 0))
            for kind, _, body in messages(memoryview(question.recv(8192))):
                if kind == NEW_GENERATION:
                    for name, value in attributes(body):
                        if name == GENERATION_ID and len(value) == 4:
                            return int.from_bytes(value, "big")
    except OSError:
        pass
    return 0
