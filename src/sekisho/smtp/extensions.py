"""What the server offers: the profile of a listener, its EHLO answer, and the parameters that come with it.

A parameter is a row of a table: its keyword, and a function that reads its value into the draft.

RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN), RFC 4954 (AUTH), RFC 2920 (PIPELINING),
RFC 3030 (CHUNKING), RFC 2034 (ENHANCEDSTATUSCODES), RFC 3207 (STARTTLS), RFC 9422 (LIMITS).
Not offered: BINARYMIME (RFC 3030), REQUIRETLS (RFC 8689), FUTURERELEASE (RFC 4865).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from . import replies
from .envelope import Body
from .replies import Reply

MAX_SWALLOWED_FACTOR = 4  # content is read to its end for a proper refusal up to this many times the size limit

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII)
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # RFC 3461 §4
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,32};(?:[!-<>-~]|[^\x00-\x7f])+")  # RFC 3461 §4.2, RFC 6533 §3
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
MAX_ENVID_CHARACTERS = 100  # RFC 3461 §4.4
MAX_ORCPT_CHARACTERS = 500  # RFC 3461 §4.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """How one listener behaves in one TLS state. Shared by all its connections.

    Fields:
        hostname: the name the server greets with.
        max_content_octets: largest message, CRLF counted, dot-stuffing not (RFC 1870 §4).
        max_recipients: RCPT beyond this get 452 (RFC 5321 §4.5.3.1.10).
        max_transactions: MAIL beyond this gets 421.
        offer_starttls: announce STARTTLS; without effect once TLS is on.
        require_tls: before TLS refuse all but EHLO, HELO, STARTTLS, NOOP and QUIT (RFC 3207 §4).
        require_auth: refuse MAIL before AUTH succeeded.
        mechanisms: SASL mechanisms offered in this TLS state, in capitals; with none AUTH is not announced.
        max_errors: refused commands before the connection is closed.
        advice: web address that refusals which other settings would mend end with. Events have them without it.
    """

    hostname: str
    software: str = "Sekisho"
    max_content_octets: int
    max_recipients: int
    max_transactions: int
    offer_starttls: bool
    require_tls: bool
    require_auth: bool
    mechanisms: tuple[str, ...]
    max_errors: int = 20
    advice: str | None = None
    greeting: bytes = field(init=False, repr=False, compare=False)
    helo_answer: bytes = field(init=False, repr=False, compare=False)
    ehlo_answer: bytes = field(init=False, repr=False, compare=False)
    ehlo_answer_over_tls: bytes = field(init=False, repr=False, compare=False)
    _advised: Mapping[Reply, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, reply in (
            ("greeting", Reply(220, None, (f"{self.hostname} ESMTP {self.software}",))),  # RFC 5321 §4.2
            ("helo_answer", Reply(250, None, (self.hostname,))),
            ("ehlo_answer", Reply(250, None, (self.hostname, *self._keywords(tls=False)))),  # RFC 5321 §4.1.1.1
            ("ehlo_answer_over_tls", Reply(250, None, (self.hostname, *self._keywords(tls=True)))),
        ):
            object.__setattr__(self, name, reply.wire)
        advised = {}
        if self.advice is not None:
            advised = {reply: replies.with_advice(reply, self.advice).wire for reply in replies.MENDED_BY_SETTINGS}
        object.__setattr__(self, "_advised", advised)

    def refusal(self, reply: Reply) -> bytes:
        """Return the octets that refuse with *reply* here."""
        return self._advised.get(reply, reply.wire)

    @property
    def max_swallowed_octets(self) -> int:
        """Content longer than this is not worth a proper refusal: the connection is closed."""
        return MAX_SWALLOWED_FACTOR * self.max_content_octets

    def _keywords(self, *, tls: bool) -> list[str]:
        keywords = ["PIPELINING", f"SIZE {self.max_content_octets}"]
        if self.offer_starttls and not tls:
            keywords.append("STARTTLS")
        if self.mechanisms:
            keywords.append("AUTH " + " ".join(self.mechanisms))
        limits = f"LIMITS MAILMAX={self.max_transactions} RCPTMAX={self.max_recipients}"
        return [*keywords, "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING", limits]


class Refused(Exception):
    """A command cannot be carried out; `reply` is the answer. Never leaves the package."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(slots=True)
class MailParameters:
    """What the parameters of one MAIL command said."""

    size: int | None = None
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    auth: str | None = None


@dataclass(slots=True)
class RcptParameters:
    """What the parameters of one RCPT command said."""

    notify: str | None = None
    orcpt: str | None = None


def _read_size(draft: MailParameters, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):  # RFC 1870 §4
        raise Refused(replies.BAD_ARGUMENT)
    draft.size = int(value)


def _read_body(draft: MailParameters, value: str) -> None:
    if value.upper() not in ("7BIT", "8BITMIME"):
        raise Refused(replies.BAD_PARAMETER)
    draft.body = Body(value.upper())


def _read_smtputf8(draft: MailParameters, value: str) -> None:
    if value:  # RFC 6531 §3.4: "it does not accept a value"
        raise Refused(replies.BAD_ARGUMENT)
    draft.smtputf8 = True


def _read_ret(draft: MailParameters, value: str) -> None:
    if value.upper() not in ("FULL", "HDRS"):
        raise Refused(replies.BAD_ARGUMENT)
    draft.ret = value.upper()


def _read_envid(draft: MailParameters, value: str) -> None:
    if len(value) > MAX_ENVID_CHARACTERS or _XTEXT.fullmatch(value) is None:
        raise Refused(replies.BAD_ARGUMENT)
    draft.envid = value


def _read_auth(draft: MailParameters, value: str) -> None:
    if value != "<>" and _XTEXT.fullmatch(value) is None:  # RFC 4954 §5
        raise Refused(replies.BAD_ARGUMENT)
    draft.auth = value


def _read_notify(draft: RcptParameters, value: str) -> None:
    words = value.upper().split(",")
    if words != ["NEVER"] and not _NOTIFY.issuperset(words):  # RFC 3461 §4.1
        raise Refused(replies.BAD_ARGUMENT)
    draft.notify = ",".join(dict.fromkeys(words))


def _read_orcpt(draft: RcptParameters, value: str) -> None:
    if len(value) > MAX_ORCPT_CHARACTERS or _ORCPT.fullmatch(value) is None or "\ufffd" in value:
        raise Refused(replies.BAD_ARGUMENT)
    draft.orcpt = value


MAIL_PARAMETERS: Mapping[str, Callable[[MailParameters, str], None]] = {
    "SIZE": _read_size,  # RFC 1870 §3
    "BODY": _read_body,  # RFC 6152 §2
    "SMTPUTF8": _read_smtputf8,  # RFC 6531 §3.1
    "RET": _read_ret,  # RFC 3461 §4.3
    "ENVID": _read_envid,  # RFC 3461 §4.4
    "AUTH": _read_auth,  # RFC 4954 §5
}
RCPT_PARAMETERS: Mapping[str, Callable[[RcptParameters, str], None]] = {
    "NOTIFY": _read_notify,  # RFC 3461 §4.1
    "ORCPT": _read_orcpt,  # RFC 3461 §4.2
}

_Draft = TypeVar("_Draft")


def read_parameters(text: str, draft: _Draft, table: Mapping[str, Callable[[_Draft, str], None]]) -> _Draft:
    """Read ``KEYWORD[=value] …`` into *draft*.

    Raises:
        Refused: a keyword is unknown or given twice, or a value does not read.
    """
    seen = set()
    for word in text.split(" "):
        if not word:
            continue
        keyword, _, value = word.partition("=")
        keyword = keyword.upper()
        read = table.get(keyword)
        if read is None:
            known = _KEYWORD.fullmatch(keyword) is not None
            raise Refused(replies.BAD_PARAMETER if known else replies.BAD_ARGUMENT)
        if keyword in seen:
            raise Refused(replies.DUPLICATE_PARAMETER)
        seen.add(keyword)
        read(draft, value)
    return draft
