"""PLAIN (RFC 4616): authzid NUL authcid NUL password, in one message."""

from .errors import SaslError
from .prepare import MAX_OCTETS, PreparationError, read_text
from .steps import Challenge, Malformed, PasswordClaim, Step

__all__ = ["PlainClient", "PlainServer"]


class PlainServer:
    """The server side of PLAIN."""

    __slots__ = ()

    def step(self, octets: bytes | None) -> Step:
        """Take the one message, or ask for it with an empty challenge (curl and s-nail send no initial response)."""
        if octets is None:
            return Challenge(b"")
        if len(octets) > 3 * MAX_OCTETS + 2:
            return Malformed("PLAIN message too long")
        fields = octets.split(b"\0")
        if len(fields) != 3:
            return Malformed("PLAIN message without its three fields")
        try:
            authzid = read_text(fields[0]) if fields[0] else ""
            return PasswordClaim(read_text(fields[1]), authzid, read_text(fields[2]))
        except PreparationError as error:
            return Malformed(f"PLAIN field {error}")


class PlainClient:
    """The client side of PLAIN."""

    __slots__ = ("_asked", "_message", "done")

    def __init__(self, username: str, password: str) -> None:
        self._message = b"\0" + username.encode() + b"\0" + password.encode()
        self._asked = False
        self.done = True

    @property
    def initial(self) -> bytes:
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        """Return the message once more: the challenge is empty when the server did not want it with AUTH.

        Raises:
            SaslError: the challenge says something, or comes a second time.
        """
        if challenge or self._asked:
            raise SaslError("the server sends a challenge that PLAIN does not have")
        self._asked = True
        return self._message
