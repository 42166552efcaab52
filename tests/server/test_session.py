"""One session's envelope and content, and what it leaves in the queue and the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.server.client import Client, stuffed
from tests.server.station import LETTER, RIN, TLS_ONLY, opened, run

from sekisho.server import Kind


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
