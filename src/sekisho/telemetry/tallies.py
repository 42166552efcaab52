"""How much happened in each hour: what the charts of the operator's pages show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["GROUPS", "HOURS", "OTHER", "Counts", "Tallies", "add"]

HOURS: Final = 48
HOUR: Final = 3600  # seconds
MAX_NAMES: Final = 100  # different names in one group and hour; further ones are counted together
OTHER: Final = "other"

GROUPS: Final = {
    "messages": "accepted, refused",
    "logins": "accepted, refused",
    "deliveries": "delivered, deferred, failed, expired",
    "failures": "what failed and why, such as tls.version or auth.bad-credentials",
    "tls": "TLS version of each submitted message; none without TLS",
    "mechanism": "SASL mechanism of each submitted message",
    "listener": "listener of each accepted message",
    "agent": "client program of each submitted message, as it calls itself",
}
"""What is counted, each group by names of its own."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """Counts by hour.

    Fields:
        hours: beginning of each hour, UTC seconds since the epoch, the oldest first; the last one is under way.
        series: by group and name, one number for each hour.
        since: the log was read from this moment on; hours before it are not empty but unknown. None without a log.
    """

    hours: tuple[int, ...]
    series: Mapping[str, Mapping[str, tuple[int, ...]]]
    since: float | None

    def total(self, group: str, name: str) -> int:
        """Return the sum over all hours."""
        return sum(self.series[group].get(name, ()))

    def totals(self, group: str) -> dict[str, int]:
        """Return the sum of each name of *group*, the largest first."""
        sums = {name: sum(numbers) for name, numbers in self.series[group].items()}
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


class Counts:
    """Counts as they grow."""

    __slots__ = ("_by_hour",)

    def __init__(self) -> None:
        self._by_hour: dict[int, dict[str, dict[str, int]]] = {}

    def of_hour(self, at: float) -> dict[str, dict[str, int]]:
        """Return the counts of the hour that *at* is in; the oldest hour makes room for a new one."""
        hour = int(at) // HOUR * HOUR
        counts = self._by_hour.get(hour)
        if counts is None:
            counts = {group: {} for group in GROUPS}
            if len(self._by_hour) > HOURS + 1:
                oldest = min(self._by_hour)
                if hour < oldest:
                    return counts
                del self._by_hour[oldest]
            self._by_hour[hour] = counts
        return counts

    def tallies(self, now: float, since: float | None) -> Tallies:
        """Return the last `HOURS` hours."""
        last = int(now) // HOUR * HOUR
        hours = tuple(range(last - (HOURS - 1) * HOUR, last + 1, HOUR))
        series: dict[str, dict[str, tuple[int, ...]]] = {}
        for group in GROUPS:
            present = [self._by_hour[hour][group] if hour in self._by_hour else {} for hour in hours]
            names = sorted({name for counts in present for name in counts})
            series[group] = {name: tuple(counts.get(name, 0) for counts in present) for name in names}
        return Tallies(hours, series, since)


def add(counts: dict[str, int], name: str) -> None:
    """Count one more *name*."""
    if name in counts:
        counts[name] += 1
    elif len(counts) < MAX_NAMES:
        counts[name] = 1
    else:
        counts[OTHER] = counts.get(OTHER, 0) + 1
