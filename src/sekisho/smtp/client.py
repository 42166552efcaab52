"""The client side of SMTP and LMTP: replies in, commands out, and what became of each recipient.

The shell in `sekisho.delivery.connection` moves the octets and owns the socket, TLS and the clock; nothing here does.
RFC 5321 (commands, replies, transparency), RFC 2033 (LMTP), RFC 2920 (PIPELINING), RFC 1870 (SIZE), RFC 6152
(8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN), RFC 2034 (enhanced status codes), RFC 4954 (AUTH), RFC 9422 (LIMITS).

A transaction is a walk along one line of steps: RSET (only when the transaction before was left open), MAIL, each RCPT,
DATA, content. A peer that offers PIPELINING gets everything up to DATA in one write; replies come back in the order of
the commands (RFC 2920 §3.1), so the step reached is all the state there is.
"""

from __future__ import annotations

import binascii
import enum
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .address import Mailbox
from .data import find_dotted_line
from .failures import RemoteProtocolError
from .replies import Reply

__all__ = [
    "DATA",
    "EMPTY_CONTENT",
    "MAX_REPLY_LINE",
    "MAX_REPLY_LINES",
    "QUIT",
    "RSET",
    "STARTTLS",
    "Capabilities",
    "ClientTransaction",
    "DotStuffer",
    "ReplyParser",
    "auth_command",
    "auth_response",
    "challenge_of",
    "hello_command",
    "mail_command",
    "rcpt_command",
    "stuffed",
]

MAX_REPLY_LINE = 2048  # octets with CRLF; RFC 5321 §4.5.3.1.5 says 512, long policy texts exceed it
MAX_REPLY_LINES = 100
MAX_REMEMBERED = 120  # octets of a reply whose parsed form is kept: what peers send must not fill our memory

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
STARTTLS = b"STARTTLS\r\n"
EMPTY_CONTENT = b".\r\n"

_TOO_MANY = (None, "4.5.3", "5.5.3")  # RFC 5321 §4.5.3.1.10: 452, and from old servers 552


class ReplyParser:
    """Cut the octets a peer sends into replies; never more than one unfinished reply is kept."""

    __slots__ = ("_buffer", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []

    @property
    def pending(self) -> bool:
        """True when octets of an unfinished reply are held; before STARTTLS that is an attack (RFC 3207 §6)."""
        return bool(self._buffer or self._lines)

    def receive(self, octets: bytes) -> list[Reply]:
        """Take what arrived and return the replies it completes, oldest first.

        Raises:
            RemoteProtocolError: this is not SMTP, or longer than a reply may be; close the connection.
        """
        buffer = self._buffer + octets if self._buffer else octets
        replies: list[Reply] = []
        lines = self._lines
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            if end - start >= MAX_REPLY_LINE:
                raise RemoteProtocolError("reply line too long")
            if end == start or buffer[end - 1] != 13:
                raise RemoteProtocolError("reply line does not end in CRLF")
            line = buffer[start : end - 1]
            start = end + 1
            if line[3:4] == b"-":
                lines.append(line)
                if len(lines) >= MAX_REPLY_LINES or not line[:3].isdigit():
                    raise RemoteProtocolError("not an SMTP reply, or one of too many lines")
            elif lines:
                lines.append(line)
                replies.append(_parse_reply(tuple(lines)))
                lines.clear()
            elif len(line) <= MAX_REMEMBERED:
                replies.append(_parse_short_reply(line))
            else:
                replies.append(_parse_reply((line,)))
        self._buffer = buffer[start:] if start else buffer
        if len(self._buffer) >= MAX_REPLY_LINE:
            raise RemoteProtocolError("reply line too long")
        return replies


@lru_cache(maxsize=256)  # "250 2.1.0 Ok" comes a million times a day
def _parse_short_reply(line: bytes) -> Reply:
    return _parse_reply((line,))


def _parse_reply(lines: tuple[bytes, ...]) -> Reply:
    digits = lines[0][:3]
    if len(digits) != 3 or not digits.isdigit() or digits[:1] not in b"2345" or lines[-1][3:4] not in (b" ", b""):
        raise RemoteProtocolError(f"not an SMTP reply: {lines[0][:80].decode('ascii', 'replace')!r}")
    if any(line[:3] != digits for line in lines):
        raise RemoteProtocolError("one reply with two codes")
    # UTF-8 in reply text: RFC 6531 §3.7.4.2
    return Reply.received(int(digits), [line[4:].decode("utf-8", "replace") for line in lines])


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a peer offered in its answer to EHLO or LHLO; all false after HELO.

    Fields:
        size: largest content in octets, 0 for no fixed limit, None when SIZE was not offered (RFC 1870 §4).
        auth: SASL mechanisms in the order offered, upper case.
        max_recipients, max_transactions: RCPTMAX and MAILMAX (RFC 9422 §4), None when not told.
    """

    pipelining: bool = False
    starttls: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    chunking: bool = False
    requiretls: bool = False
    size: int | None = None
    auth: tuple[str, ...] = ()
    max_recipients: int | None = None
    max_transactions: int | None = None

    @classmethod
    def parse(cls, reply: Reply) -> Capabilities:
        """Read the lines of a positive EHLO reply; the first names the server, what cannot be read is not offered."""
        offered: dict[str, str] = {}
        for line in reply.lines[1:]:
            keyword, _, parameters = line.partition(" ")
            if keyword.upper().startswith("AUTH="):  # servers of the 1990s: "AUTH=LOGIN PLAIN"
                keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
            keyword = keyword.upper()
            offered[keyword] = f"{offered.get(keyword, '')} {parameters}".strip()
        limits = dict(limit.upper().split("=", 1) for limit in offered.get("LIMITS", "").split() if "=" in limit)
        size = offered.get("SIZE")
        return cls(
            pipelining="PIPELINING" in offered,
            starttls="STARTTLS" in offered,
            eight_bit="8BITMIME" in offered,
            smtputf8="SMTPUTF8" in offered,
            dsn="DSN" in offered,
            chunking="CHUNKING" in offered,
            requiretls="REQUIRETLS" in offered,
            size=None if size is None else _number(size) or 0,
            auth=tuple(dict.fromkeys(offered.get("AUTH", "").upper().split())),
            max_recipients=_number(limits.get("RCPTMAX", "")) or None,
            max_transactions=_number(limits.get("MAILMAX", "")) or None,
        )


def _number(text: str) -> int | None:
    return int(text) if len(text) <= 20 and text.isascii() and text.isdigit() else None


def hello_command(name: str, verb: str = "EHLO") -> bytes:
    """Render EHLO, HELO or LHLO with our own *name* (RFC 5321 §4.1.1.1, RFC 2033 §4.1)."""
    return _one_line(f"{verb} {name}\r\n".encode())


def mail_command(
    reverse_path: Mailbox | None,
    capabilities: Capabilities,
    *,
    size: int,
    eight_bit: bool = False,
    smtputf8: bool = False,
    ret: str | None = None,
    envid: str | None = None,
) -> bytes:
    """Render MAIL with those parameters that the peer offered to take.

    Args:
        size: octets of the content before dot-stuffing (RFC 1870 §5).
        eight_bit: the content may hold octets above 127.
        ret, envid: as the client sent them, still xtext (RFC 3461 §4.3, §4.4).
    """
    command = f"MAIL FROM:<{'' if reverse_path is None else reverse_path}>"
    if capabilities.size is not None:
        command += f" SIZE={size}"
    if eight_bit and capabilities.eight_bit:
        command += " BODY=8BITMIME"
    if smtputf8 and capabilities.smtputf8:
        command += " SMTPUTF8"
    if capabilities.dsn:
        if ret:
            command += f" RET={ret}"
        if envid:
            command += f" ENVID={envid}"
    return _one_line(f"{command}\r\n".encode())


def rcpt_command(
    mailbox: Mailbox, capabilities: Capabilities, *, notify: str | None = None, orcpt: str | None = None
) -> bytes:
    """Render RCPT, with NOTIFY and ORCPT where the peer speaks DSN (RFC 3461 §4.1, §4.2)."""
    command = f"RCPT TO:<{mailbox}>"
    if capabilities.dsn:
        if notify:
            command += f" NOTIFY={notify}"
        if orcpt:
            command += f" ORCPT={orcpt}"
    return _one_line(f"{command}\r\n".encode())


def auth_command(mechanism: str, initial_response: bytes | None = None) -> bytes:
    """Render AUTH; an initial response too long for 512 octets is left for the empty challenge (RFC 4954 §4)."""
    if initial_response is not None:
        encoded = b64encode(initial_response) or b"="  # "=" is a present but empty response
        line = b"AUTH %s %s\r\n" % (mechanism.encode("ascii"), encoded)
        if len(line) <= 512:
            return _one_line(line)
    return _one_line(f"AUTH {mechanism}\r\n".encode())


def auth_response(octets: bytes | None) -> bytes:
    """Render the answer to a 334 challenge; None cancels the exchange (RFC 4954 §4)."""
    return b"*\r\n" if octets is None else b64encode(octets) + b"\r\n"


def challenge_of(reply: Reply) -> bytes:
    """Return the octets of a 334 challenge.

    Raises:
        RemoteProtocolError: the text is not base64.
    """
    try:
        return b64decode(reply.lines[0].strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError("challenge is not base64") from error


def _one_line(command: bytes) -> bytes:
    if command.count(b"\n") != 1 or command.count(b"\r") != 1:
        raise ValueError("a command is one line")
    return command


def stuffed(content: bytes) -> bytes:
    """Return *content* dot-stuffed, ended with CRLF, and closed with the final dot (RFC 5321 §4.5.2)."""
    if find_dotted_line(content) >= 0:
        content = content.replace(b"\r\n.", b"\r\n..")
    opening = b"." if content.startswith(b".") else b""
    closing = b".\r\n" if not content or content.endswith(b"\r\n") else b"\r\n.\r\n"
    return b"".join((opening, content, closing))


class DotStuffer:
    """`stuffed` for content that comes in chunks, cut anywhere."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets sent: the start of content is the start of a line

    def chunk(self, octets: bytes) -> bytes:
        """Return *octets* dot-stuffed."""
        if not octets:
            return b""
        tail = self._tail
        self._tail = (tail + octets[-2:])[-2:]
        joined = tail + octets
        if find_dotted_line(joined) >= 0:
            joined = joined.replace(b"\r\n.", b"\r\n..")
        return joined[2:]

    def end(self) -> bytes:
        """Return what closes the content."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


class Step(enum.Enum):
    """The reply a transaction waits for."""

    RSET = enum.auto()
    MAIL = enum.auto()
    RCPT = enum.auto()
    DATA = enum.auto()
    CONTENT = enum.auto()  # 354 came; the content is to be sent by the shell
    END = enum.auto()
    LONE_DOT = enum.auto()
    FINISHED = enum.auto()


class ClientTransaction:
    """One mail transaction: what to send after each reply, and the reply that settled each recipient.

    Send what `start` returns; give every reply to `receive` and send what that returns. When *content* was given it is
    sent here at its time; otherwise `content_due` turns true, the shell streams it (dot-stuffed and closed) and calls
    `content_sent`. At `finished`, `replies` holds one reply for each recipient, in their order.

    Fields:
        replies: the reply that decided each recipient; None while undecided.
        must_close: the peer is closing (421) or out of step; use the connection for nothing more.
        needs_reset: the peer still holds an open transaction; the next one begins with RSET.
        content_begun: content was sent at least in part, so a lost connection leaves the outcome unknown.
        over_limit: positions of recipients refused only because the peer takes no more in one transaction, while it
            took others: send them in the next one.
    """

    __slots__ = (
        "_accepted",
        "_at",
        "_content",
        "_lmtp",
        "_mail",
        "_pipelining",
        "_rcpts",
        "_refused",
        "_step",
        "content_begun",
        "must_close",
        "needs_reset",
        "over_limit",
        "replies",
    )

    def __init__(
        self,
        mail: bytes,
        rcpts: Sequence[bytes],
        *,
        content: bytes | None = None,
        pipelining: bool = False,
        lmtp: bool = False,
        reset: bool = False,
    ) -> None:
        """Prepare a transaction.

        Args:
            mail, rcpts: the commands, as rendered by `mail_command` and `rcpt_command`.
            content: as returned by `stuffed`; None when the shell will stream it.
            reset: begin with RSET, because `needs_reset` was set on the transaction before.
        """
        self._mail = mail
        self._rcpts = rcpts
        self._content = content
        self._pipelining = pipelining
        self._lmtp = lmtp
        self._step = Step.RSET if reset else Step.MAIL
        self._at = 0
        self._accepted: list[int] = []
        self._refused: Reply | None = None
        self.replies: list[Reply | None] = [None] * len(rcpts)
        self.must_close = False
        self.needs_reset = False
        self.content_begun = False
        self.over_limit: list[int] = []

    @property
    def finished(self) -> bool:
        return self._step is Step.FINISHED

    @property
    def content_due(self) -> bool:
        return self._step is Step.CONTENT

    @property
    def ending(self) -> bool:
        """True when all the content was sent and only the peer's word is awaited."""
        return self._step is Step.END

    def start(self) -> bytes:
        """Return the first octets to send."""
        if self._pipelining:
            opening = (RSET, self._mail) if self._step is Step.RSET else (self._mail,)
            return b"".join((*opening, *self._rcpts, DATA))
        return RSET if self._step is Step.RSET else self._mail

    def receive(self, reply: Reply) -> bytes:
        """Take the next reply and return what to send now, b"" for nothing.

        Raises:
            RemoteProtocolError: no reply was due, or none of this kind; close the connection.
        """
        if reply.code == 421:  # RFC 5321 §3.8: may come in answer to anything
            return self._abandon(reply)
        match self._step:
            case Step.RSET:
                self._step = Step.MAIL
                return b"" if self._pipelining else self._mail
            case Step.MAIL:
                return self._mail_answered(reply)
            case Step.RCPT:
                return self._rcpt_answered(reply)
            case Step.DATA:
                return self._data_answered(reply)
            case Step.END:
                return self._end_answered(reply)
            case Step.LONE_DOT:
                self.needs_reset = False
                self._step = Step.FINISHED
                return b""
            case Step.CONTENT:
                # Before the final dot a peer may only say that it gives up; believe it and stop sending.
                if reply.code < 400:
                    raise RemoteProtocolError("positive reply before the end of the content")
                return self._abandon(reply)
            case Step.FINISHED:
                raise RemoteProtocolError("reply without a command")

    def content_sent(self) -> None:
        """Tell that the shell has sent the content with its final dot."""
        self._begin_end()

    def _begin_end(self) -> None:
        self._step = Step.END
        self._at = 0

    def _abandon(self, reply: Reply) -> bytes:
        self.replies = [reply if settled is None else settled for settled in self.replies]
        self.must_close = True
        self._step = Step.FINISHED
        return b""

    def _mail_answered(self, reply: Reply) -> bytes:
        _expect(reply, 200)
        if reply.code >= 400:
            self._refused = reply
            self.replies = [reply] * len(self._rcpts)
            if not self._pipelining:
                self._step = Step.FINISHED
                return b""
        else:
            self.needs_reset = True
        self._step = Step.RCPT
        return b"" if self._pipelining else self._rcpts[0]

    def _rcpt_answered(self, reply: Reply) -> bytes:
        _expect(reply, 200)
        at = self._at
        if self._refused is None:
            if reply.code < 400:
                self._accepted.append(at)
            else:
                self.replies[at] = reply
                if reply.code in (452, 552) and self._accepted and reply.status in _TOO_MANY:
                    self.over_limit.append(at)
        self._at = at = at + 1
        if at < len(self._rcpts):
            return b"" if self._pipelining else self._rcpts[at]
        if self._pipelining:
            self._step = Step.DATA
            return b""
        if not self._accepted:
            self._step = Step.FINISHED
            return b""
        self._step = Step.DATA
        return DATA

    def _data_answered(self, reply: Reply) -> bytes:
        _expect(reply, 300)
        if reply.code >= 400:
            for at in self._accepted:
                self.replies[at] = reply
            self._step = Step.FINISHED
            return b""
        if not self._accepted:
            # RFC 2920 §3.1: DATA was pipelined behind refused recipients and yet accepted; send no content.
            if self._lmtp:  # no recipient, so RFC 2033 §4.2 promises no reply to wait for
                self.must_close = True
                self._step = Step.FINISHED
            else:
                self._step = Step.LONE_DOT
            return EMPTY_CONTENT
        self.content_begun = True
        if self._content is None:
            self._step = Step.CONTENT
            return b""
        self._begin_end()
        return self._content

    def _end_answered(self, reply: Reply) -> bytes:
        _expect(reply, 200)
        self.needs_reset = False
        if self._lmtp:  # RFC 2033 §4.2: one reply for each accepted recipient
            self.replies[self._accepted[self._at]] = reply
            self._at += 1
            if self._at < len(self._accepted):
                return b""
        else:
            for at in self._accepted:
                self.replies[at] = reply
        self._step = Step.FINISHED
        return b""


def _expect(reply: Reply, positive: int) -> None:
    if not (positive <= reply.code < positive + 100 or reply.code >= 400):
        raise RemoteProtocolError(f"unexpected reply {reply.code}")
