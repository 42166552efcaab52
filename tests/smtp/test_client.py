"""The client side of SMTP: replies, capabilities, commands, transparency, and the walk through a transaction."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.smtp import Mailbox, RemoteProtocolError, Reply, client
from sekisho.smtp.client import (
    DATA,
    EMPTY_CONTENT,
    MAX_REPLY_LINE,
    MAX_REPLY_LINES,
    RSET,
    Capabilities,
    ClientTransaction,
    DotStuffer,
    ReplyParser,
    auth_command,
    auth_response,
    challenge_of,
    hello_command,
    mail_command,
    rcpt_command,
    stuffed,
)

EVERYTHING = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size=0)
NOTHING = Capabilities()
SENDER = Mailbox.parse("rin@example.jp")
MAIL = b"MAIL FROM:<rin@example.jp>\r\n"
RCPTS = [b"RCPT TO:<a@example.net>\r\n", b"RCPT TO:<b@example.net>\r\n", b"RCPT TO:<c@example.net>\r\n"]
CONTENT = b"Subject: x\r\n\r\nbody\r\n.\r\n"
OK = Reply(250, "2.0.0", ("Ok",))
GO = Reply(354, None, ("go",))
NO = Reply(550, "5.1.1", ("no such user",))
LATER = Reply(451, "4.7.1", ("greylisted",))
CLOSING = Reply(421, "4.3.2", ("closing",))


def test_replies_are_read_the_same_however_they_are_cut() -> None:
    octets = b"220 a\r\n250-b.example\r\n250-SIZE 100\r\n250 DSN\r\n354\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n"
    whole = ReplyParser().receive(octets)
    parser = ReplyParser()
    single = [reply for at in range(len(octets)) for reply in parser.receive(octets[at : at + 1])]
    assert whole == single
    assert [reply.code for reply in whole] == [220, 250, 354, 550]
    assert whole[1].lines == ("b.example", "SIZE 100", "DSN")
    assert whole[3] == Reply(550, "5.1.1", ("no", "such user"))


@given(octets=st.binary(max_size=300), cut=st.integers(0, 300))
@settings(max_examples=150)
def test_no_octets_make_the_parser_raise_anything_undocumented(octets: bytes, cut: int) -> None:
    parser = ReplyParser()
    try:
        parser.receive(octets[:cut])
        parser.receive(octets[cut:])
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"25 ok\r\n",
        b"150 ok\r\n",
        b"250?ok\r\n",
        b"250 ok\n",
        b"\n",
        b"250-a\r\n251 b\r\n",
        b"250 " + b"x" * MAX_REPLY_LINE + b"\r\n",
        b"x" * MAX_REPLY_LINE,
        b"250-x\r\n" * MAX_REPLY_LINES,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_not_smtp_is_refused_at_once(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ReplyParser().receive(octets)


def test_long_replies_are_not_remembered() -> None:
    """What a peer says must not stay in our memory: 256 replies of 200 KiB would be 50 MiB."""
    before = client._parse_short_reply.cache_info().currsize
    for number in range(50):
        text = b"%d" % number + b"x" * 1000
        assert len(ReplyParser().receive(b"550-" + text + b"\r\n550 " + text + b"\r\n550 " + text + b"\r\n")) == 2
    assert client._parse_short_reply.cache_info().currsize == before


def test_an_unfinished_reply_is_pending() -> None:
    """RFC 3207 §6: such octets must not survive STARTTLS."""
    parser = ReplyParser()
    assert not parser.pending
    parser.receive(b"220 go\r\n250 inj")
    assert parser.pending


def test_control_characters_of_a_peer_do_not_travel_on() -> None:
    (reply,) = ReplyParser().receive(b"550 5.1.1 \x1b[31mred\x00\r\n")
    assert not any(ord(character) < 32 for character in reply.text)


def test_capabilities_are_read_from_the_ehlo_reply() -> None:
    lines: tuple[str, ...] = (
        "mx.example hello",
        "pipelining",
        "SIZE 1000",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "STARTTLS",
        "CHUNKING",
    )
    lines += ("REQUIRETLS", "AUTH PLAIN login", "AUTH=CRAM-MD5", "LIMITS RCPTMAX=50 MAILMAX=10 X=1", "X-UNKNOWN 5")
    offered = Capabilities.parse(Reply(250, None, lines))
    assert offered == Capabilities(
        pipelining=True,
        starttls=True,
        eight_bit=True,
        smtputf8=True,
        dsn=True,
        chunking=True,
        requiretls=True,
        size=1000,
        auth=("PLAIN", "LOGIN", "CRAM-MD5"),
        max_recipients=50,
        max_transactions=10,
    )


def test_the_server_name_is_no_capability() -> None:
    assert Capabilities.parse(Reply(250, None, ("STARTTLS",))) == NOTHING


@pytest.mark.parametrize(("line", "size"), [("SIZE", 0), ("SIZE 0", 0), ("SIZE many", 0), ("DSN", None)])
def test_a_size_without_a_number_sets_no_limit(line: str, size: int | None) -> None:
    assert Capabilities.parse(Reply(250, None, ("x", line))).size == size


def test_parameters_go_only_to_peers_that_offered_them() -> None:
    kwargs = {"eight_bit": True, "smtputf8": True}
    assert mail_command(SENDER, NOTHING, size=9, ret="HDRS", envid="a+3Db", **kwargs) == MAIL
    assert (
        mail_command(SENDER, EVERYTHING, size=9, ret="HDRS", envid="a+3Db", **kwargs)
        == b"MAIL FROM:<rin@example.jp> SIZE=9 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+3Db\r\n"
    )
    who = Mailbox.parse("a@example.net")
    assert rcpt_command(who, NOTHING, notify="NEVER", orcpt="rfc822;x") == RCPTS[0]
    assert (
        rcpt_command(who, EVERYTHING, notify="NEVER", orcpt="rfc822;x")
        == b"RCPT TO:<a@example.net> NOTIFY=NEVER ORCPT=rfc822;x\r\n"
    )


def test_the_null_reverse_path_is_rendered_empty() -> None:
    """RFC 5321 §4.5.5."""
    assert mail_command(None, NOTHING, size=1) == b"MAIL FROM:<>\r\n"


def test_a_value_with_a_line_end_never_becomes_a_command() -> None:
    with pytest.raises(ValueError, match="one line"):
        hello_command("mx.example\r\nMAIL FROM:<evil@example.net>")
    with pytest.raises(ValueError, match="one line"):
        rcpt_command(Mailbox("a\r\nDATA", "example.net"), NOTHING)


def test_auth_lines_are_base64_and_fit() -> None:
    """RFC 4954 §4."""
    assert auth_command("PLAIN", b"\0rin\0secret") == b"AUTH PLAIN AHJpbgBzZWNyZXQ=\r\n"
    assert auth_command("EXTERNAL", b"") == b"AUTH EXTERNAL =\r\n"
    assert auth_command("LOGIN") == b"AUTH LOGIN\r\n"
    assert auth_command("PLAIN", b"x" * 400) == b"AUTH PLAIN\r\n"
    assert auth_response(b"") == b"\r\n"
    assert auth_response(None) == b"*\r\n"
    assert challenge_of(Reply(334, None, ("VXNlcm5hbWU6",))) == b"Username:"
    assert challenge_of(Reply(334, None, ("",))) == b""
    with pytest.raises(RemoteProtocolError):
        challenge_of(Reply(334, None, ("!!",)))


def unstuffed(octets: bytes) -> bytes:
    """What a receiver makes of it (RFC 5321 §4.5.2)."""
    assert octets.endswith(b"\r\n.\r\n") or octets == b".\r\n"
    lines = octets[:-3].split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.", b"\xe3\x81\x82"]), max_size=8)


@given(lines=LINES, cuts=st.lists(st.integers(0, 40), max_size=6).map(sorted), closed=st.booleans())
@settings(max_examples=200)
def test_dot_stuffing_is_undone_by_the_receiver_however_content_is_cut(
    lines: list[bytes], cuts: list[int], closed: bool
) -> None:
    content = b"\r\n".join(lines) + (b"\r\n" if closed and lines else b"")
    stuffer = DotStuffer()
    edges = [0, *cuts, len(content)]
    pieces = [stuffer.chunk(content[a:b]) for a, b in pairwise(edges)]
    sent = b"".join(pieces) + stuffer.end()
    assert sent == stuffed(content)
    expected = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert unstuffed(sent) == expected


class Peer:
    """Answers a transaction from a list and notes what it was sent."""

    def __init__(self, transaction: ClientTransaction, *answers: Reply) -> None:
        self.sent = [transaction.start()]
        for answer in answers:
            assert not transaction.finished
            self.sent.append(transaction.receive(answer))
        self.said = b"".join(self.sent)


def walk(*, pipelining: bool = True, rcpts: int = 3, lmtp: bool = False, reset: bool = False) -> ClientTransaction:
    return ClientTransaction(MAIL, RCPTS[:rcpts], content=CONTENT, pipelining=pipelining, lmtp=lmtp, reset=reset)


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_transaction_says_the_same_with_and_without_pipelining(pipelining: bool) -> None:
    transaction = walk(pipelining=pipelining)
    peer = Peer(transaction, OK, OK, OK, OK, GO, OK)
    assert peer.said == MAIL + b"".join(RCPTS) + DATA + CONTENT
    assert transaction.replies == [OK, OK, OK]
    assert transaction.finished
    assert not transaction.needs_reset
    assert not transaction.must_close


def test_pipelining_sends_all_commands_in_one_write() -> None:
    """RFC 2920 §3.1."""
    assert walk().start() == MAIL + b"".join(RCPTS) + DATA
    assert walk(pipelining=False).start() == MAIL


@pytest.mark.parametrize("pipelining", [True, False])
def test_each_recipient_has_its_own_fate(pipelining: bool) -> None:
    transaction = walk(pipelining=pipelining)
    Peer(transaction, OK, OK, NO, LATER, GO, OK)
    assert transaction.replies == [OK, NO, LATER]


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_refused_sender_refuses_every_recipient_with_its_own_reply(pipelining: bool) -> None:
    transaction = walk(pipelining=pipelining)
    after = [Reply(503, "5.5.1", ("need MAIL",))] * 4 if pipelining else []
    peer = Peer(transaction, NO, *after)
    assert transaction.replies == [NO, NO, NO]
    assert transaction.finished
    assert CONTENT not in peer.said
    assert not transaction.needs_reset


def test_data_accepted_after_all_recipients_were_refused_gets_a_lone_dot() -> None:
    """RFC 2920 §3.1."""
    transaction = walk()
    peer = Peer(transaction, OK, NO, NO, LATER, GO)
    assert peer.sent[-1] == EMPTY_CONTENT
    waiting = not transaction.finished
    transaction.receive(OK)
    assert waiting
    assert transaction.finished
    assert transaction.replies == [NO, NO, LATER]
    assert not transaction.content_begun


def test_lmtp_does_not_wait_after_a_lone_dot() -> None:
    """RFC 2033 §4.2: replies come for accepted recipients only, and there is none."""
    transaction = walk(lmtp=True)
    assert Peer(transaction, OK, NO, NO, NO, GO).sent[-1] == EMPTY_CONTENT
    assert transaction.finished
    assert transaction.must_close


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_transaction_left_open_is_reset_by_the_next(pipelining: bool) -> None:
    transaction = walk(pipelining=pipelining)
    Peer(transaction, OK, NO, NO, NO, *([NO] if pipelining else []))
    assert transaction.finished
    assert transaction.needs_reset
    following = walk(pipelining=pipelining, reset=True)
    peer = Peer(following, OK, OK, OK, OK, OK, GO, OK)
    assert peer.said == RSET + MAIL + b"".join(RCPTS) + DATA + CONTENT
    assert following.replies == [OK, OK, OK]


def test_a_refused_data_is_the_fate_of_the_accepted_recipients() -> None:
    transaction = walk()
    Peer(transaction, OK, OK, NO, OK, LATER)
    assert transaction.replies == [LATER, NO, LATER]
    assert transaction.needs_reset


def test_lmtp_replies_once_for_each_accepted_recipient() -> None:
    """RFC 2033 §4.2."""
    full = Reply(452, "4.2.2", ("mailbox full",))
    transaction = walk(lmtp=True)
    Peer(transaction, OK, OK, NO, OK, GO, full, OK)
    assert transaction.replies == [full, NO, OK]
    assert transaction.finished


@pytest.mark.parametrize("before", range(6))
def test_421_ends_the_transaction_wherever_it_comes(before: int) -> None:
    """RFC 5321 §3.8."""
    transaction = walk()
    Peer(transaction, *[OK, OK, NO, OK, GO, OK][:before], CLOSING)
    assert transaction.finished
    assert transaction.must_close
    assert transaction.replies == [CLOSING, NO if before > 2 else CLOSING, CLOSING]


def test_recipients_beyond_the_peers_limit_are_told_from_refused_ones() -> None:
    """RFC 5321 §4.5.3.1.10."""
    many = Reply(452, "4.5.3", ("too many recipients",))
    transaction = walk()
    Peer(transaction, OK, OK, NO, many, GO, OK)
    assert transaction.over_limit == [2]
    refused_all = walk()
    Peer(refused_all, OK, many, many, many, NO)
    assert refused_all.over_limit == []
    full = Reply(452, "4.2.2", ("mailbox full",))
    mailbox_full = walk()
    Peer(mailbox_full, OK, OK, full, full, GO, OK)
    assert mailbox_full.over_limit == []


def test_streamed_content_is_left_to_the_shell() -> None:
    transaction = ClientTransaction(MAIL, RCPTS[:1], pipelining=True)
    assert Peer(transaction, OK, OK, GO).sent[-1] == b""
    assert transaction.content_due
    before = transaction.ending
    transaction.content_sent()
    assert (before, transaction.ending) == (False, True)
    transaction.receive(OK)
    assert transaction.replies == [OK]


def test_a_peer_may_give_up_in_the_middle_of_streamed_content() -> None:
    transaction = ClientTransaction(MAIL, RCPTS[:1], pipelining=True)
    Peer(transaction, OK, OK, GO, NO)
    assert transaction.replies == [NO]
    assert transaction.must_close


@pytest.mark.parametrize(
    "answers",
    [(GO,), (OK, GO), (OK, OK, OK, OK, OK), (OK, OK, OK, OK, GO, GO), (OK, OK, OK, OK, GO, OK, OK)],
    ids=["354 to MAIL", "354 to RCPT", "250 to DATA", "354 to the dot", "one too many"],
)
def test_a_peer_out_of_step_is_an_error(answers: tuple[Reply, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        walk_through(walk(), answers)


def walk_through(transaction: ClientTransaction, answers: tuple[Reply, ...]) -> None:
    for answer in answers:
        transaction.receive(answer)
