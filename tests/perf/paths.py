"""The paths that most messages take, each walked a few dozen times with everything real but sockets and clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

from tests.delivery.doubles import Events, FixedLookup, Peer, listening
from tests.net.tls_client import HOST
from tests.server.client import Client
from tests.server.station import opened, run

from sekisho.config import Duration
from sekisho.delivery import Courier, DeliverySettings, LocalSettings, RouteSettings, TlsMode
from sekisho.server import RelaySettings

from .work import Work, counted

MESSAGES = 30
WARMING = 5  # messages before the counting begins: caches, tables, files of the day

HEADER = (
    b"From: <rin@example.jp>\r\nTo: <kei@example.net>\r\nSubject: load 1\r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1.1@rin.example>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
)
CONTENT = HEADER + (b"abcdefghijklmnopqrstuvwxyz0123456789" * 2 + b"abcd\r\n") * 53 + b".\r\n"  # 4 KiB, as in the bench
HELLO, QUIT = b"EHLO client.example\r\n", b"QUIT\r\n"
ENVELOPE = b"MAIL FROM:<rin@example.jp>\r\n", b"RCPT TO:<kei@example.net>\r\n", b"DATA\r\n"


async def accept_alone(directory: Path) -> Work:
    """One message per connection, command by command, as in S1."""
    relay = RelaySettings(networks=(ip_network("192.0.2.0/24"),))
    async with opened(directory, relay=relay) as station:
        server = station.server("mx", tls=False)

        async def one() -> None:
            client = Client(server)
            for octets, code in zip(
                (b"", HELLO, *ENVELOPE, CONTENT, QUIT), (220, 250, 250, 250, 354, 250, 221), strict=True
            ):
                client.send(octets)
                assert await codes(client) == [code]
            await client.gone()

        return await walked(one)


async def accept_pipelined(directory: Path) -> Work:
    """Many messages over one TLS session that has logged in, pipelined, as in S4."""
    async with opened(directory) as station:
        client = Client(station.server("submissions"))
        client.start_tls()
        await client.greeted()
        assert (await client.log_in()).code == 235

        async def one() -> None:
            client.send(b"".join(ENVELOPE))
            assert await codes(client) == [250, 250, 354]
            client.send(CONTENT)
            assert await codes(client) == [250]

        return await walked(one)


async def deliver(directory: Path) -> Work:
    """Messages that go from the queue over one connection to a next hop with PIPELINING, as in S2's second half."""
    peer, events = Peer(), Events()
    async with listening(peer), opened(directory) as station:
        smarthost = RouteSettings(name="isp", host="127.0.0.1", port=peer.port, tls=TlsMode.NONE)
        courier = Courier(
            [station.queue],
            DeliverySettings(idle_timeout=Duration(60.0), concurrency_per_destination=1),
            (smarthost,),
            LocalSettings(),
            FixedLookup(),
            None,
            events,
            HOST,
            "en",
            now=station.clock,
        )
        courier.start()
        client = await station.sender()

        async def one() -> None:
            client.send(b"".join(ENVELOPE))
            assert await codes(client) == [250, 250, 354]
            before = len(events.seen)
            client.send(CONTENT)
            assert await codes(client) == [250]
            while len(events.seen) == before:  # noqa: ASYNC110 the courier tells nobody else
                await asyncio.sleep(0)
            assert await station.queue._commits.drain(1)

        work = await walked(one)
        await courier.drain(1.0)
        return work


async def codes(client: Client) -> list[int]:
    """Wait for the next replies and read no more of them than their codes: reading replies is not the server's work."""
    while not client._plain:  # noqa: ASYNC110 a transport has nothing to wait for
        await asyncio.sleep(0)
    lines, client._plain = client._plain.split(b"\r\n"), b""
    return [int(line[:3]) for line in lines if line[3:4] == b" "]


async def walked(one: Callable[[], Awaitable[None]]) -> Work:
    for _ in range(WARMING):
        await one()
    with counted() as work:
        for _ in range(MESSAGES):
            await one()
    return work


PATHS = {"accept alone": accept_alone, "accept pipelined": accept_pipelined, "deliver": deliver}


def walk(name: str, directory: Path) -> Work:
    """Walk the path called *name* and return the work for all its messages."""
    return run(PATHS[name](directory))
