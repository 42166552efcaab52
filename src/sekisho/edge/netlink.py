"""Netlink messages and attributes, as `nflog` and `nftables` need them: octets in, octets out, and two small questions.

Source: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. Header fields are in the machine's
byte order, netfilter's own numbers in network order.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["ACK", "ERROR", "REQUEST", "attribute", "attributes", "generation", "message", "messages", "present"]

NETFILTER = 12  # NETLINK_NETFILTER
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
FAMILY = struct.Struct("=BB")  # address family, version; then the resource id in network order
REQUEST, ACK = 1, 4  # NLM_F_REQUEST, NLM_F_ACK
ERROR = 2  # NLMSG_ERROR
TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

TABLES = 10  # NFNL_SUBSYS_NFTABLES
GET_GENERATION, NEW_GENERATION = TABLES << 8 | 16, TABLES << 8 | 15
GENERATION_ID = 1  # NFTA_GEN_ID

DUMP, INTERRUPTED = 0x300, 0x10  # NLM_F_DUMP, NLM_F_DUMP_INTR
DONE = 3  # NLMSG_DONE
GET_TABLE, GET_CHAIN, GET_SET = TABLES << 8 | 1, TABLES << 8 | 4, TABLES << 8 | 10
CHAIN_TABLE, CHAIN_NAME = 1, 3  # NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME
SET_TABLE, SET_NAME, SET_FLAGS = 1, 2, 3  # NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS
TABLE_NAME = 1  # NFTA_TABLE_NAME
ANONYMOUS, MAP, OBJECT_MAP = 1, 8, 0x40  # NFT_SET_ANONYMOUS, NFT_SET_MAP, NFT_SET_OBJECT
FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_...
DUMP_AGAIN: Final = 5  # times, when others change rules meanwhile


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


def present(tables: Sequence[str]) -> dict[str, dict[str, set[str]]] | None:
    """Return the names of chains, sets and maps by kind, for those of *tables* ("inet x") that are there.

    nft would read every element of every set for that. None when the kernel does not tell; then nft has to be asked.
    """
    wanted = {(FAMILIES[family], name): f"{family} {name}" for family, name in (table.split() for table in tables)}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER) as question:
            question.settimeout(2.0)
            for number in range(DUMP_AGAIN):
                found = _names(question, wanted, 3 * number + 1)
                if found is not None:
                    return found
    except (OSError, ValueError):
        pass
    return None


def _names(
    question: socket.socket, wanted: Mapping[tuple[int, str], str], sequence: int
) -> dict[str, dict[str, set[str]]] | None:
    """Ask once. None: somebody changed rules meanwhile. Raises OSError, ValueError."""
    tables, chains, sets = (
        _dumped(question, kind, sequence + number) for number, kind in enumerate((GET_TABLE, GET_CHAIN, GET_SET))
    )
    if tables is None or chains is None or sets is None:
        return None
    found: dict[str, dict[str, set[str]]] = {}
    for family, row in tables:
        if (table := wanted.get((family, _text(row, TABLE_NAME)))) is not None:
            found[table] = {}
    for family, row in chains:
        if (table := wanted.get((family, _text(row, CHAIN_TABLE)))) in found:
            found[str(table)].setdefault("chain", set()).add(_text(row, CHAIN_NAME))
    for family, row in sets:
        flags = int.from_bytes(row.get(SET_FLAGS, b""), "big")
        if (table := wanted.get((family, _text(row, SET_TABLE)))) in found and not flags & ANONYMOUS:
            kind = "map" if flags & (MAP | OBJECT_MAP) else "set"
            found[str(table)].setdefault(kind, set()).add(_text(row, SET_NAME))
    return found


def _text(row: Mapping[int, memoryview], name: int) -> str:
    return bytes(row.get(name, b"")).rstrip(b"\0").decode(errors="replace")


def _dumped(question: socket.socket, kind: int, sequence: int) -> list[tuple[int, dict[int, memoryview]]] | None:
    """Return family and attributes of all objects of a kind; None when the dump was interrupted. Raises OSError."""
    question.sendto(message(kind, REQUEST | DUMP, sequence, 0, b""), (0, 0))
    found: list[tuple[int, dict[int, memoryview]]] = []
    interrupted = False
    while True:
        octets = memoryview(question.recv(1 << 17))
        at = 0
        while at + HEADER.size <= len(octets):
            length, got, flags, number, _ = HEADER.unpack_from(octets, at)
            if length < HEADER.size or at + length > len(octets):
                raise ValueError("a netlink message is cut")
            if number == sequence:
                interrupted = interrupted or bool(flags & INTERRUPTED)
                if got == DONE:
                    return None if interrupted else found
                if got == ERROR:
                    raise OSError(-int.from_bytes(octets[at + 16 : at + 20], sys.byteorder, signed=True), "netlink")
                body = octets[at + HEADER.size : at + length]
                found.append((body[0], dict(attributes(body[4:]))))
            at += (length + 3) & ~3
