"""argon2id (RFC 9106): making and checking verifiers as PHC strings, by the compiled kernel or argon2-cffi.

The kernel fills the memory of one lane, in huge pages and with the widest registers there are, in under a third of the
time of the reference implementation in argon2-cffi, which does the rest: several lanes, and all where there is no
kernel. Attackers have the quickest code there is, so a quick check here is no gift to them: it is room for more memory
and passes. Both release the interpreter while they work.
"""

from __future__ import annotations

import base64
import hmac
import re
import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Self

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from sekisho.kernel import FillMemory, fill_memory

__all__ = ["HASH_OCTETS", "SALT_OCTETS", "Verifier", "check", "encode", "fill_and_finish", "make"]

SALT_OCTETS = 16
HASH_OCTETS = 32

MAX_MEMORY_KIB = 4 * 1024 * 1024
MAX_PASSES = 64
MAX_LANES = 16

_VERSION = 0x13
_TYPE_ID = 2
_BLOCK_OCTETS = 1024

_PHC = re.compile(
    rf"\$argon2id\$v={_VERSION}\$m=([1-9]\d{{0,8}}),t=([1-9]\d{{0,8}}),p=([1-9]\d{{0,4}})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,172})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a PHC string says.

    Fields:
        passes, memory_kib, lanes: t, m and p of RFC 9106 §3.1, of bearable cost.
    """

    passes: int
    memory_kib: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return the verifier; None unless *text* is what `encode` would write for one of bearable cost."""
        match = _PHC.fullmatch(text)
        if match is None:
            return None
        memory, passes, lanes = int(match[1]), int(match[2]), int(match[3])
        if not 8 * lanes <= memory <= MAX_MEMORY_KIB or passes > MAX_PASSES or lanes > MAX_LANES:
            return None
        try:
            salt, digest = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in (match[4], match[5]))
        except ValueError:
            return None
        return cls(passes, memory, lanes, salt, digest) if encode(passes, memory, lanes, salt, digest) == text else None


def encode(passes: int, memory_kib: int, lanes: int, salt: bytes, digest: bytes) -> str:
    """Return the PHC string of these values."""
    written = (base64.b64encode(octets).decode().rstrip("=") for octets in (salt, digest))
    return f"$argon2id$v={_VERSION}$m={memory_kib},t={passes},p={lanes}${'$'.join(written)}"


def make(password: bytes, salt: bytes, *, passes: int, memory_kib: int, lanes: int) -> str:
    """Return the verifier of *password* as a PHC string; *salt* has `SALT_OCTETS`.

    Raises:
        MemoryError: there is none for it now. Nothing is known about the password; temporary.
        ValueError: less than 8 KiB for a lane.
    """
    digest = _hash(password, salt, passes, memory_kib, lanes, HASH_OCTETS)
    return encode(passes, memory_kib, lanes, salt, digest)


def check(verifier: str, password: bytes) -> bool:
    """Tell whether *password* opens *verifier*, a PHC string. What cannot be read as one is never opened.

    Raises:
        MemoryError: see `make`.
    """
    read = Verifier.read(verifier)
    if read is None:
        return False
    digest = _hash(password, read.salt, read.passes, read.memory_kib, read.lanes, len(read.digest))
    return hmac.compare_digest(digest, read.digest)


def _hash(password: bytes, salt: bytes, passes: int, memory_kib: int, lanes: int, octets: int) -> bytes:
    if memory_kib < 8 * lanes:
        raise ValueError("argon2id takes at least 8 KiB for each lane (RFC 9106 §3.1)")
    if lanes == 1 and fill_memory is not None:
        return fill_and_finish(fill_memory, password, salt, passes, memory_kib, octets)
    try:
        return hash_secret_raw(password, salt, passes, memory_kib, lanes, octets, Type.ID, _VERSION)
    except HashingError as error:  # of what it complains about, memory and threads alone are left
        raise MemoryError(f"argon2id: {error}") from error


def fill_and_finish(fill: FillMemory, password: bytes, salt: bytes, passes: int, memory_kib: int, octets: int) -> bytes:
    """Return the tag of so many *octets* (RFC 9106 §3.2) for one lane, without secret and associated data."""
    numbers = struct.pack("<6I", 1, octets, memory_kib, passes, _VERSION, _TYPE_ID)
    start = blake2b(numbers + _measured(password) + _measured(salt) + _measured(b"") + _measured(b"")).digest()
    first, second = (_stretch(start + struct.pack("<2I", place, 0), _BLOCK_OCTETS) for place in (0, 1))
    return _stretch(fill(first, second, passes, memory_kib // 4 * 4), octets)


def _measured(octets: bytes) -> bytes:
    return struct.pack("<I", len(octets)) + octets


def _stretch(octets: bytes, length: int) -> bytes:
    """H' (RFC 9106 §3.3): a hash of any length."""
    octets = struct.pack("<I", length) + octets
    if length <= 64:
        return blake2b(octets, digest_size=length).digest()
    link = blake2b(octets).digest()
    stretched, left = link[:32], length - 32
    while left > 64:
        link = blake2b(link).digest()
        stretched += link[:32]
        left -= 32
    return stretched + blake2b(link, digest_size=left).digest()
