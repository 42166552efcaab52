"""The shell around a session: greeting, TLS, order, back-pressure, time limits, drain and mishaps."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.net.tls_client import TlsClient
from tests.server.client import SEGMENT, Client, plain, stuffed
from tests.server.station import LETTER, PASSWORD, TLS_ONLY, Station, Timers, opened, run, tracebacks

from sekisho.accounts import Authenticator
from sekisho.config import Duration
from sekisho.policy import Acquaintances
from sekisho.queue import ContentWriter
from sekisho.server import Kind, ListenerSettings, MailServer
from sekisho.server.listener import BUFFERED, HANDSHAKE_TIMEOUT, LINGER
from sekisho.server.service import SWEEP

WAIT = ListenerSettings(greeting_wait=Duration(0.2))
LIMITED = ListenerSettings(greeting_wait=Duration(0), idle_timeout=Duration(300), data_timeout=Duration(180))


class Slow:
    """Password checks that end when they are let."""

    def __init__(self, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        opens = authenticator.opens

        async def wait(entry: Any, password: str, *, name: str) -> bool:
            await self.go_on.wait()
            return await opens(entry, password, name=name)

        monkeypatch.setattr(authenticator, "opens", wait)


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


def content_of(client: Client) -> ContentWriter:
    """The content of the transaction that is open."""
    session = client.conversation._session
    assert session is not None
    assert session._content is not None
    return session._content


async def settled() -> None:
    """Let everything happen that needs no more from the client."""
    for _ in range(20):
        await asyncio.sleep(0)


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
            pipe.send(b"250 as if TLS had made this record\r\n")
            assert pipe._outgoing.pending
            client.send_raw(b"\x17\x03\x03\x00")  # nothing to read in it
            assert pipe._outgoing.pending == 0
            client.leave()

    run(main())


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


# Time


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


# Stopping


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
