"""Port 25: mail for the people who are here, from anywhere; a relay for nobody, whatever the trick."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.interop.fixtures import PASSWORD
from tests.interop.instance import Instance
from tests.interop.letter import Submission
from tests.interop.postfix import Postfix
from tests.interop.processes import wait_for
from tests.interop.wire import Wire, plain

Box = Callable[[], str]


TRICKS = [
    "box-x@next.test",
    "box-x%next.test@home.test",
    '"box-x@next.test"@home.test',
    '"box-x%next.test"@home.test',
    "@home.test:box-x@next.test",
    "@mail.home.test,@home.test:box-x@next.test",
    "next.test!box-x@home.test",
    "box-x@next.test@home.test",
    "box-x@next.test@[127.0.0.1]",
    "box-x@[127.0.0.1]",
    "box-x%next.test@[127.0.0.1]",
    "box-x%next.test@mail.home.test",
    "box-x@next.test%home.test",
    "rin@home.test.next.test",
    "rin@home.test\0@next.test",
    " box-x@next.test",
    '"box-x@next.test"',
    "box-x%next.test",
]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("sender", ["", "rin@home.test", "somebody@outside.test"])
def test_port_25_relays_for_nobody(trick: str, sender: str, sekisho: Instance) -> None:
    with Wire(sekisho.mx_port) as wire:
        wire.say("EHLO outside.test")
        mail = wire.say(f"MAIL FROM:<{sender}>")
        reply = wire.say(f"RCPT TO:<{trick}>")
        assert reply.startswith("5"), (mail, reply)
        assert wire.say("DATA").startswith("5")


def test_port_25_has_no_auth_and_says_where_it_is(sekisho: Instance, submission: Submission) -> None:
    with Wire(sekisho.mx_port) as wire:
        assert "AUTH" not in wire.say("EHLO outside.test")
        wire.start_tls(submission.authority)
        assert "AUTH" not in wire.say("EHLO outside.test")
        assert wire.say(f"AUTH PLAIN {plain('rin@home.test', PASSWORD)}").startswith("50")


@pytest.mark.parametrize("sender", ["", "somebody@outside.test"])
def test_port_25_takes_mail_for_the_people_who_are_here(sender: str, sekisho: Instance) -> None:
    subject = f"from outside {time.monotonic_ns()}"
    with Wire(sekisho.mx_port) as wire:
        wire.say("EHLO outside.test")
        content = f"From: somebody@outside.test\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()
        assert wire.deliver(sender, ["aoi@home.test"], content).startswith("250 ")
    mailbox = sekisho.mailbox("aoi@home.test")
    octets = wait_for_subject(mailbox.contents, subject)
    assert octets.startswith(f"Return-Path: <{sender}>".encode())


def test_port_25_refuses_people_who_are_not_here(sekisho: Instance) -> None:
    with Wire(sekisho.mx_port) as wire:
        wire.say("EHLO outside.test")
        wire.say("MAIL FROM:<somebody@outside.test>")
        assert wire.say("RCPT TO:<nobody@home.test>").startswith("550 5.1.1 ")


def test_a_listed_network_relays_without_auth_and_its_neighbor_does_not(
    other: Instance, next_hop: Postfix, box: Box
) -> None:
    name = box()
    with Wire(other.mx_port, source="127.0.0.64") as wire:
        wire.say("EHLO printer.test")
        content = b"From: printer@elsewhere.test\r\nSubject: scan\r\n\r\nhello\r\n"
        assert wire.deliver("printer@elsewhere.test", [f"box-{name}@next.test"], content).startswith("250 ")
    next_hop.mailbox(name).wait()
    with Wire(other.mx_port, source="127.0.0.65") as wire:
        wire.say("EHLO printer.test")
        wire.say("MAIL FROM:<printer@elsewhere.test>")
        assert wire.say(f"RCPT TO:<box-{name}@next.test>").startswith("550 5.7.1 ")


def wait_for_subject(contents: Callable[[], list[bytes]], subject: str) -> bytes:
    def look() -> bytes | None:
        return next((octets for octets in contents() if subject.encode() in octets), None)

    return wait_for(f"a message {subject!r}", look)
