"""Whom an account may send as, how much in an hour, and what happens when nothing more can be kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.client import Client, stuffed
from tests.server.station import LETTER, POLICY, RIN, letter, opened, run

from sekisho.accounts import Account
from sekisho.config import Size
from sekisho.queue import QueueSettings

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
