"""The courier's other next hops: smarthosts, Maildir and LMTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.delivery.doubles import CONTENT, FixedLookup, Peer, listening, message_to
from tests.delivery.scene import Scene, play, route, scene

from sekisho.config import Endpoint
from sekisho.delivery import LocalSettings, LocalTransport, RouteSettings, TlsMode
from sekisho.queue import State
from sekisho.smtp import Mailbox

pytestmark = pytest.mark.usefixtures("loop")  # under each event loop there is


def test_a_smarthost_gets_our_login_and_all_the_mail() -> None:
    async def run() -> None:
        peer = Peer(
            offers=("PIPELINING", "AUTH LOGIN PLAIN"),
            answers={"AUTH PLAIN AHJPBGBWZW5JAWW=": b"235 2.7.0 in\r\n", "AUTH": b"535 5.7.8 no\r\n"},
        )
        async with listening(peer):
            made = Scene(peer, routes=(route(peer, mechanisms=("PLAIN",)),))
            made.courier.start()
            await made.deliver(message_to("a@anywhere.example", "b@elsewhere.example"))
            assert made.queue.states() == [State.DELIVERED] * 2
            assert len(peer.transactions) == 1
            assert "AUTH PLAIN AHJpbgBwZW5jaWw=" in peer.commands()
            await made.courier.drain(1.0)

    play(run)


def test_a_refused_login_keeps_the_mail_and_tells_the_operator_but_not_the_password() -> None:
    async def run() -> None:
        peer = Peer(offers=("AUTH PLAIN",), answers={"AUTH": b"535 5.7.8 wrong\r\n"})
        async with listening(peer):
            made = Scene(peer, routes=(route(peer, mechanisms=("PLAIN",)),))
            made.courier.start()
            await made.deliver(message_to("a@anywhere.example"))
            (outcome,) = made.queue.outcomes()
            assert outcome.state is State.DEFERRED
            assert "wrong" in outcome.reply
            assert "route isp" in str(made.events.seen)
            assert "pencil" not in str(made.events.seen) + repr(made.queue.recorded)
            await made.courier.drain(1.0)

    play(run)


def test_a_password_is_not_sent_in_clear_unless_the_operator_named_the_mechanism() -> None:
    async def run() -> None:
        peer = Peer(offers=("AUTH PLAIN LOGIN",))
        async with listening(peer):
            made = Scene(peer, routes=(route(peer),))
            made.courier.start()
            await made.deliver(message_to("a@anywhere.example"))
            assert made.queue.states() == [State.DEFERRED]
            assert not any(command.startswith("AUTH") for command in peer.commands())
            await made.courier.drain(1.0)

    play(run)


def test_required_tls_is_not_given_up() -> None:
    async def run() -> None:
        peer = Peer()
        async with listening(peer):
            made = Scene(peer, routes=(route(peer, tls=TlsMode.REQUIRED),))
            made.courier.start()
            await made.deliver(message_to("a@anywhere.example"))
            assert made.queue.outcomes()[0].reply.startswith("451 4.7.4")
            assert not any(command.startswith(("MAIL", "AUTH")) for command in peer.commands())
            await made.courier.drain(1.0)

    play(run)


def test_a_smarthost_that_dns_does_not_know_never_bounces_mail() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@anywhere.example"))
        assert scene.queue.states() == [State.DEFERRED]

    missing = RouteSettings(name="isp", host="missing.invalid", tls=TlsMode.NONE)
    scene(body, routes=(missing,), lookup=FixedLookup())


class Person:
    def __init__(self, login: str) -> None:
        self.login = login


def people(mailbox: Mailbox) -> Person | None:
    return {"rin@example.jp": Person("rin@example.jp"), "info@example.jp": Person("rin@example.jp")}.get(mailbox.key)


def test_local_mail_is_filed_in_the_maildir_of_the_account_it_means(tmp_path: Path) -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("info@example.jp", "nobody@example.jp", sender="a@x.example"))
        assert scene.queue.states() == [State.DELIVERED, State.FAILED]
        assert scene.queue.outcomes()[1].reply.startswith("550 5.1.1")
        (file,) = (tmp_path / "rin@example.jp" / "new").iterdir()
        octets = file.read_bytes()
        head = b"Return-Path: <a@x.example>\nDelivered-To: info@example.jp\n"
        assert octets == head + CONTENT.replace(b"\r\n", b"\n")
        assert peer.sessions == []

    scene(body, local=LocalSettings(domains=("example.jp",), maildir=tmp_path), accounts=people)


def test_local_delivery_reports_success_as_delivered(tmp_path: Path) -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("rin@example.jp", sender="a@x.example", notify="SUCCESS"))
        assert b"Action: delivered" in scene.queue.reports[0][1]

    scene(body, local=LocalSettings(domains=("example.jp",), maildir=tmp_path), accounts=people)


def test_lmtp_takes_local_mail_over_a_unix_socket(tmp_path: Path) -> None:
    """RFC 2033 §4.2: one reply for each recipient."""

    async def run() -> None:
        path = str(tmp_path / "lmtp")
        peer = Peer(lmtp=True, answers={".": b"250 2.0.0 saved\r\n452 4.2.2 full\r\n"})
        local = LocalSettings(domains=("example.jp",), transport=LocalTransport.LMTP, lmtp=Endpoint("", 0, path))
        async with listening(peer, path):
            made = Scene(local=local)
            made.courier.start()
            await made.deliver(message_to("a@example.jp", "b@example.jp"))
            assert made.queue.states() == [State.DELIVERED, State.DEFERRED]
            assert peer.commands()[0] == "LHLO mail.example.jp"
            await made.courier.drain(1.0)

    play(run)


def test_accounts_that_cannot_be_read_keep_the_mail_waiting(tmp_path: Path) -> None:
    def broken(_: Mailbox) -> Person | None:
        raise OSError("database is locked")

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("rin@example.jp"))
        assert scene.queue.states() == [State.DEFERRED]

    scene(body, local=LocalSettings(domains=("example.jp",), maildir=tmp_path), accounts=broken)
