"""What was seen of a line on tcp/25: the one value that counters, samples and the explainer hand to watcher and report.

Read from the kernel by `counters` and `nflog`, made by `explainer`. Nothing here reads a clock or a socket.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["Kind", "Sighting", "SightingError"]

MAX_TEXT: Final = 255  # octets of a line key or network name read back


class SightingError(ValueError):
    """A record that is no sighting. The text says what is wrong with it."""


class Kind(StrEnum):
    """Where a sighting comes from, the most exact first."""

    COUNTED = "counted"
    """Difference of two readings of the kernel's sets: exact numbers."""
    EXPLAINED = "explained"
    """A connection that reached the explainer."""
    SAMPLED = "sampled"
    """A packet that came by NFLOG, rate-limited: real, but not all of them."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Some packets of one line towards one destination.

    Fields:
        line: subscriber key, as `Policy.line_of` makes it.
        network: name of the access network in the policy.
        destination: where the line wanted to go, before any redirection.
        at: when the last of them was seen, UTC seconds since the epoch.
        packets: all packets, repeated ones included.
        attempts: distinct connections (destination and source port); the other packets are retransmissions. 0 means
            that only retransmissions were seen.
        kind: where it comes from.
    """

    line: str
    network: str
    destination: IPv4Address | IPv6Address
    at: float
    packets: int = 1
    attempts: int = 1
    kind: Kind = Kind.COUNTED

    def to_json(self) -> str:
        """Render as one line of JSON, without the line end."""
        return json.dumps(
            {
                "line": self.line,
                "network": self.network,
                "destination": str(self.destination),
                "at": self.at,
                "packets": self.packets,
                "attempts": self.attempts,
                "kind": self.kind.value,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Sighting:
        """Read one line of JSON.

        Raises:
            SightingError: it is not what `to_json` writes.
        """
        try:
            row = json.loads(text)
            sighting = cls(
                line=str(row["line"]),
                network=str(row["network"]),
                destination=ip_address(row["destination"]),
                at=float(row["at"]),
                packets=int(row["packets"]),
                attempts=int(row["attempts"]),
                kind=Kind(row["kind"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SightingError(f"not a sighting: {error}") from error
        if not 0 <= sighting.attempts <= sighting.packets:
            raise SightingError("attempts must be between 0 and the number of packets")
        if not 0 <= sighting.at < 1e11:
            raise SightingError("the time is no UTC epoch time")
        if len(sighting.line) > MAX_TEXT or len(sighting.network) > MAX_TEXT:
            raise SightingError("the name of the line or of the network is too long")
        return sighting
