"""Which DSN is due, and what it says."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from tests.delivery.doubles import CONTENT, NOW, message_to

from sekisho.delivery import dsn
from sekisho.queue import Outcome, State
from sekisho.smtp import Body

REFUSED = "550 5.1.1 no such user"


@pytest.mark.parametrize(
    ("sender", "notify", "failure", "success"),
    [
        ("rin@example.jp", None, True, False),
        ("rin@example.jp", "FAILURE", True, False),
        ("rin@example.jp", "SUCCESS,FAILURE", True, True),
        ("rin@example.jp", "success", False, True),
        ("rin@example.jp", "DELAY", False, False),
        ("rin@example.jp", "NEVER", False, False),
        (None, None, False, False),
        (None, "SUCCESS,FAILURE", False, False),
    ],
)
def test_notify_decides_and_the_null_reverse_path_forbids(
    sender: str | None, notify: str | None, failure: bool, success: bool
) -> None:
    """RFC 3461 §4.1, RFC 5321 §4.5.5."""
    message = message_to("a@x.example", sender=sender, notify=notify)
    assert dsn.wants_failure(message, message.recipients[0]) is failure
    assert dsn.wants_success(message, message.recipients[0]) is success


def composed(
    state: State = State.FAILED,
    reply: str = REFUSED,
    *,
    recipients: int = 1,
    language: str = "en",
    ret: str | None = None,
    next_hop: str = "mx.x.example[192.0.2.1]:25",
    relayed: bool = False,
    sender: str = "rin@example.jp",
) -> tuple[bytes, EmailMessage]:
    message = message_to(*(f"r{number}@x.example" for number in range(recipients)), ret=ret, sender=sender)
    told = [(recipient, Outcome(recipient.number, state, reply, next_hop, NOW)) for recipient in message.recipients]
    arrival, octets = dsn.compose(
        message, told, CONTENT, hostname="mail.example.jp", language=language, now=NOW, token="t0ken", relayed=relayed
    )
    assert arrival.envelope.reverse_path is None
    assert str(arrival.envelope.recipients[0].mailbox) == sender
    assert (arrival.envelope.body is Body.SEVENBIT) == octets.isascii()
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return octets, parsed


@pytest.mark.parametrize(
    ("state", "reply", "relayed", "action", "status"),
    [
        (State.FAILED, REFUSED, False, "failed", "5.1.1"),
        (State.FAILED, "550 no", False, "failed", "5.0.0"),
        (State.EXPIRED, "451 4.4.1 nobody answered", False, "failed", "4.4.1"),
        (State.DELIVERED, "250 2.0.0 queued", True, "relayed", "2.0.0"),
        (State.DELIVERED, "250 queued as 2.3", False, "delivered", "2.0.0"),
    ],
)
def test_action_and_status_follow_the_outcome(
    state: State, reply: str, relayed: bool, action: str, status: str
) -> None:
    octets, _ = composed(state, reply, relayed=relayed)
    assert f"\r\nAction: {action}\r\nStatus: {status}\r\n".encode() in octets
    assert b"\r\nRemote-MTA: dns; mx.x.example\r\n" in octets


def test_a_decision_of_our_own_names_no_other_server() -> None:
    octets, _ = composed(next_hop="", reply="550 5.1.2 The domain of this address does not exist")
    assert b"Remote-MTA" not in octets
    assert b"Diagnostic-Code" not in octets
    assert b"Status: 5.1.2" in octets


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_person_reads_who_was_not_reached_and_why(language: str) -> None:
    _, parsed = composed(language=language)
    text = next(iter(parsed.iter_parts())).get_content()
    assert "r0@x.example" in text
    assert REFUSED in text
    assert "mail.example.jp" in text
    assert parsed["Subject"]


def test_a_long_list_is_cut_for_the_person_and_whole_for_the_machine() -> None:
    octets, parsed = composed(recipients=dsn.MAX_NAMED + 7)
    text = next(iter(parsed.iter_parts())).get_content()
    assert text.count("@x.example") == dsn.MAX_NAMED
    assert "7" in text
    assert octets.count(b"Final-Recipient:") == dsn.MAX_NAMED + 7


def test_ret_decides_how_much_comes_back() -> None:
    """RFC 3461 §4.3."""
    assert b"first line" not in composed()[0]
    assert b"first line" not in composed(ret="HDRS")[0]
    assert b"first line" in composed(ret="FULL")[0]


def test_an_international_sender_is_told_too() -> None:
    """RFC 6533."""
    octets, _ = composed(sender="凛@example.jp")
    assert "To: <凛@example.jp>".encode() in octets
