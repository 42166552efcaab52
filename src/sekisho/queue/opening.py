"""Opening a spool: its directory, its lock, its database, and what a crash may have left.

    DIRECTORY/<number>/lock        held with flock while a process works on the spool
                       queue.db    envelopes, recipients, states, history, small content (SQLite, WAL)
                       content/    large content, one file per message

Creation makes each directory entry durable before anything is accepted. Recovery is SQLite's (the WAL), plus the
removal of content files that no row names: those of messages whose commit did not come to pass, or that were finished.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekisho.store import StoreError, StoreFull, connect, load_migrations, make_directory_durably, open_database

from .ids import MAX_SPOOLS, decode, encode
from .model import SpoolError, SpoolFull, SpoolLocked

__all__ = ["OpenSpool", "content_files", "open_spool", "remove_orphans", "spool_numbers", "spools_of"]

DATABASE = "queue.db"
PAGE_SIZE = 4096  # measured with 4 KiB messages against 8192 and 16384: least CPU and fewest octets per message
WRITER_CACHE_KIB = 8192
WAL_LIMIT = 64 * 1024 * 1024  # octets; a WAL that grew beyond is cut back to this when it starts anew


@dataclass(slots=True)
class OpenSpool:
    """A spool this process works on: *writer* changes it, *reader* reads, *keeper* checkpoints and tidies."""

    number: int
    directory: Path
    writer: sqlite3.Connection
    reader: sqlite3.Connection
    keeper: sqlite3.Connection
    lock: int

    @property
    def content_directory(self) -> Path:
        """Where large content lies."""
        return self.directory / "content"

    @property
    def wal(self) -> Path:
        """SQLite's write-ahead log."""
        return self.directory / (DATABASE + "-wal")

    def close(self) -> None:
        """Close the database and give up the lock."""
        for connection in (self.reader, self.keeper, self.writer):
            connection.close()
        os.close(self.lock)


def spool_numbers(directory: Path) -> list[int]:
    """Return the numbers of the spools that exist in *directory*."""
    if not directory.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in os.scandir(directory)
        if entry.name.isascii() and entry.name.isdigit() and (Path(entry) / DATABASE).exists()
    )


def spools_of(directory: Path, worker: int, workers: int) -> list[int]:
    """Return the spools that *worker* (from 0) of *workers* opens: its own, and those that more workers left behind."""
    return sorted({worker, *(n for n in spool_numbers(directory) if n >= workers and n % workers == worker)})


def open_spool(directory: Path, number: int) -> OpenSpool:
    """Lock and open spool *number* in *directory*, creating what is missing.

    Raises:
        SpoolLocked: another process works on it.
        SpoolFull, SpoolError: it cannot be created or opened; the text names the file and the reason.
    """
    if not 0 <= number < MAX_SPOOLS:
        raise SpoolError(f"spool numbers go from 0 to {MAX_SPOOLS - 1}")
    spool = directory / str(number)
    try:
        make_directory_durably(spool / "content")
        lock = _lock(spool / "lock")
    except OSError as error:
        raise SpoolError(f"{spool}: {error.strerror}") from error
    try:
        return _connect(spool, number, lock)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, StoreFull):
            raise SpoolFull(str(error)) from error
        if isinstance(error, StoreError):
            raise SpoolError(str(error)) from error
        if isinstance(error, OSError):
            raise SpoolError(f"{spool}: {error.strerror}") from error
        raise


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise SpoolLocked(f"{path.parent}: another process ({holder or 'unknown'}) works on this spool") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _connect(spool: Path, number: int, lock: int) -> OpenSpool:
    path = spool / DATABASE
    opened: list[sqlite3.Connection] = []
    try:
        opened.append(
            open_database(
                path, load_migrations(f"{__package__}.migrations"), page_size=PAGE_SIZE, cache_kib=WRITER_CACHE_KIB
            )
        )
        opened[0].execute("PRAGMA wal_autocheckpoint = 0")  # checkpoints run on a thread, see commits.py
        opened[0].execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        opened += [connect(path), connect(path)]
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    opened[2].execute("PRAGMA wal_autocheckpoint = 0")
    writer, reader, keeper = opened
    return OpenSpool(number, spool, writer, reader, keeper, lock)


def content_files(directory: Path) -> list[int]:
    """Return the message numbers of the content files in *directory*; other files are nobody's business."""
    decoded = (decode(entry.name) for entry in os.scandir(directory))
    return [found[0] for found in decoded if found is not None]


def remove_orphans(spool: OpenSpool, numbers: Sequence[int]) -> int:
    """Delete those of the content files *numbers* that no row names; return how many.

    Runs on the keeper thread after opening, for the files found then: those that arrive meanwhile have other numbers.
    """
    deleted = 0
    for number in numbers:
        row = spool.keeper.execute("SELECT octets IS NULL FROM content WHERE number = ?", (number,)).fetchone()
        if row is None or not row[0]:
            (spool.content_directory / encode(number, spool.number)).unlink(missing_ok=True)
            deleted += 1
    return deleted
