"""Is the service well: what the operator's first page shows, and `/health` sums up for a monitor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from sekisho.queue import SpoolError, SpoolReader, Stats
from sekisho.supervise.control import ask
from sekisho.supervise.errors import ControlError
from sekisho.telemetry import log_files

from .parts import Parts

__all__ = ["Check", "Checkup", "State", "is_well"]

PATIENCE: Final = 2.0  # seconds that a mail process may take to answer
KEPT: Final = 5.0  # seconds for which a look counts: `/health` is asked by anybody, as often as they like
CERTIFICATE_DAYS: Final = 14  # left, from which on it is told
OLD: Final = 86400.0  # seconds that a message waits before it is told


class State(StrEnum):
    """How something is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Fields:
        name: with *verdict*, the words: ``operator.health.NAME.VERDICT``.
        values: numbers: counts, octets, seconds, or UTC seconds since the epoch where the name ends in ``_at``.
    """

    name: str
    state: State
    verdict: str
    values: Mapping[str, float | int] = field(default_factory=dict)


def is_well(checks: tuple[Check, ...]) -> bool:
    """Tell whether mail is taken and kept: nothing is bad. What is unknown is not bad."""
    return all(check.state is not State.BAD for check in checks)


class Checkup:
    """Looks, and remembers it for a few seconds, however many ask."""

    def __init__(self, parts: Parts, clock: Callable[[], float] | None = None) -> None:
        self._parts = parts
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._lock = asyncio.Lock()
        self._last: tuple[float, tuple[Check, ...]] | None = None

    async def look(self) -> tuple[Check, ...]:
        """Return every check, at most `KEPT` seconds old."""
        async with self._lock:
            if self._last is None or self._clock() - self._last[0] > KEPT:
                self._last = self._clock(), await asyncio.to_thread(_look, self._parts)
            return self._last[1]


def _look(parts: Parts) -> tuple[Check, ...]:
    try:
        with SpoolReader(parts.where.queue) as reader:
            stats: Stats | None = reader.stats()
    except (SpoolError, OSError):
        stats = None
    return (
        _mail(parts),
        _queue(stats),
        _oldest(stats, parts.now()),
        _disk(parts),
        _certificate(parts),
        _log(parts),
        _edge(parts),
    )


def _mail(parts: Parts) -> Check:
    answers: list[Mapping[str, Any]] = []
    for path in parts.where.run.glob("worker-*.sock"):
        try:
            answers.append(ask(path, "ping", PATIENCE))
        except ControlError:
            continue
    if not answers:
        return Check("mail", State.BAD, "none")
    expected = max(int(answer["workers"]) for answer in answers)
    values = {"alive": len(answers), "expected": expected, "up": parts.now() - min(each["since"] for each in answers)}
    if len(answers) < expected:
        return Check("mail", State.WARN, "some", values)
    return Check("mail", State.GOOD, "all", values)


def _queue(stats: Stats | None) -> Check:
    if stats is None:
        return Check("queue", State.BAD, "away")
    return Check(
        "queue",
        State.GOOD,
        "size",
        {"messages": stats.messages, "recipients": sum(stats.recipients.values()), "octets": stats.octets},
    )


def _oldest(stats: Stats | None, now: float) -> Check:
    if stats is None:
        return Check("oldest", State.UNKNOWN, "unknown")
    if stats.oldest is None:
        return Check("oldest", State.GOOD, "none")
    age = max(0.0, now - stats.oldest)
    return Check("oldest", State.WARN if age > OLD else State.GOOD, "waits", {"age": age})


def _disk(parts: Parts) -> Check:
    try:
        found = os.statvfs(parts.where.queue)
    except OSError:
        return Check("disk", State.UNKNOWN, "unknown")
    free, minimum = found.f_bavail * found.f_frsize, int(parts.settings.queue.minimum_free)
    values = {"free": free, "minimum": minimum}
    if free < minimum:
        return Check("disk", State.BAD, "full", values)
    return Check("disk", State.WARN if free < 2 * minimum else State.GOOD, "free", values)


def _certificate(parts: Parts) -> Check:
    """Look at the certificate that is in use, which the supervisor has read."""
    try:
        leaf = x509.load_pem_x509_certificate(parts.signer[0] if parts.signer else b"")
    except ValueError:
        return Check("certificate", State.UNKNOWN, "unknown")
    ends = leaf.not_valid_after_utc.timestamp()
    left = ends - parts.now()
    values = {"left": left, "ends_at": ends}
    if left <= 0:
        return Check("certificate", State.BAD, "over", values)
    return Check("certificate", State.WARN if left < CERTIFICATE_DAYS * 86400 else State.GOOD, "ends", values)


def _log(parts: Parts) -> Check:
    if parts.recall.problem is not None:
        return Check("log", State.WARN, "unreadable")
    newest = _newest(parts.where.log)
    if newest is None:
        return Check("log", State.WARN, "none")
    values = {"written_at": newest}
    return Check("log", State.GOOD, "written" if parts.recall.is_caught_up else "catching_up", values)


def _newest(directory: Path) -> float | None:
    try:
        files = log_files(directory)
        return files[0][1].stat().st_mtime if files else None
    except OSError:
        return None


def _edge(parts: Parts) -> Check:
    directory = parts.settings.portal.edge
    if directory is None:
        return Check("edge", State.UNKNOWN, "elsewhere")
    try:
        applied = (directory / "current.json").stat().st_mtime
    except FileNotFoundError:
        return Check("edge", State.WARN, "none")
    except OSError:
        return Check("edge", State.WARN, "unreadable")
    return Check("edge", State.GOOD, "in_force", {"applied_at": applied})
