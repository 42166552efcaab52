"""Exceptions of the SMTP packages.

    Exception
     ├─ DeliveryFailure        delivery did not succeed; carries what anyone may be told and what the log alone is told
     │   ├─ TemporaryFailure   worth another attempt
     │   └─ PermanentFailure   no attempt will change it
     └─ RemoteProtocolError    the peer did not speak SMTP

The server side has none of its own: what a client sends wrong is answered with a reply.
"""

from __future__ import annotations

from .replies import Reply


class DeliveryFailure(Exception):
    """Delivery to one next hop, or to one recipient there, did not succeed.

    Fields:
        reply: for the sender's DSN and the queue listing.
        detail: for the log alone.
    """

    def __init__(self, reply: Reply, detail: str = "") -> None:
        super().__init__(f"{reply} ({detail})" if detail else str(reply))
        self.reply = reply
        self.detail = detail


class TemporaryFailure(DeliveryFailure):
    """Another attempt may succeed. Everything unforeseen is of this kind: mail waits, it is not lost."""


class PermanentFailure(DeliveryFailure):
    """No further attempt will succeed: the sender must be told."""


class RemoteProtocolError(Exception):
    """The peer sent what SMTP does not allow. Nothing it sends afterwards can be trusted to be in step."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
