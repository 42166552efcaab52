"""Content on its way in and out: in memory while small, in a file of its own when large, checksummed either way.

`ContentWriter` takes octets as they arrive; `ContentHandle` gives them to delivery. A large message never lies in
memory as a whole. Its file is laid out so that the header can still be changed when all has arrived:

    0            RESERVE             RESERVE + HEAD
    | unused (a hole) … ← final head |  everything after the head |
                        ^ start

The first HEAD octets stay in memory until the commit; the final head (trace header in front, fields dropped) is written
so that it ends where the rest begins.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .model import ContentDamaged, SpoolError, SpoolFull

__all__ = ["FULL_ERRORS", "ContentHandle", "ContentWriter", "FileContent", "Memory", "verify_file"]

HEAD = 65536  # octets kept in memory of content that goes to a file; header checks need no more
RESERVE = 65536  # octets the head may grow by
FLUSH = 262144  # octets collected before a write; fewer, larger system calls
MOST_PARTS = 512  # in one writev(2): Linux takes 1024
MOST_HELD = 256  # parts in memory before they are joined: each is an object, which two octets must not cost for long
MEMORY_BOUND = 64 * 1024 * 1024  # octets of all arriving content in memory; past it, content over HEAD goes to files

FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LOST = frozenset({errno.ENOENT, errno.EIO})  # whatever else keeps a file from being read will pass


class Memory:
    """Counts the octets of arriving content in memory, over all sessions of a spool."""

    __slots__ = ("octets",)

    def __init__(self) -> None:
        self.octets = 0


@dataclass(frozen=True, slots=True)
class FileContent:
    """Where content lies in its file, and what it must add up to (see `verify_file`)."""

    start: int
    head_size: int
    head_checksum: int
    tail_checksum: int


class ContentWriter:
    """Collects the content of one message. Hand it to `Queue.commit`, or `discard` it.

    Writing never fails: a full disk is remembered and becomes the result of the commit, so that the session may first
    read the content to its end (RFC 5321 §4.2.5).
    """

    __slots__ = (
        "_descriptor",
        "_inline_limit",
        "_memory",
        "_parts",
        "_parts_size",
        "_path_for",
        "_tail",
        "_tail_checksum",
        "_tail_size",
        "_take_number",
        "failure",
        "number",
        "path",
        "size",
    )

    def __init__(
        self, *, inline_limit: int, memory: Memory, take_number: Callable[[], int], path_for: Callable[[int], Path]
    ) -> None:
        """Args: *take_number* allots the message number, which names the file as *path_for* says."""
        self._inline_limit = inline_limit
        self._memory = memory
        self._take_number = take_number
        self._path_for = path_for
        self._parts: list[bytes] = []  # the head, or all of it while in memory
        self._parts_size = 0
        self._descriptor = -1
        self._tail: list[bytes] = []  # not yet written
        self._tail_size = 0
        self._tail_checksum = 0
        self.size = 0
        self.number: int | None = None
        self.path: Path | None = None
        self.failure: SpoolError | None = None

    def write(self, octets: bytes) -> None:
        """Append *octets*."""
        length = len(octets)
        self.size += length
        if self.path is not None:
            self._write_tail(octets)
            return
        parts, memory = self._parts, self._memory
        parts.append(octets)
        size = self._parts_size = self._parts_size + length
        memory.octets += length
        if len(parts) >= MOST_HELD:
            self.head()
        if size > self._inline_limit or (size > HEAD and memory.octets > MEMORY_BOUND and self.failure is None):
            self._move_to_file()

    def head(self) -> bytes:
        """Return the beginning of the content: all of it while in memory, the first 64 KiB at least."""
        parts = self._parts
        if len(parts) == 1:
            return parts[0]
        joined = b"".join(parts)
        self._parts = [joined]
        return joined

    def prepend(self, octets: bytes) -> None:
        """Put *octets* before the content, before it is committed."""
        self.replace(0, octets)

    def replace(self, length: int, octets: bytes) -> None:
        """Put *octets* in place of the first *length* octets of `head`; to fix or drop header fields before the commit.

        Raises:
            ValueError: *length* reaches beyond the head, or a head in front of a file grows by more than 64 KiB.
        """
        if length > self._parts_size:
            raise ValueError("only the head can be replaced")
        growth = len(octets) - length
        if self.path is not None and self._parts_size + growth > HEAD + RESERVE:
            raise ValueError("the head grows beyond its room")
        if length:
            head = self.head()
            self._parts = [octets, head[length:]]
        else:
            self._parts.insert(0, octets)
        self._parts_size += growth
        self._memory.octets += growth
        self.size += growth

    def discard(self) -> None:
        """Forget everything, file included. Harmless when called twice, and after the commit."""
        self.release()
        self._close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    # What follows is the queue's side.

    def release(self) -> None:
        """Let go of what is in memory."""
        self._memory.octets -= self._parts_size
        self._parts, self._parts_size = [], 0
        self._tail, self._tail_size = [], 0

    def take_octets(self) -> bytes:
        """Return content that never left memory, and let go of it."""
        octets = self.head()
        self.release()
        return octets

    def finish_file(self) -> FileContent:
        """Write what is missing in the file; the caller syncs `descriptor` and its directory before naming it anywhere.

        Raises:
            SpoolError, SpoolFull: the file is not whole.
        """
        head = self.head()
        if self._tail:
            self._flush_tail()
        start = RESERVE + HEAD - len(head)
        self._attempt(lambda: self._write_head(head, start))
        if self.failure is not None:
            raise self.failure
        described = FileContent(start, len(head), zlib.crc32(head), self._tail_checksum)
        self.release()
        return described

    def sync_file(self) -> None:
        """Make the file's octets durable and close it; called off the event loop. The directory is the caller's.

        Raises:
            SpoolError, SpoolFull: they are not durable.
        """
        self._attempt(lambda: os.fsync(self._descriptor))
        self._close()
        if self.failure is not None:
            raise self.failure

    def _move_to_file(self) -> None:
        whole = self.head()
        self._memory.octets -= self._parts_size
        self._parts = [whole[:HEAD]]
        self._parts_size = len(self._parts[0])
        self._memory.octets += self._parts_size
        self.number = self._take_number()
        self.path = path = self._path_for(self.number)

        def create() -> None:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.lseek(self._descriptor, RESERVE + HEAD, os.SEEK_SET)

        self._attempt(create)
        self._write_tail(whole[HEAD:])

    def _write_tail(self, octets: bytes) -> None:
        if self.failure is not None:
            return
        self._tail_checksum = zlib.crc32(octets, self._tail_checksum)
        self._tail.append(octets)
        self._tail_size += len(octets)
        if self._tail_size >= FLUSH or len(self._tail) >= MOST_PARTS:
            self._flush_tail()

    def _flush_tail(self) -> None:
        parts = self._tail
        self._tail, self._tail_size = [], 0
        self._attempt(lambda: self._write_parts(parts))

    def _write_parts(self, parts: list[bytes]) -> None:
        """Write *parts* on from the last write, without joining them."""
        for first in range(0, len(parts), MOST_PARTS):
            group = parts[first : first + MOST_PARTS]
            written = os.writev(self._descriptor, group)
            if written < sum(map(len, group)):  # a full disk, most likely: the next write says so
                rest = memoryview(b"".join(group))[written:]
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def _write_head(self, octets: bytes, at: int) -> None:
        view = memoryview(octets)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            at += written
            view = view[written:]

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do *step* unless one before it failed; remember its failure."""
        if self.failure is not None:
            return
        try:
            step()
        except OSError as error:
            kind = SpoolFull if error.errno in FULL_ERRORS else SpoolError
            self.failure = kind(f"{self.path}: {error.strerror}")
            self.failure.__cause__ = error
            self._tail, self._tail_size = [], 0
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class ContentHandle:
    """Content of a queued message, verified: octets in memory, or a file in which it begins at *start*."""

    size: int
    octets: bytes | None
    path: Path | None = None
    start: int = 0

    def chunks(self, length: int = FLUSH) -> Iterator[bytes]:
        """Yield the content in pieces of at most *length* octets.

        Raises:
            ContentDamaged: the file ends early or is gone.
            OSError: it cannot be read now, for instance because too many files are open.
        """
        if self.octets is not None:
            if len(self.octets) <= length:
                yield self.octets
                return
            for at in range(0, self.size, length):
                yield self.octets[at : at + length]
            return
        assert self.path is not None
        yield from _read(self.path, self.start, self.size, length)

    def pieces(self, length: int) -> Iterator[bytes | None]:
        """Yield the content as `chunks` does, and None in front of every step that may wait for the disk.

        A message that goes out soon after it came in is read from the page cache, without a change of threads.

        Raises:
            ContentDamaged: the file ends early or is gone.
        """
        if self.octets is not None:
            yield from self.chunks(length)
            return
        assert self.path is not None
        yield None
        yield from _read_cached(self.path, self.start, self.size, length)


def verify_file(path: Path, size: int, described: FileContent) -> None:
    """Read the file and compare it with its checksums.

    Raises:
        ContentDamaged: they differ, or the file is gone or short.
        OSError: it cannot be read now.
    """
    head_end = described.start + described.head_size
    parts = (
        (described.start, described.head_size, described.head_checksum),
        (head_end, size - described.head_size, described.tail_checksum),
    )
    for start, length, expected in parts:
        checksum = 0
        for chunk in _read(path, start, length, FLUSH):
            checksum = zlib.crc32(chunk, checksum)
        if checksum != expected:
            raise ContentDamaged(f"{path}: the content is not what was accepted")


def _read(path: Path, start: int, size: int, length: int) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            remaining = size
            while remaining > 0:
                chunk = file.read(min(length, remaining))
                if not chunk:
                    raise ContentDamaged(f"{path}: {remaining} octets are missing")
                remaining -= len(chunk)
                yield chunk
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise ContentDamaged(f"{path}: {error.strerror}") from error


def _read_cached(path: Path, start: int, size: int, length: int) -> Iterator[bytes | None]:
    """Read like `_read`; yield None before a read that the page cache cannot serve."""
    try:
        with path.open("rb", buffering=0) as file:
            descriptor, at, end = file.fileno(), start, start + size
            while at < end:
                wanted = min(length, end - at)
                chunk = _read_now(descriptor, wanted, at) if at > start else None
                if chunk is None:
                    if at > start:
                        yield None
                    chunk = os.pread(descriptor, wanted, at)
                    if not chunk:
                        raise ContentDamaged(f"{path}: {end - at} octets are missing")
                at += len(chunk)
                yield chunk
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise ContentDamaged(f"{path}: {error.strerror}") from error


def _read_now(descriptor: int, length: int, at: int) -> bytes | None:
    """Return octets that are in memory, fewer than *length* perhaps; None when the disk would be waited for."""
    buffer = bytearray(length)
    try:
        count = os.preadv(descriptor, [buffer], at, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):  # the latter from file systems that cannot tell
            return None
        raise
    return bytes(memoryview(buffer)[:count]) if count else None
