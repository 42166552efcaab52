"""Tests of `sekisho.message.trace`."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.message import Header, count_received, date_time, protocol_name, received
from sekisho.smtp import Mailbox

RIN, AOI = Mailbox("rin", "example.jp"), Mailbox("aoi", "example.jp")
NOON = 1795604400.75


def trace(
    helo: str = "client.example.jp",
    protocol: str = "ESMTPSA",
    client_address: str | None = None,
    tls: tuple[str, str] | None = None,
    recipients: tuple[Mailbox, ...] = (),
) -> str:
    octets = received(
        helo=helo,
        hostname="mx.example.jp",
        protocol=protocol,
        queue_id="3f9k2",
        now=NOON,
        client_address=client_address,
        tls=tls,
        recipients=recipients,
    )
    assert Header.parse(octets).names == ["received"]
    return octets.decode()


def test_a_trace_header_tells_how_the_message_came() -> None:
    """RFC 5321 §4.4."""
    assert trace(client_address="192.0.2.1", tls=("TLSv1.3", "TLS_AES_256_GCM_SHA384"), recipients=(RIN,)) == (
        "Received: from client.example.jp ([192.0.2.1])\r\n"
        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
        "\tby mx.example.jp (Sekisho) with ESMTPSA id 3f9k2\r\n"
        "\tfor <rin@example.jp>;\r\n"
        "\tWed, 25 Nov 2026 11:00:00 +0000\r\n"
    )


def test_where_a_person_writes_from_is_told_only_when_asked() -> None:
    assert "192.0.2.1" not in trace(helo="[192.0.2.1]")
    assert "from [192.0.2.1] ([192.0.2.1])" in trace(helo="[192.0.2.1]", client_address="192.0.2.1")
    assert "([IPv6:2001:db8::1])" in trace(client_address="2001:db8::1")


@pytest.mark.parametrize("recipients", [(), (RIN, AOI)])
def test_several_recipients_are_not_told_of_one_another(recipients: tuple[Mailbox, ...]) -> None:
    """RFC 5321 §7.6."""
    assert " for <" not in trace(recipients=recipients).replace("\t", " ")


def test_an_international_recipient_is_named_only_where_utf8_is_allowed() -> None:
    """RFC 6531 §3.7.3."""
    assert "凛" not in trace(recipients=(Mailbox("凛", "example.jp"),))
    assert "for <凛@example.jp>" in trace(recipients=(Mailbox("凛", "example.jp"),), protocol="UTF8SMTPSA")


@pytest.mark.parametrize("helo", ["a b", "x\r\nBcc: y", "(", "凛", "", "a" * 300, "[" + "1" * 80 + "]"])
def test_a_name_that_is_no_host_name_is_not_repeated(helo: str) -> None:
    text = trace(helo=helo, client_address="192.0.2.1", tls=("T\r\nX: y", "c)ipher"))
    assert text.startswith("Received: from unknown ([192.0.2.1])\r\n\t(using TXy with cipher cipher)\r\n")


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "smtputf8", "name"),
    [
        (False, True, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, True, True, True, "UTF8SMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
    ],
)
def test_the_protocol_is_named_as_registered(
    extended: bool, tls: bool, authenticated: bool, smtputf8: bool, name: str
) -> None:
    """RFC 3848; RFC 6531 §4.3."""
    assert protocol_name(extended=extended, tls=tls, authenticated=authenticated, smtputf8=smtputf8) == name


@settings(max_examples=100)
@given(now=st.integers(0, 4102444800))
def test_dates_read_back_as_the_second_they_name(now: int) -> None:
    """RFC 5322 §3.3."""
    assert parsedate_to_datetime(date_time(now + 0.5)) == datetime.fromtimestamp(now, UTC)


def test_hops_are_counted_in_the_header_alone() -> None:
    """RFC 5321 §6.3."""
    octets = b"received: a\r\n\tReceived: folded\r\nX-Received: x\r\nRECEIVED:b\r\n\r\nReceived: body\r\n"
    assert count_received(octets) == 2
    assert count_received(b"") == 0
    assert count_received(b"Received: x") == 1
