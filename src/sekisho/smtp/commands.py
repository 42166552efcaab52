"""The command table: where each verb is in order, how its argument reads, what it asks.

`server` looks verbs up here. A row says in which states the verb is out of order, and with which reply; a reader turns
the argument into an event or raises `Refused`. Readers know the terms of the dialogue and change nothing.

RFC 5321 §4.1.1 (syntax), §4.1.4 (order); RFC 6409 (submission); RFC 3207, RFC 4954, RFC 3030 (their verbs).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from . import replies
from .address import ATEXT, LABEL, MAX_ADDRESS_OCTETS, MAX_DOMAIN_OCTETS, AddressError, Mailbox
from .events import Auth, Data, Event, Hello, MailFrom, RcptTo, Reset, StartTls
from .extensions import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    MailParameters,
    RcptParameters,
    Refused,
    ServerProfile,
    read_parameters,
)
from .replies import Reply

MAX_COMMAND_OCTETS = 512  # RFC 5321 §4.5.3.1.4, with CRLF
MAX_ENVELOPE_COMMAND_OCTETS = 2048  # MAIL and RCPT: each extension adds to the 512 (RFC 3461 §4, RFC 6531 §3.4)
MAX_AUTH_OCTETS = 12288  # RFC 4954 §4
MAX_HELLO_NAME_CHARACTERS = 255  # RFC 5321 §4.5.3.1.2


class State(IntEnum):
    """Where the dialogue is."""

    CONNECTED = 1  # no EHLO yet
    READY = 2  # EHLO or HELO done, no transaction
    EXCHANGE = 3  # between AUTH and its end
    SENDER = 4  # MAIL accepted
    RECIPIENTS = 5  # at least one RCPT accepted
    CONTENT = 6  # reading the content of DATA
    CHUNK = 7  # reading or swallowing the octets of one BDAT
    CHUNKS = 8  # between two BDAT of one message
    TLS = 9  # STARTTLS granted: this core is done
    CLOSED = 10


@dataclass(slots=True)
class Terms:
    """What client and server have agreed on so far."""

    profile: ServerProfile
    tls: bool
    extended: bool = False  # EHLO, not HELO
    authenticated: bool = False
    transactions: int = 0  # MAIL accepted in this connection
    smtputf8: bool = False  # in this transaction
    recipients: int = 0  # accepted in this transaction


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table.

    Fields:
        read: argument to event; None when there is nothing to ask.
        refused_in: states in which the verb is out of order, and the reply that says so.
        answer: what the core says by itself.
        before_tls: legal although the profile requires TLS (RFC 3207 §4).
        fruitless: brings no message nearer; too many in a row count as errors.
    """

    read: Callable[[str, Terms], Event | None]
    refused_in: Mapping[State, Reply] = field(default_factory=dict)
    answer: Reply | None = None
    before_tls: bool = False
    fruitless: bool = False
    max_octets: int = MAX_COMMAND_OCTETS


# Readers of path arguments. One anchored expression takes nearly every real command; the rest go the long way.
_MAILBOX = rf"([{ATEXT}.]++)@({LABEL}(?:\.{LABEL})*+)"
_PLAIN_MAIL = re.compile(rf"(?i:FROM): ?<{_MAILBOX}>(?: (?i:SIZE)=(\d{{1,20}}))?", re.ASCII)
_PLAIN_RCPT = re.compile(rf"(?i:TO): ?<{_MAILBOX}>", re.ASCII)
_PATH = re.compile(r' *<((?:[^"<>]|"(?:[^"\\]|\\.)*+")*+)>(?= |$)')
_BARE_PATH = re.compile(r' *([^\s<>"]+)(?= |$)')
_SOURCE_ROUTE = re.compile(r'@[^\s@,:<>"]+(?:,@[^\s@,:<>"]+)*+:')
_CHUNK = re.compile(r"(\d{1,20})(?: +(LAST))?", re.ASCII | re.IGNORECASE)
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)  # RFC 4422 §3.1


def read_hello(argument: str, terms: Terms) -> Hello:
    """EHLO. The name is not judged: clients say ``vm``, ``localhost``, ``[127.0.0.1]`` or a name in another charset.

    RFC 5321 §4.1.4: a server may verify the name but "MUST NOT refuse to accept a message" for it.
    """
    return Hello(_read_name(argument), extended=True)


def read_helo(argument: str, terms: Terms) -> Hello:
    return Hello(_read_name(argument), extended=False)


def _read_name(argument: str) -> str:
    name = argument.strip(" ")
    if not name:
        raise Refused(replies.HELLO_NEEDS_NAME)
    if not name.isprintable():
        name = "".join(character if character.isprintable() else "?" for character in name)
    return name[:MAX_HELLO_NAME_CHARACTERS]


def read_mail(argument: str, terms: Terms) -> MailFrom:
    profile = terms.profile
    if profile.require_auth and not terms.authenticated:
        raise Refused(replies.AUTH_REQUIRED)
    if terms.transactions >= profile.max_transactions:
        raise Refused(replies.TOO_MANY_MESSAGES)  # RFC 9422 §4.1
    plain = _PLAIN_MAIL.fullmatch(argument)
    if plain is not None:
        local_part, domain, size = plain.groups()
        if _fits(local_part, domain) and (size is None or (terms.extended and int(size) <= profile.max_content_octets)):
            return MailFrom(Mailbox(local_part, domain.lower()), int(size) if size is not None else None)
    return _read_uncommon_mail(argument, terms)


def _read_uncommon_mail(argument: str, terms: Terms) -> MailFrom:
    path, rest = _split_path(argument, "FROM:")
    draft = read_parameters(rest, MailParameters(), MAIL_PARAMETERS if terms.extended else {})
    if draft.size is not None and draft.size > terms.profile.max_content_octets:
        raise Refused(replies.MESSAGE_TOO_BIG)  # RFC 1870 §6.1
    reverse_path = None
    if path:
        reverse_path = _read_mailbox(path, draft.smtputf8, replies.BAD_SENDER)
        if not reverse_path.domain:
            raise Refused(replies.BAD_SENDER)
    return MailFrom(reverse_path, draft.size, draft.body, draft.smtputf8, draft.ret, draft.envid, draft.auth)


def read_rcpt(argument: str, terms: Terms) -> RcptTo:
    if terms.recipients >= terms.profile.max_recipients:
        raise Refused(replies.TOO_MANY_RECIPIENTS)  # RFC 5321 §4.5.3.1.10
    plain = _PLAIN_RCPT.fullmatch(argument)
    if plain is not None:
        local_part, domain = plain.groups()
        if _fits(local_part, domain):
            return RcptTo(Mailbox(local_part, domain.lower()))
    path, rest = _split_path(argument, "TO:")
    draft = read_parameters(rest, RcptParameters(), RCPT_PARAMETERS if terms.extended else {})
    return RcptTo(_read_mailbox(path, terms.smtputf8, replies.BAD_RECIPIENT), draft.notify, draft.orcpt)


def _fits(local_part: str, domain: str) -> bool:
    return len(domain) <= MAX_DOMAIN_OCTETS and len(local_part) + len(domain) < MAX_ADDRESS_OCTETS


def _split_path(argument: str, keyword: str) -> tuple[str, str]:
    """Cut ``FROM:<path> parameters`` into path and parameters. A space behind the colon is common and harmless."""
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(Reply(501, "5.5.4", (f"Write {keyword}<address>",)))
    text = argument[len(keyword) :]
    match = _PATH.match(text)
    if match is None:
        # Old devices leave the brackets out. One plain word is read as they mean it; anything else is not guessed at.
        match = _BARE_PATH.match(text)
        if match is None:
            raise Refused(Reply(501, "5.5.4", (f"Write {keyword}<address>, with the address in angle brackets",)))
    path = match[1]
    if path.startswith("@"):
        route = _SOURCE_ROUTE.match(path)
        if route is not None:  # RFC 5321 §4.1.1.3, appendix C: source routes are ignored
            path = path[route.end() :] or "@"  # a route to nowhere is not the null reverse-path
    return path, text[match.end() :]


def _read_mailbox(path: str, smtputf8: bool, refusal: Reply) -> Mailbox:
    if not smtputf8 and not path.isascii():
        raise Refused(replies.NEEDS_SMTPUTF8)
    try:
        return Mailbox.parse(path, utf8=smtputf8)
    except AddressError as error:
        raise Refused(Reply(refusal.code, refusal.status, (f"{refusal.text}: {error.problem}",))) from error


def read_data(argument: str, terms: Terms) -> Data:
    _read_nothing(argument, terms)
    return Data(chunked=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One BDAT command: so many octets follow, and whether they are the last of the message."""

    octets: int
    last: bool


def read_chunk(argument: str) -> Chunk:
    match = _CHUNK.fullmatch(argument.strip(" "))
    if match is None:
        raise Refused(replies.BAD_ARGUMENT)
    return Chunk(int(match[1]), match[2] is not None)


def read_auth(argument: str, terms: Terms) -> Auth:
    profile = terms.profile
    if not terms.extended:
        raise Refused(replies.EXTENDED_HELLO_FIRST)
    if terms.authenticated:
        raise Refused(replies.ALREADY_AUTHENTICATED)
    if not profile.mechanisms:
        before_tls = profile.offer_starttls and not terms.tls
        raise Refused(replies.ENCRYPTION_REQUIRED if before_tls else replies.AUTH_NOT_OFFERED)
    words = [word for word in argument.split(" ") if word]
    if not 1 <= len(words) <= 2 or _MECHANISM.fullmatch(words[0].upper()) is None:
        raise Refused(replies.BAD_ARGUMENT)
    mechanism = words[0].upper()
    if mechanism not in profile.mechanisms:
        raise Refused(replies.BAD_MECHANISM)
    if len(words) == 1:
        return Auth(mechanism, None)
    return Auth(mechanism, b"" if words[1] == "=" else decode_base64(words[1]))  # RFC 4954 §4: "=" is the empty one


def decode_base64(text: str | bytes) -> bytes:
    """Decode one SASL line.

    Raises:
        Refused: RFC 4954 §4 wants 501 for anything outside base64.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise Refused(replies.BAD_BASE64) from error


def read_starttls(argument: str, terms: Terms) -> StartTls:
    _read_nothing(argument, terms)
    if terms.tls:
        raise Refused(replies.ALREADY_TLS)
    if not terms.profile.offer_starttls:
        raise Refused(replies.NOT_IMPLEMENTED)
    if not terms.extended:
        raise Refused(replies.EXTENDED_HELLO_FIRST)
    return StartTls()


def read_reset(argument: str, terms: Terms) -> Reset:
    _read_nothing(argument, terms)
    return Reset()


def _read_nothing(argument: str, terms: Terms) -> None:
    if argument.strip(" "):
        raise Refused(replies.NO_ARGUMENT_ALLOWED)


def _read_anything(argument: str, terms: Terms) -> None:
    """NOOP, HELP and VRFY take any argument, and it changes nothing."""


def _read_expand(argument: str, terms: Terms) -> None:
    raise Refused(replies.NOT_IMPLEMENTED)  # RFC 5321 §7.3: lists are not told


_BEFORE_HELLO = {State.CONNECTED: replies.HELLO_FIRST}
_BEFORE_MAIL = {State.CONNECTED: replies.HELLO_FIRST, State.READY: replies.MAIL_FIRST}
_IN_TRANSACTION = {
    State.SENDER: replies.IN_TRANSACTION,
    State.RECIPIENTS: replies.IN_TRANSACTION,
    State.CHUNKS: replies.IN_TRANSACTION,
}
_NO_RECIPIENTS = {State.SENDER: replies.NO_RECIPIENTS}
_BETWEEN_CHUNKS = {State.CHUNKS: replies.BAD_SEQUENCE}

COMMANDS: Mapping[str, Command] = {
    "EHLO": Command(read_hello, before_tls=True, fruitless=True),
    "HELO": Command(read_helo, before_tls=True, fruitless=True),
    "STARTTLS": Command(read_starttls, _BEFORE_HELLO | _IN_TRANSACTION, before_tls=True),
    "AUTH": Command(read_auth, _BEFORE_HELLO | _IN_TRANSACTION, max_octets=MAX_AUTH_OCTETS),
    "MAIL": Command(read_mail, _BEFORE_HELLO | _IN_TRANSACTION, max_octets=MAX_ENVELOPE_COMMAND_OCTETS),
    "RCPT": Command(read_rcpt, _BEFORE_MAIL | _BETWEEN_CHUNKS, max_octets=MAX_ENVELOPE_COMMAND_OCTETS),
    "DATA": Command(read_data, _BEFORE_MAIL | _NO_RECIPIENTS | _BETWEEN_CHUNKS),
    "BDAT": Command(_read_anything, _BEFORE_MAIL | _NO_RECIPIENTS),  # its octets follow whatever the answer
    "RSET": Command(read_reset, answer=replies.OK, fruitless=True),
    "NOOP": Command(_read_anything, answer=replies.OK, before_tls=True, fruitless=True),
    "HELP": Command(_read_anything, answer=replies.HELP, fruitless=True),
    "VRFY": Command(_read_anything, answer=replies.CANNOT_VERIFY, fruitless=True),
    "EXPN": Command(_read_expand),
    "QUIT": Command(_read_nothing, answer=replies.BYE, before_tls=True),
}

# A browser or a request forged through one speaks these. It is cut off before its body can pass for commands.
HTTP_VERBS = frozenset({"GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI"})
HEADER_LINE = re.compile(r"[A-Za-z][A-Za-z0-9-]*:", re.ASCII)
