"""Whether a password opens an account: from memory within microseconds, else by hashing in the pool."""

from __future__ import annotations

import contextlib

from sekisho.sasl import HASHES, ScramKeys
from sekisho.store import StoreError

from .hasher import HashingPool
from .recent import RecentSuccesses
from .store import AccountStore, Entry
from .verifiers import ARGON2ID, Verifiers

__all__ = ["PasswordCheck"]


class PasswordCheck:
    """Checks passwords given in the clear (PLAIN, LOGIN).

    Every check that memory does not answer hashes the same number of times, whatever the name: against the account's
    argon2id verifier or a decoy, and, as long as some account was taken over with SCRAM keys alone, against SCRAM keys
    or a decoy as well.
    """

    __slots__ = ("_decoys", "_pool", "_recent", "_store")

    def __init__(self, store: AccountStore, pool: HashingPool, recent: RecentSuccesses) -> None:
        self._store = store
        self._pool = pool
        self._recent = recent
        iterations = store.settings.scram_iterations
        self._decoys = Verifiers(
            store.workshop.decoy_hash,
            {name: ScramKeys.decoy(HASHES[name], store.decoy_secret, iterations) for name in HASHES},
        )

    async def opens(self, entry: Entry | None, password: str, now: float) -> bool:
        """Tell whether *password* (prepared) opens *entry*; never, when that is None.

        Args:
            now: seconds of a steady clock.

        Raises:
            HashingBusy: too many checks wait.
        """
        own = Verifiers() if entry is None else entry.verifiers
        number = 0 if entry is None else entry.account.id
        digest = self._recent.digest(number, own.password_hash or "", password)
        if self._recent.holds(digest, now):
            return True
        by_scram_too = self._store.has_imported or (own.password_hash is None and bool(own.scram))
        right, renewed_hash = await self._pool.run(lambda: self._check(entry, own, password, by_scram_too))
        verifier = renewed_hash or own.password_hash
        if right and verifier is not None:
            self._recent.add(self._recent.digest(number, verifier, password), now)
        return right

    def _check(self, entry: Entry | None, own: Verifiers, password: str, by_scram_too: bool) -> tuple[bool, str | None]:
        """Hash, in a thread of the pool; return whether the password is right, and its argon2id verifier if renewed."""
        workshop = self._store.workshop
        hash_opens = workshop.check_password(own.password_hash or workshop.decoy_hash, password)
        scram_opens = by_scram_too and (own if own.scram else self._decoys).opens_by_scram(password)
        right = hash_opens if own.password_hash is not None else scram_opens and bool(own.scram)
        if not right or entry is None:
            return False, None
        made = workshop.renew(own, password)
        if made:
            with contextlib.suppress(StoreError):  # the login is right all the same; the next one tries again
                if self._store.renew_verifiers(entry, made):
                    return True, made.get(ARGON2ID)
        return True, None
