"""`Ledger`: counters over sliding windows, shared by all processes of the service and surviving its restart.

Policy counts here what must not be forgotten when a process dies: messages an account has sent, passwords an address
has guessed. It is one file of fixed size, mapped by every process, so that nobody's flood can make it grow: when the
place for a counter is taken, the oldest one there gives way. It knows no mail and no policy.

File: a header page, then buckets of `WAYS` slots. A counter has its place by a keyed hash of its name, so that nobody
outside can aim two names at one bucket; only the hash is stored. A kind spelled ``kind/other`` has its place in the
bucket of *kind*: two counters that are always asked for together cost one lock. A slot holds the sums of the present
stretch of its window and of the one before; the total over the last *window* seconds is the present sum plus the share
of the former that the window still covers, an estimate that is exact at the edges and assumes an even spread between
them.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import secrets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["Ledger", "LedgerError"]

MAGIC: Final = b"SEKISHOL"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sIIII32s")  # magic, version, slot size, ways, buckets, hash key
HEADER_SIZE: Final = 4096
SLOT: Final = struct.Struct("<16sIIdd")  # name hash, stretch number, window in seconds, former sum, present sum
WAYS: Final = 8
BUCKETS: Final = 16384  # 131,072 counters in 5 MiB
EMPTY: Final = bytes(16)
REMEMBERED: Final = 4096  # places of counters; a keyed hash costs more than the look itself

_BUCKET_SIZE: Final = WAYS * SLOT.size

_Place = tuple[bytes, int, int]  # hash of a counter's name, where its bucket starts, its window in whole seconds


class LedgerError(Exception):
    """The file can neither be used nor replaced."""


class Ledger:
    """Counters named by (kind, key, window). Every operation is one short update of the shared file.

    Times are UTC seconds since the epoch, windows whole seconds. An object may be used after a fork; the lock that
    makes an update whole is held between processes, so threads must not share one object.
    """

    def __init__(self, path: Path, *, buckets: int = BUCKETS, notice: Callable[[str], None] | None = None) -> None:
        """Open the file at *path*; make it when it is missing, replace it when it is damaged or of another version.

        Args:
            buckets: size of a new file.
            notice: told, in one sentence, that a file was replaced: its counts are gone.

        Raises:
            LedgerError: it can be neither opened nor made.
        """
        self.path = path
        try:
            self._fd = _open(path, buckets, notice)
            size = os.fstat(self._fd).st_size
            self._map = mmap.mmap(self._fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror or error}") from error
        _, _, _, _, self._buckets, key = HEADER.unpack_from(self._map)
        self._hash = hashlib.blake2b(key=key, digest_size=16)
        self._places: dict[tuple[str, str, float], _Place] = {}
        self._closed = False

    def add(self, kind: str, key: str, amount: float, window: float, now: float) -> float:
        """Count *amount* and return the total over the last *window* seconds, with it."""
        place = self._place(kind, key, window)
        start, seconds = place[1:]
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _BUCKET_SIZE, start)
        try:
            at, former, present = self._read(place, now)
            present += amount
            self._write(at, place, now, former, present)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _BUCKET_SIZE, start)
        return _total(former, present, seconds, now)

    def reserve(self, kind: str, key: str, amount: float, limit: float, window: float, now: float) -> bool:
        """Count *amount* if the total stays within *limit*; tell whether it did. No other process can come between."""
        place = self._place(kind, key, window)
        start, seconds = place[1:]
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _BUCKET_SIZE, start)
        try:
            at, former, present = self._read(place, now)
            if _total(former, present, seconds, now) + amount > limit:
                return False
            self._write(at, place, now, former, present + amount)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _BUCKET_SIZE, start)
        return True

    def reserve_both(
        self,
        kinds: tuple[str, str],
        key: str,
        amounts: tuple[float, float],
        limits: tuple[float, float],
        window: float,
        now: float,
    ) -> str | None:
        """Count both *amounts* if both totals stay within their *limits*; return None, else the kind without room.

        Args:
            kinds: the second is spelled ``first/other``, so that one lock covers both. When there is no room for one of
                them, neither is counted.
        """
        place, other_place = self._place(kinds[0], key, window), self._place(kinds[1], key, window)
        start, seconds = place[1:]
        if other_place[1] != start:
            raise ValueError(f"{kinds[1]} does not lie beside {kinds[0]}")
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _BUCKET_SIZE, start)
        try:
            at, former, present = self._read(place, now)
            if _total(former, present, seconds, now) + amounts[0] > limits[0]:
                return kinds[0]
            other_at, other_former, other_present = self._read(other_place, now)
            if _total(other_former, other_present, seconds, now) + amounts[1] > limits[1]:
                return kinds[1]
            at = at if at >= 0 else self._free_slot(start, now, spared=other_at)
            self._write(at, place, now, former, present + amounts[0])
            other_at = other_at if other_at >= 0 else self._free_slot(start, now, spared=at)
            self._write(other_at, other_place, now, other_former, other_present + amounts[1])
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _BUCKET_SIZE, start)
        return None

    def refund(self, kind: str, key: str, amount: float, window: float, now: float) -> None:
        """Take back *amount* that was counted lately: what it was counted for did not happen."""
        place = self._place(kind, key, window)
        start = place[1]
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _BUCKET_SIZE, start)
        try:
            at, former, present = self._read(place, now)
            if at >= 0:
                rest = max(0.0, amount - present)
                present = max(0.0, present - amount)
                self._write(at, place, now, max(0.0, former - rest), present)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _BUCKET_SIZE, start)

    def peek(self, kind: str, key: str, window: float, now: float) -> float:
        """Return the total over the last *window* seconds. Takes no lock: another process may be about to change it."""
        place = self._place(kind, key, window)
        _, former, present = self._read(place, now)
        return _total(former, present, place[2], now)

    def wait(self, kind: str, key: str, amount: float, limit: float, window: float, now: float) -> float:
        """Return in how many seconds `reserve` will have room for *amount*; infinity when it never will."""
        if amount > limit:
            return math.inf
        place = self._place(kind, key, window)
        _, former, present = self._read(place, now)
        stretch = place[2]
        if _total(former, present, stretch, now) + amount <= limit:
            return 0.0
        elapsed = now % stretch
        if present + amount <= limit:  # enough of the former sum leaves within this stretch
            return max(0.0, stretch * (1 - (limit - amount - present) / former) - elapsed)
        return stretch - elapsed + stretch * (1 - (limit - amount) / present)

    def flush(self) -> None:
        """Write to the disk what a power cut would take. A process that dies takes nothing, flushed or not."""
        self._map.flush()

    def close(self) -> None:
        """Flush and let go of the file."""
        if not self._closed:
            self._closed = True
            self._map.flush()
            self._map.close()
            os.close(self._fd)

    def _place(self, kind: str, key: str, window: float) -> _Place:
        places = self._places
        place = places.get((kind, key, window))
        if place is None:
            if len(places) >= REMEMBERED:
                places.clear()
            place = places[kind, key, window] = self._find_place(kind, key, window)
        return place

    def _find_place(self, kind: str, key: str, window: float) -> _Place:
        seconds = _seconds(window)
        digest, start = self._hashed(f"{kind}\0{seconds}\0{key}")
        if "/" in kind:
            start = self._hashed(f"{kind.partition('/')[0]}\0{seconds}\0{key}")[1]
        return digest, start, seconds

    def _hashed(self, name: str) -> tuple[bytes, int]:
        state = self._hash.copy()
        state.update(name.encode(errors="surrogatepass"))
        digest = state.digest()
        return digest, HEADER_SIZE + int.from_bytes(digest[:4], "little") % self._buckets * _BUCKET_SIZE

    def _read(self, place: _Place, now: float) -> tuple[int, float, float]:
        """Return where the counter's slot is (-1: it has none) and its sums as of *now*."""
        digest, start, seconds = place
        at = self._map.find(digest, start, start + _BUCKET_SIZE)
        if at < 0 or (at - start) % SLOT.size:
            return -1, 0.0, 0.0
        _, number, _, former, present = SLOT.unpack_from(self._map, at)
        if not (0.0 <= former < 1e15 and 0.0 <= present < 1e15):  # torn or damaged
            return at, 0.0, 0.0
        age = int(now // seconds) - number
        if age == 0 or age == -1:  # the clock may step back a little
            return at, former, present
        if age == 1:
            return at, present, 0.0
        return at, 0.0, 0.0

    def _write(self, at: int, place: _Place, now: float, former: float, present: float) -> None:
        digest, start, seconds = place
        if at < 0:
            at = self._free_slot(start, now)
        SLOT.pack_into(self._map, at, digest, int(now // seconds), seconds, former, present)

    def _free_slot(self, start: int, now: float, *, spared: int = -1) -> int:
        """Return an empty slot of the bucket, else the one that will be forgotten first, but never *spared*."""
        oldest, until = start + SLOT.size * (spared == start), math.inf
        for at in range(start, start + _BUCKET_SIZE, SLOT.size):
            if at == spared:
                continue
            digest, number, window, _, _ = SLOT.unpack_from(self._map, at)
            if digest == EMPTY or number > now // max(window, 1) + 1:
                return at
            ends = (number + 2) * window
            if ends < until:
                oldest, until = at, ends
        return oldest


def _seconds(window: float) -> int:
    return max(1, int(window))


def _total(former: float, present: float, seconds: int, now: float) -> float:
    if not former:
        return present
    return present + former * (1 - now % seconds / seconds)


def _open(path: Path, buckets: int, notice: Callable[[str], None] | None) -> int:
    """Open the file, whole and of our version. Several processes may do so at once: one of them makes it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
            if not _is_at(path, fd):
                os.close(fd)
                continue
            problem = _problem(fd)
            if problem:
                if notice is not None:
                    notice(f"{path} {problem}; it was replaced, and its counts begin anew")
                _replace(path, buckets)
                os.close(fd)
                continue
            if problem is not None:
                _initialize(fd, buckets)
            fcntl.lockf(fd, fcntl.LOCK_UN, 1, 0)
            return fd
        except BaseException:
            os.close(fd)
            raise


def _is_at(path: Path, fd: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def _problem(fd: int) -> str | None:
    """Return what is wrong with the file: "" when it is empty, None when nothing is."""
    size = os.fstat(fd).st_size
    if size == 0:
        return ""
    head = os.pread(fd, HEADER.size, 0)
    if len(head) < HEADER.size:
        return "is damaged"
    magic, version, slot_size, ways, buckets, _ = HEADER.unpack(head)
    if magic != MAGIC:
        return "is damaged"
    if (version, slot_size, ways) != (VERSION, SLOT.size, WAYS):
        return f"is of version {version}, not {VERSION}"
    if buckets == 0 or size != HEADER_SIZE + buckets * _BUCKET_SIZE:
        return "is damaged"
    return None


def _replace(path: Path, buckets: int) -> None:
    """Put a new file in place of the old one, which other processes may still have mapped: it is never cut short."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _initialize(fd, buckets)
    finally:
        os.close(fd)
    temporary.rename(path)


def _initialize(fd: int, buckets: int) -> None:
    # Allocated, not sparse: a page that a full disk cannot back would kill the process that touches it. The header
    # comes last: a file without one reads as damaged.
    os.posix_fallocate(fd, 0, HEADER_SIZE + buckets * _BUCKET_SIZE)
    head = HEADER.pack(MAGIC, VERSION, SLOT.size, WAYS, buckets, secrets.token_bytes(32))
    os.pwrite(fd, head, 0)
    os.fsync(fd)
