"""How a connection begins: who is greeted when, who speaks TLS first, STARTTLS, and handshakes that fail."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.net.tls_client import TlsClient
from tests.server.client import Client, plain, stuffed
from tests.server.station import LETTER, PASSWORD, TLS_ONLY, WAIT, Timers, opened, run, settled

from sekisho.server import Kind
from sekisho.server.listener import BUFFERED

# Greeting


def test_a_stranger_is_greeted_after_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            timers.turn(0.19)
            assert client.raw == b""
            timers.turn(0.02)
            assert (await client.replies(1))[0].code == 220

    run(main())


def test_an_acquaintance_is_greeted_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            server = station.server("submission", WAIT, timers=timers)
            stranger = Client(server)
            timers.turn(1)
            await stranger.greeted()
            assert [reply.code for reply in Client(server).heard] == [220]
            assert Client(server, "192.0.2.8").heard == []

    run(main())


@pytest.mark.parametrize(("kind", "tls"), [("mx", True), ("mx", False), ("submission", False)])
def test_nobody_waits_where_no_client_hello_can_come(tmp_path: Path, kind: Kind, tls: bool) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server(kind, WAIT, tls=tls, timers=Timers()))
            assert [reply.code for reply in client.heard] == [220]

    run(main())


@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
def test_a_client_that_speaks_tls_first_on_the_submission_port_is_served(tmp_path: Path, size: int) -> None:
    """RFC 8314 §3.3 on the wrong port: old clients with the SSL box ticked and 587 typed in."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            client.tls = TlsClient()
            hello = client.tls.hello()
            for at in range(0, len(hello), size):
                client.send_raw(hello[at : at + size])
            timers.turn(1)
            await client.greeted()
            assert (await client.log_in()).code == 235
            assert (await client.submit(LETTER)).code == 250
            assert client.raw[:1] == b"\x16"

    run(main())


def test_a_client_hello_is_waited_for_once_its_first_octet_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            client.tls = TlsClient()
            hello = client.tls.hello()
            client.send_raw(hello[:1])
            timers.turn(1)
            assert client.raw == b""
            client.send_raw(hello[1:])
            await client.greeted()

    run(main())


def test_an_acquaintance_that_spoke_tls_first_is_waited_for_the_next_time(tmp_path: Path) -> None:
    """One household, two telephones: the one that cannot do without the wait gets it at its second try."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            server = station.server("submission", WAIT, timers=timers)
            other = Client(server)
            timers.turn(1)
            await other.greeted()
            hasty = Client(server)
            hasty.send_raw(TlsClient().hello())
            second = Client(server)
            assert second.raw == b""
            second.start_tls()
            await second.greeted()

    run(main())


def test_a_client_that_spoke_tls_first_and_was_served_is_waited_for_again(tmp_path: Path) -> None:
    """Each of its messages is a connection of its own: the second must not fail because the first went well."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            server = station.server("submission", WAIT, timers=Timers())
            for _ in range(2):
                client = Client(server)
                assert client.raw == b""
                client.start_tls()
                await client.greeted()
                assert (await client.say("EHLO client.example")).code == 250

    run(main())


def test_a_plain_client_that_talks_before_the_greeting_is_answered_after_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            for octet in b"EHLO client.example\r\nNOOP\r\n":
                client.send_raw(bytes([octet]))
            assert client.raw == b""
            timers.turn(1)
            assert [reply.code for reply in await client.replies(3)] == [220, 250, 250]

    run(main())


def test_much_before_the_greeting_ends_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server("submission", WAIT, timers=Timers()))
            client.send(b"x" * (BUFFERED + 1))
            await client.gone()
            assert station.services.connections.total == 0

    run(main())


def test_a_client_that_leaves_before_the_greeting_is_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            timers = Timers()
            client = Client(station.server("submission", WAIT, timers=timers))
            client.leave()
            await settled()
            timers.turn(1)
            assert client.raw == b""
            assert station.services.connections.total == 0

    run(main())


# TLS


def test_implicit_tls_says_nothing_in_the_clear(tmp_path: Path) -> None:
    """RFC 8314 §3.3."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            client = Client(station.server("submissions", WAIT))
            await settled()
            assert client.raw == b""
            client.start_tls()
            await client.greeted()
            assert (await client.log_in()).code == 235
            assert (await client.submit(LETTER)).code == 250
            assert (await client.say("QUIT")).code == 221
            assert client.tls is not None
            assert client.tls.ended
            assert client.transport.lost
            assert b"220" not in client.raw[:5]
            assert station.events("message.accepted")[0]["tls"] == "TLSv1.3"

    run(main())


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_starttls_leads_to_a_session_that_may_log_in(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    """RFC 3207 §4."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            client = await station.client()
            assert (await client.say(f"AUTH PLAIN {plain('rin@example.jp', PASSWORD)}")).code in (530, 538)
            assert (await client.say("MAIL FROM:<rin@example.jp>")).code == 530
            assert (await client.say("STARTTLS")).code == 220
            client.start_tls(TlsClient(newest=newest))
            await settled()
            assert client.heard == []
            assert "AUTH" in (await client.say("EHLO client.example")).text
            assert (await client.log_in()).code == 235
            assert (await client.submit(LETTER)).code == 250
            assert " with ESMTPSA " in (await station.only()).fields("Received")[0]

    run(main())


def test_nothing_said_before_starttls_survives_it(tmp_path: Path) -> None:
    """RFC 3207 §4.2."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            assert (await client.say("STARTTLS")).code == 220
            client.start_tls()
            session = client.conversation._session
            assert session is not None
            assert (session.account, session.mechanism, session.hello) == (None, "", None)
            assert (await client.say("MAIL FROM:<rin@example.jp>")).code == 503
            assert (await client.say("EHLO client.example")).code == 250
            assert (await client.say("MAIL FROM:<rin@example.jp>")).code == 530

    run(main())


@pytest.mark.parametrize("cut", ["whole", "behind"])
def test_octets_behind_starttls_never_reach_the_session_over_tls(tmp_path: Path, cut: str) -> None:
    """RFC 3207 §6, CVE-2011-0411."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client()
            if cut == "whole":
                client.send("STARTTLS\r\nRSET\r\n")
                assert [reply.code for reply in await client.replies(1)] == [503]
            else:
                assert (await client.say("STARTTLS")).code == 220
                client.send("RSET\r\n")
                (event,) = station.events("tls.failed")
                assert event["reason"] == "not-tls"
            await client.gone()
            assert client.heard == []

    run(main())


@pytest.mark.parametrize("kind", ["submissions", "submission"])
def test_a_failed_handshake_is_told_in_the_log_and_closes(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server(kind))
            if kind == "submission":
                await client.greeted()
                assert (await client.say("STARTTLS")).code == 220
            client.send_raw(b"GET / HTTP/1.1\r\nHost: mail.example.jp\r\n\r\n")
            await client.gone()
            (event,) = station.events("tls.failed")
            assert event["client"] == "192.0.2.7"
            assert event["listener"] == kind
            assert "HTTP" in event["problem"]
            assert event["reason"] == "not-tls"
            assert ("session" in event) == (kind == "submission")
            assert station.services.connections.total == 0

    run(main())


def test_a_handshake_broken_off_is_told_and_a_mere_connection_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            scanner = Client(station.server("submissions"))
            scanner.leave()
            await settled()
            assert station.events("tls.failed") == []
            client = Client(station.server("submissions"))
            client.send_raw(TlsClient().hello())
            client.leave()
            await settled()
            (event,) = station.events("tls.failed")
            assert event["reason"] == "broken-off"

    run(main())


def test_a_handshake_without_end_is_told_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server("submissions"))
            client.send_raw(TlsClient().hello()[:50])
            client.conversation.expire()
            await settled()
            (event,) = station.events("tls.failed")
            assert event["reason"] == "timeout"

    run(main())


def test_a_record_forged_while_the_client_waits_for_its_answer_is_no_mistake_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server("submissions"))
            client.start_tls()
            await client.greeted()
            assert (await client.log_in()).code == 235
            with station.commits_held():
                assert await client.say_all("MAIL FROM:<rin@example.jp>", "RCPT TO:<kei@example.net>", "DATA") == [
                    250,
                    250,
                    354,
                ]
                client.send(stuffed(LETTER))
                client.stuck = True  # the connection stays half there
                client.send_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
                client.conversation.data_received(b"")
            await station.only()
            assert len(station.events("tls.failed")) <= 1
            assert station.events("session.failed") == []
            assert len(station.events("message.accepted")) == 1
            client.leave()

    run(main())


def test_what_tls_itself_has_to_say_is_sent_and_not_piled_up(tmp_path: Path) -> None:
    """RFC 8446 §4.6.3: each key update asked for is answered, so whoever asks for millions must not fill our memory."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = Client(station.server("submissions"))
            client.start_tls()
            await client.greeted()
            pipe = client.conversation._pipe
            assert pipe is not None
            pipe._object.write(b"250 as if TLS had made this record\r\n")
            assert pipe.output.pending
            client.send_raw(b"\x17\x03\x03\x00")  # nothing to read in it
            assert pipe.output.pending == 0
            client.leave()

    run(main())
