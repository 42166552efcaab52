"""Exceptions of this package.

    Exception
    ├── SaslError            client side: the server's message is wrong, unproven, or of an unknown mechanism
    └── ValueError
        └── PreparationError     (prepare.py) a text that cannot be a name or password

Server mechanisms raise neither on what the peer sent: they answer `Malformed`.
"""

__all__ = ["SaslError"]


class SaslError(Exception):
    """The exchange as a client cannot go on; the message is for the operator's log and holds no secret."""
