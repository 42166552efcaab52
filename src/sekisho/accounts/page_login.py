"""Checking an account's own password for a page, by the rules of AUTH: the same work whoever is named, then one answer.

Nothing is taken from memory or kept there: whether the password alone was right must not show where a second factor is
asked for as well. App passwords are not taken. The limits on tries are the caller's, who counts them by
`PageLogin.name` in the ledger that AUTH counts in.
"""

from __future__ import annotations

from typing import Self

from sekisho.sasl import MAX_OCTETS, PreparationError, prepare

from .authenticate import Accepted, Refusal, Refused, refused_guess, tried_digest
from .hasher import HashingBusy, HashingPool
from .password_check import PasswordCheck
from .recent import RecentSuccesses
from .store import AccountStore, Entry

__all__ = ["PageLogin"]

_UNSENDABLE = "?"  # hashed in the place of a text that can be no password, and never taken for right


class PageLogin:
    """One try to log in to a page.

    Fields:
        name: whom it names, in the one spelling that all names of an account share; count failures by it.
        digest: keyed digest of the password tried, the same in all processes, so that a mistake repeated counts once;
            None with a code for the second factor: the same one again may be right half a minute later.
    """

    __slots__ = ("_check", "_entry", "_password", "_problem", "digest", "name")

    def __init__(
        self,
        name: str,
        entry: Entry | None,
        check: PasswordCheck,
        password: str | None,
        problem: str,
        digest: bytes | None,
    ) -> None:
        self.name = name
        self.digest = digest
        self._entry = entry
        self._check = check
        self._password = password
        self._problem = problem

    @classmethod
    def of(cls, store: AccountStore, pool: HashingPool, claimed: str, password: str, code: str = "") -> Self:
        """Look up whom *claimed* names. Call it where the store is read.

        Args:
            code: what was given for the second factor.
        """
        name, entry = store.identify(claimed[:MAX_OCTETS])
        prepared, problem = None, "wrong password"
        try:
            prepared = prepare(password)
        except PreparationError as error:
            problem = f"password {error}"
        digest = None if code.strip() else tried_digest(store, name, prepared or _UNSENDABLE)
        return cls(name, entry, PasswordCheck(store, pool, RecentSuccesses(0, 0)), prepared, problem, digest)

    async def check(self) -> Accepted | Refused:
        """Check the password; the second factor, and after it whether the account is suspended, are left to the caller.

        To the person, say the same to everything that `Refusal.is_guess` holds for, and to a code that is missing or
        wrong. Tell of a suspension only whoever has given a right code, too: it would say that the password was right.
        """
        tried = self._password or _UNSENDABLE
        try:
            opened = await self._check.opens(self.name, self._entry, tried, 0.0, remembered=False)
        except HashingBusy:
            return Refused(Refusal.BUSY, "too many password checks wait")
        except MemoryError:
            return Refused(Refusal.BUSY, "there is no memory for a password check")
        if self._entry is None or not opened or self._password is None:
            return refused_guess(self._entry, self._problem)
        return Accepted(self._entry.account)
