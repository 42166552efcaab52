"""Tests of `sekisho.smtp.server`: the dialogue as a whole."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.smtp import (
    Auth,
    AuthResponse,
    Data,
    EndOfContent,
    Event,
    Hello,
    Mailbox,
    MailFrom,
    RcptTo,
    Reply,
    Reset,
    ServerConnection,
    StartTls,
    Wrong,
    replies,
)
from sekisho.smtp.lines import MAX_START_OCTETS
from sekisho.smtp.server import (
    MAX_FRUITLESS,
    MAX_HELD_OCTETS,
    MAX_LINE_OCTETS,
    MAX_SWALLOWED_LINE_OCTETS,
    render_challenge,
)

from .dialogue import BEFORE_TLS, OPEN, SUBMISSION, converse, go_on, lines, yes

RIN = Mailbox("rin", "example.jp")
ENVELOPE = lines("EHLO c", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>")
LETTER = b"Subject: x\r\n\r\nhello\r\n..\r\n"
SESSION = (
    lines("EHLO c", "AUTH LOGIN", "cmlu", "cGFzcw==", "MAIL FROM:<> SIZE=9", "RCPT TO:<rin@example.jp>", "DATA")
    + LETTER
    + lines(".", "MAIL FROM:<rin@example.jp>", "RCPT TO:<rin@example.jp>", "BDAT 6")
    + b"a\r\n\r\nb"
    + lines("BDAT 0 LAST", "FOO", "HELO c", "NOOP", "MAIL FROM:<>", "RSET", "QUIT", "NOOP")
)


def login(event: Event) -> Reply | bytes:
    """Prompt for name and password, and take both."""
    if isinstance(event, Auth):
        return b"Username:"
    if isinstance(event, AuthResponse) and event.octets == b"rin":
        return b"Password:"
    return yes(event)


def test_a_session_from_greeting_to_quit() -> None:
    """RFC 5321 §3.1-3.3, RFC 4954 §4, RFC 3030 §2."""
    transcript = converse([SESSION], SUBMISSION, answer=login)
    assert transcript.events == [
        Hello("c", True),
        Auth("LOGIN", None),
        AuthResponse(b"rin"),
        AuthResponse(b"pass"),
        MailFrom(None, 9),
        RcptTo(RIN),
        Data(),
        EndOfContent(),
        MailFrom(RIN),
        RcptTo(RIN),
        Data(chunked=True),
        EndOfContent(),
        Wrong(replies.UNKNOWN_COMMAND, "FOO"),
        Hello("c", False),
        MailFrom(None),
        Reset(),
    ]
    assert transcript.kept == [b"Subject: x\r\n\r\nhello\r\n.\r\n", b"a\r\n\r\nb\r\n"]
    assert transcript.codes == [
        *(250, 334, 334, 235, 250, 250, 354, 250),
        *(250, 250, 250, 250, 500, 250, 250, 250, 250, 221),
    ]
    assert transcript.core.closed


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(SESSION)), max_size=12).map(sorted))
def test_a_session_reads_the_same_however_the_network_cuts_it(cuts: list[int]) -> None:
    edges = [0, *cuts, len(SESSION)]
    pieces = [SESSION[a:b] for a, b in pairwise(edges)]
    assert (
        converse(pieces, SUBMISSION, answer=login).summary() == converse([SESSION], SUBMISSION, answer=login).summary()
    )


def test_a_session_reads_the_same_octet_by_octet() -> None:
    pieces = [bytes([octet]) for octet in SESSION]
    assert (
        converse(pieces, SUBMISSION, answer=login).summary() == converse([SESSION], SUBMISSION, answer=login).summary()
    )


FRAGMENTS = st.sampled_from(
    [
        *(b"EHLO c\r\n", b"HELO c\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<> SIZE=20\r\n", b"RCPT TO:<c@d>\r\n"),
        *(b"DATA\r\n", b"a\r\n.\r\n", b".\r\n", b"\r\n", b"\n", b"\r", b".", b"\0", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n"),
        *(
            b"BDAT 41\r\n",
            b"BDAT x\r\n",
            b"abc",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"FOO\r\n",
            b"GET / HTTP/1.1\r\n",
            b"x: y\r\n",
        ),
        *(
            b"AUTH PLAIN\r\n",
            b"AUTH PLAIN AGEAYg==\r\n",
            b"AUTH X\r\n",
            b"*\r\n",
            b"YQ==\r\n",
            b"QUIT\r\n",
            b"\xff\xfe",
        ),
        *(b"x" * 600, b"AUTH PLAIN " + b"A" * 12400, b"y" * 13000, b"z" * 66000, b"STARTTLS x\r\n"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    octets=st.lists(FRAGMENTS, max_size=16).map(b"".join),
    places=st.lists(st.integers(0, 1 << 20), max_size=8),
    limit=st.sampled_from([10, 10_000]),
)
def test_any_octets_read_the_same_however_they_are_cut(octets: bytes, places: list[int], limit: int) -> None:
    profile = replace(SUBMISSION, require_auth=False, max_content_octets=limit, max_errors=4)
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(edges)]
    whole = converse([octets], profile, answer=login, eof=True)
    assert converse(pieces, profile, answer=login, eof=True).summary() == whole.summary()


def kept_octets(core: ServerConnection) -> int:
    return len(core._input) + len(core._input.start) + sum(map(len, core._output))


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(FRAGMENTS | st.binary(max_size=50), max_size=30))
def test_no_octets_raise_and_what_is_kept_stays_bounded(pieces: list[bytes]) -> None:
    core = ServerConnection(SUBMISSION, tls=True)
    for piece in pieces:
        core.receive_data(piece)
        while (event := core.next_event()) is not None:
            if core.waiting:
                core.reply(yes(event) if not isinstance(event, EndOfContent) else event.refusal or replies.OK)  # type: ignore[arg-type]
        core.data_to_send()
        assert kept_octets(core) <= MAX_LINE_OCTETS + MAX_START_OCTETS
        assert not core._events


# Order and authentication

STEPS = st.sampled_from(
    [
        *(
            "EHLO c",
            "HELO c",
            "RSET",
            "NOOP",
            "VRFY rin",
            "STARTTLS",
            "MAIL FROM:<rin@example.jp>",
            "MAIL FROM:<> SIZE=1",
        ),
        *(
            "mail from:rin@example.jp",
            "RCPT TO:<a@b>",
            "DATA",
            ".",
            "BDAT 0",
            "BDAT 0 LAST",
            "BDAT 4 LAST",
            "RSET",
            "x",
        ),
        *(
            "AUTH PLAIN",
            "AUTH PLAIN AGEAYg==",
            "AUTH LOGIN",
            "AUTH PLAIN =",
            "AUTH X",
            "auth plain !",
            "*",
            "YQ==",
            "",
            "!",
        ),
    ]
)
VERDICTS = st.sampled_from([replies.AUTH_FAILED, replies.AUTH_TEMPORARY, replies.AUTH_OK, b"challenge"])


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), verdicts=st.lists(VERDICTS, max_size=12), tls=st.booleans())
def test_no_sequence_of_commands_opens_a_transaction_before_authentication(
    steps: list[str], verdicts: list[Reply | bytes], tls: bool
) -> None:
    """RFC 6409 §4.3; RFC 4954 §6."""
    given = iter(verdicts)
    granted: list[bool] = []

    def answer(event: Event) -> Reply | bytes:
        if isinstance(event, Auth | AuthResponse):
            verdict = next(given, replies.AUTH_FAILED)
            granted.append(verdict is replies.AUTH_OK)
            return verdict
        assert not isinstance(event, MailFrom | RcptTo | Data | EndOfContent) or any(granted)
        return yes(event)

    profile = replace(SUBMISSION, offer_starttls=True, max_errors=1000)
    transcript = converse([lines(*steps)], profile, tls=tls, answer=answer)
    assert transcript.core.authenticated == any(granted)
    if not any(granted):
        assert not transcript.kept


def test_mail_before_auth_tells_the_person_what_to_switch_on() -> None:
    """RFC 4954 §6: 530."""
    transcript = converse([lines("EHLO c", "MAIL FROM:<rin@example.jp>")], SUBMISSION)
    assert transcript.wrong == [replies.AUTH_REQUIRED]
    assert b"530 5.7.0 Authentication required: switch on SMTP authentication" in transcript.sent


def test_before_tls_only_the_way_to_tls_is_open() -> None:
    """RFC 3207 §4: 530 to every command other than NOOP, EHLO, STARTTLS, or QUIT."""
    commands = ("EHLO c", "NOOP", "AUTH PLAIN", "MAIL FROM:<>", "RSET", "VRFY rin", "STARTTLS")
    transcript = converse([lines(*commands)], BEFORE_TLS, tls=False)
    assert transcript.codes == [250, 250, 530, 530, 530, 530, 220]
    assert transcript.events[-1] == StartTls()


def test_auth_without_a_mechanism_to_offer_says_where_to_go() -> None:
    """RFC 4954 §6: 538 where TLS would help."""
    optional_tls = replace(BEFORE_TLS, require_tls=False)
    assert converse([lines("EHLO c", "AUTH PLAIN")], optional_tls, tls=False).wrong == [replies.ENCRYPTION_REQUIRED]
    assert converse([lines("EHLO c", "AUTH PLAIN")], OPEN).wrong == [replies.AUTH_NOT_OFFERED]


# AUTH


@pytest.mark.parametrize(
    ("command", "event"),
    [
        ("AUTH PLAIN AHJpbgBwYXNz", Auth("PLAIN", b"\0rin\0pass")),
        ("auth plain AHJpbgBwYXNz", Auth("PLAIN", b"\0rin\0pass")),
        ("AUTH PLAIN", Auth("PLAIN", None)),
        ("AUTH PLAIN =", Auth("PLAIN", b"")),
    ],
)
def test_auth_carries_its_initial_response(command: str, event: Auth) -> None:
    """RFC 4954 §4."""
    assert converse([lines("EHLO c", command)], SUBMISSION).events[-1] == event


def test_challenges_go_out_in_base64_and_responses_come_back_decoded() -> None:
    """RFC 4954 §4; the empty challenge is ``334 `` with its space (§4, curl and s-nail wait for it)."""
    assert render_challenge(b"") == b"334 \r\n"
    answers: Iterator[Reply | bytes] = iter([b"", b"v=x", replies.AUTH_OK])

    def step(event: Event) -> Reply | bytes:
        return next(answers) if isinstance(event, Auth | AuthResponse) else yes(event)

    transcript = converse([lines("EHLO c", "AUTH PLAIN", "AHJpbgBwYXNz", "")], SUBMISSION, answer=step)
    assert transcript.events[1:] == [Auth("PLAIN", None), AuthResponse(b"\0rin\0pass"), AuthResponse(b"")]
    assert transcript.sent.endswith(b"334 \r\n334 dj14\r\n" + replies.AUTH_OK.wire)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"*", replies.AUTH_CANCELED),
        (b"!!!", replies.BAD_BASE64),
        (b"=", replies.BAD_BASE64),
        (b"A" * 12289, replies.AUTH_LINE_TOO_LONG),
        (b"A" * 20000, replies.AUTH_LINE_TOO_LONG),
    ],
)
def test_an_exchange_that_goes_wrong_is_ended_by_the_core(line: bytes, reply: Reply) -> None:
    """RFC 4954 §4, §6: 501 on cancel and bad base64, 500 5.5.6 on too long a line; then commands again."""
    transcript = converse([lines("EHLO c", "AUTH PLAIN") + line + lines("", "NOOP")], SUBMISSION, answer=login)
    assert transcript.events[2:] == [Wrong(reply, "(withheld)")]
    assert transcript.codes == [250, 334, reply.code, 250]
    assert not transcript.core.authenticated


def test_the_longest_initial_response_fits() -> None:
    """RFC 4954 §4: 12288 octets."""
    response = b64encode(b"x" * 9000)
    assert converse([b"EHLO c\r\nAUTH PLAIN " + response + b"\r\n"], SUBMISSION).events[-1] == Auth(
        "PLAIN", b"x" * 9000
    )
    long = converse([b"EHLO c\r\nAUTH PLAIN " + b"A" * 12288 + b"\r\nNOOP\r\n"], SUBMISSION)
    assert long.events[-1] == Wrong(replies.AUTH_LINE_TOO_LONG, "AUTH PLAIN")
    assert long.codes == [250, 500, 250]


def test_a_second_auth_and_one_inside_a_transaction_are_refused() -> None:
    """RFC 4954 §4."""
    plain = "AUTH PLAIN AGEAYg=="
    assert converse([lines("EHLO c", plain, plain)], SUBMISSION).wrong == [replies.ALREADY_AUTHENTICATED]
    assert converse([lines("EHLO c", plain, "MAIL FROM:<>", plain)], SUBMISSION).wrong == [replies.IN_TRANSACTION]
    assert converse([lines("HELO c", plain)], SUBMISSION).wrong == [replies.EXTENDED_HELLO_FIRST]


def test_several_wrong_passwords_fit_in_one_connection() -> None:
    """Clients try one mechanism after the other (smtplib, swaks, Exim, Thunderbird)."""

    def refuse(event: Event) -> Reply | bytes:
        return replies.AUTH_FAILED if isinstance(event, Auth) else yes(event)

    transcript = converse([lines("EHLO c", *["AUTH PLAIN AGEAYg=="] * 3)], SUBMISSION, answer=refuse)
    assert transcript.codes == [250, 535, 535, 535]
    assert (transcript.core.errors, transcript.core.closed) == (3, False)


def test_no_credential_shows_in_an_event_or_its_excerpt() -> None:
    """A password could reach the log by a refused AUTH, a line that lost its AUTH, or the repr of an event."""
    name, secret = b64encode(b"hidden").decode(), b64encode(b"secret").decode()

    def refuse(event: Event) -> Reply | bytes:
        return replies.AUTH_FAILED if isinstance(event, Auth) else yes(event)

    commands = (
        f"AUTH X {secret}",
        name,
        secret,
        "EHLO c",
        f"AUTH LOGIN {name}",
        secret,
        f"AUTH LOGIN x {secret}",
        secret,
    )
    transcript = converse([lines("EHLO c", *commands)], SUBMISSION, answer=refuse)
    assert transcript.codes == [250, 504, 500, 500, 250, 535, 500, 501, 500]
    shown = repr(transcript.events)
    assert not [word for word in (name, secret, "hidden", "secret") if word in shown]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("PASS secret", "PASS (withheld)"),
        ("a1 LOGIN rin secret", "a1 (withheld)"),
        ("AUTHPLAIN AGEAYg==", "AUTHPLAIN (withheld)"),
        ("Authorization: Basic c2VjcmV0", "Authorization: (withheld)"),
        ("c2VjcmV0c2VjcmV0c2VjcmV0", "(withheld)"),
        ("AUTH\tPLAIN AGEAYg==", "(withheld)"),
        ("FOO", "FOO"),
    ],
)
def test_of_an_unknown_command_only_the_verb_is_shown(line: str, shown: str) -> None:
    """A mail program that speaks POP or IMAP to us, or forgets a space, sends its password in such a line."""
    (event,) = [event for event in converse([lines("EHLO c", line)], SUBMISSION).events if isinstance(event, Wrong)]
    assert event.line_excerpt == shown


# STARTTLS


def test_octets_behind_starttls_end_the_connection_unread() -> None:
    """RFC 3207 §6: commands injected before TLS must not be taken for the client's."""
    transcript = converse([lines("EHLO c", "STARTTLS", "MAIL FROM:<>")], BEFORE_TLS, tls=False)
    assert transcript.wrong == [replies.STARTTLS_NOT_LAST]
    assert not transcript.asked(StartTls)
    assert transcript.core.closed


def test_octets_that_come_while_starttls_is_answered_end_the_connection_too() -> None:
    core = ServerConnection(BEFORE_TLS, tls=False)
    core.receive_data(lines("EHLO c"))
    assert core.next_event() == Hello("c", True)
    core.reply(replies.HELLO)
    core.receive_data(lines("STARTTLS"))
    assert core.next_event() == StartTls()
    core.receive_data(lines("NOOP"))
    core.reply(replies.READY_FOR_TLS)
    assert core.data_to_send().endswith(replies.STARTTLS_NOT_LAST.wire)
    assert core.closed


def test_after_starttls_this_core_reads_nothing_more() -> None:
    """RFC 3207 §4.2."""
    transcript = converse([lines("EHLO c", "STARTTLS")], BEFORE_TLS, tls=False)
    assert transcript.codes == [250, 220]
    go_on(transcript, [lines("NOOP")])
    assert transcript.codes == [250, 220]
    assert transcript.core.closed


@pytest.mark.parametrize(
    ("commands", "tls", "reply"),
    [
        (("EHLO c", "STARTTLS x"), False, replies.NO_ARGUMENT_ALLOWED),
        (("EHLO c", "STARTTLS"), True, replies.ALREADY_TLS),
        (("HELO c", "STARTTLS"), False, replies.EXTENDED_HELLO_FIRST),
    ],
)
def test_starttls_out_of_place_is_refused(commands: tuple[str, ...], tls: bool, reply: Reply) -> None:
    """RFC 3207 §4."""
    assert converse([lines(*commands)], BEFORE_TLS, tls=tls).wrong == [reply]
    assert converse([lines("EHLO c", "STARTTLS")], OPEN, tls=False).wrong == [replies.NOT_IMPLEMENTED]


# Lines


@pytest.mark.parametrize("octets", [b"NOOP\nNOOP\r\n", b"\nNOOP\r\n", b"NOOP\n\r\n", b"x" * 20000 + b"\nNOOP\r\n"])
def test_a_bare_line_feed_ends_the_connection(octets: bytes) -> None:
    """RFC 5321 §2.3.8."""
    transcript = converse([octets])
    assert transcript.wrong == [replies.BARE_LINE_FEED]
    assert transcript.core.closed


@pytest.mark.parametrize(
    "octets", [b"NOOP\rNOOP\r\n", b"NOOP \0\r\n", b"NOOP\tx\r\n", b"\x7f\r\n", b"EHLO \x1b[2J\r\n"]
)
def test_control_characters_in_a_command_are_refused(octets: bytes) -> None:
    """RFC 5321 §2.3.8: a CR that no LF follows ends nothing."""
    transcript = converse([octets])
    assert transcript.wrong == [replies.BAD_SYNTAX]
    assert all(event.line_excerpt.isprintable() for event in transcript.events if isinstance(event, Wrong))


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        (b"NOOP " + b"x" * 505, True),
        (b"NOOP " + b"x" * 506, False),
        (b"MAIL FROM:<rin@example.jp> AUTH=" + b"x" * 2014, True),
        (b"MAIL FROM:<rin@example.jp> AUTH=" + b"x" * 2015, False),
        (b"x" * 30000, False),
        (b"MAIL FROM:<rin@example.jp>" + b" " * 30000, False),
    ],
)
def test_a_line_too_long_is_swallowed_whole(line: bytes, fits: bool) -> None:
    """RFC 5321 §4.5.3.1.4: 512 octets with CRLF, more where extensions add to it."""
    transcript = converse([b"EHLO c\r\n" + line + b"\r\nNOOP\r\n"])
    assert (replies.LINE_TOO_LONG in transcript.wrong) == (not fits)
    assert transcript.codes == [250, 250 if fits else 500, 250]


def test_what_follows_in_a_line_too_long_is_never_a_command() -> None:
    transcript = converse([b"EHLO c\r\n", b"x" * 15000, b"\rMAIL FROM:<>\r", b"MAIL FROM:<>\r\n"])
    assert transcript.codes == [250, 500]


def test_a_line_without_end_closes_the_connection() -> None:
    transcript = converse([b"x" * 5000] * 20)
    assert transcript.core.closed
    assert transcript.codes == [500]
    assert converse([b"x" * (MAX_SWALLOWED_LINE_OCTETS + 1)]).core.closed


@pytest.mark.parametrize(
    "line",
    [
        *("GET / HTTP/1.1", "POST / HTTP/1.1", "PRI * HTTP/2.0", "CONNECT mx:25 HTTP/1.1", "OPTIONS *", "get /"),
        *("Host: mx.example.jp", "Content-Type: text/plain", "X:"),
    ],
)
def test_a_browser_is_cut_off_before_its_body_can_pass_for_commands(line: str) -> None:
    transcript = converse([lines(line, "EHLO c", "MAIL FROM:<>")])
    assert transcript.wrong == [replies.NOT_SMTP]
    assert transcript.codes == [421]
    assert transcript.core.closed


# Content


def test_the_letter_after_a_refused_data_is_not_read_as_commands() -> None:
    """nodemailer and msmtp go on to DATA although every RCPT was refused."""

    def refuse(event: Event) -> Reply | bytes:
        return replies.MAILBOX_UNKNOWN if isinstance(event, RcptTo) else yes(event)

    transcript = converse([ENVELOPE + lines("DATA", "QUIT")], answer=refuse)
    assert transcript.codes == [250, 250, 550, 554, 221]
    assert transcript.wrong == [replies.NO_RECIPIENTS]


def test_too_big_a_letter_is_refused_at_its_end_and_the_session_goes_on() -> None:
    """RFC 1870 §6.3: only Postfix obeys the announced limit."""
    transcript = converse([ENVELOPE, b"DATA\r\n", *[b"x" * 70 + b"\r\n"] * 200, b".\r\nMAIL FROM:<>\r\n"])
    assert transcript.asked(EndOfContent) == [EndOfContent(replies.MESSAGE_TOO_BIG)]
    assert transcript.codes == [250, 250, 250, 354, 552, 250]


def test_a_letter_far_too_big_ends_the_connection() -> None:
    transcript = converse([ENVELOPE, b"DATA\r\n", *[b"x" * 998 + b"\r\n"] * 50, b".\r\n"])
    assert transcript.codes == [250, 250, 250, 354, 421]
    assert transcript.core.closed
    assert not transcript.asked(EndOfContent)


def test_content_that_must_not_be_kept_cannot_be_accepted() -> None:
    core = ServerConnection(OPEN, tls=True)
    core.receive_data(ENVELOPE + b"DATA\r\na\nb\r\n.\r\n")
    while (event := core.next_event()) is not None:
        if isinstance(event, EndOfContent):
            with pytest.raises(ValueError):
                core.reply(replies.accepted("Q"))
        elif core.waiting:
            core.reply(yes(event))  # type: ignore[arg-type]


# BDAT


def test_exim_sends_everything_in_one_packet() -> None:
    """RFC 3030 §2: BDAT is pipelined with the envelope and QUIT."""
    whole = ENVELOPE + b"BDAT %d LAST\r\n" % len(LETTER) + LETTER + b"QUIT\r\n"
    transcript = converse([whole])
    assert transcript.kept == [LETTER]
    assert transcript.codes == [250, 250, 250, 250, 221]


@pytest.mark.parametrize("refused", [MailFrom, RcptTo, Data])
def test_octets_of_a_refused_bdat_are_swallowed_before_the_refusal(refused: type[Event]) -> None:
    """RFC 3030 §2: the octets are on their way already."""
    trap = b"\r\nRSET\r\nMAIL FROM:<trap@example.jp>\r\n"
    whole = ENVELOPE + b"BDAT %d LAST\r\n" % len(trap) + trap + b"QUIT\r\n"

    def refuse(event: Event) -> Reply | bytes:
        return replies.LOCAL_ERROR if isinstance(event, refused) else yes(event)

    for pieces in ([whole], [whole[:-20], whole[-20:]], [bytes([octet]) for octet in whole]):
        transcript = converse(pieces, answer=refuse)
        assert transcript.codes[-1] == 221
        assert transcript.codes[-2] >= 400
        assert transcript.asked(MailFrom) == [MailFrom(None)]
        assert not transcript.kept


def test_a_chunk_after_a_refused_one_is_swallowed_and_refused() -> None:
    """RFC 3030 §2."""

    def refuse(event: Event) -> Reply | bytes:
        return replies.STORAGE_FULL if isinstance(event, Data) else yes(event)

    transcript = converse([ENVELOPE + b"BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n"], answer=refuse)
    assert transcript.codes == [250, 250, 250, 452, 503, 250]


def test_an_impure_chunk_is_refused_at_once_and_the_rest_with_it() -> None:
    """RFC 3030 §4.2 leaves line ends to us: the same strictness as DATA."""
    transcript = converse([ENVELOPE + b"BDAT 3\r\na\nb" + b"BDAT 3 LAST\r\nc\r\n" + b"NOOP\r\n"])
    assert transcript.codes == [250, 250, 250, 554, 503, 250]
    assert transcript.asked(EndOfContent) == [EndOfContent(replies.BAD_CONTENT)]
    assert not transcript.kept


@pytest.mark.parametrize("argument", ["", "x", "-1", "5 FIRST", "5LAST", "5 LAST x", "9" * 21])
def test_a_bdat_whose_size_is_unknown_ends_the_connection(argument: str) -> None:
    """What follows could not be told from commands."""
    transcript = converse([ENVELOPE + f"BDAT {argument}\r\nNOOP\r\n".encode()])
    assert transcript.codes == [250, 250, 250, 501]
    assert transcript.core.closed


def test_a_bdat_far_too_big_ends_the_connection() -> None:
    transcript = converse([ENVELOPE + b"BDAT 40001\r\n"])
    assert transcript.wrong == [replies.MESSAGE_TOO_BIG]
    assert transcript.core.closed


# Limits


def test_recipients_beyond_the_limit_are_put_off_without_counting_as_errors() -> None:
    """RFC 5321 §4.5.3.1.10."""
    transcript = converse([lines("EHLO c", "MAIL FROM:<>", *["RCPT TO:<rin@example.jp>"] * 40)])
    assert transcript.codes == [250, 250] + [250] * 3 + [452] * 37
    assert transcript.core.errors == 0
    go_on(transcript, [lines("RSET", "MAIL FROM:<>", "RCPT TO:<rin@example.jp>")])
    assert transcript.codes[-3:] == [250, 250, 250]


def test_messages_beyond_the_limit_end_the_connection() -> None:
    """RFC 9422 §4.1."""
    transcript = converse([lines("EHLO c", *["MAIL FROM:<>", "RSET"] * 8)])
    assert transcript.codes == [250] + [250, 250] * 5 + [421]
    assert transcript.core.closed


def test_too_many_refused_commands_end_the_connection() -> None:
    transcript = converse([lines(*["FOO"] * 30)])
    assert transcript.codes == [500] * 21 + [421]
    assert transcript.core.closed


def test_too_many_commands_that_lead_nowhere_end_the_connection() -> None:
    transcript = converse([lines(*["NOOP"] * 500)])
    assert transcript.codes == [250] * (MAX_FRUITLESS + OPEN.max_errors) + [421]
    session = lines("MAIL FROM:<>", "RCPT TO:<a@b>", "DATA", "x", ".", *["NOOP"] * 90)
    assert not converse([lines("EHLO c") + session * 4]).core.closed


def test_what_comes_while_an_event_waits_is_bounded() -> None:
    """The reply to the open question still goes out; then the connection is closed."""
    core = ServerConnection(OPEN, tls=True)
    core.receive_data(lines("EHLO c"))
    assert core.next_event() is not None
    for _ in range(200):
        core.receive_data(b"x" * 65536)
    assert len(core._input) <= MAX_HELD_OCTETS
    core.reply(replies.HELLO)
    assert core.data_to_send() == OPEN.ehlo_answer_over_tls + replies.TOO_MUCH_HELD.wire
    assert core.closed


# Opening, closing, mistakes of our own


def test_the_greeting_and_its_refusal() -> None:
    """RFC 5321 §3.1, §4.2."""
    core = ServerConnection(OPEN, tls=False)
    core.greet()
    assert core.data_to_send() == b"220 mx.example.jp ESMTP Sekisho\r\n"
    refused = ServerConnection(OPEN, tls=False)
    refused.refuse(replies.TOO_MANY_CONNECTIONS)
    assert refused.data_to_send() == replies.TOO_MANY_CONNECTIONS.wire
    assert refused.closed


def test_ehlo_may_be_repeated_and_discards_the_transaction() -> None:
    """RFC 5321 §4.1.4; git sends it twice."""
    transcript = converse([lines("EHLO c", "EHLO c", "MAIL FROM:<>", "EHLO c", "RCPT TO:<a@b>")])
    assert [type(event) for event in transcript.events] == [Hello, Hello, MailFrom, Reset, Hello, Wrong]
    assert transcript.wrong == [replies.MAIL_FIRST]


def test_a_refused_hello_leaves_the_door_shut() -> None:
    transcript = converse([lines("EHLO c", "MAIL FROM:<>")], answer=lambda event: replies.ACCESS_DENIED)
    assert transcript.codes == [554, 503]


def test_commands_that_came_before_the_end_of_the_stream_are_answered() -> None:
    transcript = converse([lines("EHLO c", "NOOP") + b"NOO"], eof=True)
    assert transcript.codes == [250, 250]
    assert transcript.core.closed


def test_an_unfinished_letter_is_never_complete() -> None:
    """RFC 5321 §4.1.1.4: without CRLF.CRLF there is no message."""
    transcript = converse([ENVELOPE + b"DATA\r\nhello\r\n."], eof=True)
    assert not transcript.asked(EndOfContent)
    assert transcript.core.closed


def test_a_closing_word_ends_everything_and_a_late_answer_is_dropped() -> None:
    """RFC 5321 §3.8."""
    core = ServerConnection(OPEN, tls=True)
    core.receive_data(lines("EHLO c", "NOOP"))
    assert core.next_event() is not None
    core.close_with(replies.SHUTTING_DOWN)
    core.reply(replies.HELLO)
    core.receive_data(lines("NOOP"))
    assert core.next_event() is None
    assert core.data_to_send() == replies.SHUTTING_DOWN.wire


def test_a_421_from_the_caller_closes() -> None:
    transcript = converse([lines("EHLO c", "NOOP")], answer=lambda event: replies.SHUTTING_DOWN)
    assert transcript.codes == [421]
    assert transcript.core.closed


def test_answers_without_a_question_are_our_own_mistake() -> None:
    core = ServerConnection(SUBMISSION, tls=True)
    with pytest.raises(RuntimeError):
        core.reply(replies.OK)
    with pytest.raises(RuntimeError):
        core.challenge(b"")
    core.receive_data(lines("EHLO c"))
    core.next_event()
    with pytest.raises(RuntimeError):
        core.challenge(b"")
