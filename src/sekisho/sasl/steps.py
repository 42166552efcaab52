"""What a server mechanism says after each message of the client, and the shape all mechanisms share.

A mechanism never knows an account. It either sends the next challenge, or names what the client claims and leaves it to
its caller (`sekisho.accounts`) to find out whether that is true.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Challenge",
    "CramClaim",
    "Malformed",
    "PasswordClaim",
    "ScramClaim",
    "ScramProof",
    "ServerMechanism",
    "Step",
]


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send *octets* to the client (334, in base64) and hand its answer to the next step."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Malformed:
    """The client's message is not what the mechanism defines. The exchange is over; *reason* is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class PasswordClaim:
    """The client claims to be *authcid* and gives the password in the clear. The exchange is over.

    Fields:
        authzid: identity to act as (RFC 4422 §2), "" for the account's own.
        password: prepared by `prepare`.
    """

    authcid: str
    authzid: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CramClaim:
    """The client claims to be *authcid* and proves it by a keyed digest (RFC 2195). The exchange is over."""

    authcid: str
    challenge: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def is_proven_by(self, secret: bytes) -> bool:
        """Tell whether the client knows *secret*; in constant time."""
        expected = hmac.new(secret, self.challenge, hashlib.md5).hexdigest()
        return hmac.compare_digest(expected.encode(), self.digest)


@dataclass(frozen=True, slots=True)
class ScramClaim:
    """The client claims to be *authcid*; answer with `ScramServer.keys`, of a decoy when there is no such account."""

    authcid: str
    authzid: str


@dataclass(frozen=True, slots=True)
class ScramProof:
    """The client has sent its proof. When *proven*, send *final* as a challenge; an empty answer ends the exchange.

    Fields:
        reason: for the log, why the proof does not hold; "" when it does.
    """

    proven: bool
    final: bytes = field(repr=False)
    reason: str = ""


Step = Challenge | Malformed | PasswordClaim | CramClaim | ScramClaim | ScramProof


class ServerMechanism(Protocol):
    """The server side of one mechanism, for one exchange."""

    def step(self, octets: bytes | None) -> Step:
        """Take the client's next message; None when AUTH came without an initial response (RFC 4954 §4)."""
        ...
