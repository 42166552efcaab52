"""Sightings from process to process: one JSON datagram each over a Unix socket.

The sender never waits: while nobody listens, or listens too slowly, sightings are lost and counted. They are evidence,
and the exact numbers are in the kernel's sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .sightings import Sighting, SightingError

__all__ = ["SightingSender", "receive_sightings"]

PAUSE: Final = 1.0  # seconds without a try after nobody was there
RECEIVE_BUFFER: Final = 4 * 1024 * 1024

log = logging.getLogger(__name__)


class SightingSender:
    """Sends sightings to whoever listens at a path."""

    __slots__ = ("_clock", "_path", "_pause_until", "_socket", "lost")

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = str(path)
        self._clock = clock
        self._pause_until = float("-inf")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.lost = 0

    def send(self, sighting: Sighting) -> None:
        """Send, or lose it."""
        now = self._clock()
        if now < self._pause_until:
            self.lost += 1
            return
        try:
            self._socket.sendto(sighting.to_json().encode(), self._path)
        except BlockingIOError:
            self.lost += 1
        except OSError:
            self.lost += 1
            self._pause_until = now + PAUSE

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[Sighting], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, address: object) -> None:
        try:
            sighting = Sighting.from_json(data)
        except SightingError as error:
            log.warning("a datagram was left out: %s", error)
            return
        self._take(sighting)


async def receive_sightings(path: Path, take: Callable[[Sighting], None]) -> asyncio.DatagramTransport:
    """Hand every sighting that is sent to *path* to *take*, until the transport returned is closed.

    The socket may be written to by its owner and group alone.

    Raises:
        OSError: it could not be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        _bind(listening, path)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listening.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Receiver(take), sock=listening
        )
    except BaseException:
        listening.close()
        raise
    return transport


def _bind(listening: socket.socket, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # left behind by one that was killed
    mask = os.umask(0o117)
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
