"""Logins of browsers: what stands behind the portal's cookie, in the database that all its processes share.

A token is 256 random bits, and only its SHA-256 is kept: whoever reads the database cannot be anybody by it. A session
ends at the first of these: the person signs out; nothing was asked for during *idle* seconds; *lifetime* seconds have
passed; a new password was set, the account suspended or deleted.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Final

from sekisho.store import StoreError, mapped

from .account import Account
from .digests import token_digest
from .store import AccountStore

__all__ = ["WebSession", "WebSessions"]

MAX_PER_ACCOUNT: Final = 20  # the one unused for longest makes room
SEEN_EVERY: Final = 60.0  # seconds; a request sooner after the last one that was noted is not written
_TOKEN_OCTETS: Final = 32
_MAX_TOKEN: Final = 128  # characters of what a browser may call a token


@dataclass(frozen=True, slots=True)
class WebSession:
    """One browser's login.

    Fields:
        opened, last_seen: UTC epoch in seconds; the latter up to a minute late.
        second_factor: whether a code was given, not the password alone.
        client: address that opened it.
    """

    account: Account
    opened: float
    last_seen: float
    second_factor: bool
    client: str


class WebSessions:
    """The sessions of a store; as the store, it is read in one thread, and may be made anew at any time.

    Args:
        idle, lifetime: seconds.

    Raises (all methods):
        StoreError: the database is damaged, full, locked or not readable.
    """

    __slots__ = ("_idle", "_lifetime", "_store")

    def __init__(self, store: AccountStore, *, idle: float, lifetime: float) -> None:
        self._store = store
        self._idle = idle
        self._lifetime = lifetime

    def open(self, account_id: int, *, client: str, second_factor: bool) -> str:
        """Return the token of a new session of an account that has just proved who it is; durable when this returns.

        Sessions of all accounts whose time is over are swept on the way.
        """
        token = secrets.token_urlsafe(_TOKEN_OCTETS)
        now = self._store.now()
        with self._store.database.writing() as connection:
            connection.execute(
                "DELETE FROM web_sessions WHERE last_seen <= ? OR opened <= ?", (now - self._idle, now - self._lifetime)
            )
            _make_room(connection, account_id)
            connection.execute(
                "INSERT INTO web_sessions (digest, account, client, second_factor, opened, last_seen) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (token_digest(token), account_id, client[:64], second_factor, now, now),
            )
        return token

    def find(self, token: str) -> WebSession | None:
        """Return the session that *token* stands for, while it lasts; never that of a suspended account."""
        if len(token) > _MAX_TOKEN:
            return None
        database, digest, now = self._store.database, token_digest(token), self._store.now()
        with mapped(database.path):
            row = database.row(
                "SELECT account, opened, last_seen, second_factor, client FROM web_sessions WHERE digest = ?", digest
            )
            if row is None or now >= row[2] + self._idle or now >= row[1] + self._lifetime:
                return None
            account = database.account(row[0])
        if account is None or account.suspended:
            return None
        if now - row[2] >= SEEN_EVERY:
            with contextlib.suppress(StoreError), database.writing() as connection:  # not written, it ends the sooner
                connection.execute("UPDATE web_sessions SET last_seen = ? WHERE digest = ?", (now, digest))
        return WebSession(account, row[1], now, bool(row[3]), row[4])

    def close(self, token: str) -> None:
        """End the session; again, or for a token that never was one: no harm."""
        with self._store.database.writing() as connection:
            connection.execute("DELETE FROM web_sessions WHERE digest = ?", (token_digest(token[:_MAX_TOKEN]),))

    def close_all(self, account_id: int, but: str | None) -> None:
        """End every session of the account, except the one with the token *but*."""
        kept = b"" if but is None else token_digest(but)
        with self._store.database.writing() as connection:
            connection.execute("DELETE FROM web_sessions WHERE account = ? AND digest != ?", (account_id, kept))


def _make_room(connection: sqlite3.Connection, account_id: int) -> None:
    connection.execute(
        "DELETE FROM web_sessions WHERE digest IN (SELECT digest FROM web_sessions WHERE account = ? "
        "ORDER BY last_seen DESC, opened DESC LIMIT -1 OFFSET ?)",
        (account_id, MAX_PER_ACCOUNT - 1),
    )
