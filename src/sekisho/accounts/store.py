"""The accounts of this service: who a name is, whose a mailbox is, and every change an operator can make.

Mail workers, the command line and the portal open the same database. Reads are answered from a memory that is checked
against the database (one `PRAGMA data_version`): at every login and for every name or mailbox that memory does not
have, so that ``sekisho account add`` and a suspension count at once; else when the last look is `LOOK_EVERY` seconds
old, so that a session that is logged in notices its suspension, new password or new limits within a second.
"""

from __future__ import annotations

import hmac
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self, TypeVar

from sekisho.smtp import Mailbox
from sekisho.store import mapped

from .account import TAG_SEPARATOR, Account, AccountDetails, identity_key, login_key, name_key
from .database import AccountDatabase, write_verifiers
from .digests import Digests, token_digest
from .errors import AccountExists, AccountsError, BadLogin, UnknownAccount
from .passwords import accept_password
from .settings import AccountsSettings
from .verifiers import CRAM_MD5, Sealer, Verifiers, Workshop, read_verifier

__all__ = ["UNCHANGED", "AccountStore", "Entry", "Unchanged"]

LOOK_EVERY: Final = 1.0  # seconds
_REMEMBERED = 10_000  # names, and as many mailboxes; about 1 KiB each
_EVERYTHING = -1  # SQLite: no LIMIT
_MISSING: Final = object()

Found = TypeVar("Found")


class Unchanged:
    """Type of `UNCHANGED`: leave this property as it is."""


UNCHANGED: Final = Unchanged()


@dataclass(frozen=True, slots=True)
class Entry:
    """An account together with what its password is checked against; it stays inside this package.

    Fields:
        rows: the verifiers as stored, to notice that they changed meanwhile.
        app_passwords: number and digest of each.
    """

    account: Account
    verifiers: Verifiers
    rows: tuple[tuple[str, str], ...]
    app_passwords: tuple[tuple[int, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"Entry({self.account.login})"


class AccountStore:
    """The accounts. Reading belongs to one thread (a worker's event loop); changes may be made from any.

    What stands beside the password has classes of its own over a store: `AppPasswords`, `SecondFactors`,
    `OneTimeTokens`, `WebSessions`.

    Fields:
        database, sealer, digests: for those classes, not for other packages.
        now: UTC seconds since the epoch.

    Raises (all methods):
        StoreError: the database is damaged, full, locked or not readable.
    """

    def __init__(
        self,
        database: AccountDatabase,
        settings: AccountsSettings,
        sealer: Sealer,
        now: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.workshop = Workshop(settings, sealer)
        self.database = database
        self.sealer = sealer
        self.digests = Digests(database.secret("digests"))
        self._default_domain = settings.default_domain.lower() if settings.default_domain else None
        self.now = now
        self._steady = steady
        self._looked = -math.inf
        self._own_changes = 0
        self._data_version = -1
        self._generation = -1
        self._entries: dict[str, Entry | None] = {}
        self._mailboxes: dict[Mailbox, Account | None] = {}
        self._bare_domain: str | None = None
        self._has_imported = False
        self.decoy_secret = database.secret("decoys")
        self.tried_key = hmac.digest(self.decoy_secret, b"passwords tried", "sha256")

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        key: bytes | Path | None = None,
        create: bool = True,
        settings: AccountsSettings | None = None,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open the accounts in *path*, creating the database (mode 0600, synced) when it does not exist.

        Open it in each process after the fork, never before.

        Args:
            key: what seals secrets that are read again, or the file with it; by default ``accounts.key`` beside the
                database, made when the first secret is sealed.
            create: False for whoever comes after those who make it: that it is missing is then an error.
            now: UTC seconds since the epoch.
            steady: seconds of a steady clock.

        Raises:
            StoreError: see `sekisho.store`.
            OSError: the directory is missing or not ours.
        """
        settings = settings or AccountsSettings()
        sealer = Sealer(path.with_name("accounts.key") if key is None else key)
        return cls(AccountDatabase(path, create=create), settings, sealer, now, steady)

    def close(self) -> None:
        self.database.close()

    # Reading

    def find(self, name: str) -> Entry | None:
        """Return whom a claimed user *name* means: a login, an alias, or a local-part that only one account has."""
        with mapped(self.database.path):
            self._look()
            entry = self._entries.get(name, _MISSING)
            if entry is _MISSING:
                entry = self._load(self._resolve(name_key(name)))
                _remember(self._entries, name, entry)
        return entry if isinstance(entry, Entry) else None

    def find_login(self, name: str) -> Account | None:
        """Return the account that *name* logs in to, as `find` did at most `LOOK_EVERY` seconds ago.

        What this object itself has changed since then counts.
        """
        entry = self._entries.get(name) if self._has_looked() else None
        if entry is None:
            entry = self.find(name)
        return None if entry is None else entry.account

    def identify(self, name: str) -> tuple[str, Entry | None]:
        """Return one spelling for all names of an account, and the account; None for a name that nobody has.

        An unknown name is spelled as if there were such an account. What is counted or invented per name hangs on this,
        so that ``ghost`` and ``ghost@example.jp`` behave like the two names of one account.
        """
        entry = self.find(name)
        if entry is not None:
            return entry.account.login, entry
        key = name_key(name)
        if "@" in key or self._bare_domain is None:
            return key, None
        return f"{key}@{self._bare_domain}", None

    def mailbox_for(self, mailbox: Mailbox) -> Account | None:
        """Return the account that mail to *mailbox* is delivered to; None when there is no such mailbox here.

        A login comes before an alias; of several accounts with the alias the oldest gets the mail. Without either, the
        ``+tag`` is left away. Suspension does not matter here: a suspended account still receives. A mailbox that there
        was is found for up to `LOOK_EVERY` seconds after it is gone.
        """
        if self._has_looked() and (found := self._mailboxes.get(mailbox)) is not None:
            return found
        with mapped(self.database.path):
            self._look()
            account = self._mailboxes.get(mailbox, _MISSING)
            if account is _MISSING:
                account = self._owner(mailbox)
                _remember(self._mailboxes, mailbox, account)
        return account if isinstance(account, Account) else None

    def get(self, login: str) -> Account | None:
        """Return the account with exactly that *login* (bare: in the default domain)."""
        account = self.find_login(login)
        return account if account is not None and account.login == self._login_key_of(login) else None

    def list(self, *, after: str = "", limit: int | None = None) -> tuple[Account, ...]:
        """Return the accounts in the order of their logins, at most *limit* of them, beginning behind login *after*."""
        return self.database.accounts(after, _EVERYTHING if limit is None else limit)

    def show(self, name: str) -> AccountDetails:
        """Return everything about an account that anyone may see.

        Raises:
            UnknownAccount.
        """
        return self.database.details(self.known(name))

    @property
    def has_imported(self) -> bool:
        """Whether some account can be checked by SCRAM keys alone; as of the last `find`."""
        return self._has_imported

    # Changes

    def add(
        self,
        login: str,
        password: str | None,
        *,
        identities: Iterable[str] = (),
        smarthost: bool = False,
        cram_md5: bool = False,
        messages_per_hour: int | None = None,
        recipients_per_hour: int | None = None,
        language: str | None = None,
    ) -> Account:
        """Add an account; durable when this returns. Takes as long as hashing a password: call it off the event loop.

        Args:
            password: None for an account that cannot log in until `set_password` or `import_verifier`.
            cram_md5: also keep the password encrypted, so that CRAM-MD5 works.

        Raises:
            BadLogin, AccountExists, WeakPassword.
        """
        key = login_key(login, self._default_domain)
        owned = [identity_key(identity) for identity in identities]
        prepared = None if password is None else self._accept(password, key)
        made = {} if prepared is None else self.workshop.make(prepared)
        local_part, _, domain = key.rpartition("@")
        with self.database.writing() as connection:
            _refuse_taken_login(connection, key)
            now = self.now()
            row = (key, local_part, domain, smarthost, messages_per_hour, recipients_per_hour, language, now, now)
            number = connection.execute(
                "INSERT INTO accounts (login, local_part, domain, smarthost, messages_per_hour, recipients_per_hour, "
                "language, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            if number is None:
                raise RuntimeError("SQLite gave the account no number")
            for identity in owned:
                _add_identity(connection, number, key, identity)
            if cram_md5 and prepared is not None:
                made[CRAM_MD5] = self.workshop.seal(number, prepared)
            write_verifiers(connection, number, made)
        return self._changed(number)

    def set_password(
        self, name: str, password: str, *, cram_md5: bool | None = None, but: str | None = None
    ) -> Account:
        """Replace every verifier of an account by those of *password*. Call it off the event loop.

        The logins of its browsers end, and a one-time token that was handed out is void. App passwords and the second
        factor stay.

        Args:
            cram_md5: keep the password encrypted for CRAM-MD5 or no longer do; None goes on as before.
            but: token of the one web session that stays open.

        Raises:
            UnknownAccount, WeakPassword.
        """
        account = self.known(name)
        password_of = self.new_password(account, password)
        with self.database.writing() as connection:
            password_of.write(connection, cram_md5=cram_md5, but=but)
        return self._changed(account.id)

    def new_password(self, account: Account, password: str) -> NewPassword:
        """Return *password*, hashed and ready to be written in a transaction. Call it off the event loop.

        Raises:
            WeakPassword.
        """
        prepared = self._accept(password, account.login)
        return NewPassword(self, account, prepared, self.workshop.make(prepared))

    def import_verifier(self, name: str, mechanism: str, text: str) -> Account:
        """Take over a verifier from another system: ``argon2id`` (PHC string) or a SCRAM one (RFC 5803).

        Raises:
            UnknownAccount.
            AccountsError: the text is not such a verifier.
        """
        account = self.known(name)
        try:
            verifier = read_verifier(mechanism, text)
        except ValueError as error:
            raise AccountsError(f"The verifier for {account.login} cannot be used: {error}") from error
        self.database.replace_verifiers(account.id, {mechanism: verifier})
        return self._changed(account.id)

    def suspend(self, name: str, reason: str = "") -> Account:
        """Refuse every login from now on; mail already accepted is not touched. Raises UnknownAccount."""
        return self._update(name, "suspended = 1, suspension = ?", (reason,))

    def resume(self, name: str) -> Account:
        """End a suspension. Raises UnknownAccount."""
        return self._update(name, "suspended = 0, suspension = ''", ())

    def change(
        self,
        name: str,
        *,
        smarthost: bool | Unchanged = UNCHANGED,
        messages_per_hour: int | Unchanged | None = UNCHANGED,
        recipients_per_hour: int | Unchanged | None = UNCHANGED,
        language: str | Unchanged | None = UNCHANGED,
        operator: bool | Unchanged = UNCHANGED,
        renewal: bool | Unchanged = UNCHANGED,
    ) -> Account:
        """Change properties of an account; *renewal* asks for a new password, or no longer. Raises UnknownAccount."""
        wanted = {
            "operator": operator,
            "renewal": renewal,
            "smarthost": smarthost,
            "messages_per_hour": messages_per_hour,
            "recipients_per_hour": recipients_per_hour,
            "language": language,
        }
        given = {column: value for column, value in wanted.items() if not isinstance(value, Unchanged)}
        if not given:
            return self.known(name)
        return self._update(name, ", ".join(f"{column} = ?" for column in given), tuple(given.values()))

    def add_identity(self, name: str, identity: str) -> Account:
        """Let an account send as *identity*, too: an address, or ``@domain``. Again: no harm.

        Raises:
            UnknownAccount, BadLogin.
            AccountExists: it is another account's login.
        """
        account = self.known(name)
        key = identity_key(identity)
        with self.database.writing() as connection:
            _add_identity(connection, account.id, account.login, key)
            self.touch(connection, account)
        return self._changed(account.id)

    def remove_identity(self, name: str, identity: str) -> Account:
        """Take *identity* away from an account. Raises UnknownAccount, BadLogin when it does not have it."""
        account = self.known(name)
        key = identity_key(identity)
        with self.database.writing() as connection:
            removed = connection.execute(
                "DELETE FROM identities WHERE account = ? AND identity = ?", (account.id, key)
            ).rowcount
            if not removed:
                raise BadLogin(
                    f"{account.login} has no identity {key}; it has {', '.join(account.identities) or 'none'}"
                )
            self.touch(connection, account)
        return self._changed(account.id)

    def delete(self, name: str) -> Account:
        """Delete an account, its identities and its verifiers; return what it was. Raises UnknownAccount."""
        account = self.known(name)
        with self.database.writing() as connection:
            connection.execute("DELETE FROM accounts WHERE id = ?", (account.id,))
        return account

    def renew_verifiers(self, entry: Entry, made: dict[str, str]) -> bool:
        """Replace outdated verifiers after a login, unless the password was changed meanwhile. From any thread."""
        return self.database.replace_verifiers(entry.account.id, made, unless_changed_from=dict(entry.rows))

    def note_logins(self, accounts: Sequence[int]) -> None:
        """Write now as the last login of *accounts*, unless one of the last ten minutes is written. From any thread."""
        self.database.note_logins(accounts, self.now())

    def note_app_passwords(self, numbers: Sequence[int]) -> None:
        """Write now as the last use of app passwords, as `note_logins` does. From any thread."""
        self.database.note_app_passwords(numbers, self.now())

    def known(self, name: str) -> Account:
        """Return the account that *name* means, read from the database. Raises UnknownAccount."""
        with mapped(self.database.path):  # not from memory: changes may come from any thread
            number = self._resolve(name_key(name))
            account = None if number is None else self.database.account(number)
        if account is None:
            raise UnknownAccount(f"There is no account {name!r}. `sekisho account list` shows them.")
        return account

    def touch(self, connection: sqlite3.Connection, account: Account) -> None:
        """Note in the caller's transaction that the account changes now. Raises UnknownAccount."""
        changed = connection.execute("UPDATE accounts SET changed = ? WHERE id = ?", (self.now(), account.id))
        if not changed.rowcount:
            raise UnknownAccount(f"The account {account.login} was deleted meanwhile.")

    # Inside

    def _has_looked(self) -> bool:
        """Whether what is remembered may be taken for the truth without a look."""
        return self._steady() - self._looked < LOOK_EVERY and self._own_changes == self.database.changes

    def _look(self) -> None:
        """Forget what is remembered if any account has changed."""
        now, changes = self._steady(), self.database.changes
        self._refresh()
        self._looked, self._own_changes = now, changes

    def _refresh(self) -> None:
        version = self.database.data_version()
        if version == self._data_version:
            return
        generation = self.database.generation()
        if generation != self._generation:
            self._entries.clear()
            self._mailboxes.clear()
            self._bare_domain = self._default_domain or self.database.first_domain()
            self._has_imported = self.database.lacks_password_hash()
            self._generation = generation
        # Read before the rows were: what is committed in between moves the number again.
        self._data_version = version

    def _resolve(self, key: str) -> int | None:
        database = self.database
        if not key:  # the local-part of "@domain" identities
            return None
        if "@" in key:
            number = database.id_of_login(key)
            return number if number is not None or key.startswith("@") else _only(database.ids_of_identity(key))
        if self._default_domain is not None:
            number = self._resolve(f"{key}@{self._default_domain}")
            if number is not None:
                return number
        numbers = database.ids_of_login_local_part(key)
        return _only(numbers or database.ids_of_identity_local_part(key))

    def _load(self, number: int | None) -> Entry | None:
        account = None if number is None else self.database.account(number)
        if account is None:
            return None
        rows = tuple(self.database.verifiers(account.id))
        app_passwords = tuple(self.database.app_passwords(account.id))
        found = replace(
            account,
            password_marks=frozenset(self._mark(account.id, row) for row in rows),
            app_passwords=frozenset(number for number, _ in app_passwords),
        )
        return Entry(found, Verifiers.read(rows), rows, app_passwords)

    def _mark(self, number: int, row: tuple[str, str]) -> bytes:
        return hmac.digest(self.decoy_secret, f"mark\0{number}\0{row[0]}\0{row[1]}".encode(), "sha256")[:16]

    def _owner(self, mailbox: Mailbox) -> Account | None:
        local_part, _, domain = mailbox.key.rpartition("@")
        if not domain and local_part == "postmaster":  # RFC 5321 §4.5.1: the one address without a domain
            domain = self._bare_domain or ""
        for name in (local_part, local_part.partition(TAG_SEPARATOR)[0]):
            key = f"{name}@{domain}"
            number = self.database.id_of_login(key) if name else None
            if number is None and name:
                number = next(iter(self.database.ids_of_identity(key)), None)
            if number is not None:
                return self.database.account(number)
        return None

    def _login_key_of(self, name: str) -> str:
        key = name_key(name)
        return key if "@" in key or self._default_domain is None else f"{key}@{self._default_domain}"

    def _accept(self, password: str, login: str) -> str:
        return accept_password(password, login=login, minimum_length=self.settings.minimum_password_length)

    def _update(self, name: str, assignments: str, values: tuple[str | int | None, ...]) -> Account:
        account = self.known(name)
        with self.database.writing() as connection:
            connection.execute(f"UPDATE accounts SET {assignments} WHERE id = ?", (*values, account.id))  # noqa: S608
            self.touch(connection, account)
        return self._changed(account.id)

    def _changed(self, number: int) -> Account:
        with mapped(self.database.path):
            account = self.database.account(number)
        if account is None:
            raise UnknownAccount("The account was deleted meanwhile.")
        return account


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password on its way into the database; nothing of it is stored yet."""

    _store: AccountStore = field(repr=False)
    account: Account
    _prepared: str = field(repr=False)
    _made: dict[str, str] = field(repr=False)

    def write(self, connection: sqlite3.Connection, *, cram_md5: bool | None = None, but: str | None = None) -> None:
        """Put it in the place of the present one, in the caller's transaction. See `AccountStore.set_password`."""
        store, number, made = self._store, self.account.id, dict(self._made)
        had = connection.execute(
            "SELECT 1 FROM verifiers WHERE account = ? AND mechanism = ?", (number, CRAM_MD5)
        ).fetchone()
        connection.execute("DELETE FROM verifiers WHERE account = ?", (number,))
        if cram_md5 or (cram_md5 is None and had is not None):
            made[CRAM_MD5] = store.workshop.seal(number, self._prepared)
        store.touch(connection, self.account)
        write_verifiers(connection, number, made)
        connection.execute("UPDATE accounts SET renewal = 0 WHERE id = ? AND renewal != 0", (number,))
        connection.execute("DELETE FROM one_time_tokens WHERE account = ?", (number,))
        kept = b"" if but is None else token_digest(but)
        connection.execute("DELETE FROM web_sessions WHERE account = ? AND digest != ?", (number, kept))


def _remember(memory: dict[Found, Entry | None] | dict[Found, Account | None], key: Found, value: object) -> None:
    if len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value  # type: ignore[assignment]  # one helper for both memories


def _only(numbers: Sequence[int]) -> int | None:
    return numbers[0] if len(numbers) == 1 else None


def _refuse_taken_login(connection: sqlite3.Connection, key: str) -> None:
    if connection.execute("SELECT 1 FROM accounts WHERE login = ?", (key,)).fetchone() is not None:
        raise AccountExists(f"There is an account {key} already. `sekisho account passwd {key}` sets its password.")
    owner = connection.execute(
        "SELECT login FROM identities JOIN accounts ON accounts.id = identities.account WHERE identity = ?", (key,)
    ).fetchone()
    if owner is not None:
        raise AccountExists(f"{key} is an identity of the account {owner[0]}. Take it away there first.")


def _add_identity(connection: sqlite3.Connection, number: int, login: str, key: str) -> None:
    if key == login:
        return
    if connection.execute("SELECT 1 FROM accounts WHERE login = ?", (key,)).fetchone() is not None:
        raise AccountExists(f"{key} is the login of another account, so {login} cannot send as it.")
    connection.execute(
        "INSERT INTO identities VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (number, key, key.rpartition("@")[0])
    )
