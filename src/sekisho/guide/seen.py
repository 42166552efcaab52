"""What the event log tells about one line or one account, read into values that can hold no other person's name.

An event names the account that was tried, the addresses of a letter, why a login was really refused. None of that gets
into a `Seen`: of a user name its form stays, of a reason what the client was told. So whatever is made of these values
cannot tell one person about another, nor whether an account exists: an unknown account and a wrong password are the
same value, and so is the right password of a suspended account, for the log of a line is read by whoever sits there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sekisho.smtp import replies
from sekisho.telemetry import Entry

__all__ = ["NameForm", "Seen", "Step", "name_form", "read_entries", "step_of_reply"]

MAX_NAME: Final = 320  # characters of a user name that are looked at
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)  # RFC 4422 §3.1
_TLS = re.compile(r"(?:TLSv1(?:\.[0-3])?|SSLv3)", re.ASCII)
_LISTENERS: Final = ("submission", "submissions", "mx")


class Step(StrEnum):
    """How far an attempt to send came."""

    ACCEPTED = "accepted"
    LOGGED_IN = "logged-in"
    TLS_TOO_OLD = "tls-too-old"
    TLS_REFUSED_BY_CLIENT = "tls-refused-by-client"
    TLS_WRONG_WAY = "tls-wrong-way"
    TLS_FAILED = "tls-failed"
    CROWDED = "crowded"
    LOGIN_REFUSED = "login-refused"
    LOGIN_PUT_OFF = "login-put-off"
    LOGIN_BROKEN_OFF = "login-broken-off"
    MECHANISM_REFUSED = "mechanism-refused"
    CLEARTEXT_LOGIN = "cleartext-login"
    NO_TLS = "no-tls"
    NO_AUTH = "no-auth"
    RELAY_REFUSED = "relay-refused"
    AUTH_ON_25 = "auth-on-25"
    SENDER_REFUSED = "sender-refused"
    HEADER_REFUSED = "header-refused"
    RECIPIENT_REFUSED = "recipient-refused"
    TOO_BIG = "too-big"
    LIMIT = "limit"
    SERVER = "server"
    LEFT = "left"


class NameForm(StrEnum):
    """What a user name looks like, whoever it belongs to."""

    ADDRESS = "address"  # of a domain of ours
    BARE = "bare"  # without @
    ELSEWHERE = "elsewhere"  # of a domain that is not ours
    ODD = "odd"  # full-width characters, spaces, nothing at all


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that a client did here.

    Fields:
        at: UTC seconds since the epoch.
        listener: ``submission``, ``submissions``, ``mx``, or "" where the log does not say.
        mechanism, tls: in the words of the standard; "" when there is none.
        name: of a login.
        here: it came from the line that is asked from.
    """

    at: float
    step: Step
    listener: str = ""
    mechanism: str = ""
    tls: str = ""
    name: NameForm | None = None
    here: bool = True


_BY_REPLY: Final[Mapping[str, Step]] = {
    str(reply): step
    for reply, step in (
        (replies.AUTH_REQUIRED, Step.NO_AUTH),
        (replies.TLS_REQUIRED, Step.NO_TLS),
        (replies.ENCRYPTION_REQUIRED, Step.CLEARTEXT_LOGIN),
        (replies.AUTH_NOT_OFFERED, Step.AUTH_ON_25),
        (replies.BAD_MECHANISM, Step.MECHANISM_REFUSED),
        (replies.RELAY_DENIED, Step.RELAY_REFUSED),
        (replies.MESSAGE_TOO_BIG, Step.TOO_BIG),
        (replies.TOO_MUCH_CONTENT, Step.TOO_BIG),
        (replies.MAILBOX_UNKNOWN, Step.RECIPIENT_REFUSED),
        (replies.BAD_RECIPIENT, Step.RECIPIENT_REFUSED),
        (replies.TOO_MANY_RECIPIENTS, Step.LIMIT),
        (replies.BAD_SENDER, Step.SENDER_REFUSED),
        (replies.AUTH_CANCELED, Step.LOGIN_BROKEN_OFF),
        (replies.TOO_MANY_CONNECTIONS, Step.CROWDED),
    )
}
_BY_STATUS: Final[Mapping[tuple[str, str], Step]] = {
    ("550", "5.7.1"): Step.SENDER_REFUSED,  # the identity rule; relaying is told by its own text
    ("550", "5.6.0"): Step.HEADER_REFUSED,
    ("554", "5.6.0"): Step.HEADER_REFUSED,
    ("550", "5.7.13"): Step.LOGIN_REFUSED,  # suspended meanwhile: told like every login that does not count
    ("450", "4.7.1"): Step.LIMIT,
    ("552", "5.3.4"): Step.TOO_BIG,
    ("451", "4.3.0"): Step.SERVER,
    ("452", "4.3.1"): Step.SERVER,
    ("421", "4.3.0"): Step.SERVER,
}

_LOGIN_STEPS: Final = {
    "throttled": Step.LOGIN_PUT_OFF,
    "busy": Step.SERVER,
    "malformed": Step.LOGIN_BROKEN_OFF,
    "cancelled": Step.LOGIN_BROKEN_OFF,
}

# Reasons as OpenSSL names them. An alert is what the client says about us; the rest we say about it.
_TOO_OLD: Final = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_SHARED_CIPHER", "INAPPROPRIATE_FALLBACK")
_TOO_OLD_ALERTS: Final = ("ALERT_PROTOCOL_VERSION", "ALERT_INSUFFICIENT_SECURITY", "ALERT_HANDSHAKE_FAILURE")
_CERTIFICATE_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA", "DECRYPT_ERROR", "ACCESS_DENIED", "USER_CANCELLED")
_NO_TLS: Final = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "at once")


def read_entries(
    entries: Iterable[Entry], domains: Collection[str], *, is_here: Callable[[object], bool] = lambda client: True
) -> tuple[Seen, ...]:
    """Return what *entries* tell, the oldest first. Entries that tell nothing here are passed over.

    Args:
        domains: ours, in lower case.
        is_here: tells whether a client's address is of the line that is asked from.
    """
    found: list[Seen] = []
    told: set[object] = set()  # sessions of which something was seen: their end says nothing more
    for entry in sorted(entries, key=lambda each: each.time):
        step = _step(entry)
        session = entry.fields.get("session")
        if step is None or (step is Step.LEFT and session is not None and session in told):
            continue
        if session is not None:
            told.add(session)
        found.append(
            Seen(
                at=entry.time,
                step=step,
                listener=_one_of(entry, "listener", _LISTENERS),
                mechanism=_matching(entry, "mechanism", _MECHANISM),
                tls=_matching(entry, "tls", _TLS),
                name=name_form(_typed(entry), domains) if entry.event == "auth.refused" else None,
                here=is_here(entry.fields.get("client")),
            )
        )
    return tuple(found)


def name_form(name: object, domains: Collection[str]) -> NameForm | None:
    """Return what *name* looks like; None when none was given. It does not matter whether anybody has it."""
    if not isinstance(name, str):
        return None
    text = name[:MAX_NAME]
    if not text.strip() or text != unicodedata.normalize("NFKC", text) or any(map(str.isspace, text.strip())):
        return NameForm.ODD
    _, at, domain = text.strip().rpartition("@")
    if not at:
        return NameForm.BARE
    return NameForm.ADDRESS if domain.lower() in domains else NameForm.ELSEWHERE


def step_of_reply(text: str) -> Step | None:
    """Return how far the attempt came that was answered with this reply; None when it tells nothing to a person."""
    found = _BY_REPLY.get(text)
    if found is not None:
        return found
    if text.startswith("421 4.7.0 The password of this account"):
        return Step.LOGIN_REFUSED  # changed meanwhile, in the middle of a session
    code, _, rest = text.partition(" ")
    return _BY_STATUS.get((code, rest.partition(" ")[0]))


def _step(entry: Entry) -> Step | None:
    fields = entry.fields
    match entry.event:
        case "message.accepted":
            return Step.ACCEPTED
        case "auth.accepted":
            return Step.LOGGED_IN
        case "auth.refused":
            return _LOGIN_STEPS.get(str(fields.get("reason")), Step.LOGIN_REFUSED)
        case "tls.failed":
            return _tls_step(str(fields.get("problem", "")), str(fields.get("reason", "")))
        case "session.refused":
            return Step.CROWDED
        case "session.failed":
            return Step.SERVER
        case "command.refused" | "message.refused":
            reply = fields.get("reply")
            return step_of_reply(reply) if isinstance(reply, str) else Step.SERVER if "problem" in fields else None
        case "session.closed":
            return Step.LEFT
        case _:
            return None


def _tls_step(problem: str, reason: str) -> Step:
    if reason == "version" or problem.startswith(_TOO_OLD) or problem.endswith(_TOO_OLD_ALERTS):
        return Step.TLS_TOO_OLD
    if "ALERT_" in problem and any(mark in problem for mark in _CERTIFICATE_ALERTS):
        return Step.TLS_REFUSED_BY_CLIENT
    if any(mark in problem for mark in _NO_TLS):
        return Step.TLS_WRONG_WAY
    return Step.TLS_FAILED


def _typed(entry: Entry) -> object:
    """Return the user name as it was typed: the canonical one beside it would tell that somebody has it."""
    return entry.fields.get("claimed", entry.fields.get("account"))


def _one_of(entry: Entry, name: str, known: Collection[str]) -> str:
    value = entry.fields.get(name)
    return value if isinstance(value, str) and value in known else ""


def _matching(entry: Entry, name: str, form: re.Pattern[str]) -> str:
    value = entry.fields.get(name)
    return value if isinstance(value, str) and form.fullmatch(value) else ""
