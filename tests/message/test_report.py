"""DSNs as a mail program and a mailing list manager read them: through the standard library's parser."""

from __future__ import annotations

import dataclasses
import email
import email.policy
from email.message import EmailMessage

from sekisho.message.report import RecipientReport, Report, header_block

RECIPIENT = RecipientReport(
    address="nobody@example.net",
    orcpt="rfc822;no+2Bbody@example.net",
    action="failed",
    status="5.1.1",
    diagnostic="550 5.1.1 no such user",
    remote="mx.example.net",
    last_attempt=1_700_000_100.0,
)
CONTENT = b"From: rin@example.jp\r\nSubject: hello\r\n\r\nbody\r\n"
REPORT = Report(
    hostname="mail.example.jp",
    recipient="rin@example.jp",
    author="Mail system",
    subject="Undelivered mail",
    text="Your message could not be delivered.\n",
    language="en",
    message_id="dsn.0123",
    boundary="=_0123",
    envid="QQ314159",
    arrived=1_700_000_000.0,
    now=1_700_000_200.0,
    queue_id="0123456789",
    recipients=(RECIPIENT,),
    content=header_block(CONTENT),
    full=False,
)


def parsed(report: Report) -> EmailMessage:
    octets = report.render()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def parts(report: Report) -> list[EmailMessage]:
    found = [part for part in parsed(report).iter_parts() if isinstance(part, EmailMessage)]
    assert len(found) == 3
    return found


def blocks(report: Report) -> list[EmailMessage]:
    payload = parts(report)[1].get_payload()
    assert isinstance(payload, list)
    return [block for block in payload if isinstance(block, EmailMessage)]


def test_a_report_has_the_three_parts_of_rfc_6522() -> None:
    message = parsed(REPORT)
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert message["To"] == "rin@example.jp"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@mail.example.jp"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<dsn.0123@mail.example.jp>"


def test_the_status_part_has_the_fields_of_rfc_3464() -> None:
    about_message, about_recipient = blocks(REPORT)
    assert about_message["Reporting-MTA"] == "dns; mail.example.jp"
    assert about_message["Original-Envelope-Id"] == "QQ314159"
    assert about_message["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert about_recipient["Original-Recipient"] == "rfc822;no+body@example.net"
    assert about_recipient["Final-Recipient"] == "rfc822;nobody@example.net"
    assert about_recipient["Action"] == "failed"
    assert about_recipient["Status"] == "5.1.1"
    assert about_recipient["Remote-MTA"] == "dns; mx.example.net"
    assert about_recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"


def test_each_recipient_has_its_block() -> None:
    ours = dataclasses.replace(RECIPIENT, address="b@example.net", orcpt=None, remote=None, diagnostic=None)
    assert len(blocks(dataclasses.replace(REPORT, recipients=(RECIPIENT, ours)))) == 3
    third = blocks(dataclasses.replace(REPORT, recipients=(RECIPIENT, ours)))[2]
    assert third["Remote-MTA"] is None
    assert third["Diagnostic-Code"] is None
    assert third["Original-Recipient"] is None


def test_without_full_the_header_alone_is_returned() -> None:
    """RFC 3461 §4.3."""
    returned = parts(REPORT)[2]
    assert returned.get_content() == "From: rin@example.jp\r\nSubject: hello\r\n"


def test_with_full_the_whole_message_is_returned() -> None:
    report = dataclasses.replace(REPORT, content=CONTENT, full=True)
    returned = parts(report)[2]
    assert returned.get_content_type() == "message/rfc822"
    inner = returned.get_content()
    assert inner["Subject"] == "hello"
    assert inner.get_content() == "body\r\n"


def test_japanese_words_arrive_and_the_report_stays_seven_bit() -> None:
    report = dataclasses.replace(
        REPORT,
        author="メールシステム",
        subject="メールを配達できませんでした" * 4,
        text="あて先が見つかりません。\n",
        language="ja",
    )
    assert report.render().isascii()
    message = parsed(report)
    assert message["Subject"] == "メールを配達できませんでした" * 4
    assert message["From"].addresses[0].display_name == "メールシステム"
    assert "あて先が見つかりません。" in parts(report)[0].get_content()
    assert parts(report)[0]["Content-Language"] == "ja"


def test_raw_eight_bit_headers_are_returned_unharmed() -> None:
    header = "Subject: ようこそ\r\n".encode()
    report = dataclasses.replace(REPORT, content=header)
    assert report.render().isascii()
    assert parts(report)[2].get_payload(decode=True).strip() == header.strip()  # type: ignore[union-attr]


def test_international_addresses_use_the_types_of_rfc_6533() -> None:
    report = dataclasses.replace(REPORT, recipients=(dataclasses.replace(RECIPIENT, address="凛@例え.jp"),))
    octets = report.render()
    assert b"report-type=global-delivery-status" in octets
    assert b"Content-Type: message/global-delivery-status" in octets
    assert "Final-Recipient: utf-8;凛@例え.jp".encode() in octets
    assert b"Content-Type: message/global-headers" in octets


def test_nothing_a_peer_or_sender_said_begins_a_line_of_its_own() -> None:
    evil = "x\r\nBcc: victim@example.net\r\n\r\n--=_0123"
    recipient = dataclasses.replace(
        RECIPIENT, address=evil, orcpt=f"rfc822;a+0D+0AX{evil}", diagnostic=f"550 {evil}", remote=evil
    )
    report = dataclasses.replace(
        REPORT, recipients=(recipient,), envid="a+0D+0Ab", subject=evil, author=evil, recipient=evil
    )
    octets = report.render()
    assert b"\r\nBcc:" not in octets
    assert octets.count(b"\r\n--=_0123") == 4


def test_long_diagnostics_are_folded() -> None:
    recipient = dataclasses.replace(RECIPIENT, diagnostic="550 5.7.1 " + "policy " * 300 + "x" * 2000)
    octets = dataclasses.replace(REPORT, recipients=(recipient,)).render()
    assert max(map(len, octets.split(b"\r\n"))) <= 300


def test_the_header_block_ends_before_the_empty_line() -> None:
    assert header_block(b"A: 1\r\nB: 2\r\n\r\nbody") == b"A: 1\r\nB: 2\r\n"
    assert header_block(b"A: 1\r\n") == b"A: 1\r\n"
    assert header_block(b"\r\nbody\r\n\r\nmore") == b""
