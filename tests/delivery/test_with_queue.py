"""The courier on the real queue: nothing is left over, and a DSN finds its way home."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.delivery.doubles import CONTENT, NOW, Events, FixedLookup, Peer, listening

from sekisho.config import Duration
from sekisho.delivery import Courier, DeliverySettings, LocalSettings, RouteSettings, TlsMode
from sekisho.queue import Arrival, Queue, QueueSettings, State
from sekisho.smtp import Envelope, Mailbox, Recipient


async def settled(queue: Queue) -> None:
    async with asyncio.timeout(5.0):
        while (await queue.stats()).messages:  # noqa: ASYNC110 the queue tells nobody when it is empty
            await asyncio.sleep(0.01)


def test_a_refused_recipient_comes_back_as_a_dsn_in_the_senders_maildir(tmp_path: Path) -> None:
    async def run() -> None:
        peer = Peer(answers={"RCPT TO:<BAD": b"550 5.1.1 no such user\r\n"})
        async with listening(peer):
            spool = tmp_path / "queue"
            spool.mkdir()
            queue = Queue.open(spool, QueueSettings(), number=0, now=lambda: NOW)
            smarthost = RouteSettings(name="isp", host="127.0.0.1", port=peer.port, tls=TlsMode.NONE)
            local = LocalSettings(domains=("example.jp",), maildir=tmp_path / "mail")
            courier = Courier(
                [queue],
                DeliverySettings(idle_timeout=Duration(60.0)),
                (smarthost,),
                local,
                FixedLookup(),
                None,
                Events(),
                "mail.example.jp",
                "ja",
                now=lambda: NOW,
            )
            courier.start()
            queue.start()
            content = queue.new_content()
            content.write(CONTENT)
            envelope = Envelope(
                Mailbox.parse("rin@example.jp"),
                tuple(Recipient(Mailbox.parse(text)) for text in ("good@x.example", "bad@x.example")),
            )
            queue_id = await queue.commit(Arrival(envelope, None, "s", "192.0.2.9", "submission", NOW), content)
            await settled(queue)
            assert len(peer.transactions) == 1
            (report,) = (tmp_path / "mail" / "rin@example.jp" / "new").iterdir()
            octets = report.read_bytes()
            assert octets.startswith(b"Return-Path: <>\nDelivered-To: rin@example.jp\n")
            assert b"Final-Recipient: rfc822;bad@x.example" in octets
            assert f"X-Sekisho-Queue-Id: {queue_id}".encode() in octets
            shown = await queue.show(queue_id)
            assert shown is not None
            assert [recipient.state for recipient in shown.recipients] == [State.DELIVERED, State.FAILED]
            await courier.drain(1.0)
            await queue.close()

    asyncio.run(run())
