"""Logging in at somebody else's server: which mechanism, and the object that speaks it. Used by delivery."""

from collections.abc import Collection, Mapping
from typing import Protocol

from .cram import CramClient
from .errors import SaslError
from .login import LoginClient
from .plain import PlainClient
from .scram import HASHES
from .scram_client import ScramClient

__all__ = ["CLIENT_MECHANISMS", "ClientMechanism", "choose", "client"]

CLIENT_MECHANISMS = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
)
"""Best first, inside TLS. CRAM-MD5 is last: servers offer it to accounts for which they cannot check it."""

_IN_THE_CLEAR = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
_SENDS_PASSWORD = frozenset({"PLAIN", "LOGIN"})


class ClientMechanism(Protocol):
    """The client side of one exchange.

    Fields:
        initial: initial response for the AUTH command; None when the server speaks first.
        done: nothing more is due. A 235 that comes while it is False was not earned: with SCRAM the server has not
            proved itself, so treat it as a failure.
    """

    done: bool

    @property
    def initial(self) -> bytes | None: ...

    def respond(self, challenge: bytes) -> bytes:
        """Return the answer to the decoded *challenge*; raises `SaslError` when the exchange must be given up."""
        ...


def choose(
    offered: Collection[str], allowed: Collection[str] = (), tls: bool = True, *, binding: bool = False
) -> str | None:
    """Return the best mechanism the server offers; None when none is fit.

    Args:
        offered: names in the server's EHLO reply, in any case.
        allowed: what the operator permits; empty permits all, but then no password travels in the clear without *tls*.
        binding: channel binding data is at hand, so the -PLUS forms can be spoken.
    """
    there = {name.upper() for name in offered}
    permitted = {name.upper() for name in allowed}
    for name in CLIENT_MECHANISMS if tls else _IN_THE_CLEAR:
        if name not in there or (permitted and name not in permitted):
            continue
        if name.endswith("-PLUS") and not binding:
            continue
        if not tls and not permitted and name in _SENDS_PASSWORD:
            continue
        return name
    return None


def client(
    mechanism: str, username: str, password: str, nonce: str, *, binding: Mapping[str, bytes] | None = None
) -> ClientMechanism:
    """Return the client side of *mechanism*.

    Args:
        nonce: unique for this exchange, printable ASCII without comma; only SCRAM uses it.
        binding: channel binding data by type; give it only when `choose` was told of it.

    Raises:
        SaslError: unknown mechanism, or a name or password that it cannot carry.
    """
    name = mechanism.upper()
    if "\0" in username or "\0" in password:
        raise SaslError("user name or password contains NUL")
    if name == "PLAIN":
        return PlainClient(username, password)
    if name == "LOGIN":
        return LoginClient(username, password)
    if name == "CRAM-MD5":
        return CramClient(username, password)
    hash_name = HASHES.get(name.removesuffix("-PLUS"))
    if hash_name is None:
        raise SaslError(f"unknown mechanism {mechanism[:32]!r}")
    return ScramClient(hash_name, username, password, nonce, plus=name.endswith("-PLUS"), binding=binding)
