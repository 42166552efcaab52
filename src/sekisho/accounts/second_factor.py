"""The second factor: codes of an authenticator app (RFC 6238), and ten recovery codes for the day the app is lost.

The app's secret is sealed as CRAM-MD5 secrets are, with the key beside the database. A code is taken once: the step of
the last one is in the database, and only a later one counts, whichever process asks. Recovery codes are kept as digests
(see `digests`) and deleted as they are used.
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from typing import Final

from sekisho.store import mapped

from .digests import token_digest
from .errors import AccountsError, WrongCode
from .passwords import canonical, generate_password
from .store import AccountStore
from .totp import SECRET_OCTETS, readable_secret, setup_uri, step_of, typed_digits

__all__ = ["Enrolment", "FactorState", "SecondFactors"]

RECOVERY_CODES: Final = 10
_SEALED_FOR: Final = "TOTP"
_PURPOSE: Final = "recovery code"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the person puts into the app, as QR code or by hand; confirmed by the app's first code."""

    uri: str
    secret: str


@dataclass(frozen=True, slots=True)
class FactorState:
    """Whether the second factor is on.

    Fields:
        since: UTC epoch in seconds; None when it is off.
        recovery_codes: how many are left.
    """

    since: float | None
    recovery_codes: int


class SecondFactors:
    """The second factors of a store's accounts.

    Raises (all methods):
        UnknownAccount.
        StoreError: the database or the key file is damaged, full, locked or not readable.
    """

    __slots__ = ("_store",)

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def state(self, name: str) -> FactorState:
        """Return whether it is on."""
        account = self._store.known(name)
        database = self._store.database
        with mapped(database.path):
            row = database.row("SELECT confirmed FROM second_factors WHERE account = ?", account.id)
            (left,) = database.row("SELECT count(*) FROM recovery_codes WHERE account = ?", account.id)
        return FactorState(None if row is None else row[0], left)

    def begin(self, name: str, *, issuer: str) -> Enrolment:
        """Make a new secret; nothing is asked for until `confirm`. An enrolment begun before is forgotten.

        Raises:
            AccountsError: it is on already.
        """
        store = self._store
        account = store.known(name)
        secret = secrets.token_bytes(SECRET_OCTETS)
        with store.database.writing() as connection:
            row = connection.execute("SELECT confirmed FROM second_factors WHERE account = ?", (account.id,)).fetchone()
            if row is not None and row[0] is not None:
                raise AccountsError(f"{account.login} has a second factor already. Switch it off first.")
            sealed = store.sealer.seal(account.id, secret, purpose=_SEALED_FOR)
            connection.execute(
                "INSERT INTO second_factors (account, secret) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET secret = excluded.secret, last_step = 0",
                (account.id, sealed),
            )
        return Enrolment(setup_uri(secret, login=account.login, issuer=issuer), readable_secret(secret))

    def pending(self, name: str, *, issuer: str) -> Enrolment | None:
        """Return the enrolment that was begun and not confirmed; None without one."""
        account = self._store.known(name)
        with mapped(self._store.database.path):
            row = self._store.database.row(
                "SELECT secret FROM second_factors WHERE account = ? AND confirmed IS NULL", account.id
            )
        secret = None if row is None else self._store.sealer.open(account.id, row[0], purpose=_SEALED_FOR)
        if secret is None:
            return None
        return Enrolment(setup_uri(secret, login=account.login, issuer=issuer), readable_secret(secret))

    def confirm(self, name: str, typed: str, *, but: str | None = None) -> tuple[str, ...]:
        """Switch it on, and return the recovery codes, which are nowhere else. Durable when this returns.

        Browsers that are logged in by the password alone are logged out.

        Args:
            but: token of the one web session in which the code was given: it stays open, with both factors.

        Raises:
            WrongCode.
        """
        store = self._store
        account = store.known(name)
        with store.database.writing() as connection:
            row = connection.execute(
                "SELECT secret FROM second_factors WHERE account = ? AND confirmed IS NULL", (account.id,)
            ).fetchone()
            step = None if row is None else self._step(account.id, row[0], typed, after=0)
            if step is None:
                raise WrongCode("The code does not fit. Compare the clock of the device, and take the next code.")
            connection.execute(
                "UPDATE second_factors SET confirmed = ?, last_step = ? WHERE account = ?",
                (store.now(), step, account.id),
            )
            if but is not None:
                connection.execute(
                    "UPDATE web_sessions SET second_factor = 1 WHERE account = ? AND digest = ?",
                    (account.id, token_digest(but)),
                )
            connection.execute("DELETE FROM web_sessions WHERE account = ? AND second_factor = 0", (account.id,))
            store.touch(connection, account)
            return self._new_recovery_codes(connection, account.id)

    def renew_recovery_codes(self, name: str) -> tuple[str, ...]:
        """Replace all recovery codes by new ones, and return them.

        Raises:
            AccountsError: the second factor is off.
        """
        account = self._store.known(name)
        if not account.second_factor:
            raise AccountsError(f"{account.login} has no second factor.")
        with self._store.database.writing() as connection:
            return self._new_recovery_codes(connection, account.id)

    def check(self, account_id: int, typed: str) -> bool:
        """Tell whether *typed* is a code of the app or a recovery code, and use it up. A wrong one writes nothing."""
        database = self._store.database
        letters = canonical(typed)
        if letters is not None:
            digest = self._store.digests.of(_PURPOSE, account_id, letters)
            with mapped(database.path):
                query = "SELECT 1 FROM recovery_codes WHERE account = ? AND digest = ?"
                if database.row(query, account_id, digest) is None:
                    return False
            with database.writing() as connection:
                query = "DELETE FROM recovery_codes WHERE account = ? AND digest = ?"
                return connection.execute(query, (account_id, digest)).rowcount == 1
        with mapped(database.path):
            row = database.row(
                "SELECT secret, last_step FROM second_factors WHERE account = ? AND confirmed IS NOT NULL", account_id
            )
        step = None if row is None else self._step(account_id, row[0], typed, after=row[1])
        if step is None:
            return False
        with database.writing() as connection:  # of two processes with the same code, one gets it
            query = "UPDATE second_factors SET last_step = ? WHERE account = ? AND last_step < ?"
            return connection.execute(query, (step, account_id, step)).rowcount == 1

    def switch_off(self, name: str) -> bool:
        """Ask for the password alone from now on; tell whether it was on. App passwords stay."""
        account = self._store.known(name)
        with self._store.database.writing() as connection:
            connection.execute("DELETE FROM second_factors WHERE account = ?", (account.id,))
            connection.execute("DELETE FROM recovery_codes WHERE account = ?", (account.id,))
            self._store.touch(connection, account)
        return account.second_factor

    def _step(self, account_id: int, sealed: str, typed: str, *, after: int) -> int | None:
        code = typed_digits(typed)
        secret = self._store.sealer.open(account_id, sealed, purpose=_SEALED_FOR)
        if code is None or secret is None:
            return None
        return step_of(secret, code, self._store.now(), after=after)

    def _new_recovery_codes(self, connection: sqlite3.Connection, account_id: int) -> tuple[str, ...]:
        codes = tuple(generate_password() for _ in range(RECOVERY_CODES))
        connection.execute("DELETE FROM recovery_codes WHERE account = ?", (account_id,))
        connection.executemany(
            "INSERT INTO recovery_codes VALUES (?, ?)",
            [(account_id, self._store.digests.of(_PURPOSE, account_id, canonical(code) or "")) for code in codes],
        )
        return codes
