"""The verdict on each line that tries port 25: a mail program set wrong, a mail server of its own, or a worm.

`Watcher.saw` takes sightings, `Watcher.changes` and `Watcher.verdicts` answer. Pure: time comes with the sightings and
as *now*. Memory is bounded, in lines and for each line (`memory`). Nobody has to say that a line is clean again:
verdicts decay.

`docs/topics/edge-verdicts.md` argues the thresholds and says what they get wrong.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from sekisho.config import DAY, HOUR, MINUTE, Duration, at_least, between, setting

from .memory import HOURS_KEPT, MINUTES_KEPT, LineMemory, read, rendered
from .sightings import Sighting
from .sketch import bit_of, estimate, network_bit_of, total, union
from .verdicts import Finding, Measure, Proposal, Totals, Verdict, VerdictKind

__all__ = ["Finding", "Measure", "Proposal", "Totals", "Verdict", "VerdictKind", "Watcher", "WatcherSettings"]

SNAPSHOT_VERSION: Final = 1
KEY_OCTETS: Final = 16
STEADY_DAYS: Final = 3  # days of the last week: one attempt a day is a mail program that somebody has given up on
NETWORKS_COUNTED: Final = 256
MOST_SPARED: Final = 1000  # lines with a verdict passed over for one that has none
OTHER_NETWORKS: Final = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class WatcherSettings:
    """The watcher: from when on a line is called what, and for how long."""

    max_lines: int = setting(
        100_000,
        "Lines remembered at once, about one to two KiB each; beyond that those without a verdict, seen longest ago, "
        "are forgotten first.",
        check=at_least(100),
    )
    new_destinations_per_minute: int = setting(
        16,
        "Destinations new to a line within a minute from which on it is called worm-like.",
        check=at_least(5),
    )
    destinations_per_hour: int = setting(
        150,
        "Different destinations within an hour from which on a line that is active in most of the minutes is called "
        "worm-like; finds those that go slowly.",
        check=at_least(20),
    )
    attempts_per_minute: int = setting(
        100,
        "Attempts within a minute, to five destinations or more, from which on a line is called worm-like; finds those "
        "that send to a few large mail services only.",
        check=at_least(20),
    )
    few_networks: int = setting(
        7,
        "Destination networks (/24, /48) within a day up to which a line is a mail program set wrong, and beyond which "
        "it is a mail server of its own.",
        check=between(1, 50),
    )
    least_attempts: float = setting(
        3.0, "Attempts, with those of earlier days counting less, below which nothing is said.", check=at_least(1)
    )
    server_age: Duration = setting(
        Duration(DAY),
        "A line that looked like a mail server for this long is trusted with four times the worm-like thresholds.",
        check=between(HOUR, 30 * DAY),
    )
    worm_decay: Duration = setting(
        Duration(30 * MINUTE),
        "A line stays worm-like for this long after it last behaved so.",
        check=between(MINUTE, 7 * DAY),
    )
    decay: Duration = setting(
        Duration(2 * DAY),
        "Any other verdict goes, when nothing has been seen for this long.",
        check=between(HOUR, 30 * DAY),
    )
    quarantine_after: Duration = setting(
        Duration(10 * MINUTE),
        "A line is proposed for the quarantine set once it has behaved worm-like over this long.",
        check=between(0, DAY),
    )
    quarantine_measure: Measure = setting(Measure.RATE_LIMIT, "What the quarantine set does with its lines.")
    quarantine_limit: int = setting(1000, "Most lines proposed at once.", check=between(1, 50_000))


class Watcher:
    """Verdicts on all lines."""

    __slots__ = ("_changed", "_key", "_lines", "_settings", "_totals", "forgotten")

    def __init__(self, settings: WatcherSettings, *, key: bytes | None = None) -> None:
        """Begin without memory; *key* is for the sketches, random unless given."""
        self._settings = settings
        self._key = key if key is not None else os.urandom(KEY_OCTETS)
        self._lines: dict[str, LineMemory] = {}  # in the order last seen
        self._changed: set[str] = set()  # seen, or due to decay, since the last `changes`
        self._totals: dict[str, Totals] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._lines)

    def saw(self, sighting: Sighting) -> None:
        """Take one sighting in. A time before the line's last one counts as that."""
        name = sighting.line
        line = self._lines.pop(name, None)
        if line is None:
            if len(self._lines) >= self._settings.max_lines:
                self._forget_one()
            line = LineMemory(sighting.network, sighting.at)
        self._lines[name] = line
        line.advance(sighting.at)
        line.network = sighting.network
        key = self._key
        line.add(sighting, bit_of(sighting.destination, key), network_bit_of(sighting.destination, key))
        self._note_worm(line)
        self._changed.add(name)
        self._count(sighting)

    def verdict(self, line: str, now: float) -> Verdict | None:
        """Return what *line* looks like; None when nothing is known of it."""
        known = self._lines.get(line)
        if known is None:
            return None
        self._settle(known, now)
        return self._verdict(line, known, known.kind)

    def verdicts(self, now: float, *, quiet: bool = False) -> list[Verdict]:
        """Return all verdicts, the worst first; those without one are left out unless *quiet*."""
        found = []
        for name, line in self._lines.items():
            self._settle(line, now)
            if quiet or line.kind is not VerdictKind.QUIET:
                found.append(self._verdict(name, line, line.kind))
        order = list(VerdictKind)
        found.sort(key=lambda verdict: (-order.index(verdict.kind), verdict.since, verdict.line))
        return found

    def changes(self, now: float) -> list[Verdict]:
        """Return the verdicts that are not what they were at the last call. Looks only at lines that may have changed.

        Lines that have been silent until their last verdict went are forgotten on the way.
        """
        due, self._changed = self._changed, set()
        changed = []
        for name in due:
            line = self._lines.get(name)
            if line is None:
                continue
            self._settle(line, now)
            if line.kind is not line.told:
                changed.append(self._verdict(name, line, line.told))
                line.told = line.kind
            if line.kind is not VerdictKind.QUIET:
                self._changed.add(name)  # its decay has to be noticed
        self._forget_silent(now)
        return changed

    def proposals(self, now: float) -> tuple[Proposal, ...]:
        """Return the lines for the quarantine set: worm-like over `quarantine_after`, the most active first."""
        settings = self._settings
        wanted = []
        for name, line in self._lines.items():
            if line.kind is VerdictKind.QUIET and not line.worm_at:
                continue
            self._settle(line, now)
            if line.kind is VerdictKind.WORM_LIKE and line.worm_at - line.worm_from >= settings.quarantine_after:
                wanted.append((total(line.hour_attempts), name, line))
        chosen = heapq.nlargest(settings.quarantine_limit, wanted, key=lambda entry: entry[:2])
        return tuple(
            Proposal(
                line=name,
                network=line.network,
                source=source,
                ports=ports,
                measure=settings.quarantine_measure,
                since=line.worm_from,
                until=line.worm_at + settings.worm_decay,
            )
            for _, name, line in chosen
            for source, ports in _parsed(name)
        )

    def counts(self, now: float) -> dict[tuple[str, VerdictKind], int]:
        """Return how many lines of each network have each verdict."""
        counted: dict[tuple[str, VerdictKind], int] = {}
        for line in self._lines.values():
            self._settle(line, now)
            network = line.network if line.network in self._totals else OTHER_NETWORKS
            counted[network, line.kind] = counted.get((network, line.kind), 0) + 1
        return counted

    @property
    def totals(self) -> dict[str, Totals]:
        """What was seen of each access network since the start."""
        return dict(self._totals)

    # ------------------------------------------------------------------ across a restart

    def snapshot(self) -> Iterator[str]:
        """Yield what is remembered, as lines of JSON without line ends; `restore` takes them."""
        yield json.dumps({"watcher": SNAPSHOT_VERSION, "key": self._key.hex()})
        for name, line in self._lines.items():
            yield rendered(name, line)

    def restore(self, lines: Iterable[str]) -> int:
        """Take up what `snapshot` gave, and return how many lines of it could not be read and were left out.

        Bounded like everything else: of too many lines, those seen last are kept. To be called before the first
        sighting.
        """
        damaged = 0
        rows = iter(lines)
        try:
            head = json.loads(next(rows, "null"))
            if head["watcher"] != SNAPSHOT_VERSION:
                return 0
            self._key = bytes.fromhex(head["key"])[:KEY_OCTETS] or self._key
        except (ValueError, KeyError, TypeError, RecursionError):
            return 1
        for text in rows:
            try:
                name, line = read(text)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                damaged += 1
                continue
            if len(self._lines) >= self._settings.max_lines:
                self._forget_one()
            self._lines[name] = line
            self._changed.add(name)
        return damaged

    # ------------------------------------------------------------------ judging

    def _note_worm(self, line: LineMemory) -> None:
        """Note when a line behaves worm-like; cheap, for it is asked at each sighting."""
        settings = self._settings
        slack = 4 if self._is_known_server(line) else 1
        attempts = total(line.minute)
        fast = total(line.minute_new) >= settings.new_destinations_per_minute * slack
        if not fast:
            if attempts >= settings.attempts_per_minute * slack:
                fast = estimate(union(line.hour)) >= 5 * slack
            elif line.minutes.bit_count() >= MINUTES_KEPT // 2:
                fast = estimate(union(line.hour)) >= settings.destinations_per_hour * slack
        if not fast:
            return
        if not line.worm_at or line.last - line.worm_at > settings.worm_decay:
            line.worm_from = line.last
        line.worm_at = line.last

    def _is_known_server(self, line: LineMemory) -> bool:
        return bool(line.server_since) and line.last - line.server_since >= self._settings.server_age

    def _settle(self, line: LineMemory, now: float) -> None:
        """Bring the verdict up to date."""
        if line.worm_at and now - line.worm_at >= self._settings.worm_decay:
            line.start_over()
        kind = self._judged(line, now)
        if kind is not line.kind:
            line.kind = kind
            line.since = line.worm_from if kind is VerdictKind.WORM_LIKE else now
        if kind is VerdictKind.MAIL_SERVER:
            line.server_since = line.server_since or line.since
        elif line.server_since and now - line.last > self._settings.decay:
            line.server_since = 0.0

    def _judged(self, line: LineMemory, now: float) -> VerdictKind:
        settings = self._settings
        if line.worm_at:
            return VerdictKind.WORM_LIKE
        silent = now - line.last
        if silent > settings.decay:
            return VerdictKind.QUIET
        attempts = line.attempts * 0.5 ** (max(silent, 0.0) / DAY)
        # Once there, a verdict stands until the evidence has halved: it does not flicker around the threshold.
        wanted = settings.least_attempts / (1 if line.kind is VerdictKind.QUIET else 2)
        if attempts < wanted and line.active_days() < STEADY_DAYS:
            return VerdictKind.QUIET
        networks = estimate(union(line.day))
        few = settings.few_networks - (2 if line.kind is VerdictKind.MAIL_SERVER else 0)
        return VerdictKind.MISCONFIGURED_CLIENT if networks <= max(few, 1) else VerdictKind.MAIL_SERVER

    def _verdict(self, name: str, line: LineMemory, previous: VerdictKind) -> Verdict:
        return Verdict(name, line.network, line.kind, line.since, _evidence(line), previous)

    # ------------------------------------------------------------------ bounds

    def _forget_one(self) -> None:
        """Make room: the one without a verdict that was seen longest ago. Those with one go to the end on the way."""
        lines = self._lines
        for _ in range(MOST_SPARED):
            name = next(iter(lines))
            line = lines.pop(name)
            if line.kind is VerdictKind.QUIET and not line.worm_at:
                break
            lines[name] = line
        else:
            name = next(iter(lines))
            del lines[name]
        self._changed.discard(name)
        self.forgotten += 1

    def _forget_silent(self, now: float) -> None:
        """Forget the lines at the front that have been silent for longer than anything is remembered."""
        lines = self._lines
        longest = max(self._settings.decay, HOURS_KEPT * HOUR)
        for _ in range(1000):
            name = next(iter(lines), None)
            if name is None or now - lines[name].last <= longest:
                return
            del lines[name]
            self._changed.discard(name)

    def _count(self, sighting: Sighting) -> None:
        totals = self._totals.get(sighting.network)
        if totals is None:
            name = sighting.network if len(self._totals) < NETWORKS_COUNTED else OTHER_NETWORKS
            totals = self._totals.setdefault(name, Totals())
        totals.sightings += 1
        totals.attempts += sighting.attempts
        totals.packets += sighting.packets


def _evidence(line: LineMemory) -> tuple[Finding, ...]:
    """Everything that speaks for or against the verdict, in a fixed order; what is nothing is left out."""
    favorites = list(line.favorites)
    ratio = 1 - line.attempts / line.packets if line.packets >= 1 and line.packets >= line.attempts else 0.0
    share = sum(favorite.attempts for favorite in favorites) if line.favorites.exact else 0
    rows: tuple[tuple[str, int | float | str], ...] = (
        ("attempts_per_minute", total(line.minute)),
        ("new_destinations_per_minute", total(line.minute_new)),
        ("attempts_per_hour", total(line.hour_attempts)),
        ("destinations_per_hour", estimate(union(line.hour))),
        ("networks_per_day", estimate(union(line.day))),
        ("active_minutes", line.minutes.bit_count()),
        ("active_hours", line.hours.bit_count()),
        ("active_days", line.active_days()),
        ("retransmission_ratio", round(max(ratio, 0.0), 2)),
        ("backing_off", sum(favorite.backing_off for favorite in favorites)),
        ("same_destinations", ", ".join(str(favorite.destination) for favorite in favorites) if share else ""),
        ("first_seen", round(line.first)),
        ("last_seen", round(line.last)),
    )
    return tuple(Finding(name, value) for name, value in rows if value)


def _parsed(name: str) -> Iterator[tuple[IPv4Network | IPv6Network, tuple[int, int] | None]]:
    """Yield source and ports of a line's key; nothing when it is none, for it came from outside."""
    try:
        yield ip_network(name), None
    except ValueError:
        address, _, ports = name.rpartition(":")
        first, _, last = ports.partition("-")
        if first.isascii() and last.isascii() and first.isdigit() and last.isdigit() and int(first) <= int(last):
            try:
                yield ip_network(address), (int(first), min(int(last), 65535))
            except ValueError:
                return
