"""What a client may do: who it is, whom it writes as, whom it writes to, and how much."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import itertools
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.client import Client, encoded, plain, stuffed
from tests.server.station import ACCOUNTS, LETTER, LISTENER, PASSWORD, POLICY, TLS_ONLY, Station, opened, run

from sekisho.accounts import Account
from sekisho.config import Duration, Size
from sekisho.policy import PolicySettings
from sekisho.queue import QueueSettings
from sekisho.server import Kind, RelaySettings
from sekisho.smtp import Mailbox, replies

RIN = "rin@example.jp"
MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1")


def letter(*fields: str, body: str = "Hello.\r\n") -> str:
    """A message with just these header fields."""
    return "".join(f"{field}\r\n" for field in fields) + f"\r\n{body}"


def of_rin(*fields: str) -> str:
    return letter("From: Rin <rin@example.jp>", *fields)


# Who it is


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_client_logs_in_by_any_mechanism_and_sends(tmp_path: Path, mechanism: str) -> None:
    """RFC 4954."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            client = Client(station.server("submissions"))
            client.start_tls()
            await client.greeted()
            assert (await client.log_in_by(mechanism)).code == 235
            assert (await client.submit(LETTER)).code == 250
            assert (await station.only()).message.account == RIN
            (event,) = station.events("auth.accepted")
            assert (event["account"], event["mechanism"]) == (RIN, mechanism)

    run(main())


@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_nothing_is_sent_without_a_login(tmp_path: Path, kind: Kind) -> None:
    """RFC 6409 §4.3."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server(kind))
            if kind == "submissions":
                client.start_tls()
            await client.greeted()
            assert str(await client.say(f"MAIL FROM:<{RIN}>")).startswith("530 5.7.0")
            assert await client.say_all("RCPT TO:<kei@example.net>", "DATA") == [503, 503]
            assert await station.kept() == []

    run(main())


def test_no_login_is_possible_where_mail_from_elsewhere_comes_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            assert "AUTH" not in (await client.say("EHLO client.example")).text
            assert (await client.log_in()).code >= 500

    run(main())


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_unknown_account_looks_the_same_as_a_wrong_password(tmp_path: Path, mechanism: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            heard = []
            for name in (RIN, "nobody@example.jp", "nobody@elsewhere.example", "ghost"):
                client = Client(station.server("submissions"))
                client.start_tls()
                await client.greeted()
                heard.append(str(await client.log_in_by(mechanism, name, "wrong")))
            assert set(heard) == {str(replies.AUTH_FAILED)}
            assert [event["detail"] for event in station.events("auth.refused")].count("unknown account") == 3

    run(main())


def test_several_wrong_passwords_may_come_before_the_right_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            for password in ("one", "two", "three", "four"):
                assert (await client.log_in(password=password)).code == 535
            assert (await client.log_in()).code == 235
            assert (await client.submit(LETTER)).code == 250

    run(main())


def test_a_wrong_password_is_answered_late_and_later(tmp_path: Path) -> None:
    policy = replace(POLICY, auth_delay=Duration(0.04), auth_max_delay=Duration(0.1))

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            client = await station.client()
            waits = []
            for password in ("one", "two", "three", "four"):
                begin = time.monotonic()
                assert (await client.log_in(password=password)).code == 535
                waits.append(time.monotonic() - begin)
            assert all(wait >= least for wait, least in zip(waits, (0.04, 0.08, 0.1, 0.1), strict=True))

    run(main())


def test_too_many_wrong_passwords_put_even_the_right_one_off(tmp_path: Path) -> None:
    """RFC 4954 §6: 454 is a failure that passes."""
    policy = replace(POLICY, auth_failures_per_address=3)

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            server = station.server()
            for password in ("one", "two", "three"):
                client = await station.client(server=server)
                assert (await client.log_in(password=password)).code == 535
            assert str(await (await station.client(server=server)).log_in()).startswith("454 4.7.0")
            assert (await (await station.client("192.0.2.8", server)).log_in()).code == 235
            station.clock.now += 2 * float(policy.auth_window)
            assert (await (await station.client(server=server)).log_in()).code == 235

    run(main())


@pytest.mark.parametrize("spread", [False, True])
def test_guesses_at_the_same_moment_get_no_further_than_guesses_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    policy = replace(POLICY, auth_failures_per_address=4, auth_failures_per_account=4)

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            authenticator, opens, tried = station.services.authenticator, station.services.authenticator.opens, []

            async def count(entry: object, password: str, *, name: str) -> bool:
                tried.append(password)
                await asyncio.sleep(0.01)
                return await opens(entry, password, name=name)  # type: ignore[arg-type]  # passed through

            monkeypatch.setattr(authenticator, "opens", count)
            server = station.server()
            clients = [await station.client(f"192.0.2.{n if spread else 1}", server) for n in range(30)]
            heard = await asyncio.gather(*(c.log_in(password=f"guess {n}") for n, c in enumerate(clients)))
            codes = [reply.code for reply in heard]
            assert (codes.count(535), codes.count(454)) == (4, 26)
            assert len(tried) == 4

    run(main())


def test_an_office_that_logs_in_at_the_same_moment_is_no_attack(tmp_path: Path) -> None:
    policy = replace(POLICY, auth_failures_per_address=2, auth_failures_per_account=2)

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            server = station.server()
            clients = [await station.client(server=server) for _ in range(12)]
            heard = await asyncio.gather(*(client.log_in() for client in clients))
            assert {reply.code for reply in heard} == {235}

    run(main())


@pytest.mark.parametrize("way", ["*", "no base64!", "line too long", "left", "malformed"])
def test_a_login_given_up_in_its_middle_is_no_wrong_password(tmp_path: Path, way: str) -> None:
    policy = replace(POLICY, auth_failures_per_address=1, auth_failures_per_account=1)

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            server = station.server("submissions")
            for _ in range(3):
                client = Client(server)
                client.start_tls()
                await client.greeted()
                reply = await client.say(f"AUTH SCRAM-SHA-256 {encoded(b'n,,n=rin@example.jp,r=fixed')}")
                assert reply.code == 334
                if way == "left":
                    client.leave()
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                else:
                    answer = {"line too long": "x" * 20_000, "malformed": encoded(b"what?")}.get(way, way)
                    assert (await client.say(answer)).code in (500, 501)
            client = Client(server)
            client.start_tls()
            assert (await (await client.greeted()).log_in()).code == 235

    run(main())


def test_an_answer_to_no_challenge_is_no_login(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            assert (await client.say(f"AUTH LOGIN {encoded(RIN.encode())}")).code == 334
            assert (await client.say("*")).code == 501
            assert (await client.say(encoded(PASSWORD.encode()))).code == 500
            assert (await client.say(f"MAIL FROM:<{RIN}>")).code == 530

    run(main())


def test_a_suspended_account_is_told_so_with_the_right_password_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            station.services.accounts.suspend(RIN, "sent junk")
            client = await station.client()
            assert str(await client.log_in(password="wrong")).startswith("535 5.7.8")
            reply = await client.log_in()
            assert str(reply).startswith("535 5.7.13")
            assert "junk" not in reply.text
            assert station.events("auth.refused")[1]["detail"] == "sent junk"
            assert (await client.say(f"MAIL FROM:<{RIN}>")).code == 530

    run(main())


@pytest.mark.parametrize("change", ["suspended", "deleted", "made anew", "narrowed"])
def test_what_the_operator_changes_counts_from_the_next_message_of_a_session_on(tmp_path: Path, change: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client, accounts = await station.sender(), station.services.accounts
            assert (await client.submit(LETTER, sender="sales@example.jp")).code == 250
            if change == "suspended":
                accounts.suspend(RIN, "sends junk")
            elif change == "narrowed":
                accounts.remove_identity(RIN, "sales@example.jp")
            else:
                accounts.delete(RIN)
                if change == "made anew":
                    accounts.add(RIN, PASSWORD, identities=["sales@example.jp"])
            expected = "550 5.7.1 You may not" if change == "narrowed" else "550 5.7.13"
            assert str(await client.submit(LETTER, sender="sales@example.jp")).startswith(expected)
            assert len(await station.kept()) == 1
            assert len(station.events("message.refused")) == 1
            if change == "suspended":
                accounts.resume(RIN)
                assert (await client.submit(LETTER)).code == 250

    run(main())


def test_a_new_password_ends_what_the_old_one_opened(tmp_path: Path) -> None:
    """Whoever stole the old one keeps the connection open; the owner's mail program just logs in again."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client, accounts = await station.sender(), station.services.accounts
            assert (await client.submit(LETTER)).code == 250
            accounts.add_identity(RIN, "other@example.jp")
            assert (await client.submit(LETTER)).code == 250
            accounts.set_password(RIN, "another word for it")
            assert str(await client.submit(LETTER)).startswith("421 4.7.0")
            await client.gone()
            assert len(await station.kept()) == 2

    run(main())


def test_when_no_password_can_be_checked_the_client_is_asked_to_come_back(tmp_path: Path) -> None:
    """RFC 4954 §6."""
    accounts = replace(ACCOUNTS, hashing_backlog=0)

    async def main() -> None:
        async with opened(tmp_path, accounts=accounts) as station:
            server = station.server()
            clients = [await station.client(server=server) for _ in range(8)]
            heard = await asyncio.gather(*(c.log_in(password=f"wrong {n}") for n, c in enumerate(clients)))
            assert {str(reply)[:9] for reply in heard} == {"535 5.7.8", "454 4.7.0"}

    run(main())


def test_no_secret_reaches_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            secret = encoded(b"hunter2 hunter2")
            await client.log_in(password="hunter2 hunter2")
            await client.say(f"AUTH LOGIN {encoded(RIN.encode())}")
            await client.say(secret)
            await client.say(f"AUTH PLAIN {secret} {secret}")
            await client.say(secret)
            station.services.events.flush()
            written = "".join(path.read_text() for path in station.services.events.directory.iterdir())
            assert written.count("auth.refused") == 2
            assert "hunter2" not in written
            assert secret not in written
            assert secret.rstrip("=") not in written

    run(main())


# Whom it writes as


@pytest.mark.parametrize(
    ("login", "sender", "expected"),
    [
        (RIN, RIN, "250"),
        (RIN, "RIN@Example.JP", "250"),
        (RIN, "rin+shop@example.jp", "250"),
        (RIN, "sales@example.jp", "250"),
        (RIN, "ken@example.jp", "550 5.7.1"),
        (RIN, "rin@example.net", "550 5.7.1"),
        (RIN, "", "550 5.7.1"),
        ("gate@example.jp", "anybody@branch.example", "250"),
        ("gate@example.jp", "", "250"),
        ("gate@example.jp", RIN, "550 5.7.1"),
    ],
)
def test_the_reverse_path_belongs_to_the_account(tmp_path: Path, login: str, sender: str, expected: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender(login)
            reply = await client.say(f"MAIL FROM:<{sender}>")
            assert str(reply).startswith(expected)
            if expected != "250":
                assert login in reply.text or not sender
                assert (await client.say("RCPT TO:<kei@example.net>")).code == 503
                assert station.events("message.refused")[0]["sender"] == (sender or "<>")

    run(main())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (letter("From: Rin <rin@example.jp>"), "250"),
        (letter("From: sales@example.jp, Rin <rin@example.jp>"), "250"),
        (letter("From: Ken <ken@example.jp>"), "550 5.7.1"),
        (letter("From: rin@example.jp, ken@example.jp"), "550 5.7.1"),
        (letter('From: "rin@example.jp" <ken@example.jp>'), "550 5.7.1"),
        (letter("From: rin@example.jp", "From: ken@example.jp"), "550 5.6.0"),
        (letter("From: rin@example.jp", "from : ken@example.jp"), "550 5.6.0"),
        (letter("To: kei@example.net"), "550 5.6.0"),
        (letter("From: "), "550 5.6.0"),
        (letter("From: rin@"), "550 5.6.0"),
        (letter("From: rin@example.jp", "no field at all"), "554 5.6.0"),
        ("no header at all\r\n", "554 5.6.0"),
        ("", "550 5.6.0"),
    ],
)
def test_the_from_field_belongs_to_the_account(tmp_path: Path, content: str, expected: str) -> None:
    """RFC 6409 §6.1, RFC 5322 §3.6."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            assert str(await client.submit(content)).startswith(expected)
            assert len(await station.kept()) == (expected == "250")
            assert len(station.events("message.refused")) == (expected != "250")
            assert station.queue._memory.octets == 0
            assert (await client.submit(LETTER)).code == 250

    run(main())


@pytest.mark.parametrize(
    ("login", "author", "expected"),
    [
        ("gate@example.jp", "MAILER-DAEMON@branch.example", 250),
        ("gate@example.jp", "postmaster@mx1.branch.example", 250),
        ("gate@example.jp", "mailer-daemon@example.net", 550),
    ],
)
def test_a_smarthost_account_sends_its_own_bounces(tmp_path: Path, login: str, author: str, expected: int) -> None:
    """RFC 5321 §4.5.5."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender(login)
            assert (await client.submit(letter(f"From: {author}"), sender="")).code == expected
            if expected == 250:
                assert (await station.only()).message.reverse_path is None

    run(main())


# How much


def test_the_messages_of_an_hour_are_limited(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, policy=replace(POLICY, messages_per_hour=2)) as station:
            client = await station.sender()
            for _ in range(2):
                assert (await client.submit(LETTER)).code == 250
            assert str(await client.say(f"MAIL FROM:<{RIN}>")).startswith("450 4.7.1")
            ken = await station.sender("ken@example.jp")
            assert (await ken.submit(letter("From: ken@example.jp"), sender="ken@example.jp")).code == 250
            station.clock.now += 7200
            assert (await client.submit(LETTER)).code == 250

    run(main())


def test_the_recipients_of_an_hour_are_limited(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, policy=replace(POLICY, recipients_per_hour=3)) as station:
            client = await station.sender()
            assert (await client.submit(LETTER, "a@example.net", "b@example.net")).code == 250
            assert await client.say_all(f"MAIL FROM:<{RIN}>", "RCPT TO:<c@example.net>") == [250, 250]
            assert str(await client.say("RCPT TO:<d@example.net>")).startswith("450 4.7.1")
            assert (await client.say("DATA")).code == 354
            client.send(stuffed(LETTER))
            assert (await client.replies(1))[0].code == 250
            assert [len(kept.recipients) for kept in await station.kept()] == [2, 1]

    run(main())


def test_two_sessions_cannot_take_the_same_last_place(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, policy=replace(POLICY, messages_per_hour=1)) as station:
            server = station.server()
            clients = [await station.sender(server=server) for _ in range(3)]
            for client in clients:
                assert await client.say_all(f"MAIL FROM:<{RIN}>", "RCPT TO:<kei@example.net>", "DATA") == [
                    250,
                    250,
                    354,
                ]
            for client in clients:
                client.send(stuffed(LETTER))
            codes = [(await client.replies(1))[0].code for client in clients]
            assert sorted(codes) == [250, 450, 450]
            await station.only()

    run(main())


@pytest.mark.parametrize(("failure", "expected"), [("disk", "451 4.3.0"), ("full", "452 4.3.1")])
def test_a_message_that_could_not_be_kept_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, expected: str
) -> None:
    async def main() -> None:
        async with opened(tmp_path, policy=replace(POLICY, messages_per_hour=1)) as station:
            client = await station.sender()
            if failure == "full":
                monkeypatch.setattr(station.queue, "has_room", lambda octets=0: octets < 100)
            else:
                station.commits_fail()
            assert str(await client.submit(LETTER, "a@example.net", "b@example.net")).startswith(expected)
            assert station.services.limits.used(client_account(client), station.clock.now) == (0, 0)
            station.queue._commits.leg = None
            monkeypatch.undo()
            assert await station.kept() == []
            assert station.events("message.accepted") == []
            assert len(station.events("queue.full")) == (failure == "full")
            assert station.queue._memory.octets == 0
            assert (await client.submit(LETTER)).code == 250

    run(main())


def client_account(client: Client) -> Account:
    """Who the session takes the client for."""
    session = client.conversation._session
    assert session is not None
    assert session.account is not None
    return session.account


def test_without_room_a_message_is_put_off_before_it_is_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, queue=QueueSettings(minimum_free=Size(1 << 60))) as station:
            client = await station.sender()
            assert str(await client.submit(LETTER)).startswith("452 4.3.1")
            assert (await client.say("RCPT TO:<kei@example.net>")).code == 503

    run(main())


def test_a_message_bigger_than_the_room_is_put_off_at_its_announcement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 1870 §6.1."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            monkeypatch.setattr(station.queue, "has_room", lambda octets=0: octets < 1_000_000)
            client = await station.sender()
            assert str(await client.say(f"MAIL FROM:<{RIN}> SIZE=1000000")).startswith("452 4.3.1")
            assert (await client.say(f"MAIL FROM:<{RIN}> SIZE=999999")).code == 250

    run(main())


# Whom it writes to


NOT_OURS = [
    ("kei@example.net", "550 5.7.1"),
    ("kei@sub.example.jp", "550 5.7.1"),
    ("kei@[192.0.2.1]", "550 5.7.1"),
    ("@example.jp:kei@example.net", "550 5.7.1"),
    ("@example.jp,@mail.example.jp:kei@example.net", "550 5.7.1"),
    ("kei%example.net@example.jp", "550 5.1.1"),
    ('"kei@example.net"@example.jp', "550 5.1.1"),
    ('"kei@example.net"', "501"),
    ("example.net!kei@example.jp", "550 5.1.1"),
    ("kei@example.net@example.jp", "501"),
    ("ken@example.jp@example.net", "501"),
    ("kei@example.net%example.jp", "501"),
    ("kei", "501"),
    ("ken@example.jp.", "501"),
    ("nobody@example.jp", "550 5.1.1"),
    ("nobody@mail.example.jp", "550 5.1.1"),
]


@pytest.mark.parametrize(("recipient", "expected"), NOT_OURS)
def test_the_mx_listener_relays_for_nobody_whatever_the_address_looks_like(
    tmp_path: Path, recipient: str, expected: str
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            assert (await client.say("MAIL FROM:<ken@example.jp>")).code == 250
            assert str(await client.say(f"RCPT TO:<{recipient}>")).startswith(expected)
            assert (await client.say("DATA")).code == 554
            assert await station.kept() == []

    run(main())


@pytest.mark.parametrize(
    "recipient", ["ken@example.jp", "KEN@EXAMPLE.JP", "ken+list@example.jp", "@a.example:ken@example.jp"]
)
def test_the_mx_listener_takes_mail_for_mailboxes_here_from_anybody(tmp_path: Path, recipient: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            content = letter("From: somebody@example.org", "Bcc: hidden@example.org")
            assert (await client.submit(content, recipient, sender="x@example.org")).code == 250
            kept = await station.only()
            assert kept.message.account is None
            assert kept.recipients[0].lower().startswith("ken")
            assert kept.fields("Bcc") == ["hidden@example.org"]
            assert kept.fields("Message-ID") == []

    run(main())


def test_the_null_reverse_path_comes_in_through_the_mx_listener(tmp_path: Path) -> None:
    """RFC 5321 §4.5.5."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            assert (await client.submit(letter("Subject: returned"), "ken@example.jp", sender="")).code == 250
            assert (await station.only()).message.reverse_path is None

    run(main())


@pytest.mark.parametrize("kind", ["mx", "submission"])
def test_postmaster_without_a_domain_is_the_one_of_this_host(tmp_path: Path, kind: Kind) -> None:
    """RFC 5321 §4.5.1."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server(kind))
            if kind == "submission":
                await client.log_in()
            assert (await client.submit(LETTER, "Postmaster")).code == 250
            assert (await station.only()).recipients == ["postmaster@mail.example.jp"]

    run(main())


def test_an_account_writes_to_anybody_but_not_to_mailboxes_missing_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            await client.say(f"MAIL FROM:<{RIN}>")
            assert (await client.say("RCPT TO:<kei@example.net>")).code == 250
            assert (await client.say("RCPT TO:<ken@example.jp>")).code == 250
            assert str(await client.say("RCPT TO:<nobody@example.jp>")).startswith("550 5.1.1")
            assert station.events("message.refused")[0]["recipients"] == ["nobody@example.jp"]

    run(main())


LISTED = RelaySettings(networks=(ipaddress.ip_network("192.0.2.0/28"), ipaddress.ip_network("2001:db8::/32")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", 250),
        ("::ffff:192.0.2.7", 250),
        ("2001:db8::7", 250),
        ("192.0.2.16", 550),
        ("2001:db9::7", 550),
    ],
)
def test_a_listed_network_relays_through_the_mx_listener(tmp_path: Path, address: str, expected: int) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client(address, station.server("mx"))
            content = letter("From: printer@example.jp", "Bcc: hidden@example.net")
            assert (await client.submit(content, sender="printer@example.jp")).code == expected
            if expected == 250:
                kept = await station.only()
                assert kept.recipients == ["kei@example.net"]
                assert kept.fields("Bcc") == []
                assert len(kept.fields("Message-ID")) == 1
                assert (await client.submit(content, "nobody@example.jp")).code == 550

    run(main())


def test_a_network_taken_from_the_list_relays_no_more_in_open_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client("192.0.2.7", station.server("mx"))
            content = letter("From: printer@example.jp")
            assert (await client.submit(content, sender="printer@example.jp")).code == 250
            station.services.relay = RelaySettings()
            assert (await client.submit(content, sender="printer@example.jp")).code == 550

    run(main())


def test_a_listed_network_must_log_in_to_submit(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client("192.0.2.7")
            assert (await client.say("MAIL FROM:<printer@example.jp>")).code == 530

    run(main())


# The envelope on its way to the queue


def test_the_envelope_is_kept_as_it_was_given(tmp_path: Path) -> None:
    """RFC 3461 §4."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            await client.say(f"MAIL FROM:<{RIN}> BODY=8BITMIME RET=HDRS ENVID=e+2B1 SMTPUTF8")
            await client.say("RCPT TO:<kei@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;k@example.net")
            await client.say("RCPT TO:<梨@example.net> NOTIFY=NEVER")
            await client.say("DATA")
            client.send(stuffed(LETTER))
            assert (await client.replies(1))[0].code == 250
            message = (await station.only()).message
            assert (message.body.value, message.smtputf8, message.ret, message.envid) == (
                "8BITMIME",
                True,
                "HDRS",
                "e+2B1",
            )
            first, second = message.recipients
            assert (str(first.mailbox), first.notify, first.orcpt) == (
                "kei@example.net",
                "SUCCESS,FAILURE",
                "rfc822;k@example.net",
            )
            assert (str(second.mailbox), second.notify) == ("梨@example.net", "NEVER")

    run(main())


def test_eight_bit_content_is_known_as_such_even_undeclared(tmp_path: Path) -> None:
    """RFC 6152; old clients send it without a word."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            assert (await client.submit(LETTER + "こんにちは\r\n")).code == 250
            assert (await station.only()).message.body.value == "8BITMIME"

    run(main())


def test_a_transaction_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    """RFC 5321 §4.1.4, §4.1.1.5."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            for end in ("RSET", "EHLO client.example", "DATA"):
                await client.say_all(f"MAIL FROM:<{RIN}>", f"RCPT TO:<{end[:4]}@example.net>")
                if end == "DATA":
                    await client.say(end)
                    client.send(stuffed("no header"))
                    assert (await client.replies(1))[0].code == 554
                else:
                    assert (await client.say(end)).code == 250
                assert (await client.say("RCPT TO:<kei@example.net>")).code == 503
            assert (await client.submit(LETTER)).code == 250
            assert (await station.only()).recipients == ["kei@example.net"]

    run(main())


def test_content_by_chunks_is_kept_as_content_by_lines(tmp_path: Path) -> None:
    """RFC 3030."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            await client.say_all(f"MAIL FROM:<{RIN}>", "RCPT TO:<kei@example.net>")
            octets = LETTER.encode() + b".\r\n..\r\n"
            client.send(b"BDAT 20\r\n" + octets[:20] + b"BDAT %d LAST\r\n" % (len(octets) - 20) + octets[20:])
            assert [reply.code for reply in await client.replies(2)] == [250, 250]
            assert (await client.submit(octets)).code == 250
            by_chunks, by_lines = await station.kept()
            assert by_chunks.content.endswith(octets)
            assert by_lines.content.endswith(octets)

    run(main())


@pytest.mark.parametrize("octets", [b"bare\nLF\r\n", b"bare\rCR\r\n", b"nul\0\r\n"])
def test_content_that_two_readers_could_read_differently_is_refused(tmp_path: Path, octets: bytes) -> None:
    """RFC 5321 §2.3.8."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            assert str(await client.submit(LETTER.encode() + octets)).startswith("554 5.6.0")
            assert await station.kept() == []
            assert (await client.submit(LETTER)).code == 250

    run(main())


def test_a_session_that_sent_mail_is_told_by_its_messages_and_one_that_did_not_by_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server()
            client = await station.sender(server=server)
            assert (await client.submit(LETTER, "a@example.net", "b@example.net")).code == 250
            await client.say("QUIT")
            other = await station.sender(server=server)
            await other.say("QUIT")
            await asyncio.sleep(0.01)
            (accepted,) = station.events("message.accepted")
            (closed,) = station.events("session.closed")
            assert accepted["recipients"] == ["a@example.net", "b@example.net"]
            assert (accepted["client"], accepted["hello"], accepted["account"]) == ("192.0.2.7", "client.example", RIN)
            assert closed["session"] != accepted["session"]
            assert closed["account"] == RIN

    run(main())


def test_an_accepted_message_tells_its_client_program(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            assert (await client.submit(f"X-Mailer: Becky! ver. 2.81.06 [ja]\r\n{LETTER}")).code == 250
            assert (await client.submit(LETTER)).code == 250
            told = [event.get("agent") for event in station.events("message.accepted")]
            assert told == ["Becky! ver. 2.81.06 [ja]", None]

    run(main())


@pytest.mark.parametrize(
    ("kind", "commands", "event", "reason", "tried"),
    [
        ("mx", ("AUTH PLAIN AGEAYg==",), "command.refused", "tls-required", "auth"),
        ("mx", ("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"), "message.refused", "relay-denied", "relay"),
        ("submission", (f"MAIL FROM:<{RIN}>",), "command.refused", "tls-required", "cleartext"),
    ],
)  # fmt: skip
def test_what_was_tried_the_old_way_is_told_when_the_session_ends(
    tmp_path: Path, kind: Kind, commands: tuple[str, ...], event: str, reason: str, tried: str
) -> None:
    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            client = Client(station.server(kind))
            await client.greeted()
            for command in ("EHLO x", *commands):
                reply = await client.say(command)
            assert reply.is_permanent
            await client.say("QUIT")
            await client.gone()
            await asyncio.sleep(0.01)
            assert station.events(event)[-1]["reason"] == reason
            (closed,) = station.events("session.closed")
            assert (closed["listener"], closed["tried"]) == (kind, tried)

    run(main())


def test_a_refused_login_is_told_under_the_name_that_the_account_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            for name in ("RIN@example.jp", RIN):
                await client.log_in(name, "wrong")
            first, second = station.events("auth.refused")
            assert (first["account"], first["claimed"]) == (RIN, "RIN@example.jp")
            assert second["account"] == RIN
            assert "claimed" not in second

    run(main())


# Properties


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[asyncio.Runner, Station]]:
    """One station for all examples of a property."""
    policy = PolicySettings(
        auth_delay=Duration(0),
        auth_max_delay=Duration(0),
        messages_per_hour=0,
        recipients_per_hour=0,
        auth_failures_per_account=1_000_000,
        auth_failures_per_address=1_000_000,
    )
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        context = opened(Path(directory), policy=policy, accounts=replace(ACCOUNTS, hashing_backlog=1000))
        station = runner.run(context.__aenter__())
        yield runner, station
        runner.run(context.__aexit__(None, None, None))


SESSION = b"".join(
    [
        b"EHLO client.example\r\n",
        b"MAIL FROM:<rin@example.jp>\r\n",
        b"AUTH LOGIN\r\n",
        base64.b64encode(RIN.encode()) + b"\r\n",
        base64.b64encode(PASSWORD.encode()) + b"\r\n",
        b"MAIL FROM:<ken@example.jp>\r\n",
        b"MAIL FROM:<rin@example.jp> BODY=8BITMIME\r\nRCPT TO:<kei@example.net>\r\n",
        b"RCPT TO:<nobody@example.jp>\r\nDATA\r\n",
        stuffed(LETTER + ".\r\n..two\r\nMAIL FROM:<x@example.jp>\r\n"),
        b"MAIL FROM:<sales@example.jp>\r\nRCPT TO:<ken@example.jp>\r\n",
        b"BDAT 7\r\nFrom: sBDAT 30\r\nales@example.jp\r\n\r\nQUIT\r\n.\r\n\r\n",
        b"BDAT 0 LAST\r\n",
        b"MAIL FROM:<rin@example.jp>\r\nRCPT TO:<kei@example.net>\r\nDATA\r\n",
        stuffed(letter("From: ken@example.jp", "Bcc: x@example.net")),
        b"NOOP\r\nRSET\r\nQUIT\r\n",
    ]
)
CODES = [
    220,
    250,
    530,
    334,
    334,
    235,
    550,
    250,
    250,
    550,
    354,
    250,
    250,
    250,
    250,
    250,
    250,
    250,
    250,
    354,
    550,
    250,
    250,
    221,
]


async def read_cut(station: Station, edges: list[int]) -> tuple[list[str], list[tuple[list[str], bytes]]]:
    """Send `SESSION` cut at *edges*; return the replies and what is in the queue, without the ids in either."""
    client = Client(station.server())
    for start, end in itertools.pairwise(edges):
        client.send(SESSION[start:end])
        await asyncio.sleep(0)
    await client.gone()
    heard = [re.sub(r"Queued as \S+", "Queued", str(reply)) for reply in client.heard]
    kept = [(one.recipients, re.sub(rb"(id |ID: <)\S+", b"", one.content)) for one in await station.kept()]
    await station.deliver_all()
    return heard, kept


@given(cuts=st.lists(st.integers(0, len(SESSION)), max_size=40).map(sorted))
@settings(max_examples=40, deadline=None)
def test_a_whole_session_goes_the_same_however_the_network_cuts_it(
    standing: tuple[asyncio.Runner, Station], cuts: list[int]
) -> None:
    runner, station = standing
    heard, kept = runner.run(read_cut(station, [0, len(SESSION)]))
    assert [int(reply[:3]) for reply in heard] == CODES
    assert [recipients for recipients, _ in kept] == [["kei@example.net"], ["ken@example.jp"]]
    assert runner.run(read_cut(station, [0, *cuts, len(SESSION)])) == (heard, kept)


def test_a_whole_session_goes_the_same_octet_by_octet(standing: tuple[asyncio.Runner, Station]) -> None:
    runner, station = standing
    whole = runner.run(read_cut(station, [0, len(SESSION)]))
    assert runner.run(read_cut(station, list(range(len(SESSION) + 1)))) == whole


LINES = [
    "EHLO client.example",
    "HELO client.example",
    "STARTTLS",
    "NOOP",
    "RSET",
    "*",
    "=",
    "",
    "AUTH PLAIN",
    f"AUTH PLAIN {plain(RIN, 'wrong')}",
    f"AUTH PLAIN {plain('ghost@example.jp', PASSWORD)}",
    f"AUTH PLAIN {plain('', '')}",
    plain(RIN, "wrong"),
    "AUTH LOGIN",
    encoded(RIN.encode()),
    encoded(b"wrong"),
    f"AUTH SCRAM-SHA-256 {encoded(b'n,,n=rin@example.jp,r=fixed')}",
    encoded(b"c=biws,r=fixed,p=AAAA"),
    "AUTH EXTERNAL =",
    "AUTH ANONYMOUS",
    f"MAIL FROM:<{RIN}>",
    f"MAIL FROM:<{RIN}> AUTH={RIN}",
    "MAIL FROM:<>",
    "RCPT TO:<kei@example.net>",
    "RCPT TO:<ken@example.jp>",
    "DATA",
    "BDAT 30 LAST\r\nFrom: rin@example.jp\r\n\r\nHello.",
    "From: rin@example.jp\r\n\r\nHello.\r\n.",
    "XCLIENT LOGIN=rin@example.jp",
]
LAST_TRY = [f"MAIL FROM:<{RIN}>", "RCPT TO:<ken@example.jp>", "DATA", "From: rin@example.jp\r\n\r\nHello.\r\n."]


async def try_without_login(station: Station, kind: Kind, lines: list[str], cleartext: bool) -> list[int]:
    """Send *lines* to a listener; return all reply codes."""
    server = station.server(kind, LISTENER)
    if not cleartext:
        server._profiles[False] = replace(server.profile(tls=False), mechanisms=(), require_tls=True)
    client = Client(server)
    if kind == "submissions":
        client.start_tls()
    codes = []
    for line in [*lines, *LAST_TRY]:
        if client.transport.is_closing():
            break
        client.send(line + "\r\n")
        async with asyncio.timeout(10):
            while client.conversation._waiting:  # noqa: ASYNC110 - a password is being checked
                await asyncio.sleep(0.0005)
        codes += [reply.code for reply in client.heard]
        switched = line == "STARTTLS" and client.heard[-1:] and client.heard[-1].code == 220
        client.heard.clear()
        if switched and client.tls is None:
            client.start_tls()
    client.leave()
    await asyncio.sleep(0)
    return codes


@given(
    kind=st.sampled_from(["submission", "submissions"]),
    lines=st.lists(st.sampled_from(LINES), max_size=25),
    cleartext=st.booleans(),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_commands_without_a_login_gets_mail_into_the_queue(
    standing: tuple[asyncio.Runner, Station], kind: Kind, lines: list[str], cleartext: bool
) -> None:
    """RFC 6409 §4.3."""
    runner, station = standing
    codes = runner.run(try_without_login(station, kind, lines, cleartext))
    assert 235 not in codes
    assert 354 not in codes
    assert runner.run(station.kept()) == []


def test_the_same_commands_with_a_login_do_get_mail_into_the_queue(standing: tuple[asyncio.Runner, Station]) -> None:
    runner, station = standing
    lines = ["EHLO client.example", f"AUTH PLAIN {plain(RIN, PASSWORD)}"]
    assert 354 in runner.run(try_without_login(station, "submission", lines, True))
    assert len(runner.run(station.kept(1))) == 1
    runner.run(station.deliver_all())


@pytest.mark.parametrize("recipient", ["Postmaster", "postmaster@example.jp", "postmaster@mail.example.jp"])
def test_a_deputy_takes_mail_for_postmasters_that_are_nobody(tmp_path: Path, recipient: str) -> None:
    """RFC 5321 §4.5.1."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            station.services.postmaster = Mailbox.parse(RIN)
            station.services.accounts.delete("ken@example.jp")
            client = await station.client(server=station.server("mx"))
            assert (await client.submit(LETTER, recipient)).code == 250
            assert (await station.only()).recipients == [RIN]

    run(main())
