"""What becomes of a message's header between its last octet and the queue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.client import SEGMENT, Client
from tests.server.station import LETTER, START, opened, run

from sekisho.accounts import Account
from sekisho.config import Duration, Size
from sekisho.queue import ContentWriter
from sekisho.queue.content import FLUSH, HEAD, Memory
from sekisho.server import ListenerSettings
from sekisho.server.content import MAX_HOPS, Handling, dress
from sekisho.smtp import Mailbox, Recipient

RIN = Account(1, "rin@example.jp")
KEI = Recipient(Mailbox("kei", "example.net"))
SUBMITTED = Handling(
    account=RIN,
    null_reverse_path=False,
    repair=True,
    hostname="mail.example.jp",
    hello="client.example",
    extended=True,
    smtputf8=False,
    client_address=None,
    tls=("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    transaction_id="s-1.1",
    now=START,
)
PASSING = replace(SUBMITTED, account=None, repair=False, client_address="198.51.100.7", tls=None)
TRACE = (
    "Received: from client.example\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
    "\tby mail.example.jp (Sekisho) with ESMTPSA id s-1.1\r\n"
    "\tfor <kei@example.net>;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\n"
)
PASSED = (
    "Received: from client.example ([198.51.100.7])\r\n"
    "\tby mail.example.jp (Sekisho) with ESMTP id s-1.1\r\n"
    "\tfor <kei@example.net>;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\n"
)
HOP = "Received: from a.example\r\n\tby b.example; Fri, 15 Jan 2027 08:00:00 +0000\r\n"


def written(directory: Path, octets: bytes) -> ContentWriter:
    """*octets* as they arrived."""
    content = ContentWriter(
        inline_limit=256 * 1024, memory=Memory(), take_number=lambda: 1, path_for=lambda number: directory / "content"
    )
    for at in range(0, len(octets), 50_000):
        content.write(octets[at : at + 50_000])
    return content


def dressed(directory: Path, text: str, handling: Handling = SUBMITTED, *recipients: Recipient) -> str:
    """*text* as it goes to the queue, or the reply that refuses it."""
    content = written(directory, text.encode())
    answer = dress(content, handling, recipients or (KEI,))
    if not isinstance(answer, str):
        content.discard()
        return str(answer)
    assert content.size == len(content.head())
    return content.take_octets().decode()


def test_a_complete_message_gets_a_trace_header_and_nothing_else(tmp_path: Path) -> None:
    """RFC 5321 §4.4."""
    assert dressed(tmp_path, LETTER) == TRACE + LETTER


def test_what_is_missing_is_added(tmp_path: Path) -> None:
    """RFC 6409 §8.2, §8.3."""
    assert dressed(tmp_path, "From: rin@example.jp\r\n\r\nHello.\r\n") == (
        TRACE + "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <s-1.1@mail.example.jp>\r\n"
        "From: rin@example.jp\r\n\r\nHello.\r\n"
    )


def test_what_tells_too_much_is_taken_out(tmp_path: Path) -> None:
    """RFC 5322 §3.6.3."""
    message = (
        "Bcc: a@example.net,\r\n\tb@example.net\r\nFrom: rin@example.jp\r\nReturn-Path: <x@example.net>\r\n"
        "BCC : c@example.net\r\nDate: today\r\nResent-Bcc: d@example.net\r\nMessage-ID: <1@x>\r\n\r\nBcc: body\r\n"
    )
    assert dressed(tmp_path, message) == (
        TRACE + "From: rin@example.jp\r\nDate: today\r\nMessage-ID: <1@x>\r\n\r\nBcc: body\r\n"
    )


def test_mail_that_passes_through_is_not_repaired(tmp_path: Path) -> None:
    message = "From: a@x, b@y\r\nFrom: c@z\r\nBcc: d@example.net\r\n\r\nHello.\r\n"
    assert dressed(tmp_path, message, PASSING) == PASSED + message


@pytest.mark.parametrize("message", ["no header\r\n", "Subject: x\r\nno field\r\n\r\n", "\r\n", ""])
def test_mail_that_passes_through_need_not_have_a_header_we_can_read(tmp_path: Path, message: str) -> None:
    assert dressed(tmp_path, message, PASSING) == PASSED + message


def test_several_recipients_are_not_told_to_each_other(tmp_path: Path) -> None:
    """RFC 5321 §7.6."""
    trace = dressed(tmp_path, LETTER, SUBMITTED, KEI, Recipient(Mailbox("ken", "example.jp"))).removesuffix(LETTER)
    assert "for <" not in trace
    assert "kei" not in trace


def test_a_client_that_says_helo_is_recorded_as_such(tmp_path: Path) -> None:
    """RFC 3848."""
    assert " with SMTP id " in dressed(tmp_path, LETTER, replace(PASSING, extended=False))


@pytest.mark.parametrize(
    ("handling", "header"),
    [
        (SUBMITTED, "From: rin@example.jp\r\n"),
        (PASSING, "From: rin@example.jp\r\n"),
        (PASSING, "From: rin@example.jp\r\nno field\r\n"),
    ],
)
def test_mail_that_goes_in_circles_is_refused(tmp_path: Path, handling: Handling, header: str) -> None:
    """RFC 5321 §6.3: also when a header that we cannot read would hide it."""
    message = f"{header}\r\nReceived: in the body\r\n"
    assert dressed(tmp_path, HOP * MAX_HOPS + message, handling).endswith(message)
    assert dressed(tmp_path, HOP * (MAX_HOPS + 1) + message, handling).startswith("554 5.4.6")


def test_a_header_that_does_not_end_within_the_head_is_refused(tmp_path: Path) -> None:
    filling = "X-Filling: " + "x" * 900 + "\r\n"
    message = "From: rin@example.jp\r\n" + filling * 80 + "From: ken@example.jp\r\n\r\nHello.\r\n"
    assert dressed(tmp_path, message).startswith("554 5.6.0")
    assert dressed(tmp_path, message + "x" * 300_000).startswith("554 5.6.0")
    assert dressed(tmp_path, message, PASSING) == PASSED + message


def test_the_header_of_content_in_a_file_is_changed_all_the_same(tmp_path: Path) -> None:
    body = "Hello, this is a long letter.\r\n" * 20_000
    content = written(tmp_path, f"Bcc: a@example.net\r\nFrom: rin@example.jp\r\n\r\n{body}".encode())
    assert content.path is not None
    assert dress(content, SUBMITTED, [KEI]) == ""
    described = content.finish_file()
    size = content.size
    content.sync_file()
    kept = (tmp_path / "content").read_bytes()[described.start :]
    assert len(kept) == size
    assert kept.decode() == (
        TRACE + "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <s-1.1@mail.example.jp>\r\n"
        f"From: rin@example.jp\r\n\r\n{body}"
    )


# Through a whole session


@pytest.mark.parametrize(("told", "expected"), [(False, "from client.example by"), (True, "([192.0.2.7]) by")])
def test_the_clients_address_is_told_to_recipients_only_when_asked(tmp_path: Path, told: bool, expected: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            settings = ListenerSettings(greeting_wait=Duration(0), client_address_in_received=told)
            client = await station.sender(server=station.server("submission", settings))
            assert (await client.submit(LETTER)).code == 250
            (trace,) = (await station.only()).fields("Received")
            assert expected in trace
            assert ("192.0.2.7" in trace) is told

    run(main())


def test_mail_from_elsewhere_tells_where_it_came_from(tmp_path: Path) -> None:
    """RFC 5321 §4.4."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client("2001:db8::7", station.server("mx"))
            assert (await client.submit(LETTER, "ken@example.jp", sender="x@example.net")).code == 250
            assert "([IPv6:2001:db8::7])" in (await station.only()).fields("Received")[0]

    run(main())


def in_memory(client: Client) -> int:
    """Octets of the open transaction's content that are held."""
    session = client.conversation._session
    assert session is not None
    content = session._content
    assert content is not None
    return sum(map(len, content._parts)) + sum(map(len, content._tail))


def test_large_content_never_lies_in_memory_as_a_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            header = "From: rin@example.jp\r\nBcc: hidden@example.net\r\nMessage-ID: <1@x>\r\nDate: today\r\n"
            body = b"0123456789 a line of the letter\r\n" * (8 * 1024 * 1024 // 33)
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            client.send(f"{header}\r\n")
            highest = 0
            for at in range(0, len(body), SEGMENT):
                client.send(body[at : at + SEGMENT])
                highest = max(highest, in_memory(client))
            assert highest < HEAD + FLUSH + 2 * SEGMENT
            client.send(".\r\n")
            assert (await client.replies(1))[0].code == 250
            kept = await station.only()
            assert kept.fields("Bcc") == []
            assert kept.content.endswith(b"Date: today\r\n\r\n" + body)
            assert station.queue._memory.octets == 0

    run(main())


def test_content_beyond_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """RFC 1870 §6.3."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            settings = replace(ListenerSettings(greeting_wait=Duration(0)), max_message_size=Size(400_000))
            client = await station.sender(server=station.server("submission", settings))
            assert str(await client.submit(LETTER + "a line\r\n" * 60_000)).startswith("552 5.3.4")
            assert await station.kept() == []
            assert station.queue._memory.octets == 0
            assert (await client.submit(LETTER)).code == 250

    run(main())


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ("User-Agent: Mozilla Thunderbird\r\n", "Mozilla Thunderbird"),
        ("X-Mailer: Microsoft Outlook Express\r\n\t6.00.2900.5931\r\n", "Microsoft Outlook Express 6.00.2900.5931"),
        ("X-Mailer: Becky!\x1b[31m\u202e ver. 2.81.06 [ja]\r\n", "Becky! [31m ver. 2.81.06 [ja]"),
        ("X-MAILER: " + "x" * 300 + "\r\n", "x" * 100),
        ("X-Mailer: 秀丸メール\r\nuser-agent: first\r\n", "first"),
        ("X-Mailer: \r\n", ""),
        ("", ""),
    ],
)
def test_the_client_program_is_told_in_one_printable_line(tmp_path: Path, fields: str, agent: str) -> None:
    assert dress(written(tmp_path, (fields + LETTER).encode()), SUBMITTED, [KEI]) == agent


def test_of_mail_that_passes_through_nobody_asks_which_program_wrote_it(tmp_path: Path) -> None:
    assert dress(written(tmp_path, ("X-Mailer: x\r\n" + LETTER).encode()), PASSING, [KEI]) == ""
