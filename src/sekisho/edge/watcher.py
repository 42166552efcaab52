"""The verdict on each line that tries port 25: a mail program set wrong, a mail server of its own, or a worm.

`Watcher.saw` takes sightings, `Watcher.changes` and `Watcher.verdicts` answer. Pure: time comes with the sightings and
as *now*; memory is bounded, per line and in lines; nothing has to be told that a line is clean again, verdicts decay.

How a line is remembered, a kilobyte or so:

- three slots of 20 seconds: attempts, and destinations that were new to the line (not seen in the hour before);
- three slots of 20 minutes: attempts, and a bitmap of destination addresses;
- three slots of 8 hours: a bitmap of destination networks (/24, /48);
- a bit for each minute of the last hour and each hour of the last week in which it was active;
- decaying sums (half in a day) of packets and attempts; the four destinations it goes to most.

The newest slot is under way, so that three slots of 20 seconds see the last 40 to 60 seconds: never more than a minute.

`docs/topics/edge-verdicts.md` argues the thresholds and says what they get wrong.
"""

from __future__ import annotations

import base64
import heapq
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from sekisho.config import DAY, HOUR, MINUTE, Duration, at_least, between, setting

from .sightings import MAX_TEXT, Kind, Sighting
from .sketch import BITS, COUNT_BITS, Favorites, added, bit_of, estimate, moved, network_bit_of, total, union

__all__ = ["Finding", "Measure", "Proposal", "Totals", "Verdict", "VerdictKind", "Watcher", "WatcherSettings"]

SLOT: Final = 20  # seconds
HOUR_SLOT: Final = 20 * MINUTE
DAY_SLOT: Final = 8 * HOUR
HOURS_KEPT: Final = 7 * 24
MINUTES_KEPT: Final = 60
SNAPSHOT_VERSION: Final = 1
MAX_SNAPSHOT_LINE: Final = 4096
KEY_OCTETS: Final = 16
STEADY_DAYS: Final = 3  # days of the last week: one attempt a day is a mail program that somebody has given up on
NETWORKS_COUNTED: Final = 256
OTHER_NETWORKS: Final = "other"

_RANK: Final = {Kind.COUNTED: 0, Kind.EXPLAINED: 1, Kind.SAMPLED: 2}
_MINUTES_MASK: Final = (1 << MINUTES_KEPT) - 1
_HOURS_MASK: Final = (1 << HOURS_KEPT) - 1


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


class _Line:
    """What is remembered of one line."""

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
        self.minutes = (self.minutes << min(steps, MINUTES_KEPT)) & _MINUTES_MASK
        steps = int(to // HOUR_SLOT) - int(last // HOUR_SLOT)
        if not steps:
            return
        half = 0.5 ** (steps * HOUR_SLOT / DAY)
        self.attempts *= half
        self.packets *= half
        self.hour_attempts = moved(self.hour_attempts, steps, COUNT_BITS)
        self.hour = moved(self.hour, steps, BITS)
        self.day = moved(self.day, int(to // DAY_SLOT) - int(last // DAY_SLOT), BITS)
        self.hours = (self.hours << min(int(to // HOUR) - int(last // HOUR), HOURS_KEPT)) & _HOURS_MASK

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


class Watcher:
    """Verdicts on all lines."""

    __slots__ = ("_changed", "_key", "_lines", "_settings", "_totals", "forgotten")

    def __init__(self, settings: WatcherSettings, *, key: bytes | None = None) -> None:
        """Begin without memory; *key* is for the sketches, random unless given."""
        self._settings = settings
        self._key = key if key is not None else os.urandom(KEY_OCTETS)
        self._lines: dict[str, _Line] = {}  # in the order last seen
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
            line = _Line(sighting.network, sighting.at)
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
            before = line.kind
            self._settle(line, now)
            if line.kind is not before:
                changed.append(self._verdict(name, line, before))
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
            yield _rendered(name, line)

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
                name, line = _read(text)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                damaged += 1
                continue
            if len(self._lines) >= self._settings.max_lines:
                self._forget_one()
            self._lines[name] = line
            self._changed.add(name)
        return damaged

    # ------------------------------------------------------------------ judging

    def _note_worm(self, line: _Line) -> None:
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

    def _is_known_server(self, line: _Line) -> bool:
        return bool(line.server_since) and line.last - line.server_since >= self._settings.server_age

    def _settle(self, line: _Line, now: float) -> None:
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

    def _judged(self, line: _Line, now: float) -> VerdictKind:
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

    def _verdict(self, name: str, line: _Line, previous: VerdictKind) -> Verdict:
        return Verdict(name, line.network, line.kind, line.since, _evidence(line), previous)

    # ------------------------------------------------------------------ bounds

    def _forget_one(self) -> None:
        """Make room: of those seen longest ago, one without a verdict; those with one go to the end a few times."""
        lines = self._lines
        for _ in range(8):
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


def _evidence(line: _Line) -> tuple[Finding, ...]:
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


# ---------------------------------------------------------------------- snapshot rows


def _rendered(name: str, line: _Line) -> str:
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
            "rank": line.rank,
        },
        separators=(",", ":"),
    )


def _read(text: str) -> tuple[str, _Line]:
    if len(text) > MAX_SNAPSHOT_LINE:
        raise ValueError("too long")
    row = json.loads(text)
    name, network = row["line"], row["network"]
    if not isinstance(name, str) or not isinstance(network, str) or max(len(name), len(network)) > MAX_TEXT:
        raise ValueError("no line")
    times = [float(time) for time in row["times"]]
    if not all(0 <= time < 1e11 for time in times):
        raise ValueError("no times")
    line = _Line(network, times[0])
    line.first, line.last, line.since, line.worm_from, line.worm_at, line.server_since, line.rank_at = times
    minute, minute_new, hour_attempts = row["slots"]
    line.minute, line.minute_new, line.hour_attempts = (
        int(text, 16) & ((1 << 3 * COUNT_BITS) - 1) for text in (minute, minute_new, hour_attempts)
    )
    hour, day = row["maps"]
    line.hour, line.day = _bitmap(hour), _bitmap(day)
    minutes, hours = row["active"]
    line.minutes, line.hours = int(minutes, 16) & _MINUTES_MASK, int(hours, 16) & _HOURS_MASK
    line.attempts, line.packets = sums = [float(number) for number in row["sums"]]
    if not all(0 <= number < 1e15 for number in sums):
        raise ValueError("no sums")
    octets, exact = row["favorites"]
    line.favorites = Favorites(base64.b64decode(octets, validate=True), exact=exact is True)
    line.kind = VerdictKind(row["kind"])
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
