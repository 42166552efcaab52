"""How long a client may take, and what does not count against it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.net.tls_client import TlsClient
from tests.server.client import Client, plain
from tests.server.station import PASSWORD, Slow, Station, Timers, opened, run, settled

from sekisho.config import Duration
from sekisho.server import Kind, ListenerSettings
from sekisho.server.listener import HANDSHAKE_TIMEOUT, LINGER
from sekisho.server.service import SWEEP

LIMITED = ListenerSettings(greeting_wait=Duration(0), idle_timeout=Duration(300), data_timeout=Duration(180))


class Limited:
    """A listener whose clock is turned by hand and which looks at its connections."""

    def __init__(self, station: Station, kind: Kind = "submission", settings: ListenerSettings = LIMITED) -> None:
        self.timers = Timers()
        self.server = station.server(kind, settings, timers=self.timers)
        self.server._sweep()

    async def pass_seconds(self, seconds: float) -> None:
        self.timers.turn(seconds)
        await settled()


def test_a_client_that_sends_nothing_is_told_and_let_go(tmp_path: Path) -> None:
    """RFC 5321 §4.5.3.2.7."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.client(server=limited.server)
            await limited.pass_seconds(299)
            assert (await client.say("NOOP")).code == 250
            await limited.pass_seconds(299)
            assert client.heard == []
            await limited.pass_seconds(1 + SWEEP)
            assert str(client.heard[0]).startswith("421 4.4.2")
            await client.gone()

    run(main())


def test_a_command_that_comes_octet_by_octet_buys_no_time(tmp_path: Path) -> None:
    """RFC 5321 §4.5.3.2.7 is about the next command, and one octet every four minutes would hold a place for days."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.client(server=limited.server)
            for letter_ in "EHL":
                client.send(letter_)
                await limited.pass_seconds(90)
            assert client.heard == []
            client.send("O")
            await limited.pass_seconds(31 + SWEEP)
            assert str(client.heard[0]).startswith("421 4.4.2")
            await client.gone()

    run(main())


def test_content_that_is_refused_has_its_time_all_the_same(tmp_path: Path) -> None:
    """RFC 3030 §2: the octets of a refused BDAT are read to their end."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.client(server=limited.server)
            client.send("BDAT 4 LAST\r\n")
            for _ in range(4):
                await limited.pass_seconds(280)
                client.send("x")
            assert str(client.heard[-1]).startswith("503")

    run(main())


def test_a_client_that_stops_in_the_middle_of_content_has_less_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.sender(server=limited.server)
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            client.send("Subject: half")
            await limited.pass_seconds(179)
            client.send(" a line")
            await limited.pass_seconds(179)
            assert client.heard == []
            await limited.pass_seconds(1 + SWEEP)
            assert str(client.heard[0]).startswith("421 4.4.2")
            await client.gone()
            assert await station.kept() == []

    run(main())


@pytest.mark.parametrize("begun", ["nothing", "half a ClientHello", "STARTTLS"])
def test_a_handshake_that_does_not_end_is_cut_off(tmp_path: Path, begun: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station, "submission" if begun == "STARTTLS" else "submissions")
            client = Client(limited.server)
            if begun == "STARTTLS":
                await client.greeted()
                assert (await client.say("STARTTLS")).code == 220
            elif begun == "half a ClientHello":
                client.send_raw(TlsClient().hello()[:100])
            await limited.pass_seconds(HANDSHAKE_TIMEOUT - 1)
            client.send_raw(b"")
            assert not client.transport.lost
            await limited.pass_seconds(1 + SWEEP)
            assert client.transport.aborted
            assert station.services.connections.total == 0

    run(main())


def test_a_wait_that_is_ours_is_not_the_clients_idleness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            slow = Slow(station.services.authenticator, monkeypatch)
            limited = Limited(station)
            client = await station.client(server=limited.server)
            client.send(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}\r\n")
            client.send("NOOP\r\n")
            await limited.pass_seconds(3600)
            slow.go_on.set()
            assert [reply.code for reply in await client.replies(2)] == [235, 250]
            await limited.pass_seconds(300 + SWEEP)
            assert client.heard[0].code == 421

    run(main())


def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.client(server=limited.server)
            client.stuck = True
            client.conversation.pause_writing()
            await limited.pass_seconds(300 + SWEEP)
            assert client.transport.aborted

    run(main())


def test_a_client_that_does_not_take_the_last_reply_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            limited = Limited(station)
            client = await station.client(server=limited.server)
            client.stuck = True
            client.send("QUIT\r\n")
            await limited.pass_seconds(LINGER - 1)
            assert not client.transport.lost
            await limited.pass_seconds(1 + SWEEP)
            assert client.transport.aborted
            assert station.services.connections.total == 0

    run(main())
