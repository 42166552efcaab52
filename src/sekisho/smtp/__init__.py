"""The SMTP language: addresses, envelopes, replies, and both ends of the dialogue as cores without I/O.

Nothing here opens a socket, reads a clock or touches a file. `server` speaks for the receiving side, `client` for the
sending side; everything else is the words they share.
"""

from . import replies
from .address import AddressError, Mailbox, is_domain, to_a_labels
from .envelope import Body, Envelope, Recipient
from .events import (
    Auth,
    AuthResponse,
    ContentChunk,
    Data,
    EndOfContent,
    Event,
    Hello,
    MailFrom,
    RcptTo,
    Reset,
    StartTls,
    Wrong,
)
from .extensions import ServerProfile
from .failures import DeliveryFailure, PermanentFailure, RemoteProtocolError, TemporaryFailure
from .replies import Reply
from .server import ServerConnection, run_dialogue, take_output

__all__ = [
    "AddressError",
    "Auth",
    "AuthResponse",
    "Body",
    "ContentChunk",
    "Data",
    "DeliveryFailure",
    "EndOfContent",
    "Envelope",
    "Event",
    "Hello",
    "MailFrom",
    "Mailbox",
    "PermanentFailure",
    "RcptTo",
    "Recipient",
    "RemoteProtocolError",
    "Reply",
    "Reset",
    "ServerConnection",
    "ServerProfile",
    "StartTls",
    "TemporaryFailure",
    "Wrong",
    "is_domain",
    "replies",
    "run_dialogue",
    "take_output",
    "to_a_labels",
]
