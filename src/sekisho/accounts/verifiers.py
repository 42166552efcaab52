"""What is stored in place of a password: one verifier per mechanism, made, checked, sealed and found outdated here.

| name            | text                                                       | serves          |
|-----------------|------------------------------------------------------------|-----------------|
| `argon2id`      | PHC string ``$argon2id$v=19$m=…,t=…,p=…$SALT$HASH``        | PLAIN and LOGIN |
| `SCRAM-SHA-256` | ``ITERATIONS:SALT$STOREDKEY:SERVERKEY``                    | that and -PLUS  |
| `SCRAM-SHA-1`   | the same                                                   | that and -PLUS  |
| `CRAM-MD5`      | ``aes-256-gcm$NONCE+CIPHERTEXT``: the password, encrypted  | CRAM-MD5        |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.sasl import HASHES, ScramKeys
from sekisho.store import StoreError, write_atomically

from . import argon2id
from .database import give_to_owner_of_directory
from .settings import AccountsSettings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["ARGON2ID", "CRAM_MD5", "VERIFIERS", "Sealer", "Verifiers", "Workshop", "read_verifier", "scram_seed"]

ARGON2ID = "argon2id"
CRAM_MD5 = "CRAM-MD5"
VERIFIERS = (ARGON2ID, *HASHES, CRAM_MD5)

_SALT_OCTETS = 16
_SEALED = "aes-256-gcm$"


@dataclass(frozen=True, slots=True)
class Verifiers:
    """The verifiers of one account.

    Fields:
        password_hash: argon2id PHC string; None when there is none.
        scram: keys by mechanism name without -PLUS.
        sealed: CRAM-MD5 secret as `Sealer` sealed it.
    """

    password_hash: str | None = field(default=None, repr=False)
    scram: Mapping[str, ScramKeys] = field(default_factory=dict, repr=False)
    sealed: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, rows: Iterable[tuple[str, str]]) -> Verifiers:
        """Build from (mechanism, text) rows. A damaged verifier counts as missing: it cannot be opened by anything."""
        texts = dict(rows)
        scram = {}
        for mechanism, hash_name in HASHES.items():
            if mechanism in texts:
                try:
                    scram[mechanism] = ScramKeys.from_text(hash_name, texts[mechanism])
                except ValueError:
                    continue
        return cls(texts.get(ARGON2ID), scram, texts.get(CRAM_MD5))

    def opens_by_scram(self, password: str) -> bool:
        """Check a prepared *password* against the strongest SCRAM keys there are. Costs milliseconds."""
        keys = next((self.scram[mechanism] for mechanism in HASHES if mechanism in self.scram), None)
        return keys is not None and keys.opens_with(password)


def read_verifier(mechanism: str, text: str) -> str:
    """Check a verifier that comes from elsewhere, and return it as it is stored.

    Raises:
        ValueError: not a verifier of *mechanism* that this package can use.
    """
    if mechanism == ARGON2ID:
        if argon2id.Verifier.read(text) is None:
            raise ValueError("not an argon2id verifier ($argon2id$v=19$…) of bearable cost")
        return text
    if mechanism in HASHES:
        return ScramKeys.from_text(HASHES[mechanism], text.removeprefix(f"{mechanism}$")).to_text()  # RFC 5803 §2
    raise ValueError(f"verifiers of {mechanism} cannot be taken over")


class Sealer:
    """Encrypts what has to be read again: secrets of CRAM-MD5 and of authenticator apps (AES-256-GCM).

    Each is bound to its account and its purpose. The cipher's library is loaded with the first secret: 7 MiB that most
    mail processes never need.

    Args:
        key: the key; or the file that holds it, created (mode 0600, synced) when the first secret is sealed.
    """

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes | Path) -> None:
        self._key = key
        self._cipher: AESGCM | None = None

    def seal(self, account: int, secret: bytes, *, purpose: str = CRAM_MD5) -> str:
        """Return *secret* as it is stored. Call it inside a write transaction: two processes must not make two keys.

        Raises:
            StoreError: the key file cannot be read or made.
        """
        nonce = os.urandom(12)
        sealed = self._ready(create=True).encrypt(nonce, secret, _bound_to(account, purpose))
        return _SEALED + base64.b64encode(nonce + sealed).decode()

    def open(self, account: int, text: str, *, purpose: str = CRAM_MD5) -> bytes | None:
        """Return the secret; None when it was sealed for another account or purpose, under another key, or is damaged.

        Raises:
            StoreError: the key file cannot be read.
        """
        from cryptography.exceptions import InvalidTag

        try:
            octets = base64.b64decode(text.removeprefix(_SEALED), validate=True)
            return self._ready(create=False).decrypt(octets[:12], octets[12:], _bound_to(account, purpose))
        except (InvalidTag, ValueError):
            return None

    def _ready(self, *, create: bool) -> AESGCM:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            octets = self._key if isinstance(self._key, bytes) else _read_key(self._key, create)
            self._cipher = AESGCM(hashlib.sha256(b"sekisho accounts\0" + octets).digest())
        return self._cipher


def _bound_to(account: int, purpose: str) -> bytes:
    return f"{account}\0{purpose}".encode()


def _read_key(path: Path, create: bool) -> bytes:
    try:
        if create and not path.exists():
            write_atomically(path, secrets.token_bytes(32), mode=0o600)
            give_to_owner_of_directory(path)
        octets = path.read_bytes()
    except OSError as error:
        problem = f"the key of the sealed secrets cannot be read: {error.strerror}"
        raise StoreError(path, problem) from error
    if len(octets) < 32:
        raise StoreError(path, "the key of the sealed secrets is damaged: restore it from the backup")
    return octets


class Workshop:
    """Makes and checks verifiers with the costs that the settings ask for."""

    __slots__ = ("_decoy_hash", "_sealer", "_settings")

    def __init__(self, settings: AccountsSettings, sealer: Sealer) -> None:
        self._settings = settings
        self._sealer = sealer
        salt, digest = secrets.token_bytes(argon2id.SALT_OCTETS), secrets.token_bytes(argon2id.HASH_OCTETS)
        self._decoy_hash = argon2id.encode(*self._cost(), salt, digest)

    @property
    def decoy_hash(self) -> str:
        """An argon2id verifier that costs what a new one costs and that no password opens."""
        return self._decoy_hash

    def hash_password(self, password: str) -> str:
        """Return the argon2id verifier of a prepared *password*. Costs `argon2_memory` and tens of milliseconds.

        Raises:
            MemoryError: there is none for it now.
        """
        passes, memory, lanes = self._cost()
        salt = os.urandom(argon2id.SALT_OCTETS)
        return argon2id.make(password.encode(), salt, passes=passes, memory_kib=memory, lanes=lanes)

    @staticmethod
    def check_password(password_hash: str, password: str) -> bool:
        """Check a prepared *password*. As costly as making the verifier was; a damaged verifier is never opened.

        Raises:
            MemoryError: there is none for it now, which says nothing about the password.
        """
        return argon2id.check(password_hash, password.encode())

    def make(self, password: str) -> dict[str, str]:
        """Return the verifiers of a prepared *password* from which it cannot be read back, by name."""
        return self.renew(Verifiers(), password)

    def seal(self, account: int, password: str) -> str:
        """Return the CRAM-MD5 verifier of a prepared *password*. Call it inside a write transaction."""
        return self._sealer.seal(account, password.encode())

    def renew(self, verifiers: Verifiers, password: str) -> dict[str, str]:
        """Return new verifiers, by name, for those that are missing or made with other parameters; often none.

        Call it after *password* was found right. CRAM-MD5 is never added: keeping a password is the operator's choice.
        """
        made = {}
        if verifiers.password_hash is None or not verifiers.password_hash.startswith(self._prefix()):
            made[ARGON2ID] = self.hash_password(password)
        for mechanism in self._scram_mechanisms():
            keys = verifiers.scram.get(mechanism)
            if keys is None or keys.iterations != self._settings.scram_iterations:
                made[mechanism] = self._scram(mechanism, password)
        return made

    def unseal(self, account: int, verifiers: Verifiers | None) -> bytes | None:
        """Return the CRAM-MD5 secret of an account, None when it keeps none."""
        if verifiers is None or verifiers.sealed is None:
            return None
        return self._sealer.open(account, verifiers.sealed)

    def _scram_mechanisms(self) -> tuple[str, ...]:
        return tuple(name for name in HASHES if name != "SCRAM-SHA-1" or self._settings.scram_sha_1)

    def _scram(self, mechanism: str, password: str) -> str:
        salt = os.urandom(_SALT_OCTETS)
        return ScramKeys.derive(HASHES[mechanism], password, salt, self._settings.scram_iterations).to_text()

    def _cost(self) -> tuple[int, int, int]:
        """Passes, memory in KiB, lanes."""
        settings = self._settings
        return settings.argon2_passes, settings.argon2_memory // 1024, settings.argon2_lanes

    def _prefix(self) -> str:
        return argon2id.encode(*self._cost(), b"", b"").removesuffix("$")


def scram_seed(secret: bytes, mechanism: str, name: str) -> bytes:
    """Return what the decoy keys of *name* grow from: always the same for one name, unpredictable without *secret*."""
    return hmac.digest(secret, f"{mechanism}\0{name}".encode(), "sha256")
