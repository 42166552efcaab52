"""How many different destinations: a small, fixed amount of memory for each line, exact where it matters.

A `Bitmap` is an int of `BITS` bits with one bit for each destination, found by a keyed hash (linear counting): exact
within a few percent up to some hundreds, unsure beyond a thousand, which is far past every threshold. The key keeps an
infected machine from choosing destinations that fall on the same bits.

Three slots of time are kept in one int, the newest lowest: `moved` lets time pass. That is half the memory of a tuple.

`Favorites` keeps the few destinations a line goes to most, exactly while they are few (the space-saving algorithm
beyond that).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

__all__ = [
    "BITS",
    "COUNT_BITS",
    "FAVORITES",
    "Favorite",
    "Favorites",
    "added",
    "bit_of",
    "estimate",
    "moved",
    "network_bit_of",
    "total",
    "union",
]

BITS: Final = 512
BITS_MASK: Final = (1 << BITS) - 1
COUNT_BITS: Final = 32
COUNT_MASK: Final = (1 << COUNT_BITS) - 1
FAVORITES: Final = 4

_ROW: Final = struct.Struct("=16sIIIHH")
_SIZE: Final = _ROW.size
_MAX_COUNT: Final = 0xFFFFFFFF
_MAX_GAP: Final = 0xFFFF


def moved(slots: int, steps: int, bits: int) -> int:
    """Move three slots of *bits* each by *steps*; the newest become empty, the oldest go."""
    return (slots << bits * steps) & ((1 << 3 * bits) - 1) if steps < 3 else 0


def added(counts: int, number: int) -> int:
    """Add *number* to the newest of three counts, which saturates."""
    return counts + min(number, COUNT_MASK - (counts & COUNT_MASK))


def total(counts: int) -> int:
    """Return the sum of three counts."""
    return (counts & COUNT_MASK) + (counts >> COUNT_BITS & COUNT_MASK) + (counts >> 2 * COUNT_BITS)


def union(bitmaps: int) -> int:
    """Return the bitmap of everything in three slots."""
    return (bitmaps | bitmaps >> BITS | bitmaps >> 2 * BITS) & BITS_MASK


def bit_of(destination: IPv4Address | IPv6Address, key: bytes) -> int:
    """Return the int with the one bit set that stands for *destination*."""
    return _bit(destination.packed, key)


def network_bit_of(destination: IPv4Address | IPv6Address, key: bytes) -> int:
    """Return the bit of the destination's /24 or /48: large mail services answer from many addresses side by side."""
    packed = destination.packed
    return _bit(packed[:3] if len(packed) == 4 else packed[:6], key)


def estimate(bitmap: int) -> int:
    """Return about how many destinations set the bits of *bitmap*."""
    ones = bitmap.bit_count()
    if ones < 4:
        return ones
    empty = max(BITS - ones, 1)
    return max(ones, round(-BITS * math.log(empty / BITS)))


def _bit(octets: bytes, key: bytes) -> int:
    digest = hashlib.blake2b(octets, digest_size=2, key=key).digest()
    return 1 << (int.from_bytes(digest, "big") % BITS)


@dataclass(frozen=True, slots=True)
class Favorite:
    """One of the destinations a line goes to most.

    Fields:
        attempts: at least as many as there were, exact while the line has few destinations.
        first, last: UTC seconds since the epoch, whole ones.
        backing_off: how often the pause before a further attempt was clearly longer than the one before it.
    """

    destination: IPv4Address | IPv6Address
    attempts: int
    first: int
    last: int
    backing_off: int


class Favorites:
    """The few destinations of a line, packed."""

    __slots__ = ("exact", "octets")

    def __init__(self, octets: bytes = b"", *, exact: bool = True) -> None:
        """Begin with *octets* of another one, or empty. *exact*: no destination has been pushed out yet."""
        if len(octets) % _SIZE or len(octets) > FAVORITES * _SIZE:
            raise ValueError("no whole rows of favorites")
        self.octets = octets
        self.exact = exact

    def saw(self, destination: IPv4Address | IPv6Address, attempts: int, at: int) -> None:
        """Count *attempts* towards *destination*."""
        packed = destination.packed
        name = packed if len(packed) == 16 else b"\0" * 10 + b"\xff\xff" + packed
        octets = self.octets
        for start in range(0, len(octets), _SIZE):
            if octets.startswith(name, start):
                self._put(start, self._again(start, attempts, at))
                return
        if len(octets) < FAVORITES * _SIZE:
            self.octets = octets + _ROW.pack(name, min(attempts, _MAX_COUNT), at, at, 0, 0)
            return
        self.exact = False
        start = min(range(0, len(octets), _SIZE), key=lambda row: _ROW.unpack_from(octets, row)[1])
        count = _ROW.unpack_from(octets, start)[1]
        self._put(start, _ROW.pack(name, min(count + attempts, _MAX_COUNT), at, at, 0, 0))

    def _put(self, start: int, row: bytes) -> None:
        self.octets = self.octets[:start] + row + self.octets[start + _SIZE :]

    def _again(self, start: int, attempts: int, at: int) -> bytes:
        name, count, first, last, gap, grown = _ROW.unpack_from(self.octets, start)
        pause = at - last
        if attempts and pause >= 30:  # seconds; shorter ones belong to the same try, as several addresses or SYNs do
            if gap and 1.3 * gap < pause < 8 * gap:
                grown = min(grown + 1, _MAX_GAP)
            gap = min(pause, _MAX_GAP)
        return _ROW.pack(name, min(count + attempts, _MAX_COUNT), first, max(last, at), gap, grown)

    def __iter__(self) -> Iterator[Favorite]:
        """All of them, the most frequent first."""
        rows = sorted(_ROW.iter_unpack(self.octets), key=lambda row: -row[1])
        for name, count, first, last, _, grown in rows:
            address = IPv6Address(name)
            yield Favorite(address.ipv4_mapped or address, count, first, last, grown)
