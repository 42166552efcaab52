"""Tests of `sekisho.message.fixup`."""

from __future__ import annotations

from sekisho.message import Header, fixup

NOON = 1795604400.0  # 2026-11-25 11:00:00 UTC


def repair(octets: bytes) -> tuple[bytes, bytes]:
    header = Header.parse(octets)
    prepended, dropped = fixup(header, now=NOON, hostname="mx.example.jp", message_id_token="t0k3n")
    return prepended, header.without(dropped)


def test_a_missing_date_and_message_id_are_added() -> None:
    """RFC 6409 §8.2, §8.3."""
    prepended, header = repair(b"From: rin@example.jp\r\n\r\n")
    assert prepended == b"Date: Wed, 25 Nov 2026 11:00:00 +0000\r\nMessage-ID: <t0k3n@mx.example.jp>\r\n"
    assert header == b"From: rin@example.jp\r\n\r\n"


def test_what_is_there_is_not_touched() -> None:
    """RFC 6409 §8: even a Date that reads wrong is the author's."""
    octets = b"DATE: yesterday\r\nmessage-id: <1@c>\r\nSender: x\r\nX-Odd:  a \r\n\tb\r\n\r\n"
    assert repair(octets) == (b"", octets)


def test_fields_that_tell_too_much_are_dropped() -> None:
    """RFC 5322 §3.6.3 (Bcc); RFC 5321 §4.4 (Return-Path)."""
    octets = (
        b"Return-Path: <x@y>\r\nDate: d\r\nBCC: aoi@example.jp,\r\n hana@example.jp\r\n"
        b"Message-ID: <1@c>\r\nResent-Bcc: z@z\r\nbcc:\r\nTo: a@b\r\n\r\n"
    )
    assert repair(octets) == (b"", b"Date: d\r\nMessage-ID: <1@c>\r\nTo: a@b\r\n\r\n")
