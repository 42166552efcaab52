"""What is kept of secrets that we made ourselves: app passwords, recovery codes, one-time tokens, session tokens.

A password that a person thought up has perhaps 30 bits that an attacker must guess, and argon2 makes each guess cost 19
MiB and tens of milliseconds. A secret drawn here has 80 bits at least, each letter independent of the others, so there
is nothing to guess by: somebody with the whole database, its keys and 10^12 hashes a second would need 19,000 years on
average to find one of a given account. A plain hash is sound for that, and costs microseconds at each login instead of
tens of milliseconds. It is HMAC-SHA-256 under a key of the database rather than bare SHA-256, so that digests tell
nothing without that row; and purpose and account are part of what is digested, so that no digest fits elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

__all__ = ["NOBODY", "Digests", "token_digest"]

NOBODY: Final = 0
"""Account number for secrets by which the account is found, and for names that nobody has."""


class Digests:
    """Makes the digests of one database."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, purpose: str, account: int, secret: str) -> bytes:
        """Return what is stored in place of *secret*, in its canonical form (`canonical`)."""
        return hmac.digest(self._key, f"{purpose}\0{account}\0{secret}".encode(errors="replace"), "sha256")


def token_digest(token: str) -> bytes:
    """Return what is stored in place of a session token of 256 bits, which no person ever types."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
