"""Logins found right a short while ago, so that an account that sends often does not pay for argon2 each time."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict

__all__ = ["RecentSuccesses"]


class RecentSuccesses:
    """A bounded memory of (account, verifier, password) triples that matched.

    Only keyed digests are kept, under a key that lives and dies with the process. The verifier is part of what is
    digested, so a new password makes the old entry unreachable at once; whether the account is suspended is asked
    elsewhere, every time.

    Args:
        lifetime: seconds from the full check; a hit does not extend it.
        entries: most digests kept; the one used longest ago goes first.
    """

    __slots__ = ("_entries", "_key", "_known", "_lifetime")

    def __init__(self, lifetime: float, entries: int) -> None:
        self._lifetime = lifetime
        self._entries = entries if lifetime > 0 else 0
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def remembers(self) -> bool:
        """Whether anything is kept at all."""
        return self._entries > 0

    def digest(self, account: int, verifier: str, password: str) -> bytes:
        """Return what stands for the triple in this process."""
        return hmac.digest(self._key, f"{account}\0{verifier}\0{password}".encode(), "sha256")

    def holds(self, digest: bytes, now: float) -> bool:
        """Tell whether *digest* was added less than a lifetime before *now* (seconds of a steady clock)."""
        expires = self._known.get(digest)
        if expires is None:
            return False
        if expires <= now:
            del self._known[digest]
            return False
        self._known.move_to_end(digest)
        return True

    def add(self, digest: bytes, now: float) -> None:
        """Remember *digest* until a lifetime after *now*."""
        if not self._entries:
            return
        self._known[digest] = now + self._lifetime
        self._known.move_to_end(digest)
        while len(self._known) > self._entries:
            self._known.popitem(last=False)
