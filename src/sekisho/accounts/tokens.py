"""One-time tokens: an operator hands one over at the counter, and its bearer sets a new password with it, once.

It stands for the person having shown who he is, so it works from anywhere and asks for no old password. It does not
lift a suspension, and does not take the place of the second factor. Only its digest is kept (see `digests`).
"""

from __future__ import annotations

from typing import Final

from sekisho.store import mapped

from .account import Account
from .digests import NOBODY
from .errors import UnknownToken
from .passwords import canonical, generate_password
from .store import AccountStore

__all__ = ["OneTimeTokens"]

HOUR: Final = 3600.0
_PURPOSE: Final = "one-time token"


class OneTimeTokens:
    """The tokens of a store.

    Raises (all methods):
        StoreError: the database is damaged, full, locked or not readable.
    """

    __slots__ = ("_store",)

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def issue(self, name: str, *, hours: float) -> tuple[str, float]:
        """Return a new token and when it expires (UTC epoch, seconds); one handed out before is void.

        Raises:
            UnknownAccount.
        """
        store = self._store
        account = store.known(name)
        token = generate_password()
        now = store.now()
        expires = now + hours * HOUR
        with store.database.writing() as connection:
            connection.execute("DELETE FROM one_time_tokens WHERE expires <= ? OR account = ?", (now, account.id))
            connection.execute(
                "INSERT INTO one_time_tokens (account, digest, expires) VALUES (?, ?, ?)",
                (account.id, self._digest(token), expires),
            )
            store.touch(connection, account)
        return token, expires

    def use(self, token: str, password: str) -> Account:
        """Set *password* for the account that *token* was issued for, and use the token up. Call it off the event loop.

        Logins of browsers end, as in `AccountStore.set_password`. A password that is refused leaves the token as it is.

        Raises:
            UnknownToken: there is none such, or it was used, replaced or has expired.
            WeakPassword.
        """
        store = self._store
        digest = self._digest(token)
        account = self._account_of(digest)
        new = store.new_password(account, password)
        with store.database.writing() as connection:
            spent = connection.execute(
                "DELETE FROM one_time_tokens WHERE digest = ? AND account = ? AND expires > ?",
                (digest, account.id, store.now()),
            )
            if not spent.rowcount:  # somebody else was quicker
                raise UnknownToken(_WORDS)
            new.write(connection)
        return account

    def _account_of(self, digest: bytes) -> Account:
        database = self._store.database
        with mapped(database.path):
            row = database.row(
                "SELECT account FROM one_time_tokens WHERE digest = ? AND expires > ?", digest, self._store.now()
            )
            account = None if row is None else database.account(row[0])
        if account is None:
            raise UnknownToken(_WORDS)
        return account

    def _digest(self, token: str) -> bytes:
        return self._store.digests.of(_PURPOSE, NOBODY, canonical(token) or "")


_WORDS: Final = "This code is wrong, was used already, or has expired. Ask for a new one."
