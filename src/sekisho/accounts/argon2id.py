"""argon2id (RFC 9106): making and checking verifiers as PHC strings, with the quicker of two libraries.

libsodium has compression functions for AVX2 and AVX-512 and takes half the time of the reference implementation; it
knows one lane alone. Attackers have the quickest code there is, so a quick check here is no gift to them: it is room
for more memory and passes. Both release the interpreter while they work.
"""

from __future__ import annotations

import base64

from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret, verify_secret
from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13, crypto_pwhash_str_verify
from nacl.exceptions import CryptoError

__all__ = ["HASH_OCTETS", "SALT_OCTETS", "check", "encode", "make"]

SALT_OCTETS = 16
HASH_OCTETS = 32

_SODIUM_LONGEST = 127  # characters of a PHC string
_ONE_LANE = ",p=1$"


def encode(passes: int, memory_kib: int, lanes: int, salt: bytes, digest: bytes) -> str:
    """Return the PHC string of these values."""
    written = (base64.b64encode(octets).decode().rstrip("=") for octets in (salt, digest))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${'$'.join(written)}"


def make(password: bytes, salt: bytes, *, passes: int, memory_kib: int, lanes: int) -> str:
    """Return the verifier of *password* as a PHC string; *salt* has `SALT_OCTETS`.

    Raises:
        CryptoError, Argon2Error: there is no memory for it.
    """
    if lanes == 1:
        digest = crypto_pwhash_alg(HASH_OCTETS, password, salt, passes, memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13)
        return encode(passes, memory_kib, lanes, salt, digest)
    return hash_secret(
        password,
        salt,
        time_cost=passes,
        memory_cost=memory_kib,
        parallelism=lanes,
        hash_len=HASH_OCTETS,
        type=Type.ID,
    ).decode()


def check(verifier: str, password: bytes) -> bool:
    """Tell whether *password* opens *verifier*, a PHC string. What cannot be read as one is never opened."""
    text = verifier.encode()
    try:
        if _ONE_LANE in verifier and len(text) <= _SODIUM_LONGEST:
            return bool(crypto_pwhash_str_verify(text, password))
        return verify_secret(text, password, Type.ID)
    except (CryptoError, Argon2Error):
        return False
