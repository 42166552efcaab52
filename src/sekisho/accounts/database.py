"""The rows of accounts in SQLite: reading one account, and writing changes that are durable when they return.

Shared by several processes: mail workers, the command line, the portal. WAL lets them read while one writes. Only
`store.py` calls this; it speaks in canonical keys (`name_key`, `login_key`) and knows no rule.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sekisho.store import connect, fsync_directory, load_migrations, mapped, migrate, open_database, transaction

from .account import Account, AccountDetails, Renewal

__all__ = ["LOGIN_NOTED_EVERY", "AccountDatabase", "give_to_owner_of_directory", "write_verifiers"]

LOGIN_NOTED_EVERY = 600.0  # seconds; a login sooner after the last one that was noted is not written

_MIGRATIONS: Final = load_migrations("sekisho.accounts.migrations")
_COLUMNS = (
    "id, login, suspended, smarthost, messages_per_hour, recipients_per_hour, language, suspension, operator, "
    "EXISTS (SELECT 1 FROM second_factors WHERE account = accounts.id AND confirmed IS NOT NULL), renewal, "
    "(SELECT count(*) FROM verifiers WHERE account = accounts.id AND mechanism IN ('argon2id', 'SCRAM-SHA-256')) < 2"
)


def give_to_owner_of_directory(path: Path) -> None:
    """Let the service read what root's ``sekisho account add`` has made: the directory is the service user's."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


class AccountDatabase:
    """One process's access to the database: a connection to read with, and a second one, made when first needed, to
    write with. Reading belongs to one thread; writing may be done from any.

    Fields:
        changes: transactions that this object has ended.

    Raises (all methods):
        StoreError: the database is damaged, full, locked or not readable.
    """

    __slots__ = ("_lock", "_reader", "_writer", "changes", "path")

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if create and not path.exists():
            open_database(path, _MIGRATIONS).close()
            path.chmod(0o600)
            give_to_owner_of_directory(path)
            fsync_directory(path.parent)
        self._reader = connect(path)
        try:
            migrate(self._reader, _MIGRATIONS, path=path)
        except BaseException:
            self._reader.close()
            raise
        self._writer: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self.changes = 0

    def close(self) -> None:
        self._reader.close()
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def data_version(self) -> int:
        """Return a number that moves whenever another connection has committed anything. Costs microseconds."""
        row: tuple[int] = self._reader.execute("PRAGMA data_version").fetchone()
        return row[0]

    def generation(self) -> int:
        """Return a number that moves with every change to an account, an identity or a verifier."""
        row: tuple[int] = self._reader.execute("SELECT number FROM generation").fetchone()
        return row[0]

    def secret(self, name: str) -> bytes:
        """Return a secret of this database, the same for every process and for as long as the database lives."""
        with mapped(self.path):
            row: tuple[bytes] = self._reader.execute("SELECT secret FROM secrets WHERE name = ?", (name,)).fetchone()
        return row[0]

    def account(self, number: int) -> Account | None:
        """Return the account with that id."""
        row = self._reader.execute(f"SELECT {_COLUMNS} FROM accounts WHERE id = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None else self._build(row)

    def accounts(self, after: str, limit: int) -> tuple[Account, ...]:
        """Return accounts in the order of their logins, beginning behind *after*."""
        query = f"SELECT {_COLUMNS} FROM accounts WHERE login > ? ORDER BY login LIMIT ?"  # noqa: S608
        with mapped(self.path):
            return tuple(self._build(row) for row in self._reader.execute(query, (after, limit)).fetchall())

    def id_of_login(self, key: str) -> int | None:
        row = self._reader.execute("SELECT id FROM accounts WHERE login = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def ids_of_identity(self, key: str) -> list[int]:
        """Return up to two accounts that have the identity, the older one first."""
        return self._ids("SELECT account FROM identities WHERE identity = ? ORDER BY account LIMIT 2", key)

    def ids_of_login_local_part(self, local_part: str) -> list[int]:
        """Return up to two accounts whose login has the local-part."""
        return self._ids("SELECT id FROM accounts WHERE local_part = ? LIMIT 2", local_part)

    def ids_of_identity_local_part(self, local_part: str) -> list[int]:
        """Return up to two accounts of which an identity has the local-part."""
        return self._ids("SELECT DISTINCT account FROM identities WHERE local_part = ? LIMIT 2", local_part)

    def first_domain(self) -> str | None:
        """Return the first domain of logins in alphabetical order; None without accounts."""
        row = self._reader.execute("SELECT domain FROM accounts ORDER BY domain LIMIT 1").fetchone()
        return None if row is None else row[0]

    def lacks_password_hash(self) -> bool:
        """Tell whether some account has SCRAM keys and no argon2id verifier: one taken over from another system."""
        query = "SELECT EXISTS (SELECT 1 FROM accounts WHERE scram_only = 1)"
        row: tuple[int] = self._reader.execute(query).fetchone()
        return bool(row[0])

    def verifiers(self, account: int) -> list[tuple[str, str]]:
        """Return (mechanism, text) for each verifier."""
        return self._reader.execute(
            "SELECT mechanism, verifier FROM verifiers WHERE account = ?", (account,)
        ).fetchall()

    def app_passwords(self, account: int) -> list[tuple[int, bytes]]:
        """Return (number, digest) for each app password."""
        return self._reader.execute("SELECT id, digest FROM app_passwords WHERE account = ?", (account,)).fetchall()

    def row(self, query: str, *values: object) -> Any:
        """Return the first row of *query*, None without one."""
        return self._reader.execute(query, values).fetchone()

    def rows(self, query: str, *values: object) -> list[Any]:
        """Return the rows of *query*."""
        return self._reader.execute(query, values).fetchall()

    def details(self, account: Account) -> AccountDetails:
        query = (
            "SELECT created, changed, last_login FROM accounts LEFT JOIN activity ON activity.account = accounts.id "
            "WHERE accounts.id = ?"
        )
        with mapped(self.path):
            created, changed, last_login = self._reader.execute(query, (account.id,)).fetchone()
            mechanisms = tuple(mechanism for mechanism, _ in self.verifiers(account.id))
        return AccountDetails(account, mechanisms, created, changed, last_login)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock of the database; commit durably at the end, undo everything on an exception."""
        with self._lock, mapped(self.path):
            if self._writer is None:
                self._writer = connect(self.path)
            try:
                with transaction(self._writer):
                    yield self._writer
            finally:
                self.changes += 1

    def replace_verifiers(
        self, account: int, made: Mapping[str, str], *, unless_changed_from: Mapping[str, str] | None = None
    ) -> bool:
        """Put *made* in the place of verifiers of the same mechanisms.

        Args:
            unless_changed_from: what the account had when the caller looked; when that is no longer so, somebody has
                set another password meanwhile, and nothing is replaced.
        """
        with self.writing() as connection:
            if unless_changed_from is not None:
                rows = connection.execute("SELECT mechanism, verifier FROM verifiers WHERE account = ?", (account,))
                if dict(rows.fetchall()) != dict(unless_changed_from):
                    return False
            write_verifiers(connection, account, made)
        return True

    def note_logins(self, accounts: Collection[int], now: float) -> None:
        """Write *now* (UTC epoch) as the last login of *accounts* that have none as late as ten minutes before."""
        with self.writing() as connection:
            connection.executemany(
                "INSERT INTO activity SELECT id, ? FROM accounts WHERE id = ? ON CONFLICT (account) DO UPDATE "
                "SET last_login = excluded.last_login WHERE last_login <= excluded.last_login - ?",
                [(now, account, LOGIN_NOTED_EVERY) for account in accounts],
            )

    def _ids(self, query: str, key: str) -> list[int]:
        return [row[0] for row in self._reader.execute(query, (key,)).fetchall()]

    def note_app_passwords(self, numbers: Collection[int], now: float) -> None:
        """Write *now* as the last use of app passwords, as `note_logins` does; one that was revoked is passed over."""
        with self.writing() as connection:
            connection.executemany(
                "INSERT INTO app_password_uses SELECT id, ? FROM app_passwords WHERE id = ? ON CONFLICT (app_password) "
                "DO UPDATE SET last_used = excluded.last_used WHERE last_used <= excluded.last_used - ?",
                [(now, number, LOGIN_NOTED_EVERY) for number in numbers],
            )

    def _build(self, row: tuple[Any, ...]) -> Account:
        number, login, suspended, smarthost, messages, recipients, language, suspension, *rest = row
        operator, second_factor, asked, incomplete = map(bool, rest)
        identities = self._reader.execute(
            "SELECT identity FROM identities WHERE account = ? ORDER BY identity", (number,)
        ).fetchall()
        return Account(
            number,
            login,
            tuple(identity for (identity,) in identities),
            bool(suspended),
            bool(smarthost),
            messages,
            recipients,
            language,
            suspension,
            operator,
            second_factor,
            Renewal.ASKED if asked else Renewal.VERIFIERS if incomplete else Renewal.NOT_NEEDED,
        )


def write_verifiers(connection: sqlite3.Connection, account: int, made: Mapping[str, str]) -> None:
    """Insert or replace verifiers, within the caller's transaction."""
    connection.executemany(
        "INSERT INTO verifiers VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET verifier = excluded.verifier",
        [(account, mechanism, text) for mechanism, text in made.items()],
    )
