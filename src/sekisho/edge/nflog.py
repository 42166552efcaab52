"""Packets that the rules log to an NFLOG group: samples and evidence; the exact count is `counters`'.

A netlink socket with a receive buffer large enough for a burst, kernel batching, and sequence numbers: ENOBUFS says
only that something was lost, the numbers say how much. `decode` is pure. One reader per group: the kernel refuses a
second.

Source: linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final

from .netlink import ACK, ERROR, NETFILTER, REQUEST, attribute, attributes, message, messages
from .state import EdgeError

__all__ = ["NflogReader", "Sample", "SampleError", "decode"]

LOG: Final = 4  # NFNL_SUBSYS_ULOG
PACKET, CONFIG = LOG << 8 | 0, LOG << 8 | 1  # NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG
CFG_CMD, CFG_MODE, CFG_NLBUFSIZ, CFG_TIMEOUT, CFG_QTHRESH, CFG_FLAGS = 1, 2, 3, 4, 5, 6
BIND, UNBIND = 1, 2
COPY_PACKET = 2
WITH_SEQUENCE = 1  # NFULNL_CFG_F_SEQ: numbers of this group, without gaps at the source
TIMESTAMP, INDEV, PAYLOAD, PREFIX, SEQUENCE = 3, 4, 9, 10, 12

COPIED_OCTETS: Final = 128  # IPv6 with a few extension headers and TCP's fixed header
BUFFER_OCTETS: Final = 32 * 1024 * 1024
BATCH_OCTETS: Final = 64 * 1024  # what the kernel gathers before it wakes us ...
BATCH_PACKETS: Final = 64
BATCH_HUNDREDTHS: Final = 20  # ... or after this many hundredths of a second
TCP: Final = 6
EXTENSIONS: Final = frozenset({0, 43, 60, 135})  # hop-by-hop, routing, destination options, mobility (RFC 8200 §4)


class SampleError(EdgeError):
    """No packets can be had from the kernel."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One logged packet.

    Fields:
        at: when the kernel saw it, UTC epoch.
        prefix: what the rule that logged it says: its `log prefix`.
        interface: index of the interface it came in by; 0 when there is none.
        source_port, destination_port, flags: of TCP; 0 in a later fragment.
        sequence: number within the group.
    """

    at: float
    prefix: str
    interface: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    source_port: int
    destination_port: int
    flags: int
    sequence: int

    @property
    def opens(self) -> bool:
        """Whether it asks for a connection: SYN without ACK, whatever else is set."""
        return self.flags & 0x12 == 0x02


def decode(octets: bytes | memoryview, now: float) -> Iterator[Sample]:
    """Yield the packets of one datagram from the kernel; what is no whole TCP packet is left out, never raised.

    Args:
        now: time of packets that bear none.
    """
    for _, sample in _packets(octets, now):
        if sample is not None:
            yield sample


def _packets(octets: bytes | memoryview, now: float) -> Iterator[tuple[int | None, Sample | None]]:
    """Yield the number and the content of each packet, None for what cannot be had."""
    for kind, _, body in messages(memoryview(octets)):
        if kind == PACKET:
            yield _packet(body, now)


def _packet(body: memoryview, now: float) -> tuple[int | None, Sample | None]:
    at, prefix, interface, sequence, payload = now, "", 0, None, memoryview(b"")
    for name, value in attributes(body):
        if name == PAYLOAD:
            payload = value
        elif name == TIMESTAMP and len(value) == 16:
            seconds, microseconds = struct.unpack("!QQ", value)
            at = seconds + microseconds / 1e6
        elif name == INDEV and len(value) == 4:
            interface = int.from_bytes(value, "big")
        elif name == PREFIX:
            prefix = bytes(value).rstrip(b"\0").decode("ascii", "replace")
        elif name == SEQUENCE and len(value) == 4:
            sequence = int.from_bytes(value, "big")
    version = payload[0] >> 4 if payload else 0
    read = {4: _v4, 6: _v6}.get(version)
    return sequence, read(payload, at, prefix, interface, sequence or 0) if read else None


def _v4(packet: memoryview, at: float, prefix: str, interface: int, sequence: int) -> Sample | None:
    if len(packet) < 20 or packet[9] != TCP:
        return None
    header = (packet[0] & 15) * 4
    first = struct.unpack_from("!H", packet, 6)[0] & 0x1FFF == 0
    tcp = packet[header:] if first and header >= 20 else memoryview(b"")
    source, destination = IPv4Address(bytes(packet[12:16])), IPv4Address(bytes(packet[16:20]))
    return Sample(at, prefix, interface, source, destination, *_tcp(tcp), sequence)


def _v6(packet: memoryview, at: float, prefix: str, interface: int, sequence: int) -> Sample | None:
    if len(packet) < 40:
        return None
    source, destination = IPv6Address(bytes(packet[8:24])), IPv6Address(bytes(packet[24:40]))
    protocol, start, first = packet[6], 40, True
    while protocol != TCP and start + 8 <= len(packet):
        if protocol == 44:  # fragment (RFC 8200 §4.5)
            first = first and struct.unpack_from("!H", packet, start + 2)[0] & 0xFFF8 == 0
            protocol, start = packet[start], start + 8
        elif protocol in EXTENSIONS:
            protocol, start = packet[start], start + (packet[start + 1] + 1) * 8
        else:
            return None
    if protocol != TCP:
        return None
    tcp = packet[start:] if first else memoryview(b"")
    return Sample(at, prefix, interface, source, destination, *_tcp(tcp), sequence)


def _tcp(header: memoryview) -> tuple[int, int, int]:
    if len(header) < 4:
        return 0, 0, 0
    source, destination = struct.unpack_from("!HH", header)
    return source, destination, header[13] if len(header) >= 14 else 0


class NflogReader:
    """Reads one NFLOG group. `read` may be called in a loop, or whenever `fileno` is readable.

    Fields:
        lost: packets that the kernel logged and this reader never saw.
    """

    def __init__(self, group: int, *, buffer_octets: int = BUFFER_OCTETS) -> None:
        """Bind to *group*; `close` lets go of it.

        Raises:
            SampleError: no privilege, another reader has the group, or the kernel cannot log.
        """
        self.group = group
        self.lost = 0
        self._expected: int | None = None
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
        except OSError as error:
            raise SampleError(
                f"the kernel cannot log packets to programs: {error.strerror}\nRemedy: modprobe nfnetlink_log"
            ) from error
        try:
            self._socket.bind((0, 0))
            _enlarge(self._socket, buffer_octets)
            self._socket.settimeout(2.0)
            self._configure()
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let go of the group."""
        self._socket.close()

    def __enter__(self) -> NflogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def read(self, timeout: float = 0.0, *, limit: int = 10_000) -> list[Sample]:
        """Return the packets that are there, at most about *limit*; waits up to *timeout* seconds for the first."""
        if timeout > 0:
            select.select([self._socket], [], [], timeout)
        found: list[Sample] = []
        while len(found) < limit:
            try:
                octets = self._socket.recv(BATCH_OCTETS * 2)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # what was lost shows in the sequence numbers
                    raise SampleError(f"reading NFLOG group {self.group}: {error.strerror}") from error
                continue
            for sequence, sample in _packets(octets, time.time()):
                if sample is not None:
                    found.append(sample)
                if sequence is not None:
                    if self._expected is not None:
                        self.lost += (sequence - self._expected) & 0xFFFFFFFF
                    self._expected = (sequence + 1) & 0xFFFFFFFF
        return found

    def _configure(self) -> None:
        command = struct.pack("=B", BIND)
        self._ask(attribute(CFG_CMD, command))
        self._ask(
            attribute(CFG_MODE, struct.pack("!IBB", COPIED_OCTETS, COPY_PACKET, 0))
            + attribute(CFG_NLBUFSIZ, struct.pack("!I", BATCH_OCTETS))
            + attribute(CFG_QTHRESH, struct.pack("!I", BATCH_PACKETS))
            + attribute(CFG_TIMEOUT, struct.pack("!I", BATCH_HUNDREDTHS))
            + attribute(CFG_FLAGS, struct.pack("!H", WITH_SEQUENCE))
        )

    def _ask(self, body: bytes) -> None:
        self._socket.send(message(CONFIG, REQUEST | ACK, 1, self.group, body))
        while True:
            try:
                answer = self._socket.recv(BATCH_OCTETS * 2)
            except TimeoutError as error:
                raise SampleError(f"the kernel does not answer about NFLOG group {self.group}") from error
            for kind, _, inner in messages(memoryview(answer)):
                if kind == ERROR:
                    number = -struct.unpack_from("=i", inner)[0]
                    if number:
                        raise SampleError(_refused(self.group, number))
                    return


def _enlarge(receiver: socket.socket, octets: int) -> None:
    force = getattr(socket, "SO_RCVBUFFORCE", 33)  # needs CAP_NET_ADMIN, as binding does
    try:
        receiver.setsockopt(socket.SOL_SOCKET, force, octets)
    except OSError:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)


def _refused(group: int, number: int) -> str:
    if number == errno.EPERM:  # also the kernel's answer to a second reader
        return (
            f"NFLOG group {group}: not permitted\nRemedy: run as root (CAP_NET_ADMIN), and only once: "
            "another reader, such as ulogd, may have the group."
        )
    return f"NFLOG group {group}: {errno.errorcode.get(number, number)}\nRemedy: modprobe nfnetlink_log"
