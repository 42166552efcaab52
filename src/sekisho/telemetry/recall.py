"""What the event log tells about one line, one account, or the last two days, kept at hand in bounded memory.

The self-check and the operator's pages ask here. `Recall` follows the log while it grows (see `tail`); at its start it
reads a bounded piece of it back. It never writes, and a log that is away only means that it knows nothing new.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from .shelf import Facts, FactsShelf, LineShelf
from .tail import Tail
from .tallies import Counts, Tallies, add
from .trace import Entry, parse

__all__ = ["History", "Recall", "Remaining", "failure_of", "line_key"]

DAYS: Final = 14
ENTRIES: Final = 200  # of one line or account
READ_BACK: Final = 128 * 1024 * 1024  # octets of the log that are read at the start
SLICE: Final = 256 * 1024  # octets read at once
PATIENCE: Final = 0.005  # seconds between slices, for the rest of the process
EVERY: Final = 1.0  # seconds between looks at the log
FAILURES: Final = 4000  # of all lines together
MAX_NAME: Final = 320  # characters of a login or claimed name that is kept

PROVEN_OCTETS: Final = 10 * 1024 * 1024  # lines from which somebody has logged in
STRANGER_OCTETS: Final = 5 * 1024 * 1024  # all others
ACCOUNT_OCTETS: Final = 10 * 1024 * 1024
CLAIMED_OCTETS: Final = 2 * 1024 * 1024  # names that nobody has logged in by
ACCOUNTS: Final = 16_000
LINES: Final = 16_000
STRANGERS: Final = 3_000

_HEAD = re.compile(rb'\{"t": ?([0-9]{1,12}(?:\.[0-9]{1,6})?), ?"event": ?"([a-z_.]{1,40})"')
_DELIVERIES: Final = {
    b"delivery.delivered": "delivered",
    b"delivery.deferred": "deferred",
    b"delivery.failed": "failed",
    b"delivery.expired": "expired",
}
_OF_PEOPLE: Final = frozenset(
    {
        b"session.closed",
        b"session.refused",
        b"session.failed",
        b"tls.failed",
        b"auth.accepted",
        b"auth.refused",
        b"command.refused",
        b"message.accepted",
        b"message.refused",
        b"edge.explained",
        b"account.password_set",
    }
)
_FAILED: Final = frozenset(
    {"session.refused", "session.failed", "tls.failed", "auth.refused", "command.refused", "message.refused"}
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class History:
    """What is known of one account or line.

    Fields:
        first, last: its first and its latest success, UTC seconds since the epoch; None without any.
        partners: the lines of an account, the accounts of a line, the latest first; at most three.
    """

    first: float | None
    last: float | None
    partners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remaining:
    """An account or a line that still does something of old.

    Fields:
        account: None where only the line is known.
        line: where it came from; of a line its accounts are in *partners*.
        detail: client program, host name, mechanism, TLS version …
        first, last: when that was seen.
        last_success: when the account or line last succeeded in any way; later than *last*, it may have changed since.
    """

    account: str | None
    line: str | None
    partners: tuple[str, ...]
    detail: str
    first: float
    last: float
    count: int
    last_success: float | None


class Recall:
    """The log in *directory*, at hand. All methods may be called from any thread."""

    def __init__(
        self,
        directory: Path,
        *,
        now: Callable[[], float] = time.time,
        read_back: int = READ_BACK,
        days: int = DAYS,
    ) -> None:
        self._tail = Tail(directory, read_back=read_back, days=days, now=now)
        self._now = now
        self._days = days
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._counts = Counts()
        self._proven = LineShelf(PROVEN_OCTETS, ENTRIES)
        self._strangers = LineShelf(STRANGER_OCTETS, ENTRIES)
        self._accounts = LineShelf(ACCOUNT_OCTETS, ENTRIES)
        self._claimed = LineShelf(CLAIMED_OCTETS, ENTRIES)
        self._failures: deque[bytes] = deque(maxlen=FAILURES)
        self._facts = {"account": FactsShelf(ACCOUNTS), "line": FactsShelf(LINES), "stranger": FactsShelf(STRANGERS)}
        self._details: dict[tuple[str, str], tuple[str, str]] = {}
        self._since: float | None = None
        self._is_caught_up = False
        self._problem: str | None = None

    # ------------------------------------------------------------------ following the log

    def follow(self, stop: threading.Event, *, every: float = EVERY) -> None:
        """Read on until *stop* is set: the body of a background thread."""
        while not stop.is_set():
            stop.wait(PATIENCE if self.refresh() else every)

    def refresh(self, octets: int = SLICE) -> bool:
        """Take in what the log has gained, at most about *octets* of it. True: more is waiting. Never raises."""
        with self._reading:  # two readers would share the lines between them, and mix up their order
            try:
                lines, more = self._tail.read(octets)
            except OSError as error:
                if self._problem is None:
                    log.warning("the event log cannot be read: %s", error)
                self._problem = str(error)
                return False
            self._problem = None
            with self._lock:
                for line in lines:
                    self._take(line)
            self._is_caught_up = self._is_caught_up or not more
            return more

    @property
    def is_caught_up(self) -> bool:
        """Whether the reading back at the start is over."""
        return self._is_caught_up

    @property
    def since(self) -> float | None:
        """The earliest moment that was read; None as long as nothing was."""
        return self._since

    @property
    def problem(self) -> str | None:
        """Why the log cannot be read at present; None when it can."""
        return self._problem

    # ------------------------------------------------------------------ asking

    def of_client(self, address: str) -> tuple[Entry, ...]:
        """Return what the line *address* did (IPv4 the address, IPv6 its /64), the oldest first.

        Where addresses are logged by their network, nothing: such an event may be a neighbor's.
        """
        key = line_key(address)
        if key is None:
            return ()
        with self._lock:
            lines = self._strangers.get(key) + self._proven.get(key)
        return self._entries(lines)

    def of_account(self, login: str) -> tuple[Entry, ...]:
        """Return what the account of the canonical *login* did, the oldest first; refused claims of it included."""
        key = _name_key(login)
        with self._lock:
            lines = self._accounts.get(key) or self._claimed.get(key)
        return self._entries(lines)

    def client_history(self, address: str) -> History | None:
        """Return when the line *address* succeeded, and as whom; None when it is not known."""
        key = line_key(address)
        with self._lock:
            return None if key is None else _history(self._facts["line"].get(key))

    def account_history(self, login: str) -> History | None:
        """Return when the account succeeded, and from where; None when it is not known."""
        with self._lock:
            return _history(self._facts["account"].get(_name_key(login)))

    def tallies(self) -> Tallies:
        """Return the counts of the last 48 hours."""
        with self._lock:
            return self._counts.tallies(self._now(), self._since)

    def failures(
        self, *, reason: str = "", client: str = "", account: str = "", limit: int = ENTRIES
    ) -> tuple[Entry, ...]:
        """Return the latest failures, the newest first.

        Args:
            reason: a name from the failures of `Tallies`, or what stands before its dot: ``auth.throttled``, ``auth``.
            client: an address; of IPv6 its /64.
            account: a login, or what stands before its @.
        """
        key = line_key(client) if client else None
        if client and key is None:
            return ()
        with self._lock:
            lines = list(self._failures)
        found: list[Entry] = []
        for line in reversed(lines):
            if len(found) >= limit:
                break
            entry = parse(line)
            if entry is None or (key is not None and line_key(entry.fields.get("client")) != key):
                continue
            own = failure_of(entry.event, entry.fields) or ""
            if reason and own != reason and own.partition(".")[0] != reason:
                continue
            if account and not _is_called(entry.fields.get("account"), account):
                continue
            found.append(entry)
        return tuple(found)

    def remaining(self, kind: str, is_old: Callable[[str], bool] = lambda detail: True) -> tuple[Remaining, ...]:
        """Return who still does something of old, the latest first.

        Args:
            kind: ``agent`` (a client program), ``name`` (another host name than ours), ``mechanism``, ``cleartext``
                (logged in without TLS) of accounts; ``port25`` (tried to log in or relay there), ``relay`` (relays
                without a login), ``cleartext`` and ``tls-version`` (refused for it) of lines.
            is_old: judges the detail; it is asked while others wait, so it must be quick.
        """
        earliest = self._now() - self._days * 86400
        found: list[Remaining] = []
        with self._lock:
            for shelf, facts_shelf in self._facts.items():
                for key, facts in facts_shelf.items():
                    if facts.uses is not None:
                        found += _uses(kind, key, shelf == "account", facts, earliest, is_old)
        return tuple(sorted(found, key=lambda each: (-each.last, each.account or "", each.line or "", each.detail)))

    def _entries(self, lines: Sequence[bytes]) -> tuple[Entry, ...]:
        earliest = self._now() - self._days * 86400
        entries = [entry for line in lines if (entry := parse(line)) is not None and entry.time >= earliest]
        return tuple(sorted(entries, key=lambda entry: entry.time)[-ENTRIES:])

    # ------------------------------------------------------------------ taking in

    def _take(self, line: bytes) -> None:
        head = _HEAD.match(line)
        if head is None:
            return
        at, name = float(head[1]), head[2]
        if self._since is None or at < self._since:
            self._since = at
        counts = self._counts.of_hour(at)
        if name in _DELIVERIES:
            add(counts["deliveries"], _DELIVERIES[name])
            return
        if name not in _OF_PEOPLE:
            return
        try:
            fields = json.loads(line)
        except ValueError:
            return
        event = fields["event"]
        self._count(counts, event, fields)
        if event in _FAILED and failure_of(event, fields) is not None:
            self._failures.append(line)
        self._keep(line, at, event, fields)

    def _count(self, counts: dict[str, dict[str, int]], event: str, fields: dict[str, Any]) -> None:
        if event == "message.accepted":
            add(counts["messages"], "accepted")
            add(counts["listener"], _text(fields, "listener"))
            if "account" in fields:
                add(counts["tls"], _text(fields, "tls") or "none")
                add(counts["mechanism"], _text(fields, "mechanism"))
                add(counts["agent"], _text(fields, "agent"))
        elif event == "auth.accepted":
            add(counts["logins"], "accepted")
        elif event in _FAILED and (reason := failure_of(event, fields)) is not None:
            add(counts["failures"], reason)
            if event == "auth.refused":
                add(counts["logins"], "refused")
            elif event == "message.refused":
                add(counts["messages"], "refused")

    def _keep(self, line: bytes, at: float, event: str, fields: dict[str, Any]) -> None:
        key = line_key(fields.get("client"))
        account = _name_key(fields.get("account"))
        if account and event in ("auth.accepted", "message.accepted"):
            self._note_success(at, key, account, fields)
        if account:
            shelf = self._accounts if account in self._facts["account"] else self._claimed
            shelf.put(account, line)
        if key is None:
            return
        is_proven = key in self._facts["line"]
        (self._proven if is_proven else self._strangers).put(key, line)
        uses = list(_old_ways(event, fields))
        if uses:
            facts = self._facts["line" if is_proven else "stranger"].touch(key)
            for use in uses:
                facts.note(use, at)

    def _note_success(self, at: float, key: str | None, account: str, fields: dict[str, Any]) -> None:
        known = account in self._facts["account"]
        facts = self._facts["account"].touch(account)
        facts.succeeded(at, key)
        if not known:
            for line in self._claimed.take(account):
                self._accounts.put(account, line)
        for kind in ("agent", "name", "mechanism"):
            detail = fields.get(kind)
            if isinstance(detail, str) and detail:
                facts.note(self._detail(kind, detail), at)
        if fields.get("tls") is None:
            facts.note(self._detail("cleartext", _text(fields, "mechanism")), at)
        if key is not None:
            self._facts["line"].touch(key).succeeded(at, account)

    def _detail(self, kind: str, detail: str) -> tuple[str, str]:
        """Return one object for all equal pairs: a client program is the same for thousands of accounts."""
        pair = kind, detail[:MAX_NAME]
        if len(self._details) > 5000:
            self._details.clear()
        return self._details.setdefault(pair, pair)


def failure_of(event: str, fields: dict[str, Any]) -> str | None:
    """Return what failed and why, as `Tallies` and `Recall.failures` name it; None when nothing of interest did."""
    if event == "tls.failed":
        return f"tls.{_text(fields, 'reason') or 'other'}"
    if event == "auth.refused":
        return f"auth.{_text(fields, 'reason') or 'other'}"
    if event == "session.refused":
        return "session.crowded"
    if event == "session.failed":
        return f"session.{_text(fields, 'reason') or 'internal'}"
    if event == "command.refused":
        reason = _text(fields, "reason")
        return f"command.{reason}" if reason else None
    if event == "message.refused":
        code, _, rest = _text(fields, "reply").partition(" ")
        status = rest.partition(" ")[0]
        return f"message.{_text(fields, 'reason') or (status if status[:2] in ('4.', '5.') else code) or 'other'}"
    return None


def _old_ways(event: str, fields: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what a line did of old in this event, where no account stands behind it."""
    if event == "session.closed":
        tried = _text(fields, "tried")
        if tried == "cleartext":
            yield "cleartext", ""
        elif tried:
            yield "port25", tried
    elif event == "message.accepted" and fields.get("relayed") is True:
        yield "relay", _text(fields, "hello")
    elif event == "tls.failed" and fields.get("reason") == "version":
        yield "tls-version", ""


def _uses(
    kind: str, key: str, is_account: bool, facts: Facts, earliest: float, is_old: Callable[[str], bool]
) -> Iterable[Remaining]:
    for (own_kind, detail), use in (facts.uses or {}).items():
        if own_kind != kind or use.last < earliest or not is_old(detail):
            continue
        partners = tuple(reversed(facts.partners))
        account, line = (key, partners[0] if partners else None) if is_account else (None, key)
        yield Remaining(
            account, line, () if is_account else partners, detail, use.first, use.last, use.count, facts.last
        )


def _history(facts: Facts | None) -> History | None:
    return None if facts is None else History(facts.first, facts.last, tuple(reversed(facts.partners)))


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value[:MAX_NAME] if isinstance(value, str) else ""


def _name_key(name: object) -> str:
    return name.strip()[:MAX_NAME].casefold() if isinstance(name, str) else ""


def _is_called(name: object, wanted: str) -> bool:
    own, asked = _name_key(name), _name_key(wanted)
    return own == asked or ("@" not in asked and own.partition("@")[0] == asked)


def line_key(address: object) -> str | None:
    """Return the text that stands for the line of *address*: an IPv4 address or an IPv6 /64; None for anything else."""
    if not isinstance(address, str) or len(address) > 64:
        return None
    return _line_key(address)


@lru_cache(maxsize=4096)
def _line_key(address: str) -> str | None:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a network: addresses are not logged in full
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))
