"""Whether a password opens an account: from memory within microseconds, else by hashing in the pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from sekisho.sasl import HASHES, ScramKeys
from sekisho.store import StoreError

from .hasher import HashingPool
from .recent import RecentSuccesses
from .store import AccountStore, Entry
from .verifiers import ARGON2ID, Verifiers

__all__ = ["PasswordCheck"]

_Claim = tuple[str, bytes, tuple[tuple[str, str], ...], bool]
_Found = tuple[bool, str | None]  # whether the password is right; the argon2id verifier, if it was renewed


@dataclass(slots=True, eq=False)
class _Shared:
    """A check under way, and how many logins wait for it."""

    task: asyncio.Task[_Found]
    waiting: int = 0


class PasswordCheck:
    """Checks passwords given in the clear (PLAIN, LOGIN).

    Every check that memory does not answer hashes the same number of times, whatever the name: against the account's
    argon2id verifier or a decoy, and, as long as some account was taken over with SCRAM keys alone, against SCRAM keys
    or a decoy as well.

    A mail client that opens several connections at once sends the same password over each of them. One check answers
    them all, as long as anything may be remembered at all. It is shared by those alone who name the same account, with
    the same verifiers, and the same password: whoever guesses shares with nobody but himself. Names that nobody has are
    kept apart too, so that unknown accounts take as long as known ones.
    """

    __slots__ = ("_decoys", "_pool", "_recent", "_running", "_store")

    def __init__(self, store: AccountStore, pool: HashingPool, recent: RecentSuccesses) -> None:
        self._store = store
        self._pool = pool
        self._recent = recent
        self._running: dict[_Claim, _Shared] = {}
        iterations = store.settings.scram_iterations
        self._decoys = Verifiers(
            store.workshop.decoy_hash,
            {name: ScramKeys.decoy(HASHES[name], store.decoy_secret, iterations) for name in HASHES},
        )

    async def opens(
        self, name: str, entry: Entry | None, password: str, now: float, *, remembered: bool = True
    ) -> bool:
        """Tell whether *password* (prepared) opens *entry*; never, when that is None.

        Args:
            remembered: take an answer from memory and keep it there. Without, a right password takes as long as a wrong
                one every time: where the answer must not show.
            name: the one spelling of what was claimed, see `AccountStore.identify`.
            now: seconds of a steady clock.

        Raises:
            HashingBusy: too many checks wait.
            MemoryError: there is none for the check now, which says nothing about the password.
        """
        own = Verifiers() if entry is None else entry.verifiers
        number = 0 if entry is None else entry.account.id
        digest = self._recent.digest(number, own.password_hash or "", password)
        if remembered and self._recent.holds(digest, now):
            return True
        by_scram_too = self._store.has_imported or (own.password_hash is None and bool(own.scram))
        claim = (name, digest, () if entry is None else entry.rows, by_scram_too)
        right, renewed_hash = await self._shared(claim, lambda: self._check(entry, own, password, by_scram_too))
        verifier = renewed_hash or own.password_hash
        if right and remembered and verifier is not None:
            self._recent.add(self._recent.digest(number, verifier, password), now)
        return right

    async def _shared(self, claim: _Claim, check: Callable[[], _Found]) -> _Found:
        """Run *check*, or wait for the same one that runs already. It is given up when all who wait for it are."""
        if not self._recent.remembers:
            return await self._pool.run(check)
        shared = self._running.get(claim)
        if shared is None:
            shared = self._running[claim] = _Shared(asyncio.ensure_future(self._pool.run(check)))
            shared.task.add_done_callback(lambda _: self._running.pop(claim, None))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._running.pop(claim, None)
                shared.task.cancel()

    def _check(self, entry: Entry | None, own: Verifiers, password: str, by_scram_too: bool) -> _Found:
        """Hash, in a thread of the pool."""
        workshop = self._store.workshop
        hash_opens = workshop.check_password(own.password_hash or workshop.decoy_hash, password)
        scram_opens = by_scram_too and (own if own.scram else self._decoys).opens_by_scram(password)
        right = hash_opens if own.password_hash is not None else scram_opens and bool(own.scram)
        if not right or entry is None:
            return False, None
        with contextlib.suppress(StoreError, MemoryError):  # the login is right all the same; the next one tries again
            made = workshop.renew(own, password)
            if made and self._store.renew_verifiers(entry, made):
                return True, made.get(ARGON2ID)
        return True, None
