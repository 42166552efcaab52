"""Whom the blocking would hit: read before a wave is set in motion, and the list of those to be told.

A `Reporter` takes the sightings of an observing phase and sorts each line by where it goes: the provider's own servers
(not hit), known submission servers of others, a foreign submission server, many servers directly. Which destinations
are "own" and "known" comes from the policy: own are the groups that the line's network may use, its own space where
that stays open, and the management networks; known are all other groups it names. Pure; bounded per line and in lines.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sekisho.config import Network
from sekisho.text import say

from .policy import AccessNetwork, Policy
from .sightings import Kind, Sighting

__all__ = ["Classes", "DestinationClass", "Report", "Reporter", "Row"]

Address = IPv4Address | IPv6Address

MAX_LINES: Final = 200_000
MAX_DESTINATIONS: Final = 16  # kept by name for each line
SHOWN_DESTINATIONS: Final = 4
MANY: Final = 8  # foreign destination networks from which on a line is no mail program
DAY: Final = 86_400
_RANK: Final = {Kind.COUNTED: 0, Kind.EXPLAINED: 1, Kind.SAMPLED: 2}


class DestinationClass(StrEnum):
    """Where a line sends by port 25, the harmless first."""

    OWN = "own"
    KNOWN_SUBMISSION = "known-submission"
    FOREIGN_SUBMISSION = "foreign-submission"
    MANY_MX = "many-mx"

    @property
    def is_hit(self) -> bool:
        """Whether the blocking changes anything for the line."""
        return self is not DestinationClass.OWN


@dataclass(frozen=True, slots=True)
class Classes:
    """Own and known destinations of one access network."""

    own: tuple[Network, ...] = ()
    known: tuple[Network, ...] = ()

    @classmethod
    def of(cls, policy: Policy, network: AccessNetwork) -> Classes:
        """Read them from the policy."""
        names = set(network.relay_only or network.allowed)
        own = [prefix for group in policy.servers if group.name in names for prefix in group.prefixes]
        known = [prefix for group in policy.servers if group.name not in names for prefix in group.prefixes]
        if network.own_space and not network.relay_only:
            own += policy.own_space
        return cls((*own, *policy.management), tuple(known))

    def of_destination(self, destination: Address) -> DestinationClass:
        """Return the class of one destination, seen alone."""
        if _within(destination, self.own):
            return DestinationClass.OWN
        if _within(destination, self.known):
            return DestinationClass.KNOWN_SUBMISSION
        return DestinationClass.FOREIGN_SUBMISSION


def _within(address: Address, prefixes: Iterable[Network]) -> bool:
    return any(address in prefix for prefix in prefixes if prefix.version == address.version)


@dataclass(slots=True)
class _Line:
    network: str
    first: float
    last: float
    rank: int
    attempts: int = 0
    packets: int = 0
    hit_attempts: int = 0
    days: set[int] = field(default_factory=set)
    destinations: dict[Address, int] = field(default_factory=dict)
    worst: DestinationClass = DestinationClass.OWN
    foreign: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report.

    Fields:
        attempts: connections tried; of those, `hit_attempts` went where the blocking would stop them.
        packets: repeated ones included.
        days: on how many days (UTC) it was seen.
        destinations: the most frequent ones.
        destination_count: of those kept; "16" stands for 16 or more.
        first, last: UTC seconds since the epoch.
    """

    line: str
    network: str
    kind: DestinationClass
    attempts: int
    hit_attempts: int
    packets: int
    days: int
    destinations: tuple[str, ...]
    destination_count: int
    first: float
    last: float


class Reporter:
    """Collects sightings for a report."""

    __slots__ = ("_classes", "_known", "_lines", "_size", "left_out")

    def __init__(self, policy: Policy, *, size: int = MAX_LINES) -> None:
        self._classes = {network.name: Classes.of(policy, network) for network in policy.networks}
        self._known: dict[tuple[str, Address], DestinationClass] = {}
        self._lines: dict[str, _Line] = {}
        self._size = size
        self.left_out = 0

    def saw(self, sighting: Sighting) -> None:
        """Take one sighting in. Numbers come from the most exact source a line has; the others tell destinations."""
        line = self._lines.get(sighting.line)
        rank = _RANK[sighting.kind]
        if line is None:
            if len(self._lines) >= self._size:
                self.left_out += 1
                return
            line = self._lines[sighting.line] = _Line(sighting.network, sighting.at, sighting.at, rank)
        if rank < line.rank:  # what less exact sources have counted so far is counted again by this one
            line.rank = rank
            line.attempts = line.packets = line.hit_attempts = 0
            line.destinations = dict.fromkeys(line.destinations, 0)
        line.first = min(line.first, sighting.at)
        line.last = max(line.last, sighting.at)
        line.days.add(int(sighting.at // DAY))
        attempts, packets = (sighting.attempts, sighting.packets) if rank == line.rank else (0, 0)
        line.attempts += attempts
        line.packets += packets
        destination = sighting.destination
        if destination in line.destinations or len(line.destinations) < MAX_DESTINATIONS:
            line.destinations[destination] = line.destinations.get(destination, 0) + attempts
        kind = self._class_of(sighting.network, destination)
        if not kind.is_hit:
            return
        line.hit_attempts += attempts
        if kind is DestinationClass.FOREIGN_SUBMISSION and len(line.foreign) < MANY:
            packed = destination.packed  # folded to /24 or /48: a service answers from many addresses side by side
            line.foreign.add(packed[: 3 if len(packed) == 4 else 6])
        line.worst = _worse(line.worst, DestinationClass.MANY_MX if len(line.foreign) >= MANY else kind)

    def report(self) -> Report:
        """Return what has come together, those hit first, the most active first."""
        order = list(DestinationClass)
        rows = [_row(name, line) for name, line in self._lines.items()]
        rows.sort(key=lambda row: (-order.index(row.kind), -row.hit_attempts, row.line))
        return Report(tuple(rows), self.left_out)

    def _class_of(self, network: str, destination: Address) -> DestinationClass:
        key = (network, destination)
        kind = self._known.get(key)
        if kind is None:
            if len(self._known) >= MAX_LINES:
                self._known.clear()
            kind = self._known[key] = self._classes.get(network, Classes()).of_destination(destination)
        return kind


def _worse(one: DestinationClass, other: DestinationClass) -> DestinationClass:
    order = list(DestinationClass)
    return max(one, other, key=order.index)


def _row(name: str, line: _Line) -> Row:
    frequent = sorted(line.destinations.items(), key=lambda item: (-item[1], item[0].packed))
    return Row(
        line=name,
        network=line.network,
        kind=line.worst,
        attempts=line.attempts,
        hit_attempts=line.hit_attempts,
        packets=line.packets,
        days=len(line.days),
        destinations=tuple(str(destination) for destination, _ in frequent[:SHOWN_DESTINATIONS]),
        destination_count=len(frequent),
        first=line.first,
        last=line.last,
    )


@dataclass(frozen=True, slots=True)
class Report:
    """Whom the blocking would hit. `left_out`: sightings for which there was no room."""

    rows: tuple[Row, ...]
    left_out: int = 0

    def counts(self) -> dict[tuple[str, DestinationClass], int]:
        """Return how many lines of each network are in each class."""
        counted: dict[tuple[str, DestinationClass], int] = {}
        for row in self.rows:
            counted[row.network, row.kind] = counted.get((row.network, row.kind), 0) + 1
        return counted

    def hit(self, networks: Sequence[str] = ()) -> Report:
        """Return the report of those who are hit alone: the list for the announcement; of some networks, or of all."""
        return Report(
            tuple(row for row in self.rows if row.kind.is_hit and (not networks or row.network in networks)),
            self.left_out,
        )

    def csv(self) -> str:
        """Render with a header line, times as ISO 8601 in UTC."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for row in self.rows:
            writer.writerow([_cell(value) for value in _fields(row).values()])
        return file.getvalue()

    def json(self) -> str:
        """Render with the counts before the lines."""
        counts: dict[str, dict[str, int]] = {}
        for (network, kind), count in sorted(self.counts().items()):
            counts.setdefault(network, {})[kind.value] = count
        rows = [_fields(row) for row in self.rows]
        return json.dumps({"version": 1, "counts": counts, "left_out": self.left_out, "lines": rows}, indent=1)

    def text(self, language: str, *, limit: int = 50) -> str:
        """Render for a terminal: the counts, then the first *limit* lines."""
        order = list(DestinationClass)
        lines = []
        for (network, kind), count in sorted(
            self.counts().items(), key=lambda item: (item[0][0], order.index(item[0][1]))
        ):
            lines.append(f"{network:<20} {count:>8}  {_class_text(kind, language)}")
        for row in self.rows[:limit]:
            where = " ".join(row.destinations) + (" …" if row.destination_count > len(row.destinations) else "")
            lines.append(
                f"{row.line:<32} {row.kind.value:<19} {row.hit_attempts:>8} {row.days:>3}d "
                f"{_time(row.first)} {_time(row.last)}  {where}"
            )
        return "".join(f"{line}\n" for line in lines)


_COLUMNS: Final = (
    "line",
    "network",
    "class",
    "hit",
    "attempts",
    "hit_attempts",
    "packets",
    "days",
    "destinations",
    "first",
    "last",
)


def _fields(row: Row) -> dict[str, object]:
    return dict(
        zip(
            _COLUMNS,
            (
                row.line,
                row.network,
                row.kind.value,
                row.kind.is_hit,
                row.attempts,
                row.hit_attempts,
                row.packets,
                row.days,
                list(row.destinations),
                _time(row.first),
                _time(row.last),
            ),
            strict=True,
        )
    )


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(value) if isinstance(value, list) else str(value)
    # A spreadsheet takes these for formulas.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _class_text(kind: DestinationClass, language: str) -> str:
    name = kind.value
    return say(f"edge.{name}.class", language)
