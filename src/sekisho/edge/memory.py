"""What the watcher remembers of one line, a kilobyte or so, and the row that stands for it in a snapshot.

- three slots of 20 seconds: attempts, and destinations that were new to the line (not seen in the hour before);
- three slots of 20 minutes: attempts, and a bitmap of destination addresses;
- three slots of 8 hours: a bitmap of destination networks (/24, /48);
- a bit for each minute of the last hour and each hour of the last week in which it was active;
- decaying sums (half in a day) of packets and attempts; the four destinations it goes to most.

The newest slot is under way, so that three slots of 20 seconds see the last 40 to 60 seconds: never more than a minute.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from sekisho.config import DAY, HOUR, MINUTE

from .sightings import MAX_TEXT, Kind, Sighting
from .sketch import BITS, COUNT_BITS, Favorites, added, moved, union
from .verdicts import VerdictKind

SLOT: Final = 20  # seconds
HOUR_SLOT: Final = 20 * MINUTE
DAY_SLOT: Final = 8 * HOUR
HOURS_KEPT: Final = 7 * 24
MINUTES_KEPT: Final = 60
MAX_ROW: Final = 4096
MINUTES_MASK: Final = (1 << MINUTES_KEPT) - 1
HOURS_MASK: Final = (1 << HOURS_KEPT) - 1

_RANK: Final = {Kind.COUNTED: 0, Kind.EXPLAINED: 1, Kind.SAMPLED: 2}


class LineMemory:
    """One line."""

    __slots__ = (
        "attempts",
        "day",
        "favorites",
        "first",
        "hour",
        "hour_attempts",
        "hours",
        "kind",
        "last",
        "minute",
        "minute_new",
        "minutes",
        "network",
        "packets",
        "rank",
        "rank_at",
        "server_since",
        "since",
        "told",
        "worm_at",
        "worm_from",
    )

    def __init__(self, network: str, at: float) -> None:
        self.network = network
        self.first = at
        self.last = at
        self.minute = self.minute_new = self.hour_attempts = 0  # three counts each
        self.hour = self.day = 0  # three bitmaps each
        self.minutes = 0  # bit 0: the minute of `last`
        self.hours = 0  # bit 0: the hour of `last`
        self.attempts = 0.0
        self.packets = 0.0
        self.favorites = Favorites()
        self.kind = VerdictKind.QUIET
        self.told = VerdictKind.QUIET  # what `Watcher.changes` said last
        self.since = at
        self.worm_from = 0.0  # the first of the present run of worm-like behavior
        self.worm_at = 0.0  # the last
        self.server_since = 0.0
        self.rank = len(_RANK)
        self.rank_at = 0.0

    def advance(self, to: float) -> None:
        """Let time pass: slots move, sums decay."""
        last = self.last
        if to <= last:
            return
        self.last = to
        steps = int(to // SLOT) - int(last // SLOT)
        if not steps:
            return
        self.minute = moved(self.minute, steps, COUNT_BITS)
        self.minute_new = moved(self.minute_new, steps, COUNT_BITS)
        steps = int(to // MINUTE) - int(last // MINUTE)
        if not steps:
            return
        self.minutes = (self.minutes << min(steps, MINUTES_KEPT)) & MINUTES_MASK
        steps = int(to // HOUR_SLOT) - int(last // HOUR_SLOT)
        if not steps:
            return
        half = 0.5 ** (steps * HOUR_SLOT / DAY)
        self.attempts *= half
        self.packets *= half
        self.hour_attempts = moved(self.hour_attempts, steps, COUNT_BITS)
        self.hour = moved(self.hour, steps, BITS)
        self.day = moved(self.day, int(to // DAY_SLOT) - int(last // DAY_SLOT), BITS)
        self.hours = (self.hours << min(int(to // HOUR) - int(last // HOUR), HOURS_KEPT)) & HOURS_MASK

    def start_over(self) -> None:
        """Forget what a worm left behind, lest its destinations make the line look like a mail server for a day."""
        self.attempts = self.packets = 0.0
        self.day = 0
        self.favorites = Favorites()
        self.worm_from = self.worm_at = 0.0

    def active_days(self) -> int:
        """On how many of the last seven days it was active."""
        return sum(1 for day in range(0, HOURS_KEPT, 24) if self.hours >> day & 0xFFFFFF)

    def weighs(self, kind: Kind, at: float) -> bool:
        """Tell whether a sighting of *kind* counts: the most exact source of the last hour alone does, once each."""
        rank = _RANK[kind]
        if rank <= self.rank or at - self.rank_at > HOUR:
            self.rank = rank
            self.rank_at = at
            return True
        return False

    def add(self, sighting: Sighting, bit: int, network_bit: int) -> None:
        """Count a sighting of now."""
        if not union(self.hour) & bit:
            self.minute_new = added(self.minute_new, 1)
        self.hour |= bit
        self.day |= network_bit
        self.minutes |= 1
        self.hours |= 1
        attempts = 0
        if self.weighs(sighting.kind, sighting.at):
            attempts = sighting.attempts
            self.packets += sighting.packets
            if attempts:
                self.attempts += attempts
                self.minute = added(self.minute, attempts)
                self.hour_attempts = added(self.hour_attempts, attempts)
        self.favorites.saw(sighting.destination, attempts, int(self.last))


def rendered(name: str, line: LineMemory) -> str:
    times = (line.first, line.last, line.since, line.worm_from, line.worm_at, line.server_since, line.rank_at)
    return json.dumps(
        {
            "line": name,
            "network": line.network,
            "times": times,
            "slots": [f"{counts:x}" for counts in (line.minute, line.minute_new, line.hour_attempts)],
            "maps": [_sparse(line.hour), _sparse(line.day)],
            "active": [f"{line.minutes:x}", f"{line.hours:x}"],
            "sums": [line.attempts, line.packets],
            "favorites": [base64.b64encode(line.favorites.octets).decode("ascii"), line.favorites.exact],
            "kind": line.kind.value,
            "told": line.told.value,
            "rank": line.rank,
        },
        separators=(",", ":"),
    )


def read(text: str) -> tuple[str, LineMemory]:
    if len(text) > MAX_ROW:
        raise ValueError("too long")
    row = json.loads(text)
    name, network = row["line"], row["network"]
    if not isinstance(name, str) or not isinstance(network, str) or max(len(name), len(network)) > MAX_TEXT:
        raise ValueError("no line")
    times = [float(time) for time in row["times"]]
    if not all(0 <= time < 1e11 for time in times):
        raise ValueError("no times")
    line = LineMemory(network, times[0])
    line.first, line.last, line.since, line.worm_from, line.worm_at, line.server_since, line.rank_at = times
    minute, minute_new, hour_attempts = row["slots"]
    line.minute, line.minute_new, line.hour_attempts = (
        int(text, 16) & ((1 << 3 * COUNT_BITS) - 1) for text in (minute, minute_new, hour_attempts)
    )
    hour, day = row["maps"]
    line.hour, line.day = _bitmap(hour), _bitmap(day)
    minutes, hours = row["active"]
    line.minutes, line.hours = int(minutes, 16) & MINUTES_MASK, int(hours, 16) & HOURS_MASK
    line.attempts, line.packets = sums = [float(number) for number in row["sums"]]
    if not all(0 <= number < 1e15 for number in sums):
        raise ValueError("no sums")
    octets, exact = row["favorites"]
    line.favorites = Favorites(base64.b64decode(octets, validate=True), exact=exact is True)
    line.kind, line.told = VerdictKind(row["kind"]), VerdictKind(row["told"])
    line.rank = int(row["rank"])
    return name, line


def _sparse(bitmap: int) -> str | list[int]:
    """Write a bitmap: the numbers of its bits while they are few, else hexadecimal."""
    if bitmap.bit_count() > 64:
        return f"{bitmap:x}"
    bits = []
    while bitmap:
        lowest = bitmap & -bitmap
        bits.append(lowest.bit_length() - 1)
        bitmap ^= lowest
    return bits


def _bitmap(written: str | list[int]) -> int:
    if isinstance(written, str):
        bitmap = int(written, 16)
    else:
        bitmap = sum(1 << bit for bit in set(written) if 0 <= bit < 3 * BITS)
    return bitmap & ((1 << 3 * BITS) - 1)
