"""The courier from end to end: what arrives, what is reported, how many at a time."""

from __future__ import annotations

import asyncio
import email
import email.policy

import pytest
from tests.delivery.doubles import CONTENT, NOW, Answer, FixedLookup, MemoryQueue, Peer, Session, listening, message_to
from tests.delivery.scene import HOSTS, Scene, play, route, scene

from sekisho.queue import State

pytestmark = pytest.mark.usefixtures("loop")  # under each event loop there is


def test_a_message_reaches_its_next_hop_unchanged() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example"))
        assert peer.transactions == [(["RCPT TO:<a@x.example>"], CONTENT)]
        (outcome,) = scene.queue.outcomes()
        assert outcome.state is State.DELIVERED
        assert outcome.reply == "250 2.0.0 queued"
        assert outcome.next_hop == f"mx1.example[127.0.0.1]:{peer.port}"
        assert scene.events.names() == ["delivery.delivered"]
        assert peer.commands()[0] == "EHLO mail.example.jp"

    scene(body)


def test_a_connection_is_used_again_and_commands_share_one_packet() -> None:
    """RFC 2920 §3.1."""

    async def body(scene: Scene, peer: Peer) -> None:
        for _ in range(5):
            await scene.deliver(message_to("a@x.example"))
        assert len(peer.sessions) == 1
        assert len(peer.transactions) == 5
        assert peer.sessions[0].packets[1].count(b"\r\n") == 3
        assert len(peer.sessions[0].packets) == 1 + 2 * 5

    scene(body)


def test_many_recipients_of_a_destination_share_transactions() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        names = [f"r{number}@x.example" for number in range(250)]
        await scene.deliver(message_to(*names, "other@y.example"))
        assert sorted(len(recipients) for recipients, _ in peer.transactions) == [1, 50, 100, 100]
        assert scene.queue.states() == [State.DELIVERED] * 251

    scene(body)


def test_a_peer_without_pipelining_gets_one_command_at_a_time() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example", "b@x.example"))
        assert peer.transactions[0][1] == CONTENT
        assert all(packet.count(b"\r\n") == 1 for packet in peer.sessions[0].packets[:5])

    scene(body, Peer(offers=("SIZE",)))


def test_a_server_that_knows_no_ehlo_is_greeted_with_helo() -> None:
    """RFC 5321 §3.2."""

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example"))
        assert peer.commands()[:3] == ["EHLO mail.example.jp", "HELO mail.example.jp", "MAIL FROM:<rin@example.jp>"]
        assert peer.transactions

    scene(body, Peer(answers={"EHLO": b"502 5.5.1 what?\r\n"}))


def test_large_content_is_streamed_and_arrives_unchanged() -> None:
    content = b"Subject: big\r\n\r\n" + b".dots and words\r\n" * 60_000

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example", size=len(content)))
        assert peer.transactions[0][1] == content

    scene(body, Peer(offers=("PIPELINING", "8BITMIME")), queue=lambda: MemoryQueue(content, large=True))


def test_each_recipient_gets_its_own_outcome_and_the_sender_one_report() -> None:
    answers: dict[str, Answer] = {
        "RCPT TO:<BAD": b"550 5.1.1 no such user\r\n",
        "RCPT TO:<WORSE": b"553 5.1.3 what a name\r\n",
        "RCPT TO:<BUSY": b"450 4.2.1 later\r\n",
    }

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("good@x.example", "bad@x.example", "busy@x.example", "worse@y.example"))
        assert scene.queue.states() == [State.DELIVERED, State.FAILED, State.DEFERRED, State.FAILED]
        assert scene.queue.outcomes()[2].next_attempt == NOW + 300
        ((arrival, octets),) = scene.queue.reports
        assert arrival.envelope.reverse_path is None
        assert [str(recipient.mailbox) for recipient in arrival.envelope.recipients] == ["rin@example.jp"]
        report = email.message_from_bytes(octets, policy=email.policy.default)
        assert octets.count(b"Action: failed") == 2
        assert b"Final-Recipient: rfc822;bad@x.example" in octets
        assert b"Subject: hello\r\n" in octets
        assert report["To"] == "rin@example.jp"
        assert "dsn.queued" in scene.events.names()

    scene(body, Peer(answers=answers))


@pytest.mark.parametrize(
    ("sender", "notify"), [(None, None), ("rin@example.jp", "NEVER"), ("rin@example.jp", "SUCCESS,DELAY")]
)
def test_nobody_is_told_who_must_not_or_did_not_want_to_be(sender: str | None, notify: str | None) -> None:
    """RFC 5321 §4.5.5, RFC 3461 §4.1."""

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("bad@x.example", sender=sender, notify=notify))
        assert scene.queue.states() == [State.FAILED]
        assert scene.queue.reports == []
        assert ("dsn.dropped" in scene.events.names()) == (sender is None)

    scene(body, Peer(answers={"RCPT": b"550 5.1.1 no\r\n"}))


@pytest.mark.parametrize(("offers", "reports"), [(("PIPELINING",), 1), (("PIPELINING", "DSN"), 0)])
def test_success_is_reported_when_the_next_hop_will_not_do_it(offers: tuple[str, ...], reports: int) -> None:
    """RFC 3461 §5.2.1, §5.2.2."""

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example", notify="SUCCESS,FAILURE"))
        assert scene.queue.states() == [State.DELIVERED]
        assert len(scene.queue.reports) == reports
        assert any("NOTIFY=SUCCESS,FAILURE" in command for command in peer.commands()) == (not reports)
        if reports:
            assert b"Action: relayed" in scene.queue.reports[0][1]
            assert b"Status: 2.0.0" in scene.queue.reports[0][1]

    scene(body, Peer(offers=offers))


def test_mail_that_cannot_be_delivered_in_its_lifetime_comes_back() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(message_to("a@x.example", expires=NOW, attempts=20))
        assert scene.queue.states() == [State.EXPIRED]
        assert b"Action: failed" in scene.queue.reports[0][1]

    scene(body, Peer(answers={"RCPT": b"450 4.2.1 later\r\n"}))


def test_connections_stay_within_the_limit_and_all_mail_gets_its_turn() -> None:
    async def slow(session: Session) -> None:
        await asyncio.sleep(0.02)
        session.transport.write(b"250 2.0.0 queued\r\n")

    tasks: set[asyncio.Task[None]] = set()

    def later(session: Session, _: bytes) -> bytes:
        task = asyncio.get_running_loop().create_task(slow(session))
        tasks.add(task)
        return b""

    async def body(scene: Scene, peer: Peer) -> None:
        await scene.deliver(*(message_to(f"r{number}@d{number % 7}.example") for number in range(40)))
        assert scene.queue.states() == [State.DELIVERED] * 40
        assert len(scene.courier._connections) <= 3
        await asyncio.gather(*tasks)

    mx = {f"d{number}.example": [(10, "mx1.example")] for number in range(7)}
    scene(body, Peer(answers={".": later}), lookup=FixedLookup(mx, dict(HOSTS)), max_connections=3)


def test_a_peer_that_falls_silent_is_given_up_at_the_deadline() -> None:
    async def body(scene: Scene, peer: Peer) -> None:
        assert scene.queue.listener is not None
        scene.queue.listener(message_to("a@y.example"))
        await peer.heard("EHLO")
        await asyncio.sleep(0)
        for connection in list(scene.courier._connections):
            connection.tick(connection.deadline - 1)
            connection.tick(connection.deadline)
        await scene.queue.all_done(1)
        assert "did not answer in time" in scene.queue.outcomes()[0].reply

    scene(body, Peer(answers={"EHLO": b""}))


def test_draining_lets_the_transaction_under_way_finish_and_begins_no_other() -> None:
    async def run() -> None:
        peer = Peer(answers={".": b""})
        async with listening(peer):
            made = Scene(peer)
            made.courier.start()
            assert made.queue.listener is not None
            first, second = message_to("a@x.example"), message_to("b@x.example")
            made.queue.listener(first)
            await peer.heard("DATA")
            drained = asyncio.ensure_future(made.courier.drain(5.0))
            await asyncio.sleep(0.01)
            made.queue.listener(second)
            peer.sessions[0].transport.write(b"250 2.0.0 queued\r\n")
            await drained
            assert [message for message, _ in made.queue.recorded] == [first]
            assert made.queue.states() == [State.DELIVERED]

    play(run)


def test_a_reload_changes_the_way_of_the_next_message() -> None:
    async def run() -> None:
        async with listening(Peer()) as before, listening(Peer()) as after:
            made = Scene(before)
            made.courier.start()
            await made.deliver(message_to("a@x.example"))
            made.courier.reload(made.settings, (route(after, username=None, password=None),), made.local)
            await made.deliver(message_to("b@x.example"))
            assert len(before.transactions) == 1
            assert len(after.transactions) == 1
            await made.courier.drain(1.0)

    play(run)
