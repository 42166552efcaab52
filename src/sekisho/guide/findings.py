"""Findings: why sending fails, as values with evidence and remedies, and the one order in which they are shown.

Made by the self-check (`diagnose`) from what the provider knows, and meant as well for a program on the user's own
machine. So this module needs the standard library alone. The words are in ``findings.toml`` beside it.

A finding never holds a person's name or address by itself: what others wrote (the name a mail program gives itself, an
address of the reader's own) stands in `Evidence.text`, which is cut and stripped of everything unprintable here; who
shows it escapes it.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from importlib import resources
from typing import Final

__all__ = [
    "Certainty",
    "Evidence",
    "Finding",
    "Kind",
    "Link",
    "Remedy",
    "To",
    "What",
    "merged",
    "ranked",
    "say",
    "texts",
]

MAX_TEXT: Final = 64  # characters of what somebody else wrote
MAX_EVIDENCE: Final = 8  # pieces shown for one finding


class Certainty(StrEnum):
    """How sure a finding is; the surest stand first."""

    SURE = "sure"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Weight(Enum):
    """What a kind of trouble stops; among findings of one certainty this decides."""

    EVERYTHING = 0
    CONNECTION = 1
    LOGIN = 2
    MESSAGE = 3
    AFTERWARDS = 4
    ADVICE = 5


class Kind(StrEnum):
    """What is wrong. The order of the rows is the last word in `ranked`."""

    SERVER_TROUBLE = "server-trouble"
    LINE_HELD = "line-held"
    SUSPENDED = "suspended"
    RENEWAL_NEEDED = "renewal-needed"
    PORT_25_BLOCKED = "port-25-blocked"
    TLS_TOO_OLD = "tls-too-old"
    CERTIFICATE = "certificate"
    WRONG_SECURITY = "wrong-security"
    CROWDED = "crowded"
    STILL_PORT_25 = "still-port-25"
    THROTTLED = "throttled"
    USER_NAME_FORM = "user-name-form"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105 - no password
    MECHANISM = "mechanism"
    NO_AUTH = "no-auth"
    CLEARTEXT = "cleartext"
    HOURLY_LIMIT = "hourly-limit"
    SENDER = "sender"
    TOO_BIG = "too-big"
    RECIPIENT = "recipient"
    MAIL_RETURNED = "mail-returned"
    BLOCKLISTED = "blocklisted"
    MAIL_WAITS = "mail-waits"
    CLIENT_RETIRED = "client-retired"
    PORT_25_CLOSES = "port-25-closes"
    PORT_25_ELSEWHERE = "port-25-elsewhere"
    NOTHING_SEEN = "nothing-seen"
    ALL_WELL = "all-well"


class What(StrEnum):
    """What a piece of evidence says; the words use its numbers and times."""

    BLOCKED = "blocked"  # attempts on port 25, counted on the edge
    EXPLAINED = "explained"  # connections that the explainer answered
    DESTINATION = "destination"
    CALLED_ITSELF = "called-itself"
    NETWORK_CLOSED = "network-closed"
    HELD_UNTIL = "held-until"
    CLOSES_ON = "closes-on"
    LOOKS_LIKE_SERVER = "looks-like-server"
    LOOKS_LIKE_WORM = "looks-like-worm"
    REACHED_25 = "reached-25"
    LOGIN_REFUSED = "login-refused"
    LOGIN_PUT_OFF = "login-put-off"
    NAME_WITHOUT_AT = "name-without-at"
    NAME_ELSEWHERE = "name-elsewhere"
    NAME_ODD = "name-odd"
    MECHANISM_USED = "mechanism-used"
    MECHANISM_REFUSED = "mechanism-refused"
    LOGIN_BROKEN_OFF = "login-broken-off"
    NO_LOGIN = "no-login"
    NO_TLS = "no-tls"
    PASSWORD_IN_CLEAR = "password-in-clear"  # noqa: S105 - no password
    TLS_VERSION = "tls-version"
    TLS_REFUSED_BY_CLIENT = "tls-refused-by-client"
    TLS_WRONG_WAY = "tls-wrong-way"
    TLS_FAILED = "tls-failed"
    LEFT_AFTER_TLS = "left-after-tls"
    SENDER_REFUSED = "sender-refused"
    HEADER_REFUSED = "header-refused"
    OWN_ADDRESS_TRIED = "own-address-tried"
    BIG_REFUSED = "big-refused"
    RECIPIENT_REFUSED = "recipient-refused"
    LIMIT_REACHED = "limit-reached"
    LIMIT_USED = "limit-used"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105 - no password
    RENEWED_SINCE = "renewed-since"
    RENEWAL_STATE = "renewal-state"
    SUSPENDED = "suspended"
    DEFERRED = "deferred"
    NEXT_ATTEMPT = "next-attempt"
    RETURNED = "returned"
    LISTED = "listed"
    CLIENT_ENDED = "client-ended"
    CLIENT_TLS = "client-tls"
    SERVER_REFUSED = "server-refused"
    SERVER_AWAY = "server-away"
    CONNECTIONS = "connections"
    ACCEPTED = "accepted"
    WORKED_SINCE = "worked-since"
    NONE_SEEN = "none-seen"


class Remedy(StrEnum):
    """What to do. Which of them fit depends on where the person is and what the operator offers."""

    CHANGE_PORT = "change-port"
    OPEN_GUIDE = "open-guide"
    ASK_OTHER_PROVIDER = "ask-other-provider"
    USE_SMARTHOST = "use-smarthost"
    LOOK_FOR_MALWARE = "look-for-malware"
    ENABLE_AUTH = "enable-auth"
    ENABLE_TLS = "enable-tls"
    RETYPE_PASSWORD = "retype-password"  # noqa: S105 - no password
    LOG_IN_HERE = "log-in-here"
    WHOLE_ADDRESS = "whole-address"
    APP_PASSWORD = "app-password"  # noqa: S105 - no password
    CHANGE_PASSWORD = "change-password"  # noqa: S105 - no password
    JOIN_VPN = "join-vpn"
    COME_TO_CAMPUS = "come-to-campus"
    ASK_TOKEN = "ask-token"  # noqa: S105 - no password
    USE_WEBMAIL = "use-webmail"
    NORMAL_PASSWORD = "normal-password"  # noqa: S105 - no password
    WAIT = "wait"
    CHECK_DEVICES = "check-devices"
    RIGHT_PAIR = "right-pair"
    RIGHT_NAME = "right-name"
    CHECK_CLOCK = "check-clock"
    REPLACE_CLIENT = "replace-client"
    RIGHT_SENDER = "right-sender"
    SMALLER = "smaller"
    CORRECT_RECIPIENT = "correct-recipient"
    NOTHING = "nothing"
    ASK_US = "ask-us"
    TRY_NOW = "try-now"
    FLOW_CHART = "flow-chart"


class To(StrEnum):
    """Where a link leads."""

    GUIDE = "guide"
    PROBLEM = "problem"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Link:
    """A page that goes on from here: a version of a client, a problem of the catalog, or a page of the portal."""

    to: To
    name: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen.

    Fields:
        count: how often.
        first, last: UTC seconds since the epoch; None where time means nothing.
        number: a further figure, such as a port or a limit.
        text: what somebody else wrote, cut and printable; a name of ours otherwise.
    """

    what: What
    count: int = 1
    first: float | None = None
    last: float | None = None
    number: int | None = None
    text: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _printable(self.text))


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why sending fails, or that it does not.

    Fields:
        when: the latest moment that speaks for it, UTC seconds since the epoch; None when no moment does.
    """

    kind: Kind
    certainty: Certainty
    evidence: tuple[Evidence, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    links: tuple[Link, ...] = ()
    when: float | None = None


_WEIGHTS: Final[Mapping[Weight, tuple[Kind, ...]]] = {
    Weight.EVERYTHING: (Kind.SERVER_TROUBLE, Kind.LINE_HELD, Kind.SUSPENDED, Kind.RENEWAL_NEEDED),
    Weight.CONNECTION: (
        Kind.PORT_25_BLOCKED,
        Kind.TLS_TOO_OLD,
        Kind.CERTIFICATE,
        Kind.WRONG_SECURITY,
        Kind.CROWDED,
        Kind.STILL_PORT_25,
    ),
    Weight.LOGIN: (
        Kind.THROTTLED,
        Kind.USER_NAME_FORM,
        Kind.WRONG_PASSWORD,
        Kind.MECHANISM,
        Kind.NO_AUTH,
        Kind.CLEARTEXT,
    ),
    Weight.MESSAGE: (Kind.HOURLY_LIMIT, Kind.SENDER, Kind.TOO_BIG, Kind.RECIPIENT),
    Weight.AFTERWARDS: (Kind.MAIL_RETURNED, Kind.BLOCKLISTED, Kind.MAIL_WAITS),
    Weight.ADVICE: (
        Kind.CLIENT_RETIRED,
        Kind.PORT_25_CLOSES,
        Kind.PORT_25_ELSEWHERE,
        Kind.NOTHING_SEEN,
        Kind.ALL_WELL,
    ),
}
_WEIGHT_OF: Final = {kind: weight.value for weight, kinds in _WEIGHTS.items() for kind in kinds}
_CERTAINTIES: Final = {certainty: place for place, certainty in enumerate(Certainty)}
_PLACES: Final = {kind: place for place, kind in enumerate(Kind)}


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* in the order of showing, one for each kind.

    The surest first; among these what stops everything before what stops one message; then what happened last; then
    the order of `Kind`. That all is well is said only where nothing sure or likely is wrong.
    """
    by_kind: dict[Kind, Finding] = {}
    for finding in findings:
        other = by_kind.get(finding.kind)
        by_kind[finding.kind] = finding if other is None else merged(other, finding)
    if any(each.certainty is not Certainty.POSSIBLE and _is_trouble(each.kind) for each in by_kind.values()):
        by_kind.pop(Kind.ALL_WELL, None)
    return tuple(sorted(by_kind.values(), key=_order))


def merged(one: Finding, other: Finding) -> Finding:
    """Return one finding for two of the same kind: the surer certainty, and everything that speaks for it."""
    if one.kind is not other.kind:
        raise ValueError("findings of different kinds")
    whens = [each.when for each in (one, other) if each.when is not None]
    return Finding(
        one.kind,
        min(one.certainty, other.certainty, key=_CERTAINTIES.__getitem__),
        tuple(dict.fromkeys((*one.evidence, *other.evidence)))[:MAX_EVIDENCE],
        tuple(dict.fromkeys((*one.remedies, *other.remedies))),
        tuple(dict.fromkeys((*one.links, *other.links))),
        max(whens, default=None),
    )


def say(key: str, language: str, **values: object) -> str:
    """Return the text *key* of ``findings.toml``, filled in: ``title.KIND``, ``cause.KIND``, ``evidence.WHAT``,
    ``remedy.REMEDY``, ``certainty.CERTAINTY``.

    Raises:
        KeyError: there is no such text or placeholder: a mistake of ours.
    """
    return texts()[key][language].format_map(values)


@functools.cache
def texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text by key and language."""
    return tomllib.loads(resources.files(__package__).joinpath("findings.toml").read_text("utf-8"))


def _is_trouble(kind: Kind) -> bool:
    return _WEIGHT_OF[kind] < Weight.ADVICE.value


def _order(finding: Finding) -> tuple[int, int, float, int]:
    when = finding.when if finding.when is not None else float("-inf")
    return _CERTAINTIES[finding.certainty], _WEIGHT_OF[finding.kind], -when, _PLACES[finding.kind]


def _printable(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)
