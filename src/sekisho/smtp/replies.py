"""Every reply with a fixed text, by name, and the value they are made of.

The session, the policy and the delivery side refer to replies by these names. Text speaks to the person at the mail
program: some programs show it without the code.

RFC 5321 §4.2 (replies), RFC 2034 and RFC 3463 (enhanced status codes), RFC 5248 (their registry).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_LINE_OCTETS = 512  # RFC 5321 §4.5.3.1.5, with code and CRLF
MAX_ADVICE_CHARACTERS = 200
MAX_RECEIVED_LINES = 128
MAX_RECEIVED_LINE_CHARACTERS = 1000

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_WEB_ADDRESS = re.compile(rf"https?://[!-~]{{1,{MAX_ADVICE_CHARACTERS}}}", re.ASCII)
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply.

    Fields:
        code: three digits, 200 to 599.
        status: RFC 3463 status of the same class as the code; None for 3yz, the greeting and EHLO (RFC 2034 §4).
        lines: text without CRLF or other control characters.
        wire: the octets to send. A line too long for the wire is continued on the next.
    """

    code: int
    status: str | None
    lines: tuple[str, ...]
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        code, status, lines = self.code, self.status, self.lines
        if not 200 <= code <= 599:
            raise ValueError(f"{code} is no reply code")
        if status is not None and (_STATUS.fullmatch(status) is None or int(status[0]) != code // 100):
            raise ValueError(f"status {status} does not agree with code {code}")  # RFC 2034 §4
        if not lines:
            raise ValueError("a reply has at least one line")
        for line in lines:
            if _CONTROL.search(line) is not None:
                raise ValueError("reply text must be lines without control characters")
        lead = f"{status} " if status is not None else ""
        wire = f"{code} {lead}{lines[0]}\r\n".encode() if len(lines) == 1 else b""
        if not 0 < len(wire) <= MAX_LINE_OCTETS:
            wire = _render(code, lead, lines)
        object.__setattr__(self, "wire", wire)

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status is not None else f"{self.code} {self.text}"

    @property
    def text(self) -> str:
        """All lines as one."""
        return " ".join(self.lines)

    @property
    def is_positive(self) -> bool:
        """2yz: done. 3yz (more is expected) is neither positive nor a refusal."""
        return self.code < 300

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    @classmethod
    def of_our_own(cls, code: int, status: str, line: str) -> Reply:
        """Build a reply of one short line of printable ASCII that this program has composed; nothing is checked."""
        reply = object.__new__(cls)
        set_field = object.__setattr__
        set_field(reply, "code", code)
        set_field(reply, "status", status)
        set_field(reply, "lines", (line,))
        set_field(reply, "wire", f"{code} {status} {line}\r\n".encode("ascii"))
        return reply

    @classmethod
    def received(cls, code: int, texts: Sequence[str]) -> Reply:
        """Build the reply a peer sent, made safe to show, log and pass on.

        Control characters become ``?``, excess lines and characters go, and a status leading the first line and
        agreeing with the code becomes `status`.

        Args:
            code: 200 to 599.
            texts: what stood behind code and separator on each line.
        """
        lines = [_CONTROL.sub("?", text[:MAX_RECEIVED_LINE_CHARACTERS]) for text in texts[:MAX_RECEIVED_LINES]] or [""]
        status, _, _ = lines[0].partition(" ")
        if code // 100 == 3 or _STATUS.fullmatch(status) is None or int(status[0]) != code // 100:
            return cls(code, None, tuple(lines))
        return cls(code, status, tuple(_without_status(line, status) for line in lines))

    @classmethod
    def parse(cls, octets: bytes) -> Reply:
        """Read one whole reply as it came, the inverse of `wire`.

        Raises:
            ValueError: *octets* are not exactly one reply.
        """
        if not octets.endswith(b"\r\n"):
            raise ValueError("the reply does not end")
        matches = [_LINE.fullmatch(line) for line in octets[:-2].split(b"\r\n")]
        codes = {match[1] if match is not None else b"" for match in matches}
        more = [match is not None and match[2] == b"-" for match in matches]
        if len(codes) != 1 or b"" in codes or more[-1] or not all(more[:-1]):
            raise ValueError("not one SMTP reply")
        texts = [(match[3] or b"").decode(errors="replace") for match in matches if match is not None]
        return cls.received(int(codes.pop()), texts)


def _without_status(line: str, status: str) -> str:
    return line[len(status) + 1 :] if line == status or line.startswith(f"{status} ") else line


def _render(code: int, lead: str, lines: tuple[str, ...]) -> bytes:
    room = MAX_LINE_OCTETS - len(f"{code} {lead}\r\n")
    pieces = [piece for line in lines for piece in _cut(line, room)]
    rendered = [f"{code}-{lead}".encode() + piece for piece in pieces[:-1]]
    return b"\r\n".join([*rendered, f"{code} {lead}".encode() + pieces[-1] + b"\r\n"])


def _cut(line: str, room: int) -> list[bytes]:
    """Cut *line* at spaces, or between characters where there are none, into pieces of at most *room* octets."""
    octets = line.encode()
    pieces = []
    while len(octets) > room:
        end = octets.rfind(b" ", 1, room + 1)
        if end < 0:
            end = room
            while octets[end] & 0xC0 == 0x80:
                end -= 1
        pieces.append(octets[:end])
        octets = octets[end:].removeprefix(b" ")
    return [*pieces, octets]


def accepted(queue_id: str) -> Reply:
    """The one promise: the message is ours to keep (RFC 5321 §6.1). Only after it is durable."""
    return Reply.of_our_own(250, "2.0.0", f"Queued as {queue_id}")


# Positive, RFC 5321 §4.2.3
HELLO = Reply(250, None, ("Hello",))  # answers the Hello event; the core sends the extension list in its place
OK = Reply(250, "2.0.0", ("OK",))
SENDER_OK = Reply(250, "2.1.0", ("Sender OK",))
RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient OK",))
CHUNK_OK = Reply(250, "2.0.0", ("Chunk received",))  # RFC 3030 §2
HELP = Reply(214, "2.0.0", ("Commands: EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT",))
BYE = Reply(221, "2.0.0", ("Goodbye",))
READY_FOR_TLS = Reply(220, "2.0.0", ("Ready to start TLS",))  # RFC 3207 §4
AUTH_OK = Reply(235, "2.7.0", ("Authentication succeeded",))  # RFC 4954 §6
CANNOT_VERIFY = Reply(252, "2.5.0", ("Cannot verify; send the message and it will be tried",))  # RFC 5321 §3.5.3
START_CONTENT = Reply(354, None, ("Go ahead; end with a line holding only a dot",))

# Closing, RFC 5321 §3.8: 421 may answer any command
SHUTTING_DOWN = Reply(421, "4.3.2", ("This server is restarting; please send again in a minute",))
IDLE_TIMEOUT = Reply(421, "4.4.2", ("Nothing was received for too long; closing the connection",))
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("Too many connections from your network; please try again later",))
TOO_MANY_ERRORS = Reply(421, "4.7.0", ("Too many refused commands; closing the connection",))
TOO_MANY_MESSAGES = Reply(421, "4.7.0", ("Message limit of this connection reached; please connect again",))
TOO_MUCH_CONTENT = Reply(421, "4.3.0", ("The content far exceeds the size limit; closing the connection",))
TOO_MUCH_HELD = Reply(421, "4.3.0", ("Too much was sent without waiting for replies; closing the connection",))
TOO_MUCH_TOO_EARLY = Reply(421, "4.7.0", ("Too much was sent before the greeting; closing the connection",))
LOCAL_ERROR_CLOSING = Reply(421, "4.3.0", ("The server has a problem; please send again later",))
NOT_SMTP = Reply(421, "4.7.0", ("This is a mail server and does not speak HTTP",))

# Temporary
LOCAL_ERROR = Reply(451, "4.3.0", ("The server has a problem; please send again later",))
STORAGE_FULL = Reply(452, "4.3.1", ("The server has no room for this message now; please send again later",))
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("Too many recipients in one message; send it in several parts",))
AUTH_TEMPORARY = Reply(454, "4.7.0", ("Your password cannot be checked now; please try again later",))  # RFC 4954 §6
TLS_TEMPORARY = Reply(454, "4.7.0", ("TLS is not available now; please try again later",))  # RFC 3207 §4

# Permanent: the command, RFC 5321 §4.2.2
LINE_TOO_LONG = Reply(500, "5.5.2", ("Line too long",))
BARE_LINE_FEED = Reply(500, "5.5.2", ("Lines must end with CR LF; closing the connection",))
BAD_SYNTAX = Reply(500, "5.5.2", ("The command has control characters or cannot be read",))
UNKNOWN_COMMAND = Reply(500, "5.5.1", ("Unknown command",))
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", ("Authentication line too long",))  # RFC 4954 §6
BAD_ARGUMENT = Reply(501, "5.5.4", ("The command has a wrong argument",))
NO_ARGUMENT_ALLOWED = Reply(501, "5.5.4", ("The command takes no argument",))
HELLO_NEEDS_NAME = Reply(501, "5.5.4", ("Say your host name or address after the command",))
DUPLICATE_PARAMETER = Reply(501, "5.5.4", ("A parameter is given twice",))
BAD_BASE64 = Reply(501, "5.5.2", ("The authentication data is not base64",))  # RFC 4954 §4
AUTH_CANCELED = Reply(501, "5.7.0", ("Authentication canceled",))  # RFC 4954 §4
NOT_IMPLEMENTED = Reply(502, "5.5.1", ("Command not available here",))
AUTH_NOT_OFFERED = Reply(502, "5.5.1", ("Logging in is not possible here; use the submission port, 587 or 465",))
BAD_SEQUENCE = Reply(503, "5.5.1", ("Bad sequence of commands",))  # RFC 5321 §4.1.4
HELLO_FIRST = Reply(503, "5.5.1", ("Send EHLO first",))
EXTENDED_HELLO_FIRST = Reply(503, "5.5.1", ("Send EHLO first; HELO does not allow this",))
MAIL_FIRST = Reply(503, "5.5.1", ("Send MAIL first",))
IN_TRANSACTION = Reply(503, "5.5.1", ("Not possible while a message is being sent",))  # RFC 4954 §4
ALREADY_AUTHENTICATED = Reply(503, "5.5.1", ("Already authenticated",))  # RFC 4954 §4
ALREADY_TLS = Reply(503, "5.5.1", ("TLS is already in use",))
STARTTLS_NOT_LAST = Reply(503, "5.5.1", ("Nothing may follow STARTTLS before TLS; closing the connection",))
BAD_MECHANISM = Reply(504, "5.5.4", ("This way of logging in is not offered",))  # RFC 4954 §4
BAD_PARAMETER = Reply(555, "5.5.4", ("A parameter is not supported",))  # RFC 5321 §4.1.1.11

# Permanent: who may do this
AUTH_REQUIRED = Reply(  # RFC 4954 §6
    530,
    "5.7.0",
    ("Authentication required: switch on SMTP authentication for the outgoing server in your mail program",),
)
TLS_REQUIRED = Reply(  # RFC 3207 §4
    530,
    "5.7.0",
    ("Must issue a STARTTLS command first: switch on STARTTLS for the outgoing server in your mail program",),
)
AUTH_FAILED = Reply(  # RFC 4954 §6; the same to everybody, so it names what only some need
    535,
    "5.7.8",
    ("User name or password wrong; with two-step login, mail programs need an app password",),
)
ENCRYPTION_REQUIRED = Reply(  # RFC 4954 §6
    538,
    "5.7.11",
    ("Encryption required: switch on STARTTLS for the outgoing server in your mail program",),
)
ACCESS_DENIED = Reply(554, "5.7.1", ("Access denied",))
RELAY_DENIED = Reply(550, "5.7.1", ("This server does not accept mail for that address; log in to send",))

# Permanent: the addresses, RFC 3463 §3.2
MAILBOX_UNKNOWN = Reply(550, "5.1.1", ("No such mailbox here",))
BAD_RECIPIENT = Reply(501, "5.1.3", ("The recipient address is not valid",))
BAD_SENDER = Reply(501, "5.1.7", ("The sender address is not valid",))
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", ("An address outside ASCII needs SMTPUTF8 in the MAIL command",))  # RFC 6531 §3.5
NO_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))  # RFC 5321 §3.3

# Permanent: the content
MESSAGE_TOO_BIG = Reply(552, "5.3.4", ("The message is too big for this server",))  # RFC 1870 §6.1
BAD_CONTENT = Reply(
    554,
    "5.6.0",
    ("The message has a bare CR, a bare LF or a NUL octet: its lines must end with CR LF",),  # RFC 5321 §2.3.8
)
ROUTING_LOOP = Reply(554, "5.4.6", ("Too many hops: the message is going in circles",))  # RFC 5321 §6.3

MENDED_BY_SETTINGS = (  # a person changes the settings of the mail program, and it works
    AUTH_REQUIRED,
    TLS_REQUIRED,
    AUTH_FAILED,
    ENCRYPTION_REQUIRED,
    AUTH_NOT_OFFERED,
    RELAY_DENIED,
)


def is_advice(address: str) -> bool:
    """Tell whether *address* may stand in a reply: http or https, ASCII without spaces, not too long."""
    return _WEB_ADDRESS.fullmatch(address) is not None


def with_advice(reply: Reply, address: str) -> Reply:
    """Return *reply*, which now ends with where to read on.

    Raises:
        ValueError: *address* may not stand in a reply.
    """
    if not is_advice(address):
        raise ValueError("no web address that fits into a reply")
    return Reply(reply.code, reply.status, (*reply.lines[:-1], f"{reply.lines[-1]}; see {address}"))
