"""How a listener ends: what is under way may finish, nothing new begins, nothing half is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.server.client import Client, stuffed
from tests.server.station import LETTER, WAIT, Timers, opened, run, settled

from sekisho.queue import ContentWriter


def content_of(client: Client) -> ContentWriter:
    """The content of the transaction that is open."""
    session = client.conversation._session
    assert session is not None
    assert session._content is not None
    return session._content


def test_a_drain_lets_a_transaction_end_and_sends_idle_clients_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server()
            idle, busy = await station.client(server=server), await station.sender(server=server)
            strange = Client(station.server("submission", WAIT, timers=Timers()))
            await busy.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            busy.send("From: <rin@example.jp>\r\n")
            drain = asyncio.ensure_future(server.drain(10))
            assert str((await idle.replies(1))[0]).startswith("421 4.3.2")
            await idle.gone()
            assert not strange.transport.lost
            busy.send(b"\r\nHello.\r\n.\r\n")
            assert [reply.code for reply in await busy.replies(2)] == [250, 421]
            await drain
            assert busy.transport.lost
            assert not busy.transport.aborted
            assert len(await station.kept()) == 1

    run(main())


def test_a_drain_lets_nothing_new_begin(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server()
            client = await station.sender(server=server)
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            drain = asyncio.ensure_future(server.drain(10))
            await asyncio.sleep(0)
            client.send(stuffed(LETTER) + b"MAIL FROM:<rin@example.jp>\r\n")
            assert [reply.code for reply in await client.replies(2)] == [250, 421]
            await drain
            assert len(await station.kept()) == 1

    run(main())


def test_a_drain_ends_when_its_time_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server()
            client = await station.sender(server=server)
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            await server.drain(0.1)
            assert client.transport.aborted
            await settled()
            assert station.services.connections.total == 0

    run(main())


# Mishaps


@pytest.mark.parametrize("way", ["lost", "half-closed", "goodbye"])
def test_a_message_counts_as_accepted_when_the_client_left_during_its_commit(tmp_path: Path, way: str) -> None:
    """RFC 1047: the client will send it again, but what is in the queue is told in the log."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server("submissions"))
            client.start_tls()
            await client.greeted()
            await client.log_in()
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            with station.commits_held():
                client.send(stuffed(LETTER))
                await settled()
                if way == "lost":
                    client.leave(ConnectionResetError())
                elif way == "half-closed":
                    client.end()
                else:
                    assert client.tls is not None
                    client.tls.end()
                    client.send_raw(client.tls.outgoing())
                await settled()
                assert client.transport.lost
                assert station.events("message.accepted") == []
            kept = await station.only()
            (event,) = station.events("message.accepted")
            assert event["queue_id"] == kept.message.queue_id
            assert station.events("session.failed") == []
            assert station.services.connections.total == 0

    run(main())


def test_content_that_never_ended_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA")
            client.send(LETTER + "x" * 400_000)
            path = content_of(client).path
            assert path is not None
            assert path.exists()
            client.leave()
            await settled()
            assert station.queue._memory.octets == 0
            assert await station.kept() == []
            assert not path.exists()

    run(main())
