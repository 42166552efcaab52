"""SASL (RFC 4422) mechanisms as pure state machines: octets in, steps out; nonces and bindings are arguments.

PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-1, SCRAM-SHA-256 and their -PLUS forms (RFC 5802, RFC 7677), for
servers and clients. Base64 and the reply codes belong to the protocol that carries the exchange (RFC 4954 for SMTP).
"""

from .client import CLIENT_MECHANISMS, ClientMechanism, choose, client
from .cram import CramServer
from .errors import SaslError
from .login import LoginServer
from .plain import PlainServer
from .prepare import MAX_OCTETS, PreparationError, prepare
from .scram import HASHES, MIN_ITERATIONS, ScramKeys, ScramServer
from .steps import Challenge, CramClaim, Malformed, PasswordClaim, ScramClaim, ScramProof, ServerMechanism, Step

__all__ = [
    "CLIENT_MECHANISMS",
    "HASHES",
    "MAX_OCTETS",
    "MIN_ITERATIONS",
    "Challenge",
    "ClientMechanism",
    "CramClaim",
    "CramServer",
    "LoginServer",
    "Malformed",
    "PasswordClaim",
    "PlainServer",
    "PreparationError",
    "SaslError",
    "ScramClaim",
    "ScramKeys",
    "ScramProof",
    "ScramServer",
    "ServerMechanism",
    "Step",
    "choose",
    "client",
    "prepare",
]
