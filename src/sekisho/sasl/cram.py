"""CRAM-MD5 (RFC 2195): the server sends a unique challenge, the client a keyed MD5 digest of it.

The server must know the password itself, and MD5 is what it is: offered only where an operator asks for it.
"""

import hashlib
import hmac
import re

from .errors import SaslError
from .prepare import MAX_OCTETS, PreparationError, read_text
from .steps import Challenge, CramClaim, Malformed, Step

__all__ = ["CramClient", "CramServer"]

_DIGEST = re.compile(rb"[0-9a-fA-F]{32}")


class CramServer:
    """The server side of CRAM-MD5.

    Args:
        challenge: never used before, in the form of a message identifier (RFC 2195 §2): ``<unique@host>``.
    """

    __slots__ = ("_challenge", "_sent")

    def __init__(self, challenge: bytes) -> None:
        self._challenge = challenge
        self._sent = False

    def step(self, octets: bytes | None) -> Step:
        """Send the challenge, then take the answer: user name, space, digest in hexadecimal."""
        if not self._sent:
            if octets is not None:  # RFC 4954 §4: the server speaks first in this mechanism
                return Malformed("CRAM-MD5 with an initial response")
            self._sent = True
            return Challenge(self._challenge)
        if octets is None or len(octets) > MAX_OCTETS + 33:
            return Malformed("CRAM-MD5 answer missing or too long")
        name, _, digest = octets.rpartition(b" ")  # a user name may contain spaces
        if _DIGEST.fullmatch(digest) is None:
            return Malformed("CRAM-MD5 answer without a digest")
        try:
            return CramClaim(read_text(name), self._challenge, digest.lower())
        except PreparationError as error:
            return Malformed(f"CRAM-MD5 user name {error}")


class CramClient:
    """The client side of CRAM-MD5."""

    __slots__ = ("_password", "_username", "done")

    def __init__(self, username: str, password: str) -> None:
        self._username = username.encode()
        self._password = password.encode()
        self.done = False

    @property
    def initial(self) -> None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Return the answer to *challenge*.

        Raises:
            SaslError: no challenge, or a second one.
        """
        if not challenge or self.done:
            raise SaslError("the server sends an empty or second CRAM-MD5 challenge")
        self.done = True
        return self._username + b" " + hmac.new(self._password, challenge, hashlib.md5).hexdigest().encode()
