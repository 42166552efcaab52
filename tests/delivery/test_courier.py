"""The courier from end to end: a queue in memory, a fixed resolver, next hops on loopback ports."""

from __future__ import annotations

import asyncio
import email
import email.policy
import errno
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.delivery.doubles import (
    CONTENT,
    LOOPS,
    NOW,
    Answer,
    Events,
    FixedLookup,
    MemoryContent,
    MemoryQueue,
    Peer,
    Session,
    Stage,
    listening,
    message_to,
)

from sekisho.config import Duration, Endpoint, Secret
from sekisho.delivery import Courier, DeliverySettings, LocalSettings, LocalTransport, RouteSettings, TlsMode
from sekisho.delivery.local import LocalAccount
from sekisho.queue import ContentDamaged, State
from sekisho.smtp import Body, Mailbox

T = TypeVar("T")
SETTINGS: dict[str, Any] = {"idle_timeout": Duration(60.0), "tls": TlsMode.OPPORTUNISTIC}
MX = {"x.example": [(10, "mx1.example"), (20, "mx2.example")], "y.example": [(10, "mx1.example")]}
HOSTS = {"mx1.example": ["127.0.0.1"], "mx2.example": ["127.0.0.2"]}


@pytest.fixture(params=LOOPS, autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "new_loop", request.param)


class Scene:
    """A courier with everything around it."""

    def __init__(
        self,
        peer: Peer | None = None,
        *,
        queue: MemoryQueue | None = None,
        lookup: FixedLookup | None = None,
        routes: tuple[RouteSettings, ...] = (),
        local: LocalSettings | None = None,
        accounts: Callable[[Mailbox], LocalAccount | None] | None = None,
        **settings: Any,
    ) -> None:
        self.queue = queue or MemoryQueue()
        self.events = Events()
        self.now = NOW
        self.lookup = lookup or FixedLookup(dict(MX), dict(HOSTS))
        if peer is not None:
            settings.setdefault("mx_port", peer.port)
        self.settings = DeliverySettings(**{**SETTINGS, **settings})
        self.local = local or LocalSettings()
        self.courier = Courier(
            [self.queue],
            self.settings,
            routes,
            self.local,
            self.lookup,
            accounts,
            self.events,
            "mail.example.jp",
            "en",
            now=lambda: self.now,
            chance=lambda: 0.5,
        )

    async def deliver(self, *messages: Any) -> None:
        before = len(self.queue.done)
        for message in messages:
            assert self.queue.listener is not None
            self.queue.listener(message)
        await self.queue.all_done(before + len(messages))


def play(body: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        failed: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        result = await body()
        assert not failed, failed
        return result

    return Stage.run(run())


def scene(body: Callable[[Scene, Peer], Coroutine[Any, Any, None]], peer: Peer | None = None, **kwargs: Any) -> None:
    """Run *body* with a courier whose MX hosts are *peer* (mx1) and nobody (mx2)."""

    async def run() -> None:
        async with listening(peer or Peer()) as there:
            made = Scene(there, **{name: value() if name == "queue" else value for name, value in kwargs.items()})
            made.courier.start()
            try:
                await body(made, there)
            finally:
                await made.courier.drain(1.0)

    play(run)


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


def route(peer: Peer, **settings: Any) -> RouteSettings:
    defaults: dict[str, Any] = {"tls": TlsMode.NONE, "username": "rin", "password": Secret("pencil")}
    return RouteSettings(name="isp", host="127.0.0.1", port=peer.port, **{**defaults, **settings})


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
