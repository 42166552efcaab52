"""Short personal codes: what the explainer puts into its link, and how a page finds the line again.

A code is eight characters such as ``7F3K-Q2XM``: 40 bits of a keyed hash of line, network and day. Whoever reads it out
on the phone or types it from a mail program's error box gets away with lower case, O for 0 and I or L for 1. Without
the key no code can be made, and guessing one of 10,000 lines' codes takes 100 million tries: a page that looks codes up
must still limit them by address. The day is in it so that a code seen in passing leads nowhere later.

`CodeBook` remembers what stands behind each code, for pages and support desk; a line that is known already can also be
found by making its codes again (`find`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from sekisho.store import make_directory_durably, write_atomically

from .sightings import MAX_TEXT, Sighting

__all__ = ["CodeBook", "Codes", "Explained", "day_of", "load_key", "normalize", "row_of"]

KEY_OCTETS: Final = 32
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
LENGTH: Final = 8
VALID_DAYS: Final = 14
MAX_ENTRIES: Final = 100_000
MAX_DESTINATIONS: Final = 4
MAX_NAME: Final = 64  # characters of an EHLO name kept
MAX_ROW: Final = 2048

_LOOKALIKES: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V", "-": None, " ": None})


def day_of(at: float) -> date:
    """Return the day (UTC) that codes of this time belong to."""
    return datetime.fromtimestamp(at, UTC).date()


def normalize(text: str) -> str | None:
    """Return the code that somebody typed in its one spelling; None when it can be none.

    Full-width characters, lower case, missing or odd hyphens and spaces, and look-alikes are understood.
    """
    if len(text) > 64:
        return None
    plain = unicodedata.normalize("NFKC", text).upper()
    plain = "".join(
        "-" if unicodedata.category(character) == "Pd" or character in "ー−" else character for character in plain
    )
    plain = plain.translate(_LOOKALIKES)
    if len(plain) != LENGTH or any(character not in ALPHABET for character in plain):
        return None
    return f"{plain[:4]}-{plain[4:]}"


def load_key(path: Path) -> bytes:
    """Read the key of the codes, and make one when there is none yet. The file is the service's alone (0600).

    Raises:
        OSError: it can be neither read nor made.
        ValueError: the file holds no key.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        make_directory_durably(path.parent)
        key = secrets.token_bytes(KEY_OCTETS)
        write_atomically(path, key)
    if len(key) != KEY_OCTETS:
        raise ValueError(f"{path} is not a key of {KEY_OCTETS} octets; remove it, and a new one is made")
    return key


class Codes:
    """Makes codes, and finds the line of one among lines that are known."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """*key*: 32 secret octets; codes made with another one cannot be found again."""
        if len(key) != KEY_OCTETS:
            raise ValueError(f"the key must have {KEY_OCTETS} octets")
        self._key = key

    def code(self, line: str, network: str, day: date) -> str:
        """Return the code of *line* on *day*."""
        text = f"{network}\n{line}\n{day.isoformat()}".encode()
        number = int.from_bytes(hashlib.blake2b(text, digest_size=5, key=self._key, person=b"sekisho code").digest())
        digits = "".join([ALPHABET[number >> shift & 31] for shift in range(35, -1, -5)])
        return f"{digits[:4]}-{digits[4:]}"

    def find(
        self, typed: str, lines: Iterable[tuple[str, str]], today: date, *, days: int = VALID_DAYS
    ) -> tuple[str, str, date] | None:
        """Return (line, network, day) of the code that somebody typed, when it is one of *lines* in the last *days*."""
        wanted = normalize(typed)
        if wanted is None:
            return None
        for line, network in lines:
            for age in range(days):
                day = today - timedelta(age)
                if hmac.compare_digest(self.code(line, network, day), wanted):
                    return line, network, day
        return None


@dataclass(slots=True)
class Explained:
    """What stands behind a code: one line on one day.

    Fields:
        connections: how many reached the explainer.
        destinations: where they wanted to go, the first few.
        name: what the mail program called itself last, in EHLO or HELO; None when it said nothing.
        first, last: UTC seconds since the epoch.
    """

    code: str
    line: str
    network: str
    first: float
    last: float
    connections: int = 0
    destinations: tuple[str, ...] = ()
    name: str | None = None


class CodeBook:
    """What stands behind each code of the last days. Bounded; the one not seen for the longest time gives way."""

    __slots__ = ("_codes", "_entries", "_size")

    def __init__(self, codes: Codes, *, size: int = MAX_ENTRIES) -> None:
        self._codes = codes
        self._entries: dict[str, Explained] = {}  # by code, in the order last seen
        self._size = size

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, sighting: Sighting) -> Explained:
        """Count a connection that reached the explainer, and return its line's entry for the day."""
        code = self._codes.code(sighting.line, sighting.network, day_of(sighting.at))
        entry = self._entries.pop(code, None)
        if entry is None:
            if len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            entry = Explained(code, sighting.line, sighting.network, sighting.at, sighting.at)
        self._entries[code] = entry
        entry.last = max(entry.last, sighting.at)
        entry.connections += sighting.attempts
        destination = str(sighting.destination)
        if destination not in entry.destinations and len(entry.destinations) < MAX_DESTINATIONS:
            entry.destinations = (*entry.destinations, destination)
        return entry

    def look_up(self, typed: str) -> Explained | None:
        """Return what stands behind the code that somebody typed; None for an unknown one, or none at all."""
        code = normalize(typed)
        return None if code is None else self._entries.get(code)

    def rows(self, now: float) -> Iterator[str]:
        """Yield every entry that is not too old as a line of JSON, without the line end."""
        oldest = now - VALID_DAYS * 86400
        for entry in self._entries.values():
            if entry.last >= oldest:
                yield json.dumps(
                    {
                        "code": entry.code,
                        "line": entry.line,
                        "network": entry.network,
                        "first": round(entry.first, 3),
                        "last": round(entry.last, 3),
                        "connections": entry.connections,
                        "destinations": entry.destinations,
                        "name": entry.name,
                    },
                    separators=(",", ":"),
                )

    def restore(self, rows: Iterable[str]) -> int:
        """Take up what `rows` gave, and return how many of them could not be read and were left out."""
        damaged = 0
        for text in rows:
            try:
                entry = row_of(text)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                damaged += 1
                continue
            if len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[entry.code] = entry
        return damaged


def row_of(text: str) -> Explained:
    """Read one line of `CodeBook.rows`.

    Raises:
        ValueError, KeyError, TypeError, OverflowError, RecursionError: it is none.
    """
    if len(text) > MAX_ROW:
        raise ValueError("too long")
    row = json.loads(text)
    code = normalize(row["code"])
    name = row["name"]
    texts = [row["line"], row["network"], *row["destinations"], *([] if name is None else [name])]
    if code is None or not all(isinstance(one, str) and len(one) <= MAX_TEXT for one in texts):
        raise ValueError("no entry")
    return Explained(
        code=code,
        line=row["line"],
        network=row["network"],
        first=float(row["first"]),
        last=float(row["last"]),
        connections=int(row["connections"]),
        destinations=tuple(row["destinations"][:MAX_DESTINATIONS]),
        name=name,
    )
