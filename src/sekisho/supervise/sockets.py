"""Listening sockets: bound once by the supervisor, one per worker and address, inherited by every replacement.

SO_REUSEPORT lets the kernel spread connections over the workers without a shared accept queue. The supervisor keeps
each socket open, so that a worker that dies leaves its backlog to its replacement instead of resetting the peers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekisho.config import Endpoint

from .errors import StartError

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """One address to listen on.

    Fields:
        kind: ``submission``, ``submissions`` or ``mx``; of the portal ``http`` or ``https``.
        endpoint: where; port 0 lets the kernel choose.
        key: the setting that asked for it, for messages.
        optional: a default address that this machine may lack (IPv6 switched off): then left out, not an error.
        single: one process alone listens there.
    """

    kind: str
    endpoint: Endpoint
    key: str
    optional: bool = False
    single: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """One address with its listening sockets, one per worker, in the order of the workers."""

    kind: str
    endpoint: Endpoint
    sockets: tuple[socket.socket, ...]


def bind_all(wanted: Iterable[Wanted], workers: int) -> list[Bound]:
    """Bind every address, or none: on a problem what was bound is closed and all problems are reported at once.

    Args:
        workers: sockets of each address, but for those that are `Wanted.single`.

    Raises:
        StartError: one line per address that could not be bound, with the remedy.
    """
    bound: list[Bound] = []
    problems: list[str] = []
    for want in wanted:
        try:
            bound.append(_bind(want, 1 if want.single else workers))
        except OSError as error:
            if want.optional and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue
            if error.errno == errno.EADDRINUSE and any(b.endpoint.port == want.endpoint.port for b in bound):
                problems.append(f"{want.key}: {want.endpoint} is taken by another listener; give each its own port")
                continue
            problems.append(explain_bind(want, error))
    if problems:
        close_all(bound)
        raise StartError(problems)
    return bound


def close_all(bound: Iterable[Bound]) -> None:
    """Close every socket of *bound*."""
    for address in bound:
        for listening in address.sockets:
            listening.close()


def _bind(want: Wanted, workers: int) -> Bound:
    family, address = _resolve(want.endpoint)
    if address[1] != 0:
        _refuse_if_busy(family, address)
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            listening = _open(family)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(address)
            address = (address[0], listening.getsockname()[1])
            listening.listen(BACKLOG)
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return Bound(want.kind, Endpoint(want.endpoint.host, address[1]), tuple(sockets))


def _resolve(endpoint: Endpoint) -> tuple[socket.AddressFamily, tuple[str, int]]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV | socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise OSError(errno.EINVAL, "not an IP address") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _open(family: socket.AddressFamily) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.setblocking(False)
    return listening


def _refuse_if_busy(family: socket.AddressFamily, address: tuple[str, int]) -> None:
    """Fail with EADDRINUSE when somebody listens there already.

    With SO_REUSEPORT alone a second instance of the same user would bind without complaint and take half the
    connections; a socket without it is refused.
    """
    with _open(family) as probe:
        probe.bind(address)
        probe.listen(1)


def explain_bind(want: Wanted, error: OSError) -> str:
    """Return one line: which address, which setting, what is wrong, what to do."""
    where = f"{want.key}: cannot listen on {want.endpoint}"
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(want.endpoint.port)
        who = f"the port is held by {holder}" if holder else "another process holds the port"
        return f"{where}: {who}; stop it, or choose another address in {want.key}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{where}: ports below 1024 need root (or CAP_NET_BIND_SERVICE); start as root, "
            f"the service then becomes [service] user by itself, or choose a port from 1024 up"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; see `ip address`, or listen on 0.0.0.0 or [::]"
    if error.errno == errno.EAFNOSUPPORT:
        return f"{where}: this machine has no IPv6; remove the address"
    return f"{where}: {error.strerror or error}"


def holder_of(port: int) -> str | None:
    """Return ``name (process N)`` of whoever listens on TCP *port*, as far as /proc lets us see."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if not inodes.isdisjoint(_open_files(directory)):
                name = (directory / "comm").read_text().strip()
                return f"{name} (process {directory.name})"
        except OSError:
            continue  # it ended, or is not ours to look at
    return None


def _open_files(process: Path) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we look, as our own view of the directory is
            yield os.readlink(descriptor)


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        found.update(_sockets_in(rows, port))
    return found


def _sockets_in(rows: Sequence[str], port: int) -> set[str]:
    listening = "0A"  # state TCP_LISTEN of the kernel's table
    fields = (row.split() for row in rows)
    return {
        f"socket:[{row[9]}]" for row in fields if row[3] == listening and int(row[1].rpartition(":")[2], 16) == port
    }
