"""App passwords: one for each device, made by us, shown once, revoked one by one.

They open an account for sending and nothing else: the portal does not take them. They work where the client sends the
password itself (PLAIN, LOGIN). SCRAM and CRAM-MD5 cannot take them: there the server answers with one salt, or computes
with one secret, before it has seen anything of the password, and so has to know which of several secrets the client
holds; and a device that has none of its own would be turned away.

A right one is recognized by its digest within microseconds (see `digests`), so nothing needs to be remembered about it,
and one that is revoked is refused from the next login on.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from sekisho.store import mapped

from .account import Account
from .digests import NOBODY, Digests
from .errors import AccountsError, BadLabel, TooManyAppPasswords
from .passwords import canonical, generate_password
from .store import AccountStore, Entry

__all__ = ["AppPassword", "AppPasswords", "app_password_that_opens"]

MAX_PER_ACCOUNT: Final = 50
MAX_LABEL: Final = 60  # characters
_PURPOSE: Final = "app password"
_NONE: Final = ((NOBODY, bytes(32)),)  # compared where there is none, and equal to no digest


@dataclass(frozen=True, slots=True)
class AppPassword:
    """One device's password, without the password.

    Fields:
        number: never given to another one.
        label: the person's own name for the device.
        created: UTC epoch in seconds.
        last_used: the same, up to ten minutes late; None when it never was.
    """

    number: int
    label: str
    created: float
    last_used: float | None


class AppPasswords:
    """The app passwords of a store's accounts.

    Raises (all methods):
        UnknownAccount.
        StoreError: the database is damaged, full, locked or not readable.
    """

    __slots__ = ("_store",)

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def add(self, name: str, label: str) -> tuple[AppPassword, str]:
        """Make one, and return it with the password, which is nowhere else. Durable when this returns.

        Raises:
            BadLabel, TooManyAppPasswords.
        """
        store = self._store
        account = store.known(name)
        label = self.tidy(label)
        password = generate_password()
        now = store.now()
        with store.database.writing() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM app_passwords WHERE account = ?", (account.id,)
            ).fetchone()
            if count >= MAX_PER_ACCOUNT:
                raise TooManyAppPasswords(
                    f"{account.login} has {count} app passwords. Remove one that is not used any more."
                )
            store.touch(connection, account)
            number = connection.execute(
                "INSERT INTO app_passwords (account, label, digest, created) VALUES (?, ?, ?, ?)",
                (account.id, label, _digest(store.digests, account.id, canonical(password) or ""), now),
            ).lastrowid
        if number is None:
            raise RuntimeError("SQLite gave the app password no number")
        return AppPassword(number, label, now, None), password

    @staticmethod
    def tidy(label: str) -> str:
        """Return the name of a device as it is kept.

        Raises:
            BadLabel
        """
        tidied = " ".join(label.split())
        if not tidied or len(tidied) > MAX_LABEL or not tidied.isprintable():
            raise BadLabel(f"Name the device, in at most {MAX_LABEL} characters.")
        return tidied

    def list(self, name: str) -> tuple[AppPassword, ...]:
        """Return those of an account, the newest first."""
        account = self._store.known(name)
        with mapped(self._store.database.path):
            rows = self._store.database.rows(
                "SELECT id, label, created, last_used FROM app_passwords LEFT JOIN app_password_uses "
                "ON app_password = id WHERE account = ? ORDER BY id DESC",
                account.id,
            )
        return tuple(AppPassword(*row) for row in rows)

    def remove(self, name: str, number: int) -> AppPassword:
        """Revoke one: it opens nothing from now on, and what it had opened ends with its next message.

        Raises:
            AccountsError: the account has none of that number.
        """
        account = self._store.known(name)
        found = next((each for each in self.list(account.login) if each.number == number), None)
        if found is None:
            raise AccountsError(f"{account.login} has no app password {number}.")
        with self._store.database.writing() as connection:
            connection.execute("DELETE FROM app_passwords WHERE id = ? AND account = ?", (number, account.id))
            self._store.touch(connection, account)
        return found


def app_password_that_opens(digests: Digests, entry: Entry | None, password: str) -> int | None:
    """Return the number of the app password of *entry* that *password* is; None when it is none of them.

    A name that nobody has, an account without any, and a text that cannot be one take the same steps.
    """
    account: Account | None = None if entry is None else entry.account
    given = _digest(digests, NOBODY if account is None else account.id, canonical(password) or "")
    found = NOBODY
    for number, digest in (entry.app_passwords if entry is not None else ()) or _NONE:
        if hmac.compare_digest(digest, given):
            found = number
    return found or None


def _digest(digests: Digests, account: int, letters: str) -> bytes:
    return digests.of(_PURPOSE, account, letters)
