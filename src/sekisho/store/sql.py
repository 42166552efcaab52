"""SQLite databases that survive a power cut, a full disk and an upgrade.

Called by `queue` and `accounts`, each with its own numbered migrations (``migrations/0001_initial.sql`` …, SQL without
transaction statements). ``PRAGMA user_version`` holds the number of the last one applied. It never decides when to
commit: connections come in autocommit mode, and their owner begins and ends transactions.

Exceptions: `StoreError` is the root; `SchemaTooNew`, `StoreFull`, `StoreDamaged`, `StoreBusy` are its kinds.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .durable import fsync_directory

__all__ = [
    "Migration",
    "SchemaTooNew",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "connect",
    "load_migrations",
    "mapped",
    "migrate",
    "open_database",
    "transaction",
    "version_of",
]

BUSY_TIMEOUT = 10.0  # seconds a statement waits for another process's write lock


class StoreError(Exception):
    """The database did not do what was asked. Fields: path of the database, problem in words."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem


class StoreFull(StoreError):
    """No room on the disk; the transaction was not kept."""


class StoreDamaged(StoreError):
    """The file is not a database, or its structure is broken."""


class StoreBusy(StoreError):
    """Another process held the write lock longer than `BUSY_TIMEOUT`."""


class SchemaTooNew(StoreError):
    """A later version of the program has upgraded this database; this version would misread it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema: its number, the file name it came from, its SQL."""

    number: int
    name: str
    sql: str


def load_migrations(package: str) -> tuple[Migration, ...]:
    """Read the ``NNNN_name.sql`` files of *package* (``sekisho.queue.migrations``), in the order of their numbers.

    Raises:
        ValueError: the numbers are not 1, 2, 3 …
    """
    found = [
        Migration(int(entry.name[:4]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in files(package).iterdir()
        if entry.name.endswith(".sql")
    ]
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations of {package} are not numbered 1, 2, 3 …: {[m.name for m in found]}")
    return tuple(found)


def mapped_error(path: Path | str, error: sqlite3.Error) -> StoreError:
    """Return the `StoreError` that says what *error* means for its caller."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(path, "no room left on the disk")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(path, f"the database is damaged ({error})")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(path, "another process holds the database")
    return StoreError(path, str(error))


@contextmanager
def mapped(path: Path | str) -> Iterator[None]:
    """Raise what SQLite raises inside as a `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise mapped_error(path, error) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; commit at the end, roll back on any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors (SQLITE_FULL, SQLITE_IOERR) have rolled back already
            connection.execute("ROLLBACK")
        raise


def connect(path: Path, *, read_only: bool = False, cache_kib: int = 2048) -> sqlite3.Connection:
    """Open the existing database *path*: autocommit, synced at every commit, foreign keys on, usable from any thread.

    Raises:
        StoreError: it does not exist, cannot be opened, or is no database.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    with mapped(path):
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT, cached_statements=256
        )
    try:
        with mapped(path):
            _configure(connection, cache_kib)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, cache_kib: int) -> None:
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL would lose acknowledged commits in a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = OFF")  # Debian builds it on; it writes every deleted page once more
    connection.execute(f"PRAGMA cache_size = -{cache_kib:d}")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # reads the file: damage shows here, not later


def version_of(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration applied; 0 for an empty database."""
    row: tuple[int] = connection.execute("PRAGMA user_version").fetchone()
    return row[0]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], *, path: Path) -> int:
    """Apply the *migrations* that the database lacks, each in one transaction; return how many were applied.

    Processes that open one database at the same time take turns: the version is read again under the write lock.

    Raises:
        SchemaTooNew: its version is higher than the last of *migrations*.
        StoreError: a step failed; the database stays at the step before.
    """
    newest = migrations[-1].number if migrations else 0
    with mapped(path):
        version = version_of(connection)
    applied = 0
    while version < newest:
        step = migrations[version]
        with mapped(path):
            applied += _apply(connection, step)
            version = version_of(connection)
    if version > newest:
        raise SchemaTooNew(
            path,
            f"schema version {version} was written by a newer Sekisho; this one knows versions up to {newest}. "
            "Install that version again, or restore the backup made before the upgrade",
        )
    return applied


def _apply(connection: sqlite3.Connection, step: Migration) -> int:
    with transaction(connection):
        if version_of(connection) != step.number - 1:
            return 0
        for statement in _statements(step.sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {step.number:d}")
    return 1


def _statements(script: str) -> Iterator[str]:
    """Split *script* where its statements end (``executescript`` would commit the transaction around it)."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement or script.rpartition(";")[2].strip():
        raise ValueError("a migration must end with a semicolon")


def open_database(
    path: Path, migrations: Sequence[Migration], *, page_size: int = 4096, cache_kib: int = 2048
) -> sqlite3.Connection:
    """Open *path* for writing at the newest schema, creating it when it does not exist.

    Creation is atomic: the schema is written to a temporary file, synced, linked into place, the directory synced. A
    crash leaves either no database or a whole one; of two processes that create it, both open the same one.

    Raises:
        SchemaTooNew, StoreFull, StoreDamaged, StoreBusy, StoreError.
        OSError: the directory is missing or not ours.
    """
    if not path.exists():
        _create(path, migrations, page_size)
    connection = connect(path, cache_kib=cache_kib)
    try:
        migrate(connection, migrations, path=path)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path, migrations: Sequence[Migration], page_size: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with mapped(path):
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {page_size:d}")
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection, migrations, path=path)
            finally:
                connection.close()  # the last connection moves the WAL into the file and removes it
        os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was quicker; a rename would take its database away
            os.link(temporary, path)
        fsync_directory(path.parent)
    finally:
        os.close(descriptor)
        for leftover in (temporary, Path(name + "-wal"), Path(name + "-shm")):
            leftover.unlink(missing_ok=True)
