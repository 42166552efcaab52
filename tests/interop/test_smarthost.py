"""Routes and smarthosts, from both sides: an office's Postfix sends through us, and we send through another server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import PASSWORD, ROUTED
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix
from tests.interop.wire import Wire

Box = Callable[[], str]


def test_an_offices_server_sends_everything_through_us(
    sekisho: Instance, smarthost_client: Postfix, next_hop: Postfix, box: Box
) -> None:
    name = box()
    letter = Letter("printer@home.test", f"box-{name}@next.test")

    smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())

    (octets,) = next_hop.mailbox(name).wait()
    assert letter.is_text_of(parse(octets))
    assert "(250 2.0.0 " in smarthost_client.wait_for_log(f"to=<{letter.recipient}>")
    assert sekisho.mechanism_used(letter.recipient) == "SCRAM-SHA-256"


def test_the_offices_own_bounces_pass_with_the_null_reverse_path(
    smarthost_client: Postfix, next_hop: Postfix, box: Box
) -> None:
    """Its DSN for mail that it could not deliver itself: MAIL FROM:<> under the same account."""
    name = box()
    letter = Letter(f"box-{name}@next.test", "nobody@closed.test", subject="cannot be delivered")

    smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())

    (octets,) = next_hop.mailbox(name).wait()
    assert octets.startswith(b"Return-Path: <>\n")
    assert parse(octets).get_content_type() == "multipart/report"


def test_many_messages_at_once_come_through_once_each(smarthost_client: Postfix, next_hop: Postfix, box: Box) -> None:
    names = [box() for _ in range(30)]
    for name in names:
        letter = Letter("printer@home.test", f"box-{name}@next.test", subject=f"number {name}", text="x\n" * 2000)
        smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())
    for name in names:
        assert len(next_hop.mailbox(name).wait(seconds=40)) == 1


@pytest.mark.parametrize("way", ROUTED)
def test_a_route_leads_through_another_smarthost_with_tls_and_auth(
    way: str, submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """Our client against Postfix and Dovecot: each mechanism, the best one offered, and implicit TLS."""
    name = box()
    send(submission, f"box-{name}@{ROUTED[way]}")

    (octets,) = next_hop.mailbox(name).wait()

    received = parse(octets).get_all("Received", [])[0]
    assert "with ESMTPSA" in received
    assert "(Authenticated sender: rin@mail.test)" in received
    expected = way if way.isupper() else "SCRAM-SHA-256"
    identifier = received.partition("with ESMTPSA id ")[2].split()[0].rstrip(";")
    assert f"sasl_method={expected}," in next_hop.wait_for_log(f"{identifier}: client=")


def test_a_route_can_be_that_of_an_account(
    sekisho: Instance, authority: Authority, next_hop: Postfix, box: Box
) -> None:
    name = box()
    ports = sekisho.submission_port, sekisho.submissions_port
    send(Submission(*ports, authority.certificate, "routed@home.test", PASSWORD), f"box-{name}@next.test")
    (octets,) = next_hop.mailbox(name).wait()
    assert "(Authenticated sender: rin@mail.test)" in parse(octets).get_all("Received", [])[0]


@pytest.mark.parametrize("domain", ["wrong.routed.test", "clear.routed.test"], ids=["wrong password", "wrong name"])
def test_mail_waits_when_the_smarthost_refuses_the_login_or_proves_no_name(
    domain: str, sekisho: Instance, submission: Submission, next_hop: Postfix, box: Box
) -> None:
    """A mistake of ours or an attack: neither is the sender's fault, and nothing goes out unprotected."""
    name = box()
    recipient = f"box-{name}@{domain}"
    send(submission, recipient)

    queue_id = str(sekisho.wait_for_event(event="delivery.deferred", about=recipient)["queue_id"])
    assert "deferred" in sekisho.did("queue", "show", queue_id)
    sekisho.did("queue", "delete", queue_id)
    assert next_hop.mailbox(name).contents() == []


def send(submission: Submission, recipient: str) -> None:
    content = f"From: {submission.login}\r\nSubject: routed\r\n\r\nhello\r\n".encode()
    with Wire(submission.submission_port).login(submission) as wire:
        assert wire.deliver(submission.login, [recipient], content).startswith("250 ")
