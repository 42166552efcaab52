"""Who a session takes its client for: logins, guesses, suspended accounts, and what the log may know of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.client import Client, encoded
from tests.server.station import ACCOUNTS, LETTER, PASSWORD, POLICY, RIN, TLS_ONLY, opened, run

from sekisho.config import Duration
from sekisho.server import Kind
from sekisho.smtp import replies

MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1")


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
