"""Whole sessions: the same however they are cut, and no way to send without a login."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.client import Client, encoded, plain, stuffed
from tests.server.station import ACCOUNTS, LETTER, LISTENER, PASSWORD, RIN, Station, letter, opened

from sekisho.config import Duration
from sekisho.policy import PolicySettings
from sekisho.server import Kind


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[asyncio.Runner, Station]]:
    """One station for all examples of a property."""
    policy = PolicySettings(
        auth_delay=Duration(0),
        auth_max_delay=Duration(0),
        messages_per_hour=0,
        recipients_per_hour=0,
        auth_failures_per_account=1_000_000,
        auth_failures_per_address=1_000_000,
    )
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        context = opened(Path(directory), policy=policy, accounts=replace(ACCOUNTS, hashing_backlog=1000))
        station = runner.run(context.__aenter__())
        yield runner, station
        runner.run(context.__aexit__(None, None, None))


SESSION = b"".join(
    [
        b"EHLO client.example\r\n",
        b"MAIL FROM:<rin@example.jp>\r\n",
        b"AUTH LOGIN\r\n",
        base64.b64encode(RIN.encode()) + b"\r\n",
        base64.b64encode(PASSWORD.encode()) + b"\r\n",
        b"MAIL FROM:<ken@example.jp>\r\n",
        b"MAIL FROM:<rin@example.jp> BODY=8BITMIME\r\nRCPT TO:<kei@example.net>\r\n",
        b"RCPT TO:<nobody@example.jp>\r\nDATA\r\n",
        stuffed(LETTER + ".\r\n..two\r\nMAIL FROM:<x@example.jp>\r\n"),
        b"MAIL FROM:<sales@example.jp>\r\nRCPT TO:<ken@example.jp>\r\n",
        b"BDAT 7\r\nFrom: sBDAT 30\r\nales@example.jp\r\n\r\nQUIT\r\n.\r\n\r\n",
        b"BDAT 0 LAST\r\n",
        b"MAIL FROM:<rin@example.jp>\r\nRCPT TO:<kei@example.net>\r\nDATA\r\n",
        stuffed(letter("From: ken@example.jp", "Bcc: x@example.net")),
        b"NOOP\r\nRSET\r\nQUIT\r\n",
    ]
)


CODES = [
    220,
    250,
    530,
    334,
    334,
    235,
    550,
    250,
    250,
    550,
    354,
    250,
    250,
    250,
    250,
    250,
    250,
    250,
    250,
    354,
    550,
    250,
    250,
    221,
]


async def read_cut(station: Station, edges: list[int]) -> tuple[list[str], list[tuple[list[str], bytes]]]:
    """Send `SESSION` cut at *edges*; return the replies and what is in the queue, without the ids in either."""
    client = Client(station.server())
    for start, end in itertools.pairwise(edges):
        client.send(SESSION[start:end])
        await asyncio.sleep(0)
    await client.gone()
    heard = [re.sub(r"Queued as \S+", "Queued", str(reply)) for reply in client.heard]
    kept = [(one.recipients, re.sub(rb"(id |ID: <)\S+", b"", one.content)) for one in await station.kept()]
    await station.deliver_all()
    return heard, kept


@given(cuts=st.lists(st.integers(0, len(SESSION)), max_size=40).map(sorted))
@settings(max_examples=40, deadline=None)
def test_a_whole_session_goes_the_same_however_the_network_cuts_it(
    standing: tuple[asyncio.Runner, Station], cuts: list[int]
) -> None:
    runner, station = standing
    heard, kept = runner.run(read_cut(station, [0, len(SESSION)]))
    assert [int(reply[:3]) for reply in heard] == CODES
    assert [recipients for recipients, _ in kept] == [["kei@example.net"], ["ken@example.jp"]]
    assert runner.run(read_cut(station, [0, *cuts, len(SESSION)])) == (heard, kept)


def test_a_whole_session_goes_the_same_octet_by_octet(standing: tuple[asyncio.Runner, Station]) -> None:
    runner, station = standing
    whole = runner.run(read_cut(station, [0, len(SESSION)]))
    assert runner.run(read_cut(station, list(range(len(SESSION) + 1)))) == whole


LINES = [
    "EHLO client.example",
    "HELO client.example",
    "STARTTLS",
    "NOOP",
    "RSET",
    "*",
    "=",
    "",
    "AUTH PLAIN",
    f"AUTH PLAIN {plain(RIN, 'wrong')}",
    f"AUTH PLAIN {plain('ghost@example.jp', PASSWORD)}",
    f"AUTH PLAIN {plain('', '')}",
    plain(RIN, "wrong"),
    "AUTH LOGIN",
    encoded(RIN.encode()),
    encoded(b"wrong"),
    f"AUTH SCRAM-SHA-256 {encoded(b'n,,n=rin@example.jp,r=fixed')}",
    encoded(b"c=biws,r=fixed,p=AAAA"),
    "AUTH EXTERNAL =",
    "AUTH ANONYMOUS",
    f"MAIL FROM:<{RIN}>",
    f"MAIL FROM:<{RIN}> AUTH={RIN}",
    "MAIL FROM:<>",
    "RCPT TO:<kei@example.net>",
    "RCPT TO:<ken@example.jp>",
    "DATA",
    "BDAT 30 LAST\r\nFrom: rin@example.jp\r\n\r\nHello.",
    "From: rin@example.jp\r\n\r\nHello.\r\n.",
    "XCLIENT LOGIN=rin@example.jp",
]


LAST_TRY = [f"MAIL FROM:<{RIN}>", "RCPT TO:<ken@example.jp>", "DATA", "From: rin@example.jp\r\n\r\nHello.\r\n."]


async def try_without_login(station: Station, kind: Kind, lines: list[str], cleartext: bool) -> list[int]:
    """Send *lines* to a listener; return all reply codes."""
    server = station.server(kind, LISTENER)
    if not cleartext:
        server._profiles[False] = replace(server.profile(tls=False), mechanisms=(), require_tls=True)
    client = Client(server)
    if kind == "submissions":
        client.start_tls()
    codes = []
    for line in [*lines, *LAST_TRY]:
        if client.transport.is_closing():
            break
        client.send(line + "\r\n")
        async with asyncio.timeout(10):
            while client.conversation._waiting:  # noqa: ASYNC110 - a password is being checked
                await asyncio.sleep(0.0005)
        codes += [reply.code for reply in client.heard]
        switched = line == "STARTTLS" and client.heard[-1:] and client.heard[-1].code == 220
        client.heard.clear()
        if switched and client.tls is None:
            client.start_tls()
    client.leave()
    await asyncio.sleep(0)
    return codes


@given(
    kind=st.sampled_from(["submission", "submissions"]),
    lines=st.lists(st.sampled_from(LINES), max_size=25),
    cleartext=st.booleans(),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_commands_without_a_login_gets_mail_into_the_queue(
    standing: tuple[asyncio.Runner, Station], kind: Kind, lines: list[str], cleartext: bool
) -> None:
    """RFC 6409 §4.3."""
    runner, station = standing
    codes = runner.run(try_without_login(station, kind, lines, cleartext))
    assert 235 not in codes
    assert 354 not in codes
    assert runner.run(station.kept()) == []


def test_the_same_commands_with_a_login_do_get_mail_into_the_queue(standing: tuple[asyncio.Runner, Station]) -> None:
    runner, station = standing
    lines = ["EHLO client.example", f"AUTH PLAIN {plain(RIN, PASSWORD)}"]
    assert 354 in runner.run(try_without_login(station, "submission", lines, True))
    assert len(runner.run(station.kept(1))) == 1
    runner.run(station.deliver_all())
