"""One listener's service: what it offers, whom it lets in, what it changes while it runs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from tests.net.tls_client import TlsClient, identity
from tests.server.client import Client
from tests.server.station import LETTER, LISTENER, TLS_ONLY, Timers, opened, run

from sekisho.config import Duration, Size
from sekisho.net.tls import server_context
from sekisho.server import Kind, ListenerSettings, RelaySettings
from sekisho.server.service import SWEEP
from sekisho.smtp import replies


@pytest.mark.parametrize(
    ("kind", "tls", "requires_tls", "requires_auth", "offers_auth"),
    [
        ("submission", False, True, True, False),
        ("submission", True, False, True, True),
        ("submissions", True, False, True, True),
        ("mx", False, False, False, False),
        ("mx", True, False, False, False),
    ],
)
def test_each_listener_offers_what_its_kind_and_tls_allow(
    tmp_path: Path, kind: Kind, tls: bool, requires_tls: bool, requires_auth: bool, offers_auth: bool
) -> None:
    """RFC 8314 §3.3: no password and no mail in the clear."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            profile = station.server(kind).profile(tls=tls)
            assert profile.require_tls is requires_tls
            assert profile.require_auth is requires_auth
            assert bool(profile.mechanisms) is offers_auth
            assert profile.offer_starttls is not tls

    run(main())


def test_the_settings_reach_the_client(tmp_path: Path) -> None:
    settings = ListenerSettings(
        greeting_wait=Duration(0),
        max_message_size=Size(12345),
        max_recipients=7,
        max_transactions=3,
        mechanisms=("LOGIN", "PLAIN"),
    )

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("submission", settings, tls=False))
            said = (await client.say("EHLO client.example")).lines
            assert {"SIZE 12345", "LIMITS MAILMAX=3 RCPTMAX=7", "AUTH LOGIN PLAIN"} <= set(said)
            assert "STARTTLS" not in said

    run(main())


def test_a_reload_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server("submissions")
            old = Client(server)
            old.start_tls()
            await old.greeted()
            its = identity(1)
            server.reload(replace(LISTENER, max_message_size=Size(4321)), server_context(its.certificate, its.key))
            assert "SIZE 4321" not in (await old.say("EHLO client.example")).lines
            assert (await old.log_in()).code == 235
            assert (await old.submit(LETTER)).code == 250
            new = Client(server)
            new.start_tls(TlsClient(trusted=its))
            await new.greeted()
            assert "SIZE 4321" in (await new.say("EHLO client.example")).lines

    run(main())


def test_refusals_lead_to_the_guide_from_the_next_reload_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server("mx")
            client = await station.client(server=server)
            assert "see" not in str(await client.say("AUTH PLAIN"))
            station.services.guide = "https://mail.example.jp/guide"
            server.reload(LISTENER, None)
            client = await station.client(server=server)
            assert (await client.say("MAIL FROM:<kei@example.net>")).code == 250
            refused = await client.say("RCPT TO:<kei@example.net>")
            assert str(refused).endswith("log in to send; see https://mail.example.jp/guide")
            (event,) = station.events("message.refused")
            assert event["reply"] == str(replies.RELAY_DENIED)

    run(main())


def test_the_listener_of_implicit_tls_needs_a_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            with pytest.raises(ValueError, match="certificate"):
                station.server("submissions", tls=False)
            server = station.server("submissions")
            with pytest.raises(ValueError, match="certificate"):
                server.reload(LISTENER, None)

    run(main())


def test_no_two_sessions_have_one_id(tmp_path: Path) -> None:
    """Message-IDs are made of them, and the log joins by them."""

    async def main() -> None:
        ids = []
        for number in (0, 1, 10):
            async with opened(tmp_path / str(number), number=number) as station:
                for kind in get_args(Kind):
                    server = station.server(kind)
                    ids += [server.new_session("192.0.2.7").id for _ in range(40)]
        assert len(set(ids)) == len(ids)
        assert all(one.isalnum() for one in ids)

    for number in (0, 1, 10):
        (tmp_path / str(number)).mkdir()
    run(main())


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        ([], "192.0.2.7", False),
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["0.0.0.0/0"], "2001:db8::7", False),
        (["2001:db8::/32"], "2001:db8:1::7", True),
        (["192.0.2.0/24"], "local", False),
        (["fe80::/10"], "fe80::1%eth0", True),
    ],
)
def test_who_may_relay(tmp_path: Path, networks: list[str], address: str, expected: bool) -> None:
    relay = RelaySettings(networks=tuple(map(ipaddress.ip_network, networks)))

    async def main() -> None:
        async with opened(tmp_path, relay=relay) as station:
            assert station.services.may_relay(address) is expected

    run(main())


def test_the_limit_of_connections_is_for_all_listeners_together(tmp_path: Path) -> None:
    settings = ListenerSettings(greeting_wait=Duration(0), max_connections=2)

    async def main() -> None:
        async with opened(tmp_path) as station:
            mx, submission = station.server("mx", settings), station.server("submission", settings)
            clients = [Client(mx, "192.0.2.1"), Client(submission, "192.0.2.2"), Client(mx, "192.0.2.3")]
            assert [client.heard[0].code for client in clients] == [220, 220, 421]
            clients[0].leave()
            await clients[2].gone()
            assert Client(mx, "192.0.2.4").heard[0].code == 220

    run(main())


def test_connections_are_looked_at_again_and_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            server = station.server("mx", replace(LISTENER, idle_timeout=Duration(10)), timers=timers)
            server._sweep()
            for _ in range(3):
                client = Client(server)
                timers.turn(10 + SWEEP)
                assert [reply.code for reply in client.heard] == [220, 421]

    run(main())


def test_a_socket_is_served_until_the_drain_and_stays_open_for_a_successor(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                listening.setblocking(False)
                server = station.server("mx")
                await server.accept_on(listening)
                host, port = listening.getsockname()
                reader, writer = await asyncio.open_connection(host, port)
                assert (await reader.readline()).startswith(b"220 ")
                assert station.services.connections.held_by("127.0.0.1") == 1
                drain = asyncio.ensure_future(server.drain(5))
                assert (await reader.readline()).startswith(b"421 4.3.2 ")
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
                await drain
                assert station.services.connections.total == 0
                successor = station.server("mx")
                await successor.accept_on(listening)
                reader, writer = await asyncio.open_connection(host, port)
                assert (await reader.readline()).startswith(b"220 ")
                writer.close()
                await writer.wait_closed()
                await successor.drain(5)

    run(main())
