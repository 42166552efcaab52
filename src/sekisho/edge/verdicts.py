"""What the watcher says of a line, as values; the words for them are in the text catalog."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

__all__ = ["Finding", "Measure", "Proposal", "Totals", "Verdict", "VerdictKind"]


class VerdictKind(StrEnum):
    """What a line looks like."""

    QUIET = "quiet"
    MISCONFIGURED_CLIENT = "misconfigured-client"
    MAIL_SERVER = "mail-server"
    WORM_LIKE = "worm-like"


class Measure(StrEnum):
    """What a quarantine set does with its lines."""

    RATE_LIMIT = "rate-limit"
    WALLED_GARDEN = "walled-garden"


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of evidence. The words for it are in the text catalog, see `outputs.words`.

    Fields:
        name: what was measured, such as ``destinations_per_hour``.
        value: a number, or text for a list of destinations.
    """

    name: str
    value: int | float | str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a line looks like, since when (UTC epoch), and by what evidence."""

    line: str
    network: str
    kind: VerdictKind
    since: float
    evidence: tuple[Finding, ...]
    previous: VerdictKind = VerdictKind.QUIET


@dataclass(frozen=True, slots=True)
class Proposal:
    """A line for the quarantine set, as data: nothing is applied here.

    Fields:
        source: address or prefix of the line.
        ports: first and last port, when an address is shared.
        until: when the element should time out, unless it is proposed again.
    """

    line: str
    network: str
    source: IPv4Network | IPv6Network
    ports: tuple[int, int] | None
    measure: Measure
    since: float
    until: float


@dataclass(slots=True)
class Totals:
    """What was seen of one access network since the start."""

    sightings: int = 0
    attempts: int = 0
    packets: int = 0
