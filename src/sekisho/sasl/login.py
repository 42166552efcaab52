"""LOGIN: user name and password as two answers. Never standardized; draft-murchison-sasl-login describes the practice.

Thunderbird compares the first prompt, and old Outlook both, with the two texts below.
"""

from .errors import SaslError
from .prepare import PreparationError, read_text
from .steps import Challenge, Malformed, PasswordClaim, Step

__all__ = ["LoginClient", "LoginServer"]

_USERNAME = Challenge(b"Username:")
_PASSWORD = Challenge(b"Password:")


class LoginServer:
    """The server side of LOGIN."""

    __slots__ = ("_authcid", "_prompted")

    def __init__(self) -> None:
        self._authcid: str | None = None
        self._prompted = False

    def step(self, octets: bytes | None) -> Step:
        """Take the user name (smtplib sends it with AUTH), then the password."""
        if octets is None:
            if self._prompted:
                return Malformed("LOGIN without an answer")
            self._prompted = True
            return _USERNAME
        try:
            text = read_text(octets)
        except PreparationError as error:
            return Malformed(f"LOGIN {'user name' if self._authcid is None else 'password'} {error}")
        if self._authcid is None:
            self._authcid = text
            self._prompted = True
            return _PASSWORD
        return PasswordClaim(self._authcid, "", text)


class LoginClient:
    """The client side of LOGIN. The prompts are not read: servers word and translate them as they like."""

    __slots__ = ("_answers", "done")

    def __init__(self, username: str, password: str) -> None:
        self._answers = [password.encode(), username.encode()]
        self.done = False

    @property
    def initial(self) -> None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Return the user name, then the password.

        Raises:
            SaslError: the server asks a third time.
        """
        if not self._answers:
            raise SaslError("the server asks for more than a user name and a password")
        answer = self._answers.pop()
        self.done = not self._answers
        return answer
