"""From the watcher's proposals to the quarantine set: held as long as they are proposed, released when they are not.

The watcher, which may change no rules, writes its proposals into a file; `Follower` reads it and asks the helper. When
the watcher has been silent for long, nothing is renewed, and the kernel releases each line at its time.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from sekisho.store import write_atomically

from .client import MAX_HOLD, MAX_LINE_TEXT, MAX_LINES, Request
from .policy import Policy, QuarantineAction
from .state import EdgeError
from .verdicts import Proposal

__all__ = ["Follower", "proposals_path", "write_proposals"]

STALE: Final = 120.0  # seconds after which a file of proposals says nothing any more
MAX_OCTETS: Final = 16 * 1024 * 1024
LEAST_HOLD: Final = 60.0  # seconds
REFUSED_FOR: Final = 600.0  # seconds until a line that was refused is asked for again

log = logging.getLogger(__name__)


class Ask(Protocol):
    """How the helper is asked; see `client.HelperClient.ask`."""

    def __call__(self, request: Request, policy: Policy | None = None) -> dict[str, Any]:
        """Raises EdgeError."""


def proposals_path(state: Path) -> Path:
    """Where the watcher writes its proposals."""
    return state / "proposals.json"


def write_proposals(path: Path, proposals: Iterable[Proposal], now: float) -> None:
    """Replace the file of proposals."""
    rows = [{"line": one.line, "until": round(one.until)} for one in proposals]
    write_atomically(path, json.dumps({"at": round(now, 3), "lines": rows}).encode() + b"\n")


def _read(path: Path, now: float) -> dict[str, float] | None:
    """Return the lines proposed, and until when; None when there is no fresh file."""
    try:
        if path.stat().st_size > MAX_OCTETS:
            return None
        row = json.loads(path.read_bytes())
        if not now - STALE <= float(row["at"]) <= now + STALE:
            return None
        return {str(one["line"])[:MAX_LINE_TEXT]: float(one["until"]) for one in row["lines"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the watcher's proposals cannot be read: %r", error)
        return None


class Follower:
    """Keeps the quarantine set as the watcher proposes it."""

    __slots__ = ("_ask", "_load", "_path", "_refused", "_silent", "_tell")

    def __init__(
        self, path: Path, *, load: Callable[[], Policy], ask: Ask, tell: Callable[[str], None] = lambda words: None
    ) -> None:
        """Read proposals at *path*; the policy is read again for each change, and *tell* hears of each line."""
        self._path = path
        self._load = load
        self._ask = ask
        self._tell = tell
        self._refused: dict[str, float] = {}
        self._silent = False

    def run(self, *, every: float) -> None:
        """Follow until SIGTERM or SIGINT; a failure is told and tried again."""
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        while True:
            try:
                self.step(time.time())
            except EdgeError as error:
                log.warning("the quarantine set is as it was: %s", error)
            except Exception as error:  # a policy that cannot be read at the moment: its words; the set stays
                log.warning("the quarantine set is as it was: %s", error)
            if over.wait(max(1.0, every)):
                return

    def step(self, now: float) -> None:
        """Compare once, and change what differs.

        Raises:
            EdgeError: the helper could not be asked, or refused.
        """
        proposed = _read(self._path, now)
        if proposed is None:
            if not self._silent:
                log.warning("the watcher proposes nothing at %s; is `sekisho edge watch` running?", self._path)
            self._silent = True
            return
        self._silent = False
        listed = self._ask(Request("quarantined"))
        held = {str(row["line"]): row for row in listed["held"]}
        add = [
            (line, min(MAX_HOLD, max(LEAST_HOLD, until - now)))
            for line, until in proposed.items()
            if until > now and self._is_wanted(line, until, held, listed["spared"], now)
        ]
        release = [line for line, row in held.items() if row["by"] == "watch" and line not in proposed]
        if not add and not release:
            return
        policy = self._load()
        if policy.quarantine.action is QuarantineAction.OFF:
            return
        for number, lines in enumerate(_batches(add)):
            self._change(policy, tuple(lines), tuple(release[:MAX_LINES]) if number == 0 else (), now)

    def _is_wanted(
        self, line: str, until: float, held: Mapping[str, Any], spared: Mapping[str, float], now: float
    ) -> bool:
        if line in spared or self._refused.get(line, 0.0) > now:
            return False
        row = held.get(line)
        return row is None or float(row["until"]) - now < (until - now) / 2  # renewed twice as seldom as it could be

    def _change(self, policy: Policy, add: tuple[tuple[str, float], ...], release: tuple[str, ...], now: float) -> None:
        done = self._ask(Request("quarantine", force=True, add=add, release=release, by="watch"), policy)
        for words in ("added", "released"):
            for line in done[words]:
                self._tell(f"{words} {line}")
        self._refused = {line: until for line, until in self._refused.items() if until > now}
        for line, words in done["refused"]:
            self._refused[line] = now + REFUSED_FOR
            self._tell(f"not held: {words}")


def _batches(rows: list[tuple[str, float]]) -> Iterator[list[tuple[str, float]]]:
    yield rows[:MAX_LINES]
    for at in range(MAX_LINES, len(rows), MAX_LINES):
        yield rows[at : at + MAX_LINES]
