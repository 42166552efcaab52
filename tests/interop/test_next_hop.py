"""Delivery to a real Postfix, by real DNS: where mail goes, how, and what comes back when it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.message import EmailMessage

import pytest
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix, loopback_addresses
from tests.interop.processes import wait_for
from tests.interop.report import Report, read_report
from tests.interop.wire import Wire

Box = Callable[[], str]


def send(submission: Submission, recipients: list[str], subject: str, *fields: str) -> None:
    header = "".join(f"{field}\r\n" for field in (f"From: {submission.login}", f"Subject: {subject}", *fields))
    content = f"{header}\r\nhello\r\n".encode()
    with Wire(submission.submission_port).login(submission) as wire:
        assert wire.deliver(submission.login, recipients, content).startswith("250 ")


def reports(sekisho: Instance, subject: str) -> list[Report]:
    """Return the DSNs in Rin's mailbox about the message with *subject*."""
    found = []
    for octets in sekisho.mailbox("rin@home.test").contents():
        if b"multipart/report" in octets and f"Subject: {subject}".encode() in octets:
            found.append(read_report(octets))
    return found


def the_report(sekisho: Instance, subject: str) -> Report:
    (report,) = wait_for(f"a DSN about {subject!r}", lambda: reports(sekisho, subject))
    return report


@pytest.mark.parametrize("domain", ["next.test", "aonly.test", "dead.test", "alias.test", "NEXT.Test"])
def test_mail_finds_the_server_that_dns_names(domain: str, submission: Submission, next_hop: Postfix, box: Box) -> None:
    """RFC 5321 §5.1: MX, no MX but an address, first MX dead, CNAME."""
    name = box()
    send(submission, [f"box-{name}@{domain}"], f"to {domain}")
    (octets,) = next_hop.mailbox(name).wait()
    assert f"Delivered-To: box-{name}@{domain}".lower().encode() in octets.lower()


@pytest.mark.skipif("[::1]" not in loopback_addresses(), reason="this machine has no IPv6 loopback")
def test_mail_goes_over_ipv6_where_that_is_all_there_is(submission: Submission, next_hop: Postfix, box: Box) -> None:
    name = box()
    send(submission, [f"box-{name}@six.test"], "six")
    next_hop.mailbox(name).wait()


def test_delivery_is_encrypted_where_the_server_offers_it(submission: Submission, next_hop: Postfix, box: Box) -> None:
    name = box()
    send(submission, [f"box-{name}@next.test"], "opportunistic")
    (octets,) = next_hop.mailbox(name).wait()
    newest = parse(octets).get_all("Received", [])[0]
    assert "TLSv1.3" in newest
    assert "with ESMTPS " in newest


def test_eight_bit_text_goes_as_it_is_to_a_server_that_takes_it(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """RFC 6152."""
    name = box()
    letter = Letter("rin@home.test", f"box-{name}@next.test")
    with Wire(submission.submission_port).login(submission) as wire:
        wire.say("MAIL FROM:<rin@home.test> BODY=8BITMIME")
        wire.say(f"RCPT TO:<{letter.recipient}>")
        wire.say("DATA")
        wire.send(re.sub(rb"(?m)^\.", b"..", letter.wire()) + b".\r\n")
        assert wire.reply().startswith("250 ")
    (octets,) = next_hop.mailbox(name).wait()
    assert "最後の行".encode() in octets


def test_a_large_message_arrives_whole(submission: Submission, next_hop: Postfix, box: Box) -> None:
    """Large content takes another way through the queue than small content."""
    name = box()
    body = b"".join(b"%07d %s\r\n" % (number, b"x" * 60) for number in range(60_000))
    with Wire(submission.submission_port).login(submission) as wire:
        content = b"From: rin@home.test\r\nSubject: large\r\n\r\n" + body
        assert wire.deliver("rin@home.test", [f"box-{name}@next.test"], content).startswith("250 ")
    (octets,) = next_hop.mailbox(name).wait()
    assert octets.partition(b"\n\n")[2] == body.replace(b"\r\n", b"\n")


def test_an_address_that_is_not_ascii_goes_to_a_server_that_takes_it(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """RFC 6531."""
    name = f"凛{box()}"
    content = f"From: rin@home.test\r\nTo: box-{name}@next.test\r\nSubject: 件名\r\n\r\nhello\r\n".encode()
    with Wire(submission.submission_port).login(submission) as wire:
        assert wire.say("MAIL FROM:<rin@home.test> SMTPUTF8").startswith("250 ")
        assert wire.say(f"RCPT TO:<box-{name}@next.test>").startswith("250 ")
        wire.say("DATA")
        wire.send(content + b".\r\n")
        assert wire.reply().startswith("250 ")
    (octets,) = next_hop.mailbox(name).wait()
    assert "件名".encode() in octets


def test_many_recipients_of_one_server_share_a_transaction(submission: Submission, next_hop: Postfix, box: Box) -> None:
    names = [box() for _ in range(40)]
    send(submission, [f"box-{name}@next.test" for name in names], "many")
    identifiers = set()
    for name in names:
        (octets,) = next_hop.mailbox(name).wait()
        identifiers.add(re.search(rb"with ESMTPS id ([0-9A-Za-z]+)", octets)[1])  # type: ignore[index]  # it is there
    assert len(identifiers) == 1


def test_unknown_recipients_come_back_in_one_report_and_the_others_get_their_mail(
    sekisho: Instance, submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """RFC 3464; RFC 5321 §6.1: to the reverse-path, from the null reverse-path."""
    name = box()
    subject = f"unknown {name}"
    send(submission, [f"box-{name}@next.test", "nobody@next.test", "no.one@next.test"], subject, "X-Secret: no")

    report = the_report(sekisho, subject)

    next_hop.mailbox(name).wait()
    assert set(report.recipients) == {"nobody@next.test", "no.one@next.test"}
    for address, fields in report.recipients.items():
        assert fields["action"] == "failed"
        assert fields["status"] == "5.1.1"
        assert fields["remote-mta"].startswith("dns; mx.next.test")
        assert fields["diagnostic-code"].startswith("smtp; 550 5.1.1")
        assert "User unknown" in fields["diagnostic-code"]
        assert address in report.text
    assert report.message["Return-Path"] == "<>"
    assert report.message["Auto-Submitted"] == "auto-replied"
    assert "rin@home.test" in report.message["To"]
    assert f"Subject: {subject}" in report.original
    assert len(reports(sekisho, subject)) == 1


def test_content_refused_after_the_final_dot_comes_back_with_the_servers_words(
    sekisho: Instance, submission: Submission, box: Box
) -> None:
    subject = f"refused {box()}"
    send(submission, [f"box-{box()}@next.test"], subject, "X-Refuse: yes")
    report = the_report(sekisho, subject)
    (fields,) = report.recipients.values()
    assert "We do not take this content" in fields["diagnostic-code"]
    assert "We do not take this content" in report.text


@pytest.mark.parametrize(
    ("recipient", "statuses"),
    [
        ("rin@nullmx.test", {"5.1.10"}),  # RFC 7505 §4.2
        ("rin@missing.test", {"5.1.2"}),  # NXDOMAIN
        ("rin@looped.test", {"5.4.6"}),  # its MX is ourselves, and we do not know it (RFC 5321 §5.1)
    ],
)
def test_domains_that_take_no_mail_come_back_at_once(
    recipient: str, statuses: set[str], sekisho: Instance, submission: Submission, box: Box
) -> None:
    subject = f"nowhere {box()}"
    send(submission, [recipient], subject)
    report = the_report(sekisho, subject)
    assert {fields["status"] for fields in report.recipients.values()} <= statuses


def test_a_report_of_the_next_hop_itself_reaches_the_sender(
    sekisho: Instance, submission: Submission, box: Box
) -> None:
    """Postfix takes the message, then finds nobody: its DSN comes back through our port 25."""
    subject = f"late {box()}"
    send(submission, [f"late-{box()}@next.test"], subject)
    report = the_report(sekisho, subject)
    assert "mx.next.test" in str(report.message["From"]) or "MAILER-DAEMON" in str(report.message["From"])
    assert [fields["action"] for fields in report.recipients.values()] == ["failed"]


def test_mail_that_must_wait_is_in_the_queue_with_the_servers_words_and_can_be_deleted(
    sekisho: Instance, submission: Submission, box: Box
) -> None:
    subject = f"slow {box()}"
    send(submission, ["slow@next.test"], subject)
    deferred = sekisho.wait_for_event(event="delivery.deferred", about="slow@next.test")
    queue_id = str(deferred["queue_id"])

    listed = json.loads(sekisho.did("queue", "list", "--json"))
    assert queue_id in json.dumps(listed)
    shown = sekisho.did("queue", "show", queue_id)
    assert "Try again later" in shown
    assert "slow@next.test" in shown
    assert "slow@next.test" in sekisho.did("trace", queue_id)

    sekisho.did("queue", "delete", queue_id)
    assert queue_id not in sekisho.did("queue", "list")


def test_no_report_answers_the_null_reverse_path(
    sekisho: Instance, smarthost_submission: Submission, submission: Submission, box: Box
) -> None:
    """RFC 5321 §4.5.5: no DSN for a DSN."""
    subject = f"double {box()}"
    with Wire(submission.submission_port).login(smarthost_submission) as wire:
        content = f"From: MAILER-DAEMON@home.test\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()
        assert wire.deliver("", ["nobody@next.test"], content).startswith("250 ")
    sekisho.wait_for_event(event="delivery.failed")
    later = f"after {subject}"
    send(submission, ["nobody@next.test"], later)
    the_report(sekisho, later)
    assert reports(sekisho, subject) == []


def test_local_mail_is_delivered_to_the_maildir_of_the_account(
    sekisho: Instance, submission: Submission, box: Box
) -> None:
    subject = f"local {box()}"
    send(submission, ["aoi@home.test", "rin@home.test"], subject)

    def found(login: str) -> EmailMessage | None:
        messages = [parse(octets) for octets in sekisho.mailbox(login).contents()]
        return next((message for message in messages if message["Subject"] == subject), None)

    for login in ("aoi@home.test", "rin@home.test"):
        message = wait_for(f"{subject!r} for {login}", lambda login=login: found(login))  # type: ignore[misc]
        assert message["Return-Path"] == "<rin@home.test>"
