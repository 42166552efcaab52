"""What each step of an attempt means: the finding it speaks for, and what helps. A table for `diagnose` and `story`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from .findings import Certainty, Kind, Remedy, What
from .seen import Seen, Step

__all__ = ["HANDSHAKES", "Rule", "has_worked", "rule_of"]

HANDSHAKES: Final = (Step.TLS_TOO_OLD, Step.TLS_REFUSED_BY_CLIENT, Step.TLS_WRONG_WAY, Step.TLS_FAILED)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a step means.

    Fields:
        problem: page of the catalog that says more.
        most: the finding is never surer than this.
    """

    kind: Kind
    what: What
    remedies: tuple[Remedy, ...]
    problem: str
    most: Certainty = Certainty.SURE


_STILL_25: Final = Rule(Kind.STILL_PORT_25, What.REACHED_25, (Remedy.CHANGE_PORT, Remedy.OPEN_GUIDE), "relay_denied")
_RULES: Final = {
    Step.TLS_TOO_OLD: Rule(
        Kind.TLS_TOO_OLD, What.TLS_VERSION, (Remedy.REPLACE_CLIENT, Remedy.OPEN_GUIDE), "tls_handshake"
    ),
    Step.TLS_REFUSED_BY_CLIENT: Rule(
        Kind.CERTIFICATE,
        What.TLS_REFUSED_BY_CLIENT,
        (Remedy.RIGHT_NAME, Remedy.CHECK_CLOCK, Remedy.REPLACE_CLIENT),
        "certificate_warning",
    ),
    Step.TLS_WRONG_WAY: Rule(
        Kind.WRONG_SECURITY, What.TLS_WRONG_WAY, (Remedy.RIGHT_PAIR, Remedy.OPEN_GUIDE), "tls_handshake"
    ),
    Step.TLS_FAILED: Rule(
        Kind.WRONG_SECURITY,
        What.TLS_FAILED,
        (Remedy.RIGHT_PAIR, Remedy.OPEN_GUIDE),
        "tls_handshake",
        Certainty.POSSIBLE,
    ),
    Step.CROWDED: Rule(Kind.CROWDED, What.CONNECTIONS, (Remedy.CHECK_DEVICES, Remedy.WAIT), "too_many"),
    Step.LOGIN_REFUSED: Rule(
        Kind.WRONG_PASSWORD, What.LOGIN_REFUSED, (Remedy.RETYPE_PASSWORD, Remedy.OPEN_GUIDE), "auth_failed"
    ),
    Step.LOGIN_PUT_OFF: Rule(
        Kind.THROTTLED,
        What.LOGIN_PUT_OFF,
        (Remedy.CHECK_DEVICES, Remedy.RETYPE_PASSWORD, Remedy.WAIT),
        "password_prompt",
    ),
    Step.LOGIN_BROKEN_OFF: Rule(
        Kind.MECHANISM,
        What.LOGIN_BROKEN_OFF,
        (Remedy.NORMAL_PASSWORD, Remedy.OPEN_GUIDE),
        "password_prompt",
        Certainty.POSSIBLE,
    ),
    Step.MECHANISM_REFUSED: Rule(
        Kind.MECHANISM, What.MECHANISM_REFUSED, (Remedy.NORMAL_PASSWORD, Remedy.OPEN_GUIDE), "mechanism_unsupported"
    ),
    Step.CLEARTEXT_LOGIN: Rule(
        Kind.CLEARTEXT, What.PASSWORD_IN_CLEAR, (Remedy.ENABLE_TLS, Remedy.OPEN_GUIDE), "mechanism_unsupported"
    ),
    Step.NO_TLS: Rule(Kind.CLEARTEXT, What.NO_TLS, (Remedy.ENABLE_TLS, Remedy.OPEN_GUIDE), "auth_required"),
    Step.NO_AUTH: Rule(Kind.NO_AUTH, What.NO_LOGIN, (Remedy.ENABLE_AUTH, Remedy.OPEN_GUIDE), "auth_required"),
    Step.RELAY_REFUSED: _STILL_25,
    Step.AUTH_ON_25: _STILL_25,
    Step.SENDER_REFUSED: Rule(Kind.SENDER, What.SENDER_REFUSED, (Remedy.RIGHT_SENDER,), "sender_rejected"),
    Step.HEADER_REFUSED: Rule(Kind.SENDER, What.HEADER_REFUSED, (Remedy.RIGHT_SENDER,), "sender_rejected"),
    Step.RECIPIENT_REFUSED: Rule(
        Kind.RECIPIENT, What.RECIPIENT_REFUSED, (Remedy.CORRECT_RECIPIENT,), "recipient_rejected"
    ),
    Step.TOO_BIG: Rule(Kind.TOO_BIG, What.BIG_REFUSED, (Remedy.SMALLER,), "too_big"),
    Step.LIMIT: Rule(Kind.HOURLY_LIMIT, What.LIMIT_REACHED, (Remedy.WAIT, Remedy.ASK_US), "too_many"),
    Step.SERVER: Rule(Kind.SERVER_TROUBLE, What.SERVER_REFUSED, (Remedy.WAIT, Remedy.ASK_US), "server_unavailable"),
}
_ON_25: Final = {
    **dict.fromkeys(
        (
            Step.RELAY_REFUSED,
            Step.AUTH_ON_25,
            Step.NO_AUTH,
            Step.NO_TLS,
            Step.CLEARTEXT_LOGIN,
            Step.MECHANISM_REFUSED,
            Step.LOGIN_REFUSED,
            Step.LOGIN_PUT_OFF,
            Step.LOGIN_BROKEN_OFF,
        ),
        _STILL_25,
    ),
    Step.LEFT: replace(_STILL_25, most=Certainty.LIKELY),
}
_LEFT_IN_TLS: Final = Rule(
    Kind.CERTIFICATE,
    What.LEFT_AFTER_TLS,
    (Remedy.RIGHT_NAME, Remedy.CHECK_CLOCK),
    "certificate_warning",
    Certainty.POSSIBLE,
)


def rule_of(seen: Seen) -> Rule | None:
    """Return what *seen* means; None when it is no failure of somebody who wants to send."""
    if seen.listener == "mx":
        return _ON_25.get(seen.step)
    if seen.step is Step.LEFT:
        return _LEFT_IN_TLS if seen.tls else None
    return _RULES.get(seen.step)


def has_worked(seen: Seen) -> bool:
    return seen.step is Step.ACCEPTED and seen.listener != "mx"
