"""SCRAM (RFC 5802; SHA-256: RFC 7677): stored keys, and the server side with and without channel binding.

The exchange, as the server sees it:

    client-first    gs2-header n=NAME,r=NONCE          → `ScramClaim`: the caller finds the keys
    server-first    r=NONCE+OURS,s=SALT,i=ITERATIONS   ← `ScramServer.keys`
    client-final    c=BINDING,r=NONCE+OURS,p=PROOF     → `ScramProof`
    server-final    v=SIGNATURE                        ← sent by the caller when the proof holds

The gs2-header begins with one flag: ``n`` (the client knows no channel binding), ``y`` (it does, and believes that the
server does not) or ``p=TYPE`` (it binds). A ``y`` to a server that offered -PLUS means that somebody between the two
cut the offer (RFC 5802 §6).
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from .prepare import MAX_OCTETS, PreparationError, prepare
from .steps import Challenge, Malformed, ScramClaim, ScramProof, Step

__all__ = ["HASHES", "MIN_ITERATIONS", "ScramKeys", "ScramServer"]

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
"""Mechanism without -PLUS, and its hash as `hashlib` calls it."""

MIN_ITERATIONS = 4096  # RFC 5802 §5.1, RFC 7677 §4

_MAX_MESSAGE = 4 * MAX_OCTETS  # a name of 1024 commas is written in three octets each
_NONCE = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,512}")  # RFC 5802 §7 printable
_BINDING_TYPE = re.compile(r"[A-Za-z0-9.\-]{1,64}")  # RFC 5802 §7 cb-name
_ESCAPE = re.compile(r"=(2C|3D)|=")
_EXTENSION = re.compile(r"[A-Za-z]=.+", re.DOTALL)  # RFC 5802 §7 attr-val


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps for one account and one hash (RFC 5802 §3): it can check a proof, and cannot make one.

    Fields:
        hash_name: as `hashlib` calls it.
    """

    hash_name: str
    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, hash_name: str, password: str, salt: bytes, iterations: int) -> Self:
        """Compute the keys of *password*, already prepared. Costs *iterations* hashes: milliseconds."""
        salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", hash_name)
        stored_key = hashlib.new(hash_name, client_key).digest()
        return cls(hash_name, iterations, salt, stored_key, hmac.digest(salted, b"Server Key", hash_name))

    @classmethod
    def decoy(cls, hash_name: str, seed: bytes, iterations: int) -> Self:
        """Make keys that look like an account's and that no password opens, the same for the same *seed*."""
        return cls(
            hash_name,
            iterations,
            hmac.digest(seed, b"salt", hash_name)[:16],
            hmac.digest(seed, b"stored key", hash_name),
            hmac.digest(seed, b"server key", hash_name),
        )

    def opens_with(self, password: str) -> bool:
        """Tell whether *password*, already prepared, is the one these keys were made of. As costly as `derive`."""
        tried = type(self).derive(self.hash_name, password, self.salt, self.iterations)
        return hmac.compare_digest(tried.stored_key, self.stored_key)

    def to_text(self) -> str:
        """Render as ``ITERATIONS:SALT$STOREDKEY:SERVERKEY`` (RFC 5803 §2 without its scheme)."""
        salt, stored, server = (base64.b64encode(o).decode() for o in (self.salt, self.stored_key, self.server_key))
        return f"{self.iterations}:{salt}${stored}:{server}"

    @classmethod
    def from_text(cls, hash_name: str, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ValueError: not of that form, or keys of the wrong length.
        """
        parameters, _, keys = text.partition("$")
        iterations, _, salt = parameters.partition(":")
        stored_key, _, server_key = keys.partition(":")
        size = hashlib.new(hash_name).digest_size
        octets = [base64.b64decode(part, validate=True) for part in (salt, stored_key, server_key)]
        if not iterations.isdecimal() or int(iterations) < 1 or not octets[0] or {*map(len, octets[1:])} != {size}:
            raise ValueError("not a SCRAM verifier")
        return cls(hash_name, int(iterations), *octets)


@dataclass(frozen=True, slots=True)
class _ClientFirst:
    header: str
    flag: str  # n, y or p
    binding_type: str
    authzid: str
    bare: str
    authcid: str
    nonce: str


class _Bad(ValueError):
    """The client's message is malformed; the text says how."""


class ScramServer:
    """The server side of SCRAM.

    Args:
        hash_name: a value of `HASHES`.
        nonce: ours: printable ASCII without comma, never used before.
        plus: the client asked for the -PLUS form.
        plus_offered: that form was in the list the client saw.
        bindings: the channel's binding data by type name, e.g. ``tls-server-end-point`` (RFC 5929), ``tls-exporter``
            (RFC 9266).
    """

    __slots__ = ("_bindings", "_first", "_hash", "_keys", "_nonce", "_plus", "_plus_offered", "_prompted", "_sent")

    def __init__(
        self, hash_name: str, nonce: str, *, plus: bool, plus_offered: bool, bindings: Mapping[str, bytes]
    ) -> None:
        self._hash = hash_name
        self._nonce = nonce
        self._plus = plus
        self._plus_offered = plus_offered
        self._bindings = bindings
        self._first: _ClientFirst | None = None
        self._keys: ScramKeys | None = None
        self._sent = ""
        self._prompted = False

    def step(self, octets: bytes | None) -> Step:
        """Take the client's first message, later its final one."""
        if octets is None:
            if self._prompted or self._first is not None:
                return Malformed("SCRAM message missing")
            self._prompted = True
            return Challenge(b"")
        try:
            text = _decode(octets)
            if self._first is None:
                return self._take_first(text)
            if self._keys is None:
                raise RuntimeError("keys() must answer the claim first")
            return self._take_final(self._first, self._keys, text)
        except _Bad as error:
            return Malformed(f"SCRAM: {error}")

    def keys(self, keys: ScramKeys) -> Challenge:
        """Answer a `ScramClaim` with the account's keys, or a decoy's: the challenge tells nobody which."""
        if self._first is None:
            raise RuntimeError("no claim awaits keys")
        self._keys = keys
        salt = base64.b64encode(keys.salt).decode()
        self._sent = f"r={self._first.nonce}{self._nonce},s={salt},i={keys.iterations}"
        return Challenge(self._sent.encode())

    def _take_first(self, text: str) -> Step:
        first = _parse_first(text)
        if self._plus != (first.flag == "p"):  # RFC 5801 §5: p with -PLUS, and only with it
            raise _Bad("the channel binding flag does not fit the mechanism")
        if first.flag == "p" and first.binding_type not in self._bindings:
            raise _Bad(f"channel binding {first.binding_type} is not available")
        if first.flag == "y" and self._plus_offered:  # RFC 5802 §6
            raise _Bad("channel binding downgrade: somebody changed the list of mechanisms on its way to the client")
        self._first = first
        return ScramClaim(first.authcid, first.authzid)

    def _take_final(self, first: _ClientFirst, keys: ScramKeys, text: str) -> Step:
        unproven, separator, proof_text = text.rpartition(",p=")
        attributes = unproven.split(",")
        if not separator or len(attributes) < 2 or attributes[0][:2] != "c=" or attributes[1][:2] != "r=":
            raise _Bad("the final message lacks c=, r= or p=")
        binding, proof = _base64(attributes[0][2:]), _base64(proof_text)
        if not hmac.compare_digest(attributes[1][2:].encode(), (first.nonce + self._nonce).encode()):
            raise _Bad("the nonce is not the one of this exchange")
        if len(proof) != len(keys.stored_key):
            raise _Bad("the proof has the wrong length")
        expected = first.header.encode() + (self._bindings[first.binding_type] if first.flag == "p" else b"")
        signed = f"{first.bare},{self._sent},{unproven}".encode()
        signature = hmac.digest(keys.stored_key, signed, self._hash)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        proven = hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key)
        final = b"v=" + base64.b64encode(hmac.digest(keys.server_key, signed, self._hash))
        if not hmac.compare_digest(binding, expected):
            return ScramProof(False, b"", "the channel binding is another connection's")
        return ScramProof(proven, final, "" if proven else "wrong proof")


def _decode(octets: bytes) -> str:
    if len(octets) > _MAX_MESSAGE:
        raise _Bad("message too long")
    if b"\0" in octets:
        raise _Bad("NUL in the message")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise _Bad("not UTF-8") from None


def _parse_first(text: str) -> _ClientFirst:
    """Read the client-first-message (RFC 5802 §7)."""
    fields = text.split(",", 2)
    if len(fields) != 3:
        raise _Bad("the first message lacks its header")
    flag, authzid, bare = fields
    binding_type = flag[2:] if flag[:2] == "p=" else ""
    if flag not in ("n", "y") and _BINDING_TYPE.fullmatch(binding_type) is None:
        raise _Bad("unknown channel binding flag")
    if authzid and authzid[:2] != "a=":
        raise _Bad("wrong authorization identity")
    attributes = bare.split(",")
    if attributes[0][:2] == "m=":  # RFC 5802 §5.1: reserved; MUST fail
        raise _Bad("a mandatory extension that is not known")
    if len(attributes) < 2 or attributes[0][:2] != "n=" or attributes[1][:2] != "r=":
        raise _Bad("the first message lacks n= or r=")
    if _NONCE.fullmatch(attributes[1], 2) is None:
        raise _Bad("wrong nonce")
    if not all(_EXTENSION.fullmatch(extension) for extension in attributes[2:]):
        raise _Bad("wrong extension")
    return _ClientFirst(
        header=f"{flag},{authzid},",
        flag=flag[0],
        binding_type=binding_type,
        authzid=_unescape(authzid[2:]) if authzid else "",
        bare=bare,
        authcid=_unescape(attributes[0][2:]),
        nonce=attributes[1][2:],
    )


def _unescape(text: str) -> str:
    """Read a saslname: ``=2C`` is a comma, ``=3D`` an equals sign, no other ``=`` is legal (RFC 5802 §5.1)."""
    if "=" in text:
        if any(match[1] is None for match in _ESCAPE.finditer(text)):
            raise _Bad("wrong escape in a name")
        text = text.replace("=2C", ",").replace("=3D", "=")
    try:
        return prepare(text)
    except PreparationError as error:
        raise _Bad(f"name {error}") from None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Bad("wrong base64") from None
