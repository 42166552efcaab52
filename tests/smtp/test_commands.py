"""Tests of `sekisho.smtp.commands`: how each verb reads."""

from __future__ import annotations

import pytest

from sekisho.smtp import Hello, Mailbox, MailFrom, RcptTo, Reply, replies
from sekisho.smtp.commands import COMMANDS, MAX_HELLO_NAME_CHARACTERS, State

from .dialogue import OPEN, SUBMISSION, converse, lines

RIN = Mailbox("rin", "example.jp")


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:<rin@example.jp>",
        "from:<rin@Example.JP>",
        "FROM: <rin@example.jp>",
        "FROM:   <rin@example.jp>  ",
        "FROM:rin@example.jp",
        "FROM: rin@example.jp",
        'FROM:<"rin"@example.jp>',
        "FROM:<@a.example,@b.example:rin@example.jp>",
    ],
)
def test_every_known_way_to_write_a_reverse_path_is_read(argument: str) -> None:
    """RFC 5321 §4.1.1.2, appendix C (source routes are dropped); the spaces and missing brackets are real clients'."""
    assert converse([lines("EHLO c", f"MAIL {argument}")]).events[-1] == MailFrom(RIN)


def test_the_null_reverse_path_is_none_and_still_opens_a_transaction() -> None:
    """RFC 5321 §4.5.5."""
    transcript = converse([lines("EHLO c", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>")])
    assert transcript.events[1:] == [MailFrom(None), RcptTo(RIN)]


@pytest.mark.parametrize(
    ("argument", "code", "status"),
    [
        ("", 501, "5.5.4"),
        ("FROM", 501, "5.5.4"),
        ("FROM:", 501, "5.5.4"),
        ("TO:<rin@example.jp>", 501, "5.5.4"),
        ("FROM:<rin@example.jp", 501, "5.5.4"),
        ("FROM:<rin@example.jp>SIZE=1", 501, "5.5.4"),
        ("FROM:rin@example.jp>", 501, "5.5.4"),
        ("FROM:Rin <rin@example.jp>", 501, "5.5.4"),
        ("FROM:<rin>", 501, "5.1.7"),
        ("FROM:<postmaster>", 501, "5.1.7"),
        ("FROM:<rin@>", 501, "5.1.7"),
        ("FROM:<@a:>", 501, "5.1.7"),
        ("FROM:<rin@exa mple.jp>", 501, "5.1.7"),
        ("FROM:<" + "a" * 300 + "@example.jp>", 501, "5.1.7"),
        ("FROM:<凛@example.jp>", 553, "5.6.7"),
    ],
)
def test_a_reverse_path_that_does_not_read_is_refused(argument: str, code: int, status: str) -> None:
    """RFC 5321 §4.1.1.2; RFC 6531 §3.5."""
    reply = converse([lines("EHLO c", f"MAIL {argument}")]).wrong[-1]
    assert (reply.code, reply.status) == (code, status)


@pytest.mark.parametrize(
    ("argument", "mailbox"),
    [
        ("TO:<rin@example.jp>", RIN),
        ("to:<rin@example.jp>", RIN),
        ("TO:<postmaster>", Mailbox("postmaster", "")),
        ("TO:<Postmaster>", Mailbox("postmaster", "")),
        ("TO:<a..b.@docomo.example>", Mailbox("a..b.", "docomo.example")),
        ('TO:<"a>b"@example.jp>', Mailbox("a>b", "example.jp")),
        ("TO:<@relay.example:rin@example.jp>", RIN),
        ("TO:<rin%other.example@example.jp>", Mailbox("rin%other.example", "example.jp")),
        ("TO:<other.example!rin@example.jp>", Mailbox("other.example!rin", "example.jp")),
    ],
)
def test_a_forward_path_is_read(argument: str, mailbox: Mailbox) -> None:
    """RFC 5321 §4.1.1.3; §4.5.1 (postmaster). Old routing tricks stay in the local-part, for policy to see."""
    assert converse([lines("EHLO c", "MAIL FROM:<>", f"RCPT {argument}")]).events[-1] == RcptTo(mailbox)


@pytest.mark.parametrize("argument", ["TO:<>", "TO:<rin>", "TO:<rin@example.jp> <aoi@example.jp>", "TO:<a@b>,<c@d>"])
def test_a_forward_path_that_does_not_read_is_refused(argument: str) -> None:
    transcript = converse([lines("EHLO c", "MAIL FROM:<>", f"RCPT {argument}")])
    assert transcript.wrong[-1].code == 501


def test_addresses_outside_ascii_need_smtputf8_in_mail() -> None:
    """RFC 6531 §3.4, §3.5."""
    refused = converse([lines("EHLO c", "MAIL FROM:<rin@example.jp>", "RCPT TO:<凛@例え.jp>")])
    assert refused.wrong == [replies.NEEDS_SMTPUTF8]
    transcript = converse([lines("EHLO c", "MAIL FROM:<凛@例え.jp> SMTPUTF8", "RCPT TO:<葵@例え.jp>")])
    assert transcript.events[1:] == [
        MailFrom(Mailbox("凛", "例え.jp"), smtputf8=True),
        RcptTo(Mailbox("葵", "例え.jp")),
    ]


def test_smtputf8_ends_with_its_transaction() -> None:
    commands = ("EHLO c", "MAIL FROM:<> SMTPUTF8", "RSET", "MAIL FROM:<>", "RCPT TO:<凛@例え.jp>")
    assert converse([lines(*commands)]).wrong == [replies.NEEDS_SMTPUTF8]


def test_octets_that_are_no_utf8_are_no_address() -> None:
    """RFC 6531 §3.3."""
    transcript = converse([b"EHLO c\r\nMAIL FROM:<\x97\xfc@example.jp> SMTPUTF8\r\n"])
    assert transcript.codes == [250, 501]


@pytest.mark.parametrize(
    "name", ["vm", "localhost", "localhost.localdomain", "[127.0.0.1]", "[IPV6:FE80::1]", "my computer", "a_b", "凛-pc"]
)
def test_the_name_a_client_gives_itself_is_not_judged(name: str) -> None:
    """RFC 5321 §4.1.4: mail must not be refused for it."""
    transcript = converse([lines(f"EHLO {name}", f"HELO {name}")])
    assert transcript.events == [Hello(name, True), Hello(name, False)]
    assert transcript.codes == [250, 250]


def test_a_name_in_another_charset_is_shown_as_far_as_it_reads() -> None:
    transcript = converse([b"EHLO \x97\xfcpc\xc2\x85\r\n"])
    assert transcript.events == [Hello("\ufffd\ufffdpc?", True)]
    long = converse([b"EHLO " + b"a" * 500 + b"\r\n"]).events[0]
    assert isinstance(long, Hello)
    assert len(long.name) == MAX_HELLO_NAME_CHARACTERS


@pytest.mark.parametrize("command", ["EHLO", "HELO", "EHLO  "])
def test_hello_needs_a_name(command: str) -> None:
    """RFC 5321 §4.1.1.1."""
    assert converse([lines(command)]).wrong == [replies.HELLO_NEEDS_NAME]


@pytest.mark.parametrize("command", ["RSET now", "QUIT now", "DATA now"])
def test_commands_without_arguments_take_none(command: str) -> None:
    """RFC 5321 §4.1.1.5, §4.1.1.10."""
    transcript = converse([lines("EHLO c", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>", command)])
    assert transcript.wrong == [replies.NO_ARGUMENT_ALLOWED]
    assert not transcript.core.closed


@pytest.mark.parametrize(
    ("command", "code"),
    [("NOOP", 250), ("NOOP x", 250), ("HELP", 214), ("VRFY rin", 252), ("EXPN all", 502), ("FOO", 500)],
)
def test_small_verbs_are_answered_by_the_core(command: str, code: int) -> None:
    """RFC 5321 §3.5.3 (252), §4.2.4 (500, 502), §7.3."""
    assert converse([lines("EHLO c", command)]).codes == [250, code]


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", replies.BAD_ARGUMENT),
        ("PLAIN a b", replies.BAD_ARGUMENT),
        ("PL(AIN", replies.BAD_ARGUMENT),
        ("A" * 21, replies.BAD_ARGUMENT),
        ("GSSAPI", replies.BAD_MECHANISM),
        ("PLAIN a", replies.BAD_BASE64),
        ("PLAIN ====", replies.BAD_BASE64),
        ("PLAIN AAA", replies.BAD_BASE64),
        ("PLAIN AA==AA==", replies.BAD_BASE64),
        ("PLAIN 凛", replies.BAD_BASE64),
    ],
)
def test_auth_that_does_not_read_is_refused(argument: str, reply: Reply) -> None:
    """RFC 4954 §4: 504 for the mechanism, 501 for the base64."""
    assert converse([lines("EHLO c", f"AUTH {argument}")], SUBMISSION).wrong == [reply]


ORDER = {
    "nothing": (),
    "hello": ("EHLO c",),
    "sender": ("EHLO c", "MAIL FROM:<>"),
    "recipient": ("EHLO c", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>"),
    "chunk": ("EHLO c", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>", "BDAT 0"),
}


@pytest.mark.parametrize(
    ("before", "command", "reply"),
    [
        ("nothing", "MAIL FROM:<>", replies.HELLO_FIRST),
        ("nothing", "AUTH PLAIN", replies.HELLO_FIRST),
        ("nothing", "STARTTLS", replies.HELLO_FIRST),
        ("nothing", "BDAT 0 LAST", replies.HELLO_FIRST),
        ("hello", "RCPT TO:<a@b>", replies.MAIL_FIRST),
        ("hello", "DATA", replies.MAIL_FIRST),
        ("hello", "BDAT 0", replies.MAIL_FIRST),
        ("sender", "MAIL FROM:<>", replies.IN_TRANSACTION),
        ("sender", "DATA", replies.NO_RECIPIENTS),
        ("sender", "BDAT 0", replies.NO_RECIPIENTS),
        ("sender", "AUTH PLAIN", replies.IN_TRANSACTION),
        ("recipient", "STARTTLS", replies.IN_TRANSACTION),
        ("recipient", "MAIL FROM:<>", replies.IN_TRANSACTION),
        ("chunk", "DATA", replies.BAD_SEQUENCE),
        ("chunk", "RCPT TO:<a@b>", replies.BAD_SEQUENCE),
        ("chunk", "MAIL FROM:<>", replies.IN_TRANSACTION),
    ],
)
def test_commands_out_of_order_are_refused(before: str, command: str, reply: Reply) -> None:
    """RFC 5321 §4.1.4, §3.3; RFC 3030 §2; RFC 4954 §4."""
    transcript = converse([lines(*ORDER[before], command)], OPEN)
    assert transcript.wrong == [reply]
    assert not transcript.core.closed


def test_every_refusal_of_the_table_is_a_permanent_reply() -> None:
    for verb, command in COMMANDS.items():
        for state, reply in command.refused_in.items():
            assert reply.is_permanent, (verb, State(state))
