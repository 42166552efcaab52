"""The quarantine set: lines that are held for a while, in a table of its own beside the gate's.

The kernel forgets each line by itself when its time is over; so whoever stops renewing, because the verdict cleared or
because the watcher died, releases it. Who is held, why and until when is kept in the state directory::

    quarantine.json      the lines held, and those spared: released by an operator, the watcher may not take them again

Every change is one transaction that leaves exactly these lines in the set; chains are touched only when the policy made
other ones. A chain whose name is a digest says which lines the kernel holds, so that what a kill left is put right by
the next change. A change renews the allowances of all lines held.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Final

from sekisho.store import write_atomically
from sekisho.telemetry import EventLog, LogSettings

from . import listing
from .holding import QUARANTINE_TABLE, elements, removal, structure
from .lines import LineKey, Lines, NotALine
from .netlink import generation
from .nft import Absent, NftError
from .nftables import Backend
from .policy import Policy, QuarantineAction
from .state import SHARED, EdgeError, StateDamaged, boot_id, digest

__all__ = ["FILE", "Changed", "Held", "Listed", "NoQuarantine", "Quarantine", "held_in"]

FILE: Final = "quarantine.json"
MARKER: Final = "version_"
ROLLED_BACK: Final = "rolled back"
MAX_SPARED: Final = 10_000
MANY: Final = 20  # lines named in one entry of the history


class NoQuarantine(EdgeError):
    """The policy says that no line is held, or that no more are."""


@dataclass(frozen=True, slots=True)
class Held:
    """A line in the set.

    Fields:
        since, until: UTC epoch; the kernel forgets the line at `until`.
        by: "operator" or "watch"; the watcher releases its own alone.
        who: as in the history.
    """

    line: str
    network: str
    since: float
    until: float
    by: str
    who: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Who is held.

    Fields:
        spared: lines that the watcher may not take, and until when.
        agrees: the kernel holds these; else a change was killed, or somebody edited the table.
    """

    action: str
    held: tuple[Held, ...]
    spared: Mapping[str, float]
    agrees: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did; `refused` has lines with the reason."""

    added: tuple[str, ...]
    renewed: tuple[str, ...]
    released: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Book:
    """The file."""

    held: dict[str, Held]
    spared: dict[str, float]
    action: str = "off"
    boot: str = ""

    def digest(self) -> str:
        return digest(json.dumps([self.action, sorted((row.line, row.until) for row in self.held.values())]))[:8]


class Quarantine:
    """Changes the set of this network namespace."""

    def __init__(self, backend: Backend) -> None:
        """Share lock, state directory and nft with *backend*."""
        self._backend = backend
        self._state = backend.state
        self._path = backend.state.path / FILE

    def listed(self) -> Listed:
        """Say who is held. Reads only, and needs no lock."""
        now = time.time()
        book = self._read()
        marker = self._marker()
        rows = tuple(sorted((row for row in book.held.values() if row.until > now), key=lambda row: row.since))
        spared = {line: until for line, until in book.spared.items() if until > now}
        agrees = (marker is None and not rows) or (marker or "").endswith(f"_{book.digest()}")
        return Listed(book.action, rows, spared, agrees)

    def change(
        self,
        policy: Policy,
        today: date,
        *,
        add: Iterable[tuple[str, float]] = (),
        release: Iterable[str] = (),
        spare: float = 0.0,
        by: str,
        who: str,
    ) -> Changed:
        """Hold some lines for so many seconds each, release others, and see that the kernel holds exactly the rest.

        Args:
            spare: seconds for which the watcher may not take the released lines again.

        Raises:
            NoQuarantine: the policy says "off".
            NftError: refused by nft; the set is as it was.
        """
        if policy.quarantine.action is QuarantineAction.OFF:
            raise NoQuarantine(
                "the policy has no quarantine\n"
                'Remedy: [quarantine] action = "limit" or "garden": docs/operate/edge-policy.md.'
            )
        self._state.prepare()
        with self._state.locked(who):
            now = time.time()
            old = self._current(now, who)
            if by == "watch" and old.action == ROLLED_BACK:
                raise NoQuarantine("rolled back: the watcher holds no line until a policy is applied again")
            book = _Book(dict(old.held), dict(old.spared), policy.quarantine.action.value, boot_id())
            lines = Lines(policy, today)
            keys, refused = _keys(book, lines)
            gone = {line: "may not be held any more" for line in old.held if line not in keys}
            released = _release(book, lines, release, now + spare if spare else 0.0, refused)
            gone |= dict.fromkeys(released, "verdict cleared" if by == "watch" else "operator")
            added, renewed = [], []
            for text, seconds in add:
                try:
                    key = lines.find(text)
                    _refuse(policy, book, key, by)
                except NotALine as error:
                    refused.append((text, str(error)))
                    continue
                before = book.held.get(key.line)
                if before is None:
                    added.append(key.line)
                    book.held[key.line] = Held(key.line, key.network, now, now + seconds, by, who)
                else:
                    renewed.append(key.line)
                    owner = (by, who) if by == "operator" else (before.by, before.who)
                    until = now + seconds if by == "operator" else max(before.until, now + seconds)
                    book.held[key.line] = replace(before, until=until, by=owner[0], who=owner[1])
                if by == "operator":
                    book.spared.pop(key.line, None)
                keys[key.line] = key
            self._put(policy, old, book, keys, now)
            self._tell_quarantined(book, added, who)
            self._tell_released(old, gone, who)
            return Changed(tuple(added), tuple(renewed), tuple(released), tuple(refused))

    def suit(self, policy: Policy, today: date, *, who: str) -> None:
        """Have the set follow a policy that was just applied; nothing is held when it says "off"."""
        if not self._path.exists():
            return
        if policy.quarantine.action is QuarantineAction.OFF:
            self.clear(who=who, reason="the policy has no quarantine any more")
            return
        if (book := self._read()).action == ROLLED_BACK:
            with self._state.locked(who):
                self._write(replace(book, action=policy.quarantine.action.value))
        if book.held:
            self.change(policy, today, by="operator", who=who)

    def clear(self, *, who: str, reason: str, rolled_back: bool = False) -> bool:
        """Release all, and take the table away. Returns whether there was anything.

        Args:
            rolled_back: the watcher may hold no line until a policy is applied again.
        """
        if not self._state.path.exists():
            return False
        with self._state.locked(who):
            old = self._current(time.time(), who)
            there = self._marker() is not None
            if there or old.held or rolled_back:
                self._write(_Book({}, old.spared, ROLLED_BACK if rolled_back else old.action, boot_id()))
            if not there and not old.held:
                return False
            self._commit(removal())
            self._tell_released(old, dict.fromkeys(old.held, reason), who)
            return True

    # ------------------------------------------------------------------ kernel

    def _put(self, policy: Policy, old: _Book, book: _Book, keys: Mapping[str, LineKey], now: float) -> None:
        """First the file, then the kernel; the file is as it was when the kernel refuses."""
        shape = structure(policy)
        wanted = f"{MARKER}{digest(shape)[:8]}_{book.digest()}"
        marker = self._marker()
        if marker == wanted or (marker is None and not book.held):
            if book != old:
                self._write(book)
            return
        text = removal()
        if book.held:
            seconds = [(keys[line], round(row.until - now)) for line, row in book.held.items()]
            same = marker is not None and marker.startswith(wanted[: -len(book.digest())])
            head = f"delete chain {QUARANTINE_TABLE} {marker}\n" if same else shape
            text = f"{head}{elements(policy, seconds)}add chain {QUARANTINE_TABLE} {wanted}\n"
        self._write(book)
        try:
            self._commit(text)
        except NftError:
            self._write(old)
            raise

    def _commit(self, text: str) -> None:
        """Give *text* to the kernel; when only we changed it, the gate need not look for drift because of this."""
        before = generation()
        self._backend.run(["-f", "-"], text)
        current = self._state.current()
        if before and current.generation == before and current.boot == boot_id() and generation() == before + 1:
            self._state.set_current(replace(current, generation=before + 1))

    def _marker(self) -> str | None:
        """Return the chain that says what the kernel holds; "" for a table without one, None for no table."""
        try:
            document = self._backend.run(["-t", "-j", "list", "table", *QUARANTINE_TABLE.split()])
        except Absent:
            return None
        chains = listing.names(document).get("chain", set())
        return next((name for name in sorted(chains) if name.startswith(MARKER)), "")

    # ------------------------------------------------------------------ file and events

    def _current(self, now: float, who: str) -> _Book:
        """Return the book without those whose time is over; after a reboot or a flush, without all."""
        book = self._read()
        lost = book.held and self._marker() is None
        over = {
            line: "gone from the kernel" if lost and row.until > now else "time over"
            for line, row in book.held.items()
            if lost or row.until <= now
        }
        if over:
            self._tell_released(book, over, who)
        held = {line: row for line, row in book.held.items() if line not in over}
        spared = {line: until for line, until in book.spared.items() if until > now}
        left = _Book(held, spared, book.action, book.boot)
        if over:
            self._write(left)
        return left

    def _read(self) -> _Book:
        try:
            row: dict[str, Any] = json.loads(self._path.read_bytes())
            held = _held(row)
            spared = {str(line): float(until) for line, until in row["spared"].items()}
            return _Book({one.line: one for one in held}, spared, str(row["action"]), str(row["boot"]))
        except FileNotFoundError:
            return _Book({}, {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateDamaged(f"{self._path}: {error}\nRemedy: remove it, and `nft {_DELETE}`.") from error

    def _write(self, book: _Book) -> None:
        row = {
            "action": book.action,
            "boot": book.boot,
            "held": [asdict(one) for one in book.held.values()],
            "spared": book.spared,
        }
        write_atomically(self._path, json.dumps(row, indent=1).encode() + b"\n", mode=SHARED)

    def _tell_quarantined(self, book: _Book, lines: list[str], who: str) -> None:
        if not lines:
            return
        with self._log() as log:
            for line in lines:
                row = book.held[line]
                log.emit(
                    "edge.quarantined",
                    who=who,
                    line=line,
                    network=row.network,
                    until=round(row.until),
                    by=row.by,
                    action=book.action,
                )
        self._state.record("edge.quarantined", who=who, count=len(lines), lines=lines[:MANY])

    def _tell_released(self, book: _Book, gone: Mapping[str, str], who: str) -> None:
        if not gone:
            return
        with self._log() as log:
            for line, reason in gone.items():
                log.emit("edge.released", who=who, line=line, network=book.held[line].network, reason=reason)
        self._state.record("edge.released", who=who, count=len(gone), lines=list(gone)[:MANY])

    def _log(self) -> contextlib.closing[EventLog]:
        return contextlib.closing(EventLog(self._state.path / "log", LogSettings(), 0))


_DELETE: Final = f"delete table {QUARANTINE_TABLE}"


def held_in(octets: bytes) -> list[Held]:
    """Return the lines that the file says are held. Raises ValueError for what is no such file."""
    try:
        return _held(json.loads(octets))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{FILE} is not what was written") from error


def _held(row: dict[str, Any]) -> list[Held]:
    return [Held(**one) for one in row["held"]]


def _keys(book: _Book, lines: Lines) -> tuple[dict[str, LineKey], list[tuple[str, str]]]:
    """Look at all lines held with today's policy; one that may not be held any more leaves the book."""
    keys: dict[str, LineKey] = {}
    refused: list[tuple[str, str]] = []
    for line in list(book.held):
        try:
            keys[line] = lines.find(line)
            if keys[line].line != line:
                raise NotALine(f"{line} is another line by now")
        except NotALine as error:
            refused.append((line, str(error)))
            keys.pop(line, None)
            del book.held[line]
    return keys, refused


def _release(
    book: _Book, lines: Lines, texts: Iterable[str], spared_until: float, refused: list[tuple[str, str]]
) -> list[str]:
    released = []
    for text in texts:
        line = text
        if line not in book.held:
            with contextlib.suppress(NotALine):
                line = lines.find(text).line
        if book.held.pop(line, None) is None:
            refused.append((text, f"{line} is not held"))
            continue
        released.append(line)
        if spared_until and len(book.spared) < MAX_SPARED:
            book.spared[line] = spared_until
    return released


def _refuse(policy: Policy, book: _Book, key: LineKey, by: str) -> None:
    """Raises NotALine."""
    if by == "watch" and key.line in book.spared:
        raise NotALine(f"{key.line} was released by an operator, and is spared for a while")
    if key.line not in book.held and len(book.held) >= policy.quarantine.most_lines:
        raise NotALine(f"{policy.quarantine.most_lines} lines are held already; more are not (most_lines)")
