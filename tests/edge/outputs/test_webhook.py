"""The webhook: signed, in order, patient within bounds."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable

import pytest

from sekisho.config import Secret
from sekisho.edge.outputs import WebhookSender, WebhookSettings, payload
from sekisho.edge.outputs.webhook import _check_url
from sekisho.edge.watcher import Finding, Verdict, VerdictKind

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Desk:
    """A web server that gives prepared answers, the last one over and over."""

    def __init__(self, *answers: bytes, **chosen: object) -> None:
        self.answers = list(answers)
        self.chosen = chosen
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.pauses: list[float] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rows = head.strip().split("\r\n")
        fields = dict(row.split(": ", 1) for row in rows)
        self.heads.append({"": first, **fields})
        self.bodies.append(await reader.readexactly(int(fields["Content-Length"])))
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        writer.close()

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def run(self, play: Callable[[WebhookSender], Awaitable[None]]) -> WebhookSender:
        async def live() -> WebhookSender:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            sender = WebhookSender(
                WebhookSettings(url=f"http://127.0.0.1:{port}/hook?a=1", **self.chosen),  # type: ignore[arg-type]
                emit=lambda event, **fields: self.events.append((event, fields)),
                now=lambda: 1_767_225_600.9,
                pause=self._pause,
            )
            sender.start()
            await play(sender)
            await sender.close(2.0)
            server.close()
            await server.wait_closed()
            return sender

        return asyncio.run(asyncio.wait_for(live(), 10))


async def two(sender: WebhookSender) -> None:
    sender.send(b'{"n":1}')
    sender.send(b'{"n":2}')


def test_notices_arrive_in_order_and_signed() -> None:
    desk = Desk(OK, secret=Secret("open sesame"))
    sender = desk.run(two)
    assert desk.bodies == [b'{"n":1}', b'{"n":2}']
    assert (sender.sent, sender.dropped, sender.waiting) == (2, 0, 0)
    head = desk.heads[0]
    assert head[""] == "POST /hook?a=1 HTTP/1.1"
    expected = hmac.new(b"open sesame", b'1767225600.{"n":1}', hashlib.sha256).hexdigest()
    assert head["X-Sekisho-Signature"] == f"t=1767225600,v1={expected}"
    assert desk.heads[0]["X-Sekisho-Notice"] != desk.heads[1]["X-Sekisho-Notice"]


def test_a_refusal_for_now_is_tried_again_with_doubling_pauses_under_the_same_name() -> None:
    desk = Desk(b"HTTP/1.1 503 Busy\r\n\r\n", b"", b"garbage\r\n", OK)
    sender = desk.run(two)
    assert desk.bodies == [b'{"n":1}'] * 4 + [b'{"n":2}']
    assert desk.pauses == [2.0, 4.0, 8.0]
    assert len({head["X-Sekisho-Notice"] for head in desk.heads[:4]}) == 1
    assert sender.sent == 2
    assert not desk.events


def test_after_the_last_try_a_notice_is_given_up_and_the_next_has_its_turn() -> None:
    desk = Desk(b"HTTP/1.1 500 Oops\r\n\r\n", attempts=3)
    sender = desk.run(two)
    assert len(desk.bodies) == 6
    assert sender.dropped == 2
    assert [event for event, _ in desk.events] == ["edge.webhook_given_up"] * 2
    assert desk.events[0][1]["reason"] == "answered 500"
    assert desk.events[0][1]["tries"] == 3


@pytest.mark.parametrize("status", [301, 401, 404, 422])
def test_what_will_never_be_taken_is_not_tried_again(status: int) -> None:
    desk = Desk(b"HTTP/1.1 %d No\r\nLocation: http://192.0.2.1/\r\n\r\n" % status)
    sender = desk.run(two)
    assert len(desk.bodies) == 2
    assert sender.dropped == 2


def test_when_too_many_wait_the_oldest_goes() -> None:
    desk = Desk(OK, waiting=3)

    async def many(sender: WebhookSender) -> None:
        for n in range(10):
            sender.send(b"%d" % n)

    sender = desk.run(many)
    assert desk.bodies == [b"7", b"8", b"9"]
    assert sender.dropped == 7


def test_nobody_there_is_no_reason_to_fail_and_closing_does_not_wait_for_ever() -> None:
    events: list[str] = []

    async def live() -> WebhookSender:
        sender = WebhookSender(
            WebhookSettings(url="http://127.0.0.1:9/"), emit=lambda event, **fields: events.append(event)
        )
        sender.start()
        sender.send(b"{}")
        await sender.close(0.1)
        return sender

    assert asyncio.run(live()).dropped == 1
    assert events == ["edge.webhook_given_up"]


def test_a_notice_says_what_changed_with_evidence_and_words() -> None:
    verdict = Verdict(
        "192.0.2.7", "ftth", VerdictKind.WORM_LIKE, 1e9, (Finding("attempts_per_minute", 300),), VerdictKind.MAIL_SERVER
    )
    notice = json.loads(payload(verdict, now=1e9 + 5, language="ja"))
    assert notice["verdict"] == "worm-like"
    assert notice["previous"] == "mail-server"
    assert notice["evidence"] == {"attempts_per_minute": 300}
    assert "感染" in notice["text"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://desk.example.jp/",
        "https://",
        "https://u:p@desk.example.jp/",
        "https://desk.example.jp/a b",
        "http://[::1",
        "x",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    assert _check_url(url) is not None


def test_an_address_may_have_port_and_query() -> None:
    assert _check_url("https://desk.example.jp:8443/hook?key=1") is None
