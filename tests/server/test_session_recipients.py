"""Whom a session takes mail for: mailboxes here, postmasters, and relaying for listed networks alone."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from tests.server.station import LETTER, RIN, letter, opened, run

from sekisho.server import Kind, RelaySettings
from sekisho.smtp import Mailbox

NOT_OURS = [
    ("kei@example.net", "550 5.7.1"),
    ("kei@sub.example.jp", "550 5.7.1"),
    ("kei@[192.0.2.1]", "550 5.7.1"),
    ("@example.jp:kei@example.net", "550 5.7.1"),
    ("@example.jp,@mail.example.jp:kei@example.net", "550 5.7.1"),
    ("kei%example.net@example.jp", "550 5.1.1"),
    ('"kei@example.net"@example.jp', "550 5.1.1"),
    ('"kei@example.net"', "501"),
    ("example.net!kei@example.jp", "550 5.1.1"),
    ("kei@example.net@example.jp", "501"),
    ("ken@example.jp@example.net", "501"),
    ("kei@example.net%example.jp", "501"),
    ("kei", "501"),
    ("ken@example.jp.", "501"),
    ("nobody@example.jp", "550 5.1.1"),
    ("nobody@mail.example.jp", "550 5.1.1"),
]


@pytest.mark.parametrize(("recipient", "expected"), NOT_OURS)
def test_the_mx_listener_relays_for_nobody_whatever_the_address_looks_like(
    tmp_path: Path, recipient: str, expected: str
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            assert (await client.say("MAIL FROM:<ken@example.jp>")).code == 250
            assert str(await client.say(f"RCPT TO:<{recipient}>")).startswith(expected)
            assert (await client.say("DATA")).code == 554
            assert await station.kept() == []

    run(main())


@pytest.mark.parametrize(
    "recipient", ["ken@example.jp", "KEN@EXAMPLE.JP", "ken+list@example.jp", "@a.example:ken@example.jp"]
)
def test_the_mx_listener_takes_mail_for_mailboxes_here_from_anybody(tmp_path: Path, recipient: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            content = letter("From: somebody@example.org", "Bcc: hidden@example.org")
            assert (await client.submit(content, recipient, sender="x@example.org")).code == 250
            kept = await station.only()
            assert kept.message.account is None
            assert kept.recipients[0].lower().startswith("ken")
            assert kept.fields("Bcc") == ["hidden@example.org"]
            assert kept.fields("Message-ID") == []

    run(main())


def test_the_null_reverse_path_comes_in_through_the_mx_listener(tmp_path: Path) -> None:
    """RFC 5321 §4.5.5."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server("mx"))
            assert (await client.submit(letter("Subject: returned"), "ken@example.jp", sender="")).code == 250
            assert (await station.only()).message.reverse_path is None

    run(main())


@pytest.mark.parametrize("kind", ["mx", "submission"])
def test_postmaster_without_a_domain_is_the_one_of_this_host(tmp_path: Path, kind: Kind) -> None:
    """RFC 5321 §4.5.1."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.client(server=station.server(kind))
            if kind == "submission":
                await client.log_in()
            assert (await client.submit(LETTER, "Postmaster")).code == 250
            assert (await station.only()).recipients == ["postmaster@mail.example.jp"]

    run(main())


def test_an_account_writes_to_anybody_but_not_to_mailboxes_missing_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            await client.say(f"MAIL FROM:<{RIN}>")
            assert (await client.say("RCPT TO:<kei@example.net>")).code == 250
            assert (await client.say("RCPT TO:<ken@example.jp>")).code == 250
            assert str(await client.say("RCPT TO:<nobody@example.jp>")).startswith("550 5.1.1")
            assert station.events("message.refused")[0]["recipients"] == ["nobody@example.jp"]

    run(main())


LISTED = RelaySettings(networks=(ipaddress.ip_network("192.0.2.0/28"), ipaddress.ip_network("2001:db8::/32")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", 250),
        ("::ffff:192.0.2.7", 250),
        ("2001:db8::7", 250),
        ("192.0.2.16", 550),
        ("2001:db9::7", 550),
    ],
)
def test_a_listed_network_relays_through_the_mx_listener(tmp_path: Path, address: str, expected: int) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client(address, station.server("mx"))
            content = letter("From: printer@example.jp", "Bcc: hidden@example.net")
            assert (await client.submit(content, sender="printer@example.jp")).code == expected
            if expected == 250:
                kept = await station.only()
                assert kept.recipients == ["kei@example.net"]
                assert kept.fields("Bcc") == []
                assert len(kept.fields("Message-ID")) == 1
                assert (await client.submit(content, "nobody@example.jp")).code == 550

    run(main())


def test_a_network_taken_from_the_list_relays_no_more_in_open_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client("192.0.2.7", station.server("mx"))
            content = letter("From: printer@example.jp")
            assert (await client.submit(content, sender="printer@example.jp")).code == 250
            station.services.relay = RelaySettings()
            assert (await client.submit(content, sender="printer@example.jp")).code == 550

    run(main())


def test_a_listed_network_must_log_in_to_submit(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, relay=LISTED) as station:
            client = await station.client("192.0.2.7")
            assert (await client.say("MAIL FROM:<printer@example.jp>")).code == 530

    run(main())


@pytest.mark.parametrize("recipient", ["Postmaster", "postmaster@example.jp", "postmaster@mail.example.jp"])
def test_a_deputy_takes_mail_for_postmasters_that_are_nobody(tmp_path: Path, recipient: str) -> None:
    """RFC 5321 §4.5.1."""

    async def main() -> None:
        async with opened(tmp_path) as station:
            station.services.postmaster = Mailbox.parse(RIN)
            station.services.accounts.delete("ken@example.jp")
            client = await station.client(server=station.server("mx"))
            assert (await client.submit(LETTER, recipient)).code == 250
            assert (await station.only()).recipients == [RIN]

    run(main())
