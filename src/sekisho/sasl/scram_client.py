"""The client side of SCRAM (RFC 5802, RFC 7677): proves a password to a server, and has the server prove itself."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

from .errors import SaslError
from .prepare import PreparationError, prepare
from .scram import MIN_ITERATIONS

__all__ = ["MAX_ITERATIONS", "ScramClient"]

MAX_ITERATIONS = 600_000  # a third of a second; a hostile server could ask for hours

_SERVER_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+=*),i=([1-9][0-9]{0,9})(?:,.*)?")
_PREFERRED = ("tls-exporter", "tls-server-end-point", "tls-unique")


class ScramClient:
    """The client side of one exchange.

    Args:
        nonce: printable ASCII without comma, never used before.
        plus: the -PLUS form was chosen; needs *binding*.
        binding: the channel's binding data by type. Given without *plus* it makes the client say ``y``, so that the
            server can notice when its offer of -PLUS was cut out on the way (RFC 5802 §6).

    Raises:
        SaslError: a name or password that SCRAM cannot carry, or -PLUS without a known binding.
    """

    __slots__ = ("_bare", "_binding", "_expected", "_hash", "_header", "_nonce", "_password", "done")

    def __init__(
        self,
        hash_name: str,
        username: str,
        password: str,
        nonce: str,
        *,
        plus: bool = False,
        binding: Mapping[str, bytes] | None = None,
    ) -> None:
        kind = next((name for name in _PREFERRED if name in (binding or ())), None)
        if plus and (binding is None or kind is None):
            raise SaslError("channel binding is not available on this connection")
        self._hash = hash_name
        self._nonce = nonce
        self._binding = binding[kind] if plus and binding is not None and kind is not None else b""
        self._header = f"p={kind},," if plus else "y,," if kind is not None else "n,,"
        try:
            self._password = prepare(password)
            name = prepare(username).replace("=", "=3D").replace(",", "=2C")
        except PreparationError as error:
            raise SaslError(f"user name or password {error}") from None
        self._bare = f"n={name},r={nonce}"
        self._expected: bytes | None = None
        self.done = False

    @property
    def initial(self) -> bytes:
        """The client-first-message."""
        return f"{self._header}{self._bare}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """Return the answer to *challenge*; empty to the server's signature, once that is found right.

        Raises:
            SaslError: the server's message is malformed, asks for too few or too many iterations, reports an error,
                or does not prove that the server knows the account's keys.
        """
        if self.done:
            raise SaslError("the server goes on after its signature")
        if not challenge and self._expected is None:  # the server did not want the message with AUTH
            return self.initial
        try:
            text = challenge.decode()
        except UnicodeDecodeError:
            raise SaslError("the server's SCRAM message is not UTF-8") from None
        if self._expected is None:
            return self._prove(text)
        self._verify(text, self._expected)
        return b""

    def _prove(self, text: str) -> bytes:
        match = _SERVER_FIRST.fullmatch(text)
        if match is None:
            raise SaslError("the server's first SCRAM message is malformed")
        nonce, salt, iterations = match[1], _base64(match[2]), int(match[3])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise SaslError("the server's nonce does not continue ours")
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise SaslError(f"the server asks for {iterations} iterations")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password.encode(), salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        stored_key = hashlib.new(self._hash, client_key).digest()
        unproven = f"c={base64.b64encode(self._header.encode() + self._binding).decode()},r={nonce}"
        signed = f"{self._bare},{text},{unproven}".encode()
        signature = hmac.digest(stored_key, signed, self._hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._expected = hmac.digest(hmac.digest(salted, b"Server Key", self._hash), signed, self._hash)
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()

    def _verify(self, text: str, expected: bytes) -> None:
        if text.startswith("e="):
            raise SaslError(f"the server reports {text[2:66]!r}")
        if not text.startswith("v=") or not hmac.compare_digest(_base64(text[2:].split(",")[0]), expected):
            raise SaslError("the server does not prove that it knows the account: wrong SCRAM signature")
        self.done = True


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise SaslError("wrong base64 in the server's SCRAM message") from None
