"""Moments as the readers of these pages tell them: in their time zone, which every page with times names once."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from .words import word

__all__ = ["Clock"]

NAMED = ("JST", "UTC")  # zones that have a name in words


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock on the wall.

    Fields:
        zone: None for that of this machine.
        now: UTC seconds since the epoch.
    """

    zone: tzinfo | None = None
    now: Callable[[], float] = time.time

    @classmethod
    def of(cls, name: str | None, now: Callable[[], float]) -> Clock:
        """Return the clock of a time zone by its IANA name; without one, of this machine."""
        return cls(zoneinfo.ZoneInfo(name) if name else None, now)

    def at(self, epoch: float) -> datetime:
        """Return a moment (UTC epoch, seconds) as date and time there."""
        return datetime.fromtimestamp(epoch, UTC).astimezone(self.zone)

    def moment(self, epoch: float | None, language: str) -> str:
        """Return a moment to the minute as one writes it, with its year when that is another one; empty for none."""
        if epoch is None:
            return ""
        at = self.at(epoch)
        key = "common.moment" if at.year == self.at(self.now()).year else "common.moment.year"
        return word(key, language, year=at.year, month=at.month, name=f"{at:%B}", day=at.day, time=f"{at:%H:%M}")

    def figures(self, epoch: float | None) -> str:
        """Return a moment to the minute, for tables and files: in order when sorted as text; empty for none."""
        return "" if epoch is None else self.at(epoch).strftime("%Y-%m-%d %H:%M")

    def column(self, epoch: float) -> tuple[str, str, int]:
        """Return for the hour of a chart its day (``11-24``), its full name and its number."""
        at = self.at(epoch)
        return at.strftime("%m-%d"), at.strftime("%Y-%m-%d %H:00"), at.hour

    def named(self, language: str) -> str:
        """Return what the zone is called now."""
        at = self.at(self.now())
        name, offset = at.tzname() or "", at.utcoffset() or timedelta()
        if name in NAMED:
            return word(f"common.zone.{name.lower()}", language)
        hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
        from_utc = f"UTC{'-' if offset < timedelta() else '+'}{hours}" + (f":{minutes:02}" if minutes else "")
        return word("common.zone.other", language, name=name, offset=from_utc) if name.isalpha() else from_utc
