"""What the supervisor and a worker say to each other, over a socket pair made before the fork.

Both ends are the same program, and nobody else can write into the pair: that is why the messages may be pickled, which
carries the settings as they were validated instead of reading the file a second time. When the supervisor is gone the
worker reads the end of the stream, and stops.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekisho.config import Secret

from .sections import Settings

LENGTH = struct.Struct("!I")
SEND_TIMEOUT = 5.0  # seconds; a worker that does not read for so long hangs


@dataclass(frozen=True, slots=True)
class Configuration:
    """Validated settings together with the octets of the files that need rights the workers do not have.

    Fields:
        path: the configuration file, for messages.
        certificate: PEM octets of the certificate chain; None when no listener uses TLS.
        key: PEM octets of its private key, never logged.
    """

    path: Path
    settings: Settings
    certificate: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        return f"Configuration({str(self.path)!r})"


@dataclass(frozen=True, slots=True)
class Reload:
    """To the worker: from now on use this configuration, where it can change without a restart."""

    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Drain:
    """To the worker: accept no connection, finish transactions for at most *seconds*, close the queue, end."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ready:
    """To the supervisor: this worker accepts connections."""


@dataclass(frozen=True, slots=True)
class Failed:
    """To the supervisor: this worker cannot start, for a reason that the operator can read; it ends now."""

    problem: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """To the supervisor: the answer to `Reload`; *problem* says what kept the old configuration in use."""

    problem: str | None


Message = Reload | Drain | Ready | Failed | Reloaded


class _Pickler(pickle.Pickler):
    """Carries secrets, which refuse to be pickled elsewhere: here they go from memory to memory."""

    def reducer_override(self, value: object) -> Any:
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


def _pickled(message: Message) -> bytes:
    octets = io.BytesIO()
    _Pickler(octets).dump(message)
    return octets.getvalue()


class Channel:
    """One end of the pair. Sending blocks for at most `SEND_TIMEOUT`; what arrives is fed by whoever watches it."""

    __slots__ = ("_pending", "socket")

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._pending = bytearray()

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return both ends, the supervisor's first."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.settimeout(SEND_TIMEOUT)
        theirs.settimeout(SEND_TIMEOUT)
        return cls(ours), cls(theirs)

    def send(self, message: Message) -> bool:
        """Send *message*; False when the other side is gone or hangs."""
        octets = _pickled(message)
        try:
            self.socket.sendall(LENGTH.pack(len(octets)) + octets)
        except OSError:
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Read once from the readable socket and return the messages that are complete; None at its end."""
        try:
            octets = self.socket.recv(65536)
        except TimeoutError:
            return []
        except OSError:
            return None
        if not octets:
            return None
        return self.feed(octets)

    def feed(self, octets: bytes) -> list[Message]:
        """Add octets that were read, and return the messages that are complete."""
        pending = self._pending
        pending += octets
        messages: list[Message] = []
        while len(pending) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(pending)
            end = LENGTH.size + size
            if len(pending) < end:
                break
            messages.append(pickle.loads(pending[LENGTH.size : end]))  # noqa: S301 our own process at the other end
            del pending[:end]
        return messages

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
