"""What is known of one line, for the portal and the self-check: reads what gate, explainer and watcher have written.

Reads only, asks no kernel and needs no privilege but to read the files, see `docs/operate/edge-rollout.md`, section 1::

    STATE/current.json, versions/    which policy is in force: `state`, `document`
    STATE/quarantine.json            who is held: `quarantine`
    STATE/watcher.jsonl              what the watcher remembers, a minute old at most: `watcher`
    explainer/explained.jsonl        who was answered, a minute old at most: `codes`
    explainer/log/                   the same, at once, one event for each line and minute
    sightings/                       what `sekisho edge watch --record` kept

The last three lie beside STATE unless they are named. One look costs a few milliseconds: the policy is kept until
another one is in force, the large files are searched for the line's own rows, and never more than their ends.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sekisho.telemetry import log_files

from .codes import Explained, normalize, row_of
from .document import policy_of
from .original import plain_address
from .policy import Action, Exemption, Line, Phase, Policy
from .prefix import BITS, Address, Prefix
from .quarantine import FILE, Held, held_in
from .sightings import Sighting, SightingError
from .state import EdgeError, StateDirectory
from .verdicts import Verdict
from .watcher import Watcher, WatcherSettings

__all__ = ["EdgeUnavailable", "LineRecord", "Lookups"]

SEARCHED: Final = 128 * 1024 * 1024  # octets of a snapshot, from its end; 100,000 lines take less
RECENT: Final = 4 * 1024 * 1024  # octets of a file that grows all day, from its end
CHUNK: Final = 1024 * 1024
MAX_FILE: Final = 64 * 1024 * 1024
MAX_SIGHTINGS: Final = 20
MAX_EXPLAINED: Final = 14  # entries of one line: one a day as long as codes are valid
MAX_TEXT: Final = 64

T = TypeVar("T")


class EdgeUnavailable(Exception):
    """Nothing can be said about lines here; `str()` says why, in words for an operator, not for a subscriber."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """What is known of one line.

    Fields:
        line: its key, as `AccessNetwork.line_of` makes it: "192.0.2.7", "2001:db8:0:100::/56", "203.0.113.9:4096-5119".
            The address itself when it lies in no access network, or is shared and no port was told.
        network, product: of the policy; empty for an address that lies in no access network.
        phase: in which the network is by the rules in force; None outside all networks.
        action: what `Phase.ENFORCE` does there.
        fixed: it keeps its address by contract, and may use port 25 whatever the phase.
        shared: several lines have this address, and the port that was told, if any, is none of an access network's
            line: `explained` then is about any of them.
        closed: mail that it sends to port 25 of foreign servers is explained or blocked now.
        next_change: the next wave of its network: day and phase.
        exemption: that counts for the address asked about, with `expires`, its last day; None: it has none.
        held: in quarantine, with `until` (UTC epoch); None: it is not.
        explained: what the explainer recorded, one entry for each day, the newest first: when, how often, where to,
            what the mail program called itself, the code of the link.
        verdict: the watcher's, with its evidence; None: nothing was seen of it.
        sightings: the last ones recorded, the newest first; empty when `sekisho edge watch` keeps no record.
        reasons: the policy's own words for subscribers, by language.
        version, applied: which rules are in force, and since when (UTC epoch).
        on_trial: they are undone unless an operator confirms them.
        day: for which day they were made: waves and expiries of a later day count from the next apply on.
        unknown: names of fields above that are empty only because their file could not be read.
    """

    line: str
    network: str = ""
    product: str = ""
    phase: Phase | None = None
    action: Action | None = None
    fixed: bool = False
    shared: bool = False
    closed: bool = False
    next_change: tuple[date, Phase] | None = None
    exemption: Exemption | None = None
    held: Held | None = None
    explained: tuple[Explained, ...] = ()
    verdict: Verdict | None = None
    sightings: tuple[Sighting, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    applied: float = 0.0
    on_trial: bool = False
    day: date = date.min
    unknown: frozenset[str] = frozenset()


class Lookups:
    """Answers about lines; may be shared by threads."""

    __slots__ = ("_explainer", "_gate", "_held", "_lock", "_now", "_sightings", "_state")

    def __init__(
        self,
        state: Path,
        now: Callable[[], float] = time.time,
        *,
        explainer: Path | None = None,
        sightings: Path | None = None,
    ) -> None:
        """Look into these directories; nothing is read yet, and none of them need exist.

        Args:
            state: of the gate, ``/var/lib/sekisho-edge/gate`` as a rule; the directory above it does as well.
            now: UTC epoch.
            explainer: the explainer's files; ``explainer`` beside *state* unless given.
            sightings: what the watcher records; ``sightings`` beside *state* unless given.
        """
        if not (state / "versions").is_dir() and (state / "gate").is_dir():
            state = state / "gate"
        self._state = StateDirectory(state)
        self._now = now
        self._explainer = explainer or state.absolute().parent / "explainer"
        self._sightings = sightings or state.absolute().parent / "sightings"
        self._gate: _Gate | None = None
        self._held: _Kept[dict[str, Held]] = _Kept()
        self._lock = threading.Lock()

    def line(self, address: Address | str, port: int | None = None) -> LineRecord:
        """Return what is known of the line with this *address*.

        Args:
            address: of a subscriber, as a connection to a page shows it, or the key of a line. Of a line of several
                addresses (IPv6) any one does.
            port: source port of the same connection, which alone tells lines behind a shared address apart.

        Raises:
            EdgeUnavailable: no policy is in force here, its files cannot be read, or *address* is none.
        """
        with self._lock:
            return self._record(*_parsed(str(address), port))

    def code(self, text: str) -> LineRecord | None:
        """Return what is known of the line behind the code of an explainer's link, as somebody typed it.

        The entry of that code is the first of `explained`. None: there is no such code, or none any more. Guessing is
        not limited here; who offers this to strangers must limit it by address, see `codes`.

        Raises:
            EdgeUnavailable: as in `line`, or what the explainer wrote cannot be read.
        """
        code = normalize(text)
        if code is None:
            return None
        with self._lock:
            try:
                entries = self._explained(f'"code":"{code}"')
            except OSError as error:
                raise EdgeUnavailable(f"{error.filename}: {error.strerror}") from error
            if not entries:
                return None
            record = self._record(*_parsed(entries[0].line, None))
            others = tuple(entry for entry in record.explained if entry.code != code)
            return replace(record, explained=(entries[0], *others))

    # ------------------------------------------------------------------ inside

    def _record(self, prefix: Prefix, port: int | None) -> LineRecord:
        gate = self._current()
        policy, day = gate.policy, gate.day
        address = prefix.network.network_address
        network = policy.network_of(address)
        if network is None:
            return LineRecord(
                line=str(prefix) if prefix.length < BITS[prefix.family] else str(address),
                exemption=gate.exemption(prefix),
                reasons=policy.reasons,
                version=gate.version,
                applied=gate.applied,
                on_trial=gate.on_trial,
                day=day,
            )
        shared = prefix.family == 4 and network.shared_ports is not None and port is None
        line = str(address) if shared else network.line_of(address, port or 0)
        phase, exemption, fixed = policy.phase_of(network, day), gate.exemption(prefix), network.line is Line.FIXED
        unknown: set[str] = set()
        start = f'"line":"{line}:' if shared else f'"line":"{line}"'
        return LineRecord(
            line=line,
            network=network.name,
            product=network.product,
            phase=phase,
            action=network.action,
            fixed=fixed,
            shared=shared,
            closed=phase in (Phase.EXPLAIN, Phase.ENFORCE) and not fixed and exemption is None,
            next_change=next((change for change in policy.changes_of(network) if change[0] > day), None),
            exemption=exemption,
            held=_unless_unreadable(lambda: self._quarantined(line), None, unknown, "held"),
            explained=_unless_unreadable(lambda: tuple(self._explained(start)), (), unknown, "explained"),
            verdict=None if shared else _unless_unreadable(lambda: self._verdict(line), None, unknown, "verdict"),
            sightings=_unless_unreadable(lambda: self._seen(start), (), unknown, "sightings"),
            reasons=policy.reasons,
            version=gate.version,
            applied=gate.applied,
            on_trial=gate.on_trial,
            day=day,
            unknown=frozenset(unknown),
        )

    def _current(self) -> _Gate:
        try:
            pending, current = self._state.pending(), self._state.current()
            on_trial = pending is not None and pending.deadline is not None and pending.seconds_left() > 0
            if pending is not None and on_trial:
                version, applied = pending.new, pending.started
            else:
                version, applied = current.id, current.applied
            if self._gate is None or self._gate.version != version:
                self._gate = _Gate.read(self._state, version)
            return self._gate.since(applied, on_trial)
        except FileNotFoundError as error:
            raise EdgeUnavailable(f"no policy is in force here: {error.filename} is missing") from error
        except OSError as error:
            raise EdgeUnavailable(f"{error.filename}: {error.strerror}") from error
        except (EdgeError, ValueError, TypeError) as error:
            raise EdgeUnavailable(str(error)) from error

    def _quarantined(self, line: str) -> Held | None:
        path = self._state.path / FILE
        try:
            held = self._held.of(path, lambda: {row.line: row for row in held_in(_whole(path))}).get(line)
        except FileNotFoundError:
            return None
        return held if held is not None and held.until > self._now() else None

    def _explained(self, needle: str) -> list[Explained]:
        """Return the book's entries, the newest first, and before them what the last events know better."""
        found: dict[str, Explained] = {}
        for row in _rows(self._explainer / "explained.jsonl", needle, SEARCHED, MAX_EXPLAINED):
            with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
                entry = row_of(row.decode())
                found.setdefault(entry.code, entry)
        for _, path in log_files(self._explainer / "log")[:1]:
            for row in _rows(path, needle, RECENT, MAX_EXPLAINED):
                with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    told = _told(row)
                    known = found.get(told.code)
                    if known is None or known.last < told.last:
                        found[told.code] = told if known is None else replace(told, first=known.first)
        return sorted(found.values(), key=lambda entry: entry.last, reverse=True)

    def _verdict(self, line: str) -> Verdict | None:
        path = self._state.path / "watcher.jsonl"
        try:
            with path.open("rb") as file:
                head = file.readline(4096)
        except FileNotFoundError:
            return None
        watcher = Watcher(WatcherSettings())
        rows = list(_rows(path, f'"line":"{line}"', SEARCHED, 1))
        watcher.restore(row.decode(errors="replace") for row in (head, *rows))
        return watcher.verdict(line, self._now())

    def _seen(self, needle: str) -> tuple[Sighting, ...]:
        day = datetime.fromtimestamp(self._now(), UTC).date()
        found = []
        for row in _rows(self._sightings / f"sightings-{day.isoformat()}.jsonl", needle, RECENT, MAX_SIGHTINGS):
            with contextlib.suppress(SightingError):
                found.append(Sighting.from_json(row))
        return tuple(found)


class _Kept(Generic[T]):
    """What a file says, until it is another file."""

    __slots__ = ("_stamp", "_value")

    def __init__(self) -> None:
        self._stamp: tuple[int, int, int] | None = None
        self._value: T | None = None

    def of(self, path: Path, read: Callable[[], T]) -> T:
        """Return what *read* returned for this file. Raises OSError, and whatever *read* raises."""
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._value is None or stamp != self._stamp:
            self._value = read()
            self._stamp = stamp
        return self._value


class _Gate:
    """The policy in force, and its exemptions in the order of their addresses."""

    __slots__ = ("_exemptions", "applied", "day", "on_trial", "policy", "version")

    def __init__(self, version: str, day: date, policy: Policy) -> None:
        self.version = version
        self.applied = 0.0
        self.on_trial = False
        self.day = day
        counting = [e for e in policy.exemptions if e.expires is None or e.expires >= day]
        self.policy = replace(policy, exemptions=())
        self._exemptions: dict[int, _Exemptions] = {
            family: _Exemptions(e for e in counting if e.prefix.family == family) for family in BITS
        }

    @classmethod
    def read(cls, state: StateDirectory, version: str) -> _Gate:
        """Raises OSError, EdgeError, TypeError, ValueError."""
        if not version:
            raise EdgeError(f"no policy is in force: {state.path} holds no version")
        day = date.fromisoformat(state.version(version).day)
        return cls(version, day, policy_of(state.document(version)))

    def since(self, applied: float, on_trial: bool) -> _Gate:
        self.applied, self.on_trial = applied, on_trial
        return self

    def exemption(self, prefix: Prefix) -> Exemption | None:
        """Return the narrowest exemption that holds all of *prefix*, else one that is for a part of it."""
        return self._exemptions[prefix.family].of(prefix)


class _Exemptions:
    """Of one family."""

    __slots__ = ("_firsts", "_found", "_lengths")

    def __init__(self, exemptions: Iterable[Exemption]) -> None:
        self._found: dict[tuple[int, int], Exemption] = {(e.prefix.first, e.prefix.length): e for e in exemptions}
        self._firsts = sorted(self._found)
        self._lengths = sorted({length for _, length in self._found}, reverse=True)

    def of(self, prefix: Prefix) -> Exemption | None:
        bits = BITS[prefix.family]
        for length in self._lengths:
            if length <= prefix.length:
                shift = bits - length
                if (found := self._found.get((prefix.first >> shift << shift, length))) is not None:
                    return found
        at = bisect_left(self._firsts, (prefix.first, 0))
        inside = at < len(self._firsts) and self._firsts[at][0] <= prefix.last
        return self._found[self._firsts[at]] if inside else None


def _parsed(text: str, port: int | None) -> tuple[Prefix, int | None]:
    """Read an address or a line's key. Raises EdgeUnavailable."""
    text = text[:MAX_TEXT]
    address, colon, ports = text.rpartition(":")
    first, dash, _ = ports.partition("-")
    if "." in address and colon and dash and first.isascii() and first.isdigit():  # "203.0.113.9:4096-5119"
        text, port = address, int(first)
    if port is not None and not 0 <= port <= 65535:
        port = None
    try:
        return (Prefix.parse(text) if "/" in text else Prefix.parse(str(plain_address(text)))), port
    except ValueError:
        raise EdgeUnavailable(f"{text!r} is no address") from None


def _unless_unreadable(read: Callable[[], T], default: T, unknown: set[str], name: str) -> T:
    try:
        return read()
    except (OSError, EdgeError, ValueError, TypeError):
        unknown.add(name)
        return default


def _whole(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE)


def _rows(path: Path, needle: str, most: int, limit: int) -> list[bytes]:
    """Return the last lines of *path* that hold *needle*, the last first, from its last *most* octets."""
    wanted = needle.encode()
    found: list[bytes] = []
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found
    with file:
        file.seek(max(0, file.seek(0, 2) - most))
        rest = b""
        while octets := file.read(CHUNK):
            octets = rest + octets
            end = octets.rfind(b"\n") + 1
            found += _holding(octets, wanted, end)
            del found[:-limit]
            rest = octets[end:][-CHUNK:]
    return found[::-1]


def _holding(octets: bytes, wanted: bytes, end: int) -> list[bytes]:
    found, at = [], 0
    while (at := octets.find(wanted, at, end)) >= 0:
        stop = octets.index(b"\n", at)
        found.append(octets[octets.rfind(b"\n", 0, at) + 1 : stop])
        at = stop
    return found


def _told(row: bytes) -> Explained:
    """Read an event ``edge.explained``. Raises as `row_of` does."""
    event: dict[str, Any] = json.loads(row)
    if event["event"] != "edge.explained":
        raise ValueError("another event")
    return row_of(json.dumps({**event, "first": event["t"], "last": event["t"]}))
