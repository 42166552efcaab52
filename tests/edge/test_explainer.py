"""What a mail program, an infected machine, a browser and a bore get from the explainer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import smtplib
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from sekisho.config import Endpoint, parse_network
from sekisho.edge import feed
from sekisho.edge.codes import CodeBook, Codes
from sekisho.edge.explainer import (
    Explainer,
    ExplainerSettings,
    bind,
    greeting,
    identify_by,
    run_explainer,
)
from sekisho.edge.original import Gettable, original_destination
from sekisho.edge.policy import AccessNetwork, Policy
from sekisho.edge.policy import Explainer as ExplainerPorts
from sekisho.edge.sightings import Kind, Sighting
from sekisho.telemetry import EventLog, LogSettings

MX = ip_address("198.51.100.25")


class Bench:
    """An explainer on a port of the loopback, with everything it tells."""

    def __init__(self, **chosen: object) -> None:
        self.settings = ExplainerSettings(hostname="mail.example.jp", **chosen)  # type: ignore[arg-type]  # by name
        self.book = CodeBook(Codes(bytes(32)))
        self.sightings: list[Sighting] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.ahead = 0.0  # seconds that the explainer's clock is ahead
        self.explainer = Explainer(
            self.settings,
            identify=lambda source, port: ("192.0.2.7", "ftth"),
            book=self.book,
            on_sighting=self.sightings.append,
            emit=lambda event, **fields: self.events.append((event, fields)),
            reasons={"en": "Spam by worms is kept in this way.", "ja": "迷惑メール対策のためです。"},
            original=lambda connection: MX,
            clock=lambda: time.monotonic() + self.ahead,
        )
        self.port = 0

    def run(self, play: Callable[[Bench], Awaitable[None]]) -> None:
        async def live() -> None:
            sockets = bind([Endpoint("127.0.0.1", 0)])
            self.port = sockets[0].getsockname()[1]
            await self.explainer.start(sockets)
            try:
                await play(self)
            finally:
                await self.explainer.stop(0.5)

        asyncio.run(asyncio.wait_for(live(), 10))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *lines: bytes) -> list[bytes]:
        """Connect, read the greeting, say each line, and return all replies until the end."""
        reader, writer = await self.connect()
        replies = [await reply(reader)]
        for line in lines:
            writer.write(line)
            replies.append(await reply(reader))
        writer.close()
        return [one for one in replies if one]

    async def emptied(self) -> None:
        """Wait until the explainer has noticed that everybody is gone."""
        for _ in range(400):
            if not self.explainer._connections:
                return
            await asyncio.sleep(0.005)


async def reply(reader: asyncio.StreamReader) -> bytes:
    octets = b""
    try:
        while line := await reader.readline():
            octets += line
            if line[3:4] == b" ":
                break
    except ConnectionResetError:
        pass
    return octets


def test_the_greeting_refuses_in_both_languages_with_a_personal_link() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        (greeted,) = await bench.say()
        lines = greeted.split(b"\r\n")[:-1]
        assert len(lines) == 4
        assert [line[:9] for line in lines] == [b"554-5.7.1"] * 3 + [b"554 5.7.1"]
        assert all(len(line) <= 510 for line in lines)  # RFC 5321 §4.5.3.1.5
        assert lines[0].isascii()
        assert lines[1].isascii()
        code = next(iter(bench.book._entries))
        link = f"https://mail.example.jp/c/{code}".encode()
        assert link in lines[0]
        assert link in lines[2]
        assert b"465" in lines[0]
        assert "送信できません" in lines[2].decode()
        assert "迷惑メール対策のためです。" in lines[3].decode()

    bench.run(play)
    assert bench.sightings == [
        Sighting("192.0.2.7", "ftth", MX, bench.sightings[0].at, packets=1, attempts=1, kind=Kind.EXPLAINED)
    ]
    assert [event for event, _ in bench.events] == ["edge.explained"]


def test_an_ascii_greeting_can_be_chosen_and_a_reason_that_is_not_ascii_stays_out_of_it() -> None:
    reply = greeting("https://mail.example.jp/c/X", ("en",), {"en": "für Sie"})
    assert reply.wire.isascii()
    assert len(reply.lines) == 1


def test_ehlo_is_read_once_for_the_name_and_refused() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        replies = await bench.say(b"EHLO laptop.local\r\n", b"HELO laptop.local\r\n")
        assert [one[:3] for one in replies] == [b"554"] * 3
        assert [one[:3] for one in await bench.say(b"ehlo [192.0.2.7]\r\n", b"QUIT\r\n")] == [b"554", b"554", b"221"]

    bench.run(play)
    assert bench.explainer.counts.names == 2
    assert next(iter(bench.book._entries.values())).name == "[192.0.2.7]"


@pytest.mark.parametrize(
    "line",
    [b"AUTH PLAIN AHJpbgBzZWNyZXQ=\r\n", b"MAIL FROM:<rin@example.jp>\r\n", b"STARTTLS\r\n", b"x" * 600, b"\r\n"],
)
def test_whatever_else_comes_is_refused_and_the_connection_closed(line: bytes) -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        reader, writer = await bench.connect()
        await reply(reader)
        writer.write(line)
        assert (await reader.read()).startswith(b"554-5.7.1 ")
        writer.close()

    bench.run(play)
    assert b"AHJpbg" not in json.dumps([fields for _, fields in bench.events]).encode()


def test_mail_sent_without_waiting_is_not_looked_at() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        reader, writer = await bench.connect()
        writer.write(b"EHLO spam\r\nMAIL FROM:<a@example.jp>\r\nRCPT TO:<b@example.jp>\r\nDATA\r\n")
        octets = await reader.read()
        assert octets.count(b"554 5.7.1") == 2
        assert b"250" not in octets
        writer.close()

    bench.run(play)
    assert next(iter(bench.book._entries.values())).name == "spam"


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"POST /", b"\x16\x03\x01\x02\x00\x01"])
def test_browsers_and_tls_are_cut_off(octets: bytes) -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        reader, writer = await bench.connect()
        await reply(reader)
        writer.write(octets)
        assert await reply(reader) == b""
        writer.close()

    bench.run(play)
    assert bench.explainer.counts.cut == 1


def test_a_name_is_kept_without_what_could_be_more_than_one() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        await bench.say(b'EHLO a\x1b[31m"\xff\r\n')
        assert next(iter(bench.book._entries.values())).name == "a?[31m??"
        await bench.say(b"EHLO " + b"y" * 300 + b"\r\n")

    bench.run(play)
    assert next(iter(bench.book._entries.values())).name == "y" * 64


def test_who_sends_slowly_or_not_at_all_is_closed_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.edge.explainer.SWEEP_EVERY", 0.05)
    bench = Bench(wait=5.0)

    async def play(bench: Bench) -> None:
        silent, slow = await bench.connect(), await bench.connect()
        await reply(silent[0])
        await reply(slow[0])
        slow[1].write(b"EH")
        bench.ahead = 5.1
        assert await silent[0].read() == b""
        slow[1].write(b"LO")
        assert await slow[0].read() == b""
        assert len(bench.explainer._connections) == 2  # half closed: the last words may still be on their way
        bench.ahead = 8.0
        await bench.emptied()
        assert len(bench.explainer._connections) == 0
        silent[1].close()
        slow[1].close()

    bench.run(play)


def test_who_goes_on_after_the_end_is_cut_off() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        reader, writer = await bench.connect()
        writer.write(b"QUIT\r\n")
        await reader.read()

        async def go_on() -> None:
            for _ in range(200):
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(OSError):
            await go_on()
        writer.close()

    bench.run(play)


def test_a_line_holds_only_so_many_connections_and_the_next_are_told_and_closed() -> None:
    bench = Bench(max_connections_per_line=2)

    async def play(bench: Bench) -> None:
        held = [await bench.connect() for _ in range(2)]
        for reader, _ in held:
            await reply(reader)
        reader, writer = await bench.connect()
        octets = await reader.read()
        assert octets.startswith(b"554-5.7.1")
        writer.close()
        for _, one in held:
            one.close()
        await bench.emptied()
        assert not bench.explainer._held
        reader, writer = await bench.connect()
        await reply(reader)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)
        writer.close()

    bench.run(play)
    assert bench.explainer.counts.crowded_line == 1
    assert len(bench.sightings) == 4


def test_beyond_the_limit_of_all_connections_are_closed_unheard_and_told_once() -> None:
    bench = Bench(max_connections=10)

    async def play(bench: Bench) -> None:
        held = [await bench.connect() for _ in range(10)]
        for reader, _ in held:
            await reply(reader)
        for _ in range(3):
            reader, writer = await bench.connect()
            assert await reply(reader) == b""
            writer.close()
        for _, one in held:
            one.close()

    bench.run(play)
    assert bench.explainer.counts.crowded == 3
    assert [event for event, _ in bench.events].count("edge.crowded") == 1


def test_one_event_a_minute_for_each_line() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        for _ in range(5):
            await bench.say(b"QUIT\r\n")
            await bench.emptied()
        bench.ahead = 61
        await bench.say(b"QUIT\r\n")

    bench.run(play)
    told = [fields for event, fields in bench.events if event == "edge.explained"]
    assert [fields["connections"] for fields in told] == [1, 6]


def test_where_a_connection_wanted_to_go_is_asked_of_the_kernel() -> None:
    class Redirected:
        family = socket.AF_INET

        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            assert (level, option, size) == (socket.SOL_IP, 80, 16)
            return b"\x02\x00\x00\x19\xc6\x33\x64\x19" + bytes(8)

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", 10025

    class Redirected6(Redirected):
        family = socket.AF_INET6

        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            assert (level, option, size) == (socket.IPPROTO_IPV6, 80, 28)
            return b"\x0a\x00\x00\x19" + bytes(4) + MX6.packed + bytes(4)

    class Direct(Redirected):
        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            raise FileNotFoundError

    MX6 = ip_address("2001:db8::25")
    cases: list[tuple[Gettable, str]] = [(Redirected(), str(MX)), (Redirected6(), str(MX6)), (Direct(), "127.0.0.1")]
    for connection, expected in cases:
        assert str(original_destination(connection)) == expected


POLICY = Policy(
    name="example",
    networks=(
        AccessNetwork(
            name="ftth",
            product="ftth",
            interfaces=("ppp*",),
            prefixes=(parse_network("127.0.0.0/8"), parse_network("2001:db8::/32")),
        ),
    ),
    explainer=ExplainerPorts(ipv4=Endpoint("127.0.0.1", 0)),
)


def test_lines_are_those_of_the_policy() -> None:
    identify = identify_by(POLICY)
    assert identify(ip_address("127.0.0.1"), 1) == ("127.0.0.1", "ftth")
    assert identify(ip_address("2001:db8:0:1ff::7"), 1) == ("2001:db8:0:100::/56", "ftth")
    assert identify(ip_address("192.0.2.1"), 1) == ("192.0.2.1", "unknown")


def test_binding_names_the_endpoint_that_failed_and_leaves_nothing_open() -> None:
    (taken,) = bind([Endpoint("127.0.0.1", 0)])
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            bind([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", port)])


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for file in directory.glob("*.jsonl") for row in file.read_text().splitlines()]


def test_the_process_serves_gives_up_its_rights_first_and_keeps_its_book(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "watcher.sock"))
    listening.settimeout(5)
    settings = ExplainerSettings(hostname="mail.example.jp", feed=tmp_path / "watcher.sock")
    (tmp_path / "log").mkdir()
    done: list[str] = []
    answers: list[tuple[int, bytes]] = []

    def visit() -> None:
        log = tmp_path / "log"
        while not (rows := rows_of(log)):
            time.sleep(0.02)
        host, _, port = rows[0]["addresses"][0].rpartition(":")
        try:
            smtplib.SMTP(host, int(port), local_hostname="laptop")
        except smtplib.SMTPConnectError as error:
            answers.append((error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""))
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    visitor = threading.Thread(target=visit)
    visitor.start()
    policies = [POLICY]

    def load() -> Policy:
        if not policies:
            raise OSError("gone")
        return policies.pop()

    events = EventLog(tmp_path / "log", LogSettings(), 0)
    assert run_explainer(settings, load=load, directory=tmp_path, events=events, drop=lambda: done.append("drop")) == 0
    visitor.join()
    assert done == ["drop"]
    assert answers[0][0] == 554
    assert b"https://mail.example.jp/c/" in answers[0][1]
    assert Sighting.from_json(listening.recv(4096)).line == "127.0.0.1"
    listening.close()
    (row,) = rows_of(tmp_path)
    assert row["line"] == "127.0.0.1"
    names = [row["event"] for row in rows_of(tmp_path / "log")]
    assert (names[0], names[-1]) == ("service.started", "service.stopping")
    assert {*names[1:-1]} == {"edge.explained", "edge.policy_refused"}


def test_sightings_reach_the_watcher_and_are_lost_without_one(tmp_path: Path) -> None:
    path = tmp_path / "watcher.sock"
    one = Sighting("192.0.2.7", "ftth", MX, 1e9)
    now = [0.0]
    sender = feed.SightingSender(path, clock=lambda: now[0])
    sender.send(one)
    sender.send(one)  # not even tried: nobody was there a moment ago
    assert sender.lost == 2

    async def listen() -> list[Sighting]:
        path.touch()  # left behind
        seen: list[Sighting] = []
        transport = await feed.receive_sightings(path, seen.append)
        now[0] = 2.0
        sender.send(one)
        sender._socket.sendto(b"nonsense", str(path))
        sender.send(one)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if len(seen) == 2:
                break
        transport.close()
        return seen

    assert asyncio.run(listen()) == [one, one]
    sender.close()
