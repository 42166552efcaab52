"""Under which names an account sends, and what is mended in the header on the way."""

from __future__ import annotations

from collections.abc import Callable

from tests.interop.letter import Submission
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix
from tests.interop.wire import Wire

Box = Callable[[], str]


def test_nobody_sends_under_anothers_name(submission: Submission) -> None:
    with Wire(submission.submission_port).login(submission) as wire:
        reply = wire.say("MAIL FROM:<aoi@home.test>")
        assert reply.startswith("55")
        assert "aoi@home.test" in reply
        for field in (b"From: aoi@home.test", b"From: rin@home.test, aoi@home.test", b"Subject: no From at all"):
            reply = wire.deliver("rin@home.test", ["box-x@next.test"], field + b"\r\n\r\nhello\r\n")
            assert reply.startswith("55"), (field, reply)
        twice = b"From: rin@home.test\r\nFrom: aoi@home.test\r\n\r\nhello\r\n"
        assert wire.deliver("rin@home.test", ["box-x@next.test"], twice).startswith("55")


def test_the_null_reverse_path_is_for_servers(
    submission: Submission, smarthost_submission: Submission, next_hop: Postfix, box: Box
) -> None:
    with Wire(submission.submission_port).login(submission) as wire:
        assert wire.say("MAIL FROM:<>").startswith("55")
    name = box()
    report = b"From: MAILER-DAEMON@office.home.test\r\nSubject: Undelivered\r\n\r\nhello\r\n"
    with Wire(submission.submission_port).login(smarthost_submission) as wire:
        assert wire.deliver("", [f"box-{name}@next.test"], report).startswith("250 ")
    (octets,) = next_hop.mailbox(name).wait()
    assert octets.startswith(b"Return-Path: <>\n")


def test_bcc_and_return_path_do_not_leave_and_what_is_missing_is_added(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """RFC 6409 §8; RFC 5322 §3.6.3."""
    name = box()
    content = b"From: rin@home.test\r\nBcc: secret@next.test\r\nReturn-Path: <x@y.test>\r\nSubject: s\r\n\r\nhello\r\n"
    with Wire(submission.submission_port).login(submission) as wire:
        wire.deliver("rin@home.test", [f"box-{name}@next.test"], content)
    (octets,) = next_hop.mailbox(name).wait()
    assert b"secret@next.test" not in octets
    assert b"x@y.test" not in octets
    message = parse(octets)
    assert message["Date"]
    assert message["Message-ID"]
