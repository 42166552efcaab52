"""Reading the event log as it grows: whole lines, each once, over midnight and whoever writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from .events import file_name
from .trace import log_files

__all__ = ["Tail"]

MAX_LINE: Final = 64 * 1024  # octets; a longer line is no event of ours and is passed over


@dataclass(slots=True)
class _Place:
    """How far one file has been read.

    Fields:
        inode: the file that *offset* belongs to; another one under the same name is read from its beginning.
        rest: the beginning of a line whose end is not written yet.
        skipping: inside a line that is passed over: one too long, or the one that a reading back began in.
    """

    offset: int
    inode: int | None = None
    rest: bytes = b""
    skipping: bool = False


class Tail:
    """Yields what the day files gain.

    The first reading begins *read_back* octets before the present end, but no more than *days* files ago; compressed
    files are not read. Files may vanish, shrink or be replaced meanwhile. Memory holds one slice.
    """

    def __init__(self, directory: Path, *, read_back: int, days: int, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._read_back = read_back
        self._days = days
        self._now = now
        self._places: dict[str, _Place] | None = None  # by name, the oldest day first
        self._oldest = ""  # name of the oldest file that may be read

    def read(self, octets: int) -> tuple[list[bytes], bool]:
        """Return the next whole lines, in about *octets*, without their ends, and whether more is waiting.

        Raises:
            OSError: the directory or a file cannot be read.
        """
        if self._places is None:
            self._places = self._plan()
        self._turn_page(self._places)
        lines: list[bytes] = []
        for name, place in list(self._places.items()):
            chunk = self._chunk(name, place, octets)
            lines += _split(place, chunk)
            octets -= len(chunk)
            if octets <= 0:
                return lines, True
            if name < self._yesterday():  # at its end, and nobody writes there any more
                del self._places[name]
        return lines, False

    def _plan(self) -> dict[str, _Place]:
        """Find where to begin: in the newest files, together no more than what may be read back."""
        newest = self._today() - timedelta(days=self._days - 1)
        left = self._read_back
        found: dict[str, _Place] = {}
        for day, path in log_files(self._directory):
            if day < newest or path.suffix == ".gz":
                continue
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            self._oldest = path.name
            offset = max(0, size - left)
            found[path.name] = _Place(offset, skipping=offset > 0)
            left -= size - offset
            if left <= 0:
                break
        return dict(reversed(found.items()))

    def _turn_page(self, places: dict[str, _Place]) -> None:
        """Follow the files of yesterday and today: around midnight both may grow."""
        for name in (self._yesterday(), file_name(self._today().isoformat())):
            if name >= self._oldest and name not in places:
                places[name] = _Place(0)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._now(), UTC).date()

    def _yesterday(self) -> str:
        return file_name((self._today() - timedelta(days=1)).isoformat())

    def _chunk(self, name: str, place: _Place, octets: int) -> bytes:
        """Read on in one file, from its beginning when it is another one than it was."""
        try:
            with (self._directory / name).open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if place.inode not in (None, status.st_ino) or status.st_size < place.offset:
                    place.offset, place.rest, place.skipping = 0, b"", False
                place.inode = status.st_ino
                file.seek(place.offset)
                chunk = file.read(octets)
        except FileNotFoundError:
            return b""
        place.offset += len(chunk)
        return chunk


def _split(place: _Place, chunk: bytes) -> list[bytes]:
    """Return the lines that end in *chunk*; keep what has no end yet, within bounds."""
    lines = (place.rest + chunk).split(b"\n")
    place.rest = lines.pop()
    if place.skipping and lines:
        del lines[0]
        place.skipping = False
    if len(place.rest) > MAX_LINE:
        place.rest, place.skipping = b"", True
    return [line for line in lines if len(line) <= MAX_LINE]
