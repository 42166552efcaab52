"""Every mail program that we know sends through 587 and 465, in its own way, and its letter arrives whole."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.interop import clients
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix
from tests.interop.thunderbird import Thunderbird

Box = Callable[[], str]

# program, mechanism asked for (None: what it takes by itself), mechanism it logs in with
WAYS: list[tuple[clients.Driver, str | None, str]] = [
    (clients.swaks, "PLAIN", "PLAIN"),
    (clients.swaks, "LOGIN", "LOGIN"),
    (clients.msmtp, None, "PLAIN"),
    (clients.msmtp, "LOGIN", "LOGIN"),
    (clients.msmtp, "SCRAM-SHA-256", "SCRAM-SHA-256"),
    (clients.curl, None, "PLAIN"),
    (clients.curl, "LOGIN", "LOGIN"),
    (clients.mutt, None, "SCRAM-SHA-256"),
    (clients.s_nail, None, "PLAIN"),
    (clients.s_nail, "LOGIN", "LOGIN"),
    (clients.python_smtplib, None, "PLAIN"),
    (clients.python_smtplib, "LOGIN", "LOGIN"),
    (clients.net_smtp, "PLAIN", "PLAIN"),
    (clients.net_smtp, "LOGIN", "LOGIN"),
    (clients.nodemailer, None, "PLAIN"),
    (clients.git_send_email, "PLAIN", "PLAIN"),
]

WAYS_WITH_CRAM_MD5: list[clients.Driver] = [clients.swaks, clients.curl, clients.python_smtplib, clients.net_smtp]


def names(way: object) -> str | None:
    return getattr(way, "__name__", None)


@pytest.mark.parametrize("implicit_tls", [False, True], ids=["587", "465"])
@pytest.mark.parametrize(("client", "mechanism", "expected"), WAYS, ids=names)
def test_a_client_sends_and_its_letter_arrives_whole(
    client: clients.Driver,
    mechanism: str | None,
    expected: str,
    implicit_tls: bool,
    sekisho: Instance,
    submission: Submission,
    next_hop: Postfix,
    scratch: Path,
    box: Box,
) -> None:
    name = box()
    letter = Letter("rin@home.test", f"box-{name}@next.test")

    client(submission, letter, scratch, implicit_tls, mechanism)

    (octets,) = next_hop.mailbox(name).wait()
    assert letter.is_text_of(parse(octets))
    assert_traced_without_the_client(parse(octets), sekisho)
    assert sekisho.mechanism_used(letter.recipient) == expected


@pytest.mark.parametrize("implicit_tls", [False, True], ids=["587", "465"])
@pytest.mark.parametrize("client", WAYS_WITH_CRAM_MD5, ids=names)
def test_a_client_that_prefers_cram_md5_sends_where_it_is_offered(
    client: clients.Driver,
    implicit_tls: bool,
    other: Instance,
    cram_submission: Submission,
    next_hop: Postfix,
    scratch: Path,
    box: Box,
) -> None:
    name = box()
    letter = Letter("rin@mail.test", f"box-{name}@next.test")

    client(cram_submission, letter, scratch, implicit_tls, None)

    (octets,) = next_hop.mailbox(name).wait()
    assert letter.is_text_of(parse(octets))
    assert other.mechanism_used(letter.recipient) == "CRAM-MD5"


@pytest.mark.parametrize("implicit_tls", [False, True], ids=["587", "465"])
def test_thunderbird_sends(
    implicit_tls: bool, sekisho: Instance, submission: Submission, next_hop: Postfix, scratch: Path, box: Box
) -> None:
    name = box()
    letter = Letter("rin@home.test", f"box-{name}@next.test")
    thunderbird = Thunderbird(scratch)
    thunderbird.set_up(submission, letter.sender, implicit_tls=implicit_tls)

    thunderbird.send(letter)

    (octets,) = next_hop.mailbox(name).wait()
    message = parse(octets)
    assert letter.is_text_of(message)
    assert "Thunderbird" in message["User-Agent"]
    assert_traced_without_the_client(message, sekisho)
    assert sekisho.mechanism_used(letter.recipient) == "PLAIN"


def test_a_wrong_password_is_refused_once_for_each_mechanism_and_the_right_one_then_works(
    submission: Submission,
) -> None:
    """smtplib tries every mechanism on one connection and reports the last 535."""
    trust = ssl.create_default_context(cafile=str(submission.authority))
    with smtplib.SMTP(submission.host, submission.submission_port, source_address=("127.0.0.21", 0)) as client:
        client.starttls(context=trust)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(submission.login, "not the password")
        assert caught.value.smtp_code == 535
        assert client.login(submission.login, submission.password)[0] == 235


@pytest.mark.parametrize("client", [clients.swaks, clients.msmtp, clients.curl, clients.nodemailer], ids=names)
def test_a_client_with_a_wrong_password_says_that_it_did_not_send(
    client: clients.Driver, submission: Submission, next_hop: Postfix, scratch: Path, box: Box
) -> None:
    name = box()
    wrong = Submission(
        submission.submission_port, submission.submissions_port, submission.authority, submission.login, "wrong word"
    )

    with pytest.raises(AssertionError, match=r"535|Login denied"):
        client(wrong, Letter("rin@home.test", f"box-{name}@next.test"), scratch, False, None)

    assert next_hop.mailbox(name).contents() == []


@pytest.mark.parametrize("client", [clients.swaks, clients.python_smtplib, clients.nodemailer], ids=names)
def test_a_client_that_does_not_know_the_authority_does_not_send(
    client: clients.Driver, submission: Submission, scratch: Path, next_hop: Postfix, box: Box
) -> None:
    """The tests of this module do verify the certificate: with another authority they fail."""
    name = box()
    stranger = Submission(
        submission.submission_port,
        submission.submissions_port,
        Path("/etc/ssl/certs/ca-certificates.crt"),
        submission.login,
        submission.password,
    )
    with pytest.raises((AssertionError, ssl.SSLCertVerificationError)):
        client(stranger, Letter("rin@home.test", f"box-{name}@next.test"), scratch, True, None)


def assert_traced_without_the_client(message: EmailMessage, instance: Instance) -> None:
    """RFC 5321 §4.4 wants a trace header; that of a submission does not tell the world where its author sits."""
    (ours,) = [field for field in message.get_all("Received", []) if f"by {instance.hostname}" in field]
    assert "127.0.0.1" not in ours
    assert " with ESMTPSA" in ours
    assert message["Date"]
    assert message["Message-ID"]
