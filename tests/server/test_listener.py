"""Answers in order, clients that do not read, connections refused, and mistakes of our own."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.server.client import SEGMENT, Client, plain, stuffed
from tests.server.station import LETTER, PASSWORD, WAIT, Slow, Station, Timers, opened, run, settled, tracebacks

from sekisho.config import Duration
from sekisho.policy import Acquaintances
from sekisho.server import Kind, ListenerSettings, MailServer


class Unlucky(Acquaintances):
    """Fails at EHLO."""

    def remember(self, address: str) -> None:
        raise ZeroDivisionError("the secret reason")


class Broken:
    """A decision that fails in a way nobody foresaw."""

    def __init__(self, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("the secret reason")

        monkeypatch.setattr(station.services.limits, "may_send", fail)


# The order of replies


def test_a_pipelined_session_is_answered_in_order_with_one_write_for_each_batch(tmp_path: Path) -> None:
    """RFC 2920 §3.2."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            writes = client.transport.writes
            writes.clear()
            client.send(
                "MAIL FROM:<rin@example.jp>\r\nRCPT TO:<kei@example.net>\r\nRCPT TO:<nobody@example.jp>\r\nDATA\r\n"
            )
            assert [reply.code for reply in await client.replies(4)] == [250, 250, 550, 354]
            client.send(stuffed(LETTER) + b"NOOP\r\nQUIT\r\n")
            assert [reply.code for reply in await client.replies(3)] == [250, 250, 221]
            assert len(writes) == 2
            assert client.transport.lost

    run(main())


def test_an_auth_that_takes_time_holds_the_commands_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            client = await station.client()
            client.send(
                f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\nMAIL FROM:<rin@example.jp>\r\n"
                "RCPT TO:<kei@example.net>\r\nDATA\r\n"
            )
            await settled()
            assert client.heard == []
            slow.go_on.set()
            assert [reply.code for reply in await client.replies(4)] == [235, 250, 250, 354]

    run(main())


# Back-pressure


def test_nothing_is_read_while_an_answer_is_worked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            client = await station.client()
            command = b"RSET\r\n"
            flood = 4 * SEGMENT // len(command)
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\n")
            client.send(command * flood)
            await settled()
            assert not client.transport.reading
            assert client.unsent >= 3 * SEGMENT - len(command)
            slow.go_on.set()
            assert (await client.replies(1))[0].code == 235
            await client.gone()  # so many commands lead nowhere
            assert client.heard[-1].code == 421

    run(main())


def test_a_client_that_does_not_read_is_not_served_until_it_does(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client("192.0.2.7", station.server("mx"))
            client.stuck = True
            commands = 0
            while client.transport.reading:
                client.send("MAIL FROM:<a@example.net>\r\n" + "RCPT TO:<ken@example.jp>\r\n" * 900 + "RSET\r\n")
                commands += 902
                assert commands < 100_000
            client.send("QUIT\r\n")
            await settled()
            assert client.unsent == 6
            client.take_all()
            await settled()
            replies = await client.replies(commands + 1)
            assert {reply.code for reply in replies[:-1]} == {250}
            assert replies[-1].code == 221

    run(main())


def test_a_client_that_reads_again_while_an_answer_is_worked_out_is_served_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            client = await station.client()
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\n")
            client.conversation.pause_writing()
            client.send("NOOP\r\n")
            client.conversation.resume_writing()
            await settled()
            assert client.unsent == 6
            slow.go_on.set()
            assert [reply.code for reply in await client.replies(2)] == [235, 250]

    run(main())


def test_commands_behind_a_slow_answer_wait_for_a_client_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            client = await station.client()
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\nNOOP\r\n")
            client.conversation.pause_writing()
            slow.go_on.set()
            assert [reply.code for reply in await client.replies(1)] == [235]
            await settled()
            assert client.heard == []
            client.conversation.resume_writing()
            assert [reply.code for reply in client.heard] == [250]

    run(main())


# A half-closed connection


def test_a_client_that_has_sent_its_last_is_still_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            client = await station.client()
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\nNOOP\r\n")
            assert client.end()
            slow.go_on.set()
            assert [reply.code for reply in await client.replies(2)] == [235, 250]
            await client.gone()

    run(main())


def test_a_client_that_sent_its_last_before_the_greeting_is_still_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            client.send("EHLO client.example\r\nNOOP\r\n")
            assert client.end()
            timers.turn(1)
            assert [reply.code for reply in await client.replies(3)] == [220, 250, 250]
            await client.gone()

    run(main())


def test_a_client_that_sent_its_last_without_reading_is_still_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            client.conversation.pause_writing()
            client.conversation.data_received(b"NOOP\r\n")
            assert client.end()
            client.conversation.resume_writing()
            assert [reply.code for reply in await client.replies(1)] == [250]
            await client.gone()

    run(main())


def test_a_client_that_leaves_with_nothing_under_way_is_let_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            assert not client.end()
            await client.gone()
            assert station.services.connections.total == 0

    run(main())


@pytest.mark.parametrize("kind", ["submission", "submissions", "mx"])
def test_refused_connections_are_told_so_and_counted_out(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server(kind, ListenerSettings(greeting_wait=Duration(0), max_connections_per_address=2))
            first, second = Client(server), Client(server)
            refused = Client(server)
            elsewhere = Client(server, "192.0.2.8")
            await refused.gone()
            assert refused.raw.startswith(b"421 4.7.0") is (kind != "submissions")
            assert refused.raw.count(b"\r\n") == (kind != "submissions")
            assert len(station.events("session.refused")) == 1
            assert station.services.connections.total == 3
            for client in (first, second, elsewhere):
                client.leave()
            await settled()
            assert station.services.connections.total == 0
            assert not Client(server).transport.lost

    run(main())


LOGGED_IN = f"EHLO client.example\r\nAUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\n"


@pytest.mark.parametrize("when", ["at once", "after a wait", "in the greeting", "on reading again"])
def test_an_internal_error_is_421_for_the_client_and_a_traceback_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """RFC 5321 §3.8; what went wrong is nobody's business but ours."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            mail = "MAIL FROM:<rin@example.jp>\r\n"
            if when == "in the greeting":
                station.services.acquaintances = Unlucky()
                client = Client(station.server("submission", WAIT, timers=timers))
                client.send("EHLO client.example\r\n")
                timers.turn(1)
                await client.replies(1)
            else:
                Broken(station, monkeypatch)
                client = await station.client()
                if when == "after a wait":
                    client.send(LOGGED_IN + mail)
                    await client.replies(2)
                elif when == "on reading again":
                    await client.log_in()
                    client.conversation.pause_writing()
                    client.conversation.data_received(mail.encode())
                    client.conversation.resume_writing()
                else:
                    await client.log_in()
                    client.send(mail)
            reply = (await client.replies(1))[0]
            assert str(reply).startswith("421 4.3.0")
            await client.gone()
            (event,) = station.events("session.failed")
            assert event["client"] == "192.0.2.7"
            assert event["reason"] == "internal"
            assert event["session"]
            assert b"ZeroDivision" not in client.raw
            assert b"secret" not in client.raw
            assert "secret" not in str(event)
            assert station.services.connections.total == 0

    with caplog.at_level(logging.ERROR, "sekisho.server"):
        run(main())
    assert tracebacks(caplog.records) == 1


@pytest.mark.parametrize("gone", [False, True])
def test_an_internal_error_in_an_awaited_answer_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gone: bool
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            go_on = asyncio.Event()

            async def fail(*_: object) -> bool:
                await go_on.wait()
                raise ZeroDivisionError

            monkeypatch.setattr(station.services.authenticator, "opens", fail)
            client = await station.client()
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\n")
            await settled()
            if gone:
                client.leave()
                await settled()
            go_on.set()
            if not gone:
                assert str((await client.replies(1))[0]).startswith("421 4.3.0")
            await client.gone()
            await settled()
            assert len(station.events("session.failed")) == 1

    with caplog.at_level(logging.ERROR):
        run(main())
    assert tracebacks(caplog.records) == 1
    assert {record.name for record in caplog.records} == {"sekisho.server.service"}


def test_addresses_are_written_one_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server: MailServer = station.server()
            assert Client(server, "::ffff:192.0.2.9").conversation.address == "192.0.2.9"
            assert Client(server, "2001:db8::9").conversation.address == "2001:db8::9"

    run(main())
