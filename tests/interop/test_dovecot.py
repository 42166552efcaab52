"""Mailboxes in Dovecot: in by LMTP, out by POP3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.interop import clients
from tests.interop.dovecot import Dovecot
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.maildir import parse
from tests.interop.processes import wait_for
from tests.interop.wire import Wire

Box = Callable[[], str]


def fetched(dovecot: Dovecot, user: str, subject: str) -> bytes:
    """Return the message with *subject* once POP3 gives it."""

    def look() -> bytes | None:
        return next((octets for octets in dovecot.fetch(user) if parse(octets)["Subject"] == subject), None)

    return wait_for(f"{subject!r} in the mailbox of {user}", look)


def test_mail_goes_to_dovecot_by_lmtp_and_is_fetched_by_pop3(
    other: Instance, cram_submission: Submission, dovecot: Dovecot, scratch: Path, box: Box
) -> None:
    letter = Letter("rin@mail.test", "aoi@mail.test", subject=f"by LMTP {box()}")

    clients.python_smtplib(cram_submission, letter, scratch, False, None)

    octets = fetched(dovecot, "aoi@mail.test", letter.subject)
    assert letter.is_text_of(parse(octets))
    assert octets.startswith(b"Return-Path: <rin@mail.test>\r\nDelivered-To: aoi@mail.test\r\n")


def test_each_recipient_gets_its_own_answer_and_its_own_copy(
    other: Instance, cram_submission: Submission, dovecot: Dovecot, box: Box
) -> None:
    """RFC 2033 §4.2: one reply for each recipient after the final dot."""
    subject = f"both {box()}"
    content = f"From: rin@mail.test\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()
    with Wire(cram_submission.submission_port).login(cram_submission) as wire:
        assert wire.deliver("rin@mail.test", ["aoi@mail.test", "rin@mail.test"], content).startswith("250 ")
    for user in ("aoi@mail.test", "rin@mail.test"):
        fetched(dovecot, user, subject)
        assert sum(subject.encode() in octets for octets in dovecot.fetch(user)) == 1
