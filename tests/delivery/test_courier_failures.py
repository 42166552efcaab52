"""What the courier does when hosts, DNS, connections or contents fail."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from typing import Any

import pytest
from tests.delivery.doubles import (
    CONTENT,
    Answer,
    FixedLookup,
    MemoryContent,
    MemoryQueue,
    Peer,
    Session,
    Stage,
    listening,
    message_to,
)
from tests.delivery.scene import HOSTS, Scene, play, scene

from sekisho.queue import ContentDamaged, State
from sekisho.smtp import Body

pytestmark = pytest.mark.usefixtures("loop")  # under each event loop there is


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"": b"554 5.7.1 go away\r\n"}, "go away"),
        ({"": b"421 4.3.2 busy\r\n"}, "busy"),
        ({"": None}, "lost"),
        ({"": b"HTTP/1.1 400 Bad Request\r\n"}, "does not speak SMTP"),
        ({"EHLO": b"550 5.7.1 bad name\r\n", "HELO": b"550 5.7.1 bad name\r\n"}, "bad name"),
        ({"MAIL": b"421 4.7.0 too many\r\n"}, "too many"),
        ({"MAIL": None}, "lost"),
    ],
)
def test_a_host_that_will_not_talk_is_passed_over_for_the_next(answers: dict[str, Answer], reason: str) -> None:
    """RFC 5321 §5.1; a 5yz before MAIL is about the host, not about the message."""

    async def run() -> None:
        bad = Peer(answers=dict(answers))
        async with listening(bad):
            good = Peer(port=bad.port)
            async with listening(good, host="127.0.0.2"):
                both = Scene(bad)
                both.courier.start()
                await both.deliver(message_to("a@x.example"))
                assert both.queue.states() == [State.DELIVERED]
                assert len(good.transactions) == 1
                await both.courier.drain(1.0)
            alone = Scene(bad)
            alone.courier.start()
            await alone.deliver(message_to("a@y.example"))
            assert alone.queue.states() == [State.DEFERRED]
            assert reason in alone.queue.outcomes()[0].reply
            assert alone.queue.outcomes()[0].reply.startswith("4")
            await alone.courier.drain(1.0)

    play(run)


def test_a_broken_connection_after_the_content_is_not_tried_elsewhere_at_once() -> None:
    """RFC 1047: the first server may have taken it."""

    async def run() -> None:
        first = Peer(answers={".": None})
        async with listening(first):
            second = Peer(port=first.port)
            async with listening(second, host="127.0.0.2"):
                made = Scene(first)
                made.courier.start()
                await made.deliver(message_to("a@x.example"))
                assert made.queue.states() == [State.DEFERRED]
                assert second.sessions == []
                await made.courier.drain(1.0)

    play(run)


def test_a_connection_closed_while_idle_costs_no_attempt() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example"))
        peer.sessions[0].transport.write(b"421 4.4.2 idle too long\r\n")
        peer.sessions[0].transport.close()
        await asyncio.sleep(0.01)
        await scene.deliver(message_to("b@x.example"))
        assert scene.queue.states() == [State.DELIVERED] * 2
        assert len(peer.sessions) == 2

    scene(body)


def test_a_connection_that_dies_under_the_next_message_is_replaced_at_once() -> None:
    def once(session: Session, _: bytes) -> bytes | None:
        again = len([command for command in session.commands if command.startswith("MAIL")]) > 1
        return None if again else b"250 2.1.0 Ok\r\n"

    async def body(scene: Scene, peer: Peer) -> None:
        for name in ("a", "b", "c"):
            await scene.deliver(message_to(f"{name}@x.example"))
        assert scene.queue.states() == [State.DELIVERED] * 3
        assert len(peer.sessions) == 3

    scene(body, Peer(answers={"MAIL": once}))


def test_the_transaction_after_a_refused_one_begins_with_rset() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("bad@x.example"))
        await scene.deliver(message_to("good@x.example"))
        assert "RSET" in peer.commands()
        assert scene.queue.states() == [State.FAILED, State.DELIVERED]
        assert len(peer.sessions) == 1

    scene(body, Peer(answers={"RCPT TO:<BAD": b"550 5.1.1 no\r\n"}))


def test_recipients_over_the_peers_limit_go_in_the_next_transaction() -> None:
    """RFC 5321 §4.5.3.1.10."""

    def at_most_two(session: Session, _: bytes) -> bytes:
        return b"452 4.5.3 too many recipients\r\n" if len(session.recipients) >= 2 else b"250 2.1.5 Ok\r\n"

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to(*(f"r{number}@x.example" for number in range(5))))
        assert scene.queue.states() == [State.DELIVERED] * 5
        assert [len(recipients) for recipients, _ in peer.transactions] == [2, 2, 1]

    scene(body, Peer(answers={"RCPT": at_most_two}))


@pytest.mark.parametrize(
    ("domain", "lookup", "state", "status"),
    [
        ("missing.example", FixedLookup(), State.FAILED, "5.1.2"),
        ("null.example", FixedLookup({"null.example": [(0, "")]}), State.FAILED, "5.1.10"),
        ("us.example", FixedLookup({"us.example": [(10, "mail.example.jp")]}), State.FAILED, "5.4.6"),
        ("slow.example", FixedLookup({"slow.example": [(0, "?")]}), State.DEFERRED, "4.4.3"),
        ("gone.example", FixedLookup({"gone.example": [(10, "gone")]}), State.FAILED, "5.4.4"),
    ],
)
def test_what_dns_says_decides(domain: str, lookup: FixedLookup, state: State, status: str) -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to(f"a@{domain}"))
        assert scene.queue.states() == [state]
        assert f" {status} " in scene.queue.outcomes()[0].reply

    scene(body, lookup=lookup)


def test_a_destination_where_nobody_answers_is_left_alone_until_the_operator_asks() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        peer.answers = {"": b"421 4.3.2 down\r\n"}
        await scene.deliver(message_to("a@y.example"))
        await scene.deliver(message_to("b@y.example"), message_to("c@y.example"))
        assert scene.queue.states() == [State.DEFERRED] * 3
        assert len(peer.sessions) == 1
        peer.answers = {}
        scene.courier.wake()
        await scene.deliver(message_to("d@y.example"))
        assert len(peer.transactions) == 1

    scene(body)


def test_mail_that_came_through_too_many_servers_is_in_a_loop() -> None:
    """RFC 5321 §6.3."""
    content = b"Received: from a by b\r\n" * 51 + CONTENT

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example"))
        assert scene.queue.outcomes()[0].reply.startswith("554 5.4.6")
        assert peer.sessions == []

    scene(body, queue=lambda: MemoryQueue(content))


@pytest.mark.parametrize(
    ("offers", "message", "content", "reply"),
    [
        (("SIZE 10",), {}, CONTENT, "552 5.3.4"),
        ((), {"body": Body.EIGHTBIT}, CONTENT + b"\xe3\x81\x82\r\n", "554 5.6.3"),
        ((), {"body": Body.EIGHTBIT}, CONTENT, "250 2.0.0"),
        ((), {"smtputf8": True}, "Subject: 凛\r\n\r\n".encode(), "553 5.6.7"),
        ((), {"smtputf8": True}, CONTENT, "250 2.0.0"),
        ((), {"sender": "凛@example.jp", "smtputf8": True}, CONTENT, "553 5.6.7"),
        (("SMTPUTF8", "8BITMIME"), {"sender": "凛@example.jp", "smtputf8": True}, CONTENT, "250 2.0.0"),
    ],
)
def test_what_a_peer_cannot_carry_is_not_sent_to_it(
    offers: tuple[str, ...], message: dict[str, Any], content: bytes, reply: str
) -> None:
    """RFC 1870 §6.1, RFC 6152 §3, RFC 6531 §3.5: declarations may be wrong, the content decides."""

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example", **message))
        assert scene.queue.outcomes()[0].reply.startswith(reply)

    scene(body, Peer(offers=offers), queue=lambda: MemoryQueue(content))


def test_an_international_domain_is_spelled_in_ascii_for_older_servers() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@例え.jp", smtputf8=True))
        assert peer.transactions[0][0] == ["RCPT TO:<a@xn--r8jz45g.jp>"]

    scene(body, lookup=FixedLookup({"例え.jp": [(10, "mx1.example")]}, dict(HOSTS)))


def test_tls_that_does_not_work_does_not_keep_opportunistic_mail_from_being_delivered() -> None:
    """RFC 7435 §3."""

    def no_handshake(session: Session, _: bytes) -> bytes:
        asyncio.get_running_loop().call_later(0.01, session.transport.write, b"this is no handshake\r\n")
        return b"220 2.0.0 go\r\n"

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example"))
        assert scene.queue.states() == [State.DELIVERED]
        first, second = peer.sessions
        assert "STARTTLS" in first.commands
        assert "STARTTLS" not in second.commands

    scene(body, Peer(offers=("STARTTLS",), answers={"STARTTLS": no_handshake}))


def test_a_mistake_of_our_own_defers_the_mail_and_leaves_a_traceback() -> None:
    class Broken(FixedLookup):
        async def mail_exchangers(self, domain: str) -> Any:
            raise RuntimeError("a bug")

    async def run() -> None:
        failed: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        made = Scene(lookup=Broken())
        made.courier.start()
        message = message_to("a@x.example")
        await made.deliver(message)
        assert made.queue.states() == [State.DEFERRED]
        assert made.queue.outcomes()[0].reply.startswith("451 4.3.0")
        assert message.queue_id in failed[0]["message"]
        await made.courier.drain(1.0)

    Stage.run(run())


def test_damaged_content_is_held_for_the_operator() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        scene.queue.stored = ContentDamaged("checksum")
        await scene.deliver(message_to("a@x.example"))
        assert scene.queue.states() == [State.HELD]
        assert peer.sessions == []
        assert scene.events.names() == ["queue.damaged"]

    scene(body)


def test_content_that_cannot_be_read_just_now_waits_for_another_attempt_and_not_for_the_operator() -> None:
    class Crowded(MemoryContent):
        def chunks(self, length: int, /) -> Iterator[bytes]:
            if length > 65_536:  # the header was read, the content itself cannot be
                raise OSError(errno.EMFILE, "Too many open files")
            return super().chunks(length)

    async def body(scene: Scene, peer: Peer) -> None:
        scene.queue.stored = Crowded(CONTENT, large=True)
        await scene.deliver(message_to("a@x.example"))
        assert scene.queue.states() == [State.DEFERRED]
        assert scene.queue.outcomes()[0].reply.startswith("451 4.3.0")
        assert peer.transactions == []

    scene(body, Peer(offers=("8BITMIME",)))


def test_what_is_kept_of_a_reply_is_bounded() -> None:
    """It is written for each recipient, and once more for each in the DSN."""
    endless = b"".join(b"550-5.1.1 " + b"x" * 900 + b"\r\n" for _ in range(90)) + b"550 5.1.1 x\r\n"

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to(*(f"bad{number}@x.example" for number in range(50))))
        assert scene.queue.states() == [State.FAILED] * 50
        assert all(outcome.reply.startswith("550 5.1.1 x") for outcome in scene.queue.outcomes())
        assert all(len(outcome.reply) <= 1000 for outcome in scene.queue.outcomes())
        ((_, octets),) = scene.queue.reports
        assert len(octets) < 50 * 3000

    scene(body, Peer(answers={"RCPT TO": endless}))
