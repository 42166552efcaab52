"""Tests of `sekisho.smtp.extensions`: what is offered, and the parameters of MAIL and RCPT."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekisho.smtp import Auth, Body, Event, Mailbox, MailFrom, RcptTo, Reply, replies

from .dialogue import BEFORE_TLS, OPEN, SUBMISSION, converse, lines, yes

RIN = Mailbox("rin", "example.jp")


def offered(wire: bytes) -> list[str]:
    return [line[4:].decode() for line in wire.split(b"\r\n")[1:-1]]


def test_the_ehlo_answer_lists_what_is_offered() -> None:
    """RFC 5321 §4.1.1.1; RFC 9422 §3 (LIMITS)."""
    assert offered(OPEN.ehlo_answer) == [
        "PIPELINING",
        "SIZE 10000",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "LIMITS MAILMAX=5 RCPTMAX=3",
    ]
    assert SUBMISSION.ehlo_answer.startswith(b"250-mx.example.jp\r\n")


def test_auth_is_offered_with_its_mechanisms_and_starttls_only_before_tls() -> None:
    """RFC 4954 §3; RFC 3207 §4.2."""
    assert "AUTH PLAIN LOGIN" in offered(SUBMISSION.ehlo_answer_over_tls)
    assert not [word for word in offered(BEFORE_TLS.ehlo_answer) if word.startswith("AUTH")]
    assert "STARTTLS" in offered(BEFORE_TLS.ehlo_answer)
    assert "STARTTLS" not in offered(BEFORE_TLS.ehlo_answer_over_tls)


def test_a_host_name_that_would_break_the_greeting_is_our_own_mistake() -> None:
    with pytest.raises(ValueError):
        replace(OPEN, hostname="mx\r\n250 x")


def test_refusals_that_settings_would_mend_lead_to_the_guide_and_others_do_not() -> None:
    """In Python and in C; events, and so the log, keep the reply as it is called."""
    advice = "https://mail.example.jp/guide"
    login = replace(SUBMISSION, advice=advice)
    transcript = converse([lines("EHLO c", "MAIL FROM:<>", "AUTH PLAIN AGEAYg==", "FOO")], login, answer=refuse_login)
    assert transcript.wrong == [replies.AUTH_REQUIRED, replies.UNKNOWN_COMMAND]
    told = transcript.sent.decode().split("\r\n")[-4:-1]
    assert [line.endswith(f"; see {advice}") for line in told] == [True, True, False]
    assert [line[:9] for line in told] == ["530 5.7.0", "535 5.7.8", "500 5.5.1"]
    before_tls = converse([lines("EHLO c", "AUTH PLAIN")], replace(BEFORE_TLS, advice=advice), tls=False)
    assert before_tls.wrong == [replies.TLS_REQUIRED]
    assert before_tls.sent.decode().endswith(f"; see {advice}\r\n")


def refuse_login(event: Event) -> Reply | bytes:
    return replies.AUTH_FAILED if isinstance(event, Auth) else yes(event)


def test_advice_that_would_break_a_reply_is_our_own_mistake() -> None:
    with pytest.raises(ValueError):
        replace(OPEN, advice="https://mail.example.jp/\r\n250 x")


def ask(
    mail: str = "MAIL FROM:<rin@example.jp>", rcpt: str | None = None, hello: str = "EHLO c"
) -> MailFrom | RcptTo | Reply:
    """Say *mail* (and *rcpt*) and return the last event, or the reply of the core that refused it."""
    transcript = converse([lines(hello, mail, *([rcpt] if rcpt is not None else []))])
    if transcript.wrong:
        return transcript.wrong[-1]
    event = transcript.events[-1]
    assert isinstance(event, MailFrom | RcptTo)
    return event


@pytest.mark.parametrize(
    ("parameters", "event"),
    [
        ("", MailFrom(RIN)),
        (" SIZE=390", MailFrom(RIN, 390)),
        (" size=390", MailFrom(RIN, 390)),
        (" BODY=8BITMIME SIZE=390", MailFrom(RIN, 390, Body.EIGHTBIT)),
        (" body=7bit", MailFrom(RIN)),
        (" SMTPUTF8", MailFrom(RIN, smtputf8=True)),
        (" RET=hdrs ENVID=a+2Bb", MailFrom(RIN, ret="HDRS", envid="a+2Bb")),
        (" AUTH=<>", MailFrom(RIN, auth="<>")),
        (" AUTH=rin+40example.jp", MailFrom(RIN, auth="rin+40example.jp")),
        ("  SIZE=1  ", MailFrom(RIN, 1)),
    ],
)
def test_mail_parameters_are_read(parameters: str, event: MailFrom) -> None:
    """RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4, RFC 3461 §4.3-4.4, RFC 4954 §5."""
    assert ask(f"MAIL FROM:<rin@example.jp>{parameters}") == event


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        (" SIZE=10001", replies.MESSAGE_TOO_BIG),
        (" SIZE=99999999999999999999", replies.MESSAGE_TOO_BIG),
        (" SIZE=x", replies.BAD_ARGUMENT),
        (" SIZE", replies.BAD_ARGUMENT),
        (" SIZE=-1", replies.BAD_ARGUMENT),
        (" SIZE=²", replies.BAD_ARGUMENT),
        (" SIZE=1 SIZE=1", replies.DUPLICATE_PARAMETER),
        (" BODY=BINARYMIME", replies.BAD_PARAMETER),
        (" SMTPUTF8=yes", replies.BAD_ARGUMENT),
        (" RET=ALL", replies.BAD_ARGUMENT),
        (" ENVID=" + "x" * 101, replies.BAD_ARGUMENT),
        (" ENVID=a+zz", replies.BAD_ARGUMENT),
        (" AUTH=", replies.BAD_ARGUMENT),
        (" REQUIRETLS", replies.BAD_PARAMETER),
        (" HOLDFOR=60", replies.BAD_PARAMETER),
        (" =1", replies.BAD_ARGUMENT),
        (" SIZE=1\u00a0X", replies.BAD_ARGUMENT),
    ],
)
def test_parameters_that_do_not_read_are_refused(parameters: str, reply: Reply) -> None:
    """RFC 5321 §4.1.1.11: 555 for an unknown parameter; RFC 1870 §6.1."""
    assert ask(f"MAIL FROM:<rin@example.jp>{parameters}") == reply


@pytest.mark.parametrize(
    ("parameters", "event"),
    [
        (" NOTIFY=never", RcptTo(RIN, "NEVER")),
        (" NOTIFY=SUCCESS,failure,SUCCESS", RcptTo(RIN, "SUCCESS,FAILURE")),
        (" ORCPT=rfc822;rin+2Bx@example.jp", RcptTo(RIN, orcpt="rfc822;rin+2Bx@example.jp")),
        (" NOTIFY=DELAY ORCPT=utf-8;\\x{51DB}@example.jp", RcptTo(RIN, "DELAY", "utf-8;\\x{51DB}@example.jp")),
    ],
)
def test_rcpt_parameters_are_read(parameters: str, event: RcptTo) -> None:
    """RFC 3461 §4.1, §4.2."""
    assert ask(rcpt=f"RCPT TO:<rin@example.jp>{parameters}") == event


@pytest.mark.parametrize(
    "parameters", [" NOTIFY=NEVER,SUCCESS", " NOTIFY=", " NOTIFY=SOON", " ORCPT=rin", " ORCPT=rfc822;" + "x" * 500]
)
def test_dsn_terms_that_contradict_are_refused(parameters: str) -> None:
    """RFC 3461 §4.1: NEVER stands alone."""
    assert ask(rcpt=f"RCPT TO:<rin@example.jp>{parameters}") == replies.BAD_ARGUMENT


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=8BITMIME", "AUTH=<>"])
def test_helo_brings_no_extensions(parameter: str) -> None:
    """RFC 5321 §2.2.1."""
    assert ask(f"MAIL FROM:<rin@example.jp> {parameter}", hello="HELO c") == replies.BAD_PARAMETER
    assert ask("MAIL FROM:<rin@example.jp>", hello="HELO c") == MailFrom(RIN)
