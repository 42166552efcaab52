"""Routes and smarthosts, from both sides: an office's Postfix sends through us, and we send through another server."""

from __future__ import annotations

from collections.abc import Callable

from tests.interop.instance import Instance
from tests.interop.letter import Letter
from tests.interop.maildir import parse
from tests.interop.postfix import Postfix

Box = Callable[[], str]


def test_an_offices_server_sends_everything_through_us(
    sekisho: Instance, smarthost_client: Postfix, next_hop: Postfix, box: Box
) -> None:
    name = box()
    letter = Letter("printer@home.test", f"box-{name}@next.test")

    smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())

    (octets,) = next_hop.mailbox(name).wait()
    assert letter.is_text_of(parse(octets))
    assert "(250 2.0.0 " in smarthost_client.wait_for_log(f"to=<{letter.recipient}>")
    assert sekisho.mechanism_used(letter.recipient) == "SCRAM-SHA-256"


def test_the_offices_own_bounces_pass_with_the_null_reverse_path(
    smarthost_client: Postfix, next_hop: Postfix, box: Box
) -> None:
    """Its DSN for mail that it could not deliver itself: MAIL FROM:<> under the same account."""
    name = box()
    letter = Letter(f"box-{name}@next.test", "nobody@closed.test", subject="cannot be delivered")

    smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())

    (octets,) = next_hop.mailbox(name).wait()
    assert octets.startswith(b"Return-Path: <>\n")
    assert parse(octets).get_content_type() == "multipart/report"


def test_many_messages_at_once_come_through_once_each(smarthost_client: Postfix, next_hop: Postfix, box: Box) -> None:
    names = [box() for _ in range(30)]
    for name in names:
        letter = Letter("printer@home.test", f"box-{name}@next.test", subject=f"number {name}", text="x\n" * 2000)
        smarthost_client.sendmail("-f", letter.sender, letter.recipient, message=letter.octets())
    for name in names:
        assert len(next_hop.mailbox(name).wait(seconds=40)) == 1
