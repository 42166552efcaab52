"""A transaction's octets: packets as real clients cut them, ends of content as attackers write them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.interop.instance import Instance
from tests.interop.letter import Submission
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix
from tests.interop.wire import Wire

Box = Callable[[], str]

CONTENT = b"From: rin@home.test\r\nSubject: wire\r\n\r\nhello\r\n"


def test_a_whole_transaction_in_one_packet_as_exim_sends_it(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    name = box()
    with Wire(submission.submission_port).login(submission) as wire:
        wire.send(
            f"MAIL FROM:<rin@home.test> SIZE={len(CONTENT)}\r\nRCPT TO:<box-{name}@next.test>\r\n"
            f"BDAT {len(CONTENT)} LAST\r\n".encode()
            + CONTENT
            + b"QUIT\r\n"
        )
        codes = [wire.reply()[:3] for _ in range(4)]
        assert codes == ["250", "250", "250", "221"]
        assert wire.is_closed()
    (octets,) = next_hop.mailbox(name).wait()
    assert parse(octets)["Subject"] == "wire"


@pytest.mark.parametrize(
    ("sender", "recipient", "codes"),
    [
        ("somebody.else@elsewhere.test", "box-x@next.test", ["55", "503", "503", "221"]),
        ("rin@home.test", "no such address", ["250", "50", "503", "221"]),
    ],
)
def test_the_octets_of_a_refused_bdat_are_swallowed(
    sender: str, recipient: str, codes: list[str], submission: Submission
) -> None:
    """RFC 3030 §2: they are not commands, whatever they look like."""
    content = b"RSET\r\nVRFY x\r\nNOOP\r\n"
    with Wire(submission.submission_port).login(submission) as wire:
        wire.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nBDAT {len(content)} LAST\r\n")
        wire.send(content + b"QUIT\r\n")
        replies = [wire.reply() for _ in codes]
        assert wire.is_closed()
    for reply, code in zip(replies, codes, strict=True):
        assert reply.startswith((code, "554") if code == "503" else code), replies


def test_quit_right_behind_the_final_dot_comes_after_the_250(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """Postfix."""
    name = box()
    with Wire(submission.submission_port).login(submission) as wire:
        wire.send(f"MAIL FROM:<rin@home.test>\r\nRCPT TO:<box-{name}@next.test>\r\nDATA\r\n")
        assert [wire.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        wire.send(CONTENT + b".\r\nQUIT\r\n")
        assert wire.reply().startswith("250 2.0.0 ")
        assert wire.reply().startswith("221 ")
    next_hop.mailbox(name).wait()


def test_data_behind_refused_recipients_is_refused_too(submission: Submission) -> None:
    """msmtp and nodemailer send it although every RCPT was refused."""
    with Wire(submission.submission_port).login(submission) as wire:
        wire.send("MAIL FROM:<rin@home.test>\r\nRCPT TO:<nobody@home.test>\r\nDATA\r\nRSET\r\n")
        assert wire.reply().startswith("250 ")
        assert wire.reply().startswith("550 5.1.1 ")
        assert wire.reply().startswith(("503 ", "554 "))
        assert wire.reply().startswith("250 ")


def test_closing_after_the_354_sends_nothing(submission: Submission, next_hop: Postfix, box: Box) -> None:
    name = box()
    with Wire(submission.submission_port).login(submission) as wire:
        wire.say("MAIL FROM:<rin@home.test>")
        wire.say(f"RCPT TO:<box-{name}@next.test>")
        wire.say("DATA")
        wire.send(CONTENT)
    assert_nothing_arrives(submission, next_hop, name, box)


ENDS = {
    "LF dot LF": b"\n.\n",
    "LF dot CRLF": b"\n.\r\n",
    "CRLF dot LF": b"\r\n.\n",
    "CR dot CR": b"\r.\r",
    "CR dot CRLF": b"\r.\r\n",
    "CRLF dot CR": b"\r\n.\r",
    "CRLF dot CR CR LF": b"\r\n.\r\r\n",
    "CR LF NUL dot CRLF": b"\r\n\0.\r\n",
    "CRLF dot NUL CRLF": b"\r\n.\0\r\n",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
@pytest.mark.parametrize("port", ["submission", "mx"])
def test_no_wrong_end_of_content_smuggles_a_second_message(
    end: bytes, port: str, sekisho: Instance, submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """SMTP smuggling (CVE-2023-51764 and its kin): neither here nor at the real Postfix behind us."""
    outer, inner = box(), box()
    smuggled = (
        f"MAIL FROM:<rin@home.test>\r\nRCPT TO:<box-{inner}@next.test>\r\nDATA\r\n"
        f"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
    ).encode()
    if port == "submission":
        wire, recipient = Wire(sekisho.submission_port).login(submission), f"box-{outer}@next.test"
    else:
        wire, recipient = Wire(sekisho.mx_port), "aoi@home.test"
        wire.say("EHLO outside.test")
    with wire:
        assert wire.say("MAIL FROM:<rin@home.test>").startswith("250")
        assert wire.say(f"RCPT TO:<{recipient}>").startswith("250")
        assert wire.say("DATA").startswith("354")
        wire.send(CONTENT + b"the end" + end + smuggled + b"QUIT\r\n")
        replies = []
        while reply := wire.reply():
            replies.append(reply[:3])
    # one refusal for the whole of it, wherever the content ended; the commands inside were never run
    assert replies in (["554", "221"], ["550", "221"], ["500"], ["554"], ["550"], ["421"]), replies
    assert_nothing_arrives(submission, next_hop, inner, box)
    assert b"smuggled" not in b"".join(next_hop.mailbox(outer).contents())


def assert_nothing_arrives(submission: Submission, next_hop: Postfix, name: str, box: Box) -> None:
    """Send one more message after the questionable one: once that has arrived, the other would have, too."""
    later = box()
    with Wire(submission.submission_port).login(submission) as wire:
        wire.deliver("rin@home.test", [f"box-{later}@next.test"], CONTENT)
    next_hop.mailbox(later).wait()
    assert next_hop.mailbox(name).contents() == []


def test_dots_and_long_lines_reach_the_next_hop_as_they_were(
    submission: Submission, next_hop: Postfix, box: Box
) -> None:
    name = box()
    body = b".\r\n..\r\n...x\r\n" + b"y" * 998 + b"\r\n\r\n.\r\n"
    with Wire(submission.submission_port).login(submission) as wire:
        wire.deliver("rin@home.test", [f"box-{name}@next.test"], b"Subject: dots\r\nFrom: rin@home.test\r\n\r\n" + body)
    (octets,) = next_hop.mailbox(name).wait()
    assert octets.partition(b"\n\n")[2] == body.replace(b"\r\n", b"\n")


def test_too_large_a_message_is_refused_by_its_announcement_and_by_its_octets(
    other: Instance, cram_submission: Submission
) -> None:
    """RFC 1870 §6.1; most clients rely on the 552 after the final dot."""
    with Wire(cram_submission.submission_port).login(cram_submission) as wire:
        assert "SIZE 1048576" in wire.say("EHLO vm")
        assert wire.say("MAIL FROM:<rin@mail.test> SIZE=2000000").startswith("552 5.3.4 ")
        large = b"From: rin@mail.test\r\n\r\n" + b"x" * 76 * 20_000
        large = re.sub(rb"(x{76})", rb"\1\r\n", large)
        assert wire.deliver("rin@mail.test", ["box-large@next.test"], large).startswith("552 5.3.4 ")
        assert wire.deliver("rin@mail.test", ["aoi@mail.test"], b"From: rin@mail.test\r\n\r\nx\r\n").startswith("250 ")
