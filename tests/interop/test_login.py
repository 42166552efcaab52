"""587 and 465 up to the login: what is refused before it, and how real clients do it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable

import pytest
from tests.interop.instance import Instance
from tests.interop.letter import Submission
from tests.interop.postfix import Postfix
from tests.interop.wire import Wire, plain

Box = Callable[[], str]

CONTENT = b"From: rin@home.test\r\nSubject: wire\r\n\r\nhello\r\n"


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_mail_without_tls_is_refused_with_530_and_told_about_starttls(submission: Submission) -> None:
    """RFC 3207 §4."""
    with Wire(submission.submission_port) as wire:
        wire.say("EHLO vm")
        reply = wire.say("MAIL FROM:<rin@home.test>")
    assert reply.startswith("530 5.7.0 ")
    assert "STARTTLS" in reply


def test_mail_without_auth_is_refused_with_530(submission: Submission) -> None:
    """RFC 4954 §6."""
    with Wire(submission.submission_port).secured(submission) as wire:
        assert wire.say("MAIL FROM:<rin@home.test>").startswith("530 5.7.0 ")
    with Wire(submission.submissions_port, tls=submission.authority) as wire:
        wire.say("EHLO vm")
        assert wire.say("MAIL FROM:<rin@home.test>").startswith("530 5.7.0 ")


def test_no_mechanism_is_offered_or_taken_in_clear(submission: Submission) -> None:
    with Wire(submission.submission_port) as wire:
        assert "AUTH" not in wire.say("EHLO vm")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}")[:3] in ("530", "538")


def test_octets_behind_starttls_are_never_taken_as_commands(submission: Submission) -> None:
    """CVE-2011-0411: an attacker's command, sent before TLS, must not run after it."""
    with Wire(submission.submission_port) as wire:
        wire.say("EHLO vm")
        wire.send("STARTTLS\r\nEHLO injected\r\n")
        assert wire.reply().startswith(("503 ", "554 ", "501 "))
        assert wire.is_closed()


@pytest.mark.parametrize("name", ["vm", "localhost", "localhost.localdomain", "[127.0.0.1]", "[IPv6:::1]", "my_pc"])
def test_any_name_a_client_gives_itself_is_taken(name: str, submission: Submission) -> None:
    with Wire(submission.submission_port) as wire:
        assert wire.say(f"EHLO {name}").startswith("250")
        assert wire.say(f"EHLO {name}").startswith("250")  # git says it twice


def test_a_web_browser_made_to_post_is_cut_off(submission: Submission, sekisho: Instance) -> None:
    request = "POST / HTTP/1.1\r\nHost: mail.home.test:587\r\n\r\nMAIL FROM:<rin@home.test>\r\n"
    for port in (submission.submission_port, sekisho.mx_port):
        with Wire(port) as wire:
            wire.send(request)
            assert wire.reply().startswith("421 ")
            assert wire.is_closed()


def test_a_client_that_speaks_tls_first_on_587_is_served(submission: Submission, next_hop: Postfix, box: Box) -> None:
    """Old programs with "SSL" ticked and 587 typed in. An address not seen before, so that the server waits."""
    name = box()
    with Wire(submission.submission_port, tls=submission.authority, source="127.0.0.31") as wire:
        assert wire.greeting.startswith("220 ")
        assert "STARTTLS" not in wire.say("EHLO vm")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}").startswith("235 ")
        assert wire.deliver("rin@home.test", [f"box-{name}@next.test"], CONTENT).startswith("250 ")
    next_hop.mailbox(name).wait()


def test_plain_without_an_initial_response_gets_an_empty_challenge(submission: Submission) -> None:
    """curl and s-nail; RFC 4954 §4: "334" and a space."""
    with Wire(submission.submission_port).secured(submission) as wire:
        wire.send("AUTH PLAIN\r\n")
        assert wire.line() == b"334 \r\n"
        assert wire.say(plain(submission.login, submission.password)).startswith("235 ")


def test_login_prompts_are_those_that_thunderbird_compares(submission: Submission) -> None:
    with Wire(submission.submission_port).secured(submission) as wire:
        wire.send("AUTH LOGIN\r\n")
        assert wire.line() == b"334 VXNlcm5hbWU6\r\n"
        wire.send(coded(submission.login) + "\r\n")
        assert wire.line() == b"334 UGFzc3dvcmQ6\r\n"
        assert wire.say(coded(submission.password)).startswith("235 ")


def test_login_takes_the_user_name_as_initial_response(submission: Submission) -> None:
    """smtplib."""
    with Wire(submission.submission_port).secured(submission) as wire:
        assert wire.say(f"AUTH LOGIN {coded(submission.login)}") == "334 UGFzc3dvcmQ6"
        assert wire.say(coded(submission.password)).startswith("235 ")


def test_verbs_and_mechanisms_in_lower_case_are_taken(submission: Submission) -> None:
    with Wire(submission.submission_port) as wire:
        wire.say("ehlo vm")
        wire.start_tls(submission.authority)
        wire.say("ehlo vm")
        assert wire.say(f"auth plain {plain(submission.login, submission.password)}").startswith("235 ")
        assert wire.say("mail FROM:<rin@home.test> size=100 body=8bitmime").startswith("250 ")


def test_three_wrong_passwords_leave_the_connection_open(submission: Submission) -> None:
    """smtplib, swaks and Exim try every mechanism on one connection."""
    with Wire(submission.submission_port, source="127.0.0.32").secured(submission) as wire:
        for _ in range(3):
            assert wire.say(f"AUTH PLAIN {plain(submission.login, 'wrong')}").startswith("535 5.7.8 ")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}").startswith("235 ")


def test_what_is_wrong_with_auth_gets_the_code_that_the_rfc_gives_it(submission: Submission) -> None:
    """RFC 4954 §4."""
    with Wire(submission.submission_port, source="127.0.0.33").secured(submission) as wire:
        assert wire.say("AUTH MAGIC").startswith("504 5.5.4 ")
        assert wire.say("AUTH PLAIN !!!").startswith("501 5.5.2 ")
        assert wire.say("AUTH PLAIN") == "334 "
        assert wire.say("*").startswith("501 ")
        assert wire.say("AUTH PLAIN " + "A" * 20_000).startswith("500 ")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}").startswith("235 ")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}").startswith("503 ")


def test_auth_inside_a_transaction_is_refused(submission: Submission) -> None:
    with Wire(submission.submission_port).login(submission) as wire:
        wire.say("MAIL FROM:<rin@home.test>")
        assert wire.say(f"AUTH PLAIN {plain(submission.login, submission.password)}").startswith("503 ")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_an_unknown_account_and_a_wrong_password_look_alike(mechanism: str, submission: Submission) -> None:
    replies, times = [], []
    for number, login in enumerate(["rin@home.test", "nobody@home.test"]):
        source = f"127.0.1.{10 + number + 2 * (mechanism == 'LOGIN')}"
        with Wire(submission.submission_port, source=source).secured(submission) as wire:
            started = time.monotonic()
            if mechanism == "PLAIN":
                replies.append(wire.say(f"AUTH PLAIN {plain(login, 'wrong')}"))
            else:
                wire.say(f"AUTH LOGIN {coded(login)}")
                replies.append(wire.say(coded("wrong")))
            times.append(time.monotonic() - started)
    assert replies[0] == replies[1]
    assert replies[0].startswith("535 5.7.8 ")
    assert abs(times[0] - times[1]) < 0.25  # an unknown account must not be answered at once


def test_scram_goes_as_far_for_an_unknown_account_as_for_a_known_one(submission: Submission) -> None:
    """A server that fails at the first message tells which accounts exist."""
    challenges = []
    for number, login in enumerate(["rin@home.test", "nobody@home.test"]):
        with Wire(submission.submission_port, source=f"127.0.1.{20 + number}").secured(submission) as wire:
            reply = wire.say("AUTH SCRAM-SHA-256 " + coded(f"n,,n={login},r=abcdefghij"))
            assert reply.startswith("334 ")
            challenge = base64.b64decode(reply[4:]).decode()
            challenges.append(re.sub(r"r=[^,]*,s=[^,]*", "r=,s=", challenge))
            nonce = challenge.partition("r=")[2].partition(",")[0]
            proof = coded(f"c=biws,r={nonce},p={coded('x' * 32)}")
            assert wire.say(proof).startswith("535 5.7.8 ")
    assert challenges[0] == challenges[1]
