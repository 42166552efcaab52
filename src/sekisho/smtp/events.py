"""What a client asks, one type per question. `ServerConnection.next_event` returns them.

After an event that needs a reply the core takes no further command until it got one. The answer is
`ServerConnection.reply`, or for the two SASL events also `ServerConnection.challenge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .address import Mailbox
from .envelope import Body
from .replies import Reply


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO or HELO (RFC 5321 §4.1.1.1). Needs a reply; a 2yz one makes the core send its greeting and extension list.

    Fields:
        name: what the client calls itself: unverified, often meaningless, printable, at most 255 characters.
        extended: EHLO.
    """

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS (RFC 3207). After a 220 reply send what is due, shake hands and go on with a new core."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH (RFC 4954 §4) with a mechanism that was offered. Needs a challenge or a reply; 235 authenticates.

    Fields:
        mechanism: in capitals.
        initial_response: decoded; None when absent, empty for ``=``.
    """

    mechanism: str
    initial_response: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The decoded answer to a challenge. Needs a challenge or a reply, as `Auth` does."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL asks to open a transaction. Needs a reply.

    Fields:
        reverse_path: mailbox to notify; None is the null reverse-path ``<>`` (RFC 5321 §4.5.5).
        declared_size: octets announced with SIZE (RFC 1870), None if not; never above the profile's limit.
        body, smtputf8, ret, envid: as in `Envelope`.
        auth: the AUTH parameter as sent; recorded, trusted for nothing (RFC 4954 §5).
    """

    reverse_path: Mailbox | None
    declared_size: int | None = None
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    auth: str | None = None


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT adds one recipient. Needs a reply. The fields are those of `Recipient`."""

    mailbox: Mailbox
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """Content is about to come. Reply `START_CONTENT` or a refusal.

    Fields:
        chunked: by BDAT (RFC 3030), where the octets come whatever the reply; the core swallows those of a refusal.
    """

    chunked: bool = False


@dataclass(frozen=True, slots=True)
class ContentChunk:
    """The next octets of the content, as the sender wrote them: no dot-stuffing, CRLF line ends. Needs no reply."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndOfContent:
    """The content is complete, and the transaction ends with the reply to this.

    Fields:
        refusal: set when the content must not be kept (bare CR or LF, NUL, too big): discard it and reply with this.
    """

    refusal: Reply | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """The transaction, if there was one, is discarded (RSET, or a new EHLO). Needs no reply."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """The core refused a command. For the log; needs no reply.

    Fields:
        line_excerpt: the start of the line, printable, without anything that may be a credential.
    """

    reply: Reply
    line_excerpt: str


Event = Hello | StartTls | Auth | AuthResponse | MailFrom | RcptTo | Data | ContentChunk | EndOfContent | Reset | Wrong
