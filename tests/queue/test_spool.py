"""A queue from arrival to the last outcome, without a network."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.queue.spooling import (
    LETTER,
    SETTINGS,
    START,
    Clock,
    Listener,
    accept,
    addresses,
    arrival,
    eventually,
    finish,
    opened,
    outcomes,
    read,
    run,
    settle,
)

from sekisho.config import Size
from sekisho.queue import (
    ContentDamaged,
    Outcome,
    Queue,
    QueueSettings,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    State,
    spool_numbers,
    spools_of,
)
from sekisho.smtp import Envelope, Mailbox, Recipient

LARGE = bytes(range(256)) * 2000


def test_an_accepted_message_reaches_delivery_as_it_came(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue, arrival("example.net", "example.org"))
            [message] = await listener.take()
            assert message.queue_id == queue_id
            assert message.reverse_path == Mailbox("rin", "example.jp")
            assert addresses(message) == ["r0@example.net", "r1@example.org"]
            assert [r.notify for r in message.recipients] == ["FAILURE,DELAY"] * 2
            assert message.recipients[1].orcpt == "rfc822;r1@example.org"
            assert (message.ret, message.envid, message.account) == ("HDRS", "e+2B1", "rin@example.jp")
            assert (message.arrived, message.expires) == (START, START + SETTINGS.lifetime)
            assert await read(queue, message) == LETTER

    run(main())


@pytest.mark.parametrize("octets", [LETTER, LARGE], ids=["inline", "file"])
def test_after_a_restart_a_message_is_offered_again_with_everything_it_had(tmp_path: Path, octets: bytes) -> None:
    async def main() -> None:
        async with opened(tmp_path, listener=Listener()) as queue:
            queue_id = await accept(queue, arrival("example.net", "example.org"), octets)
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            [message] = await listener.take()
            assert message.queue_id == queue_id
            assert addresses(message) == ["r0@example.net", "r1@example.org"]
            assert (message.ret, message.envid, message.size) == ("HDRS", "e+2B1", len(octets))
            assert await read(queue, message) == octets

    run(main())


def test_the_null_reverse_path_stays_null(tmp_path: Path) -> None:
    """RFC 5321 §4.5.5."""

    async def main() -> None:
        bounce = replace(arrival(), envelope=Envelope(None, (Recipient(Mailbox("rin", "example.jp")),)), account=None)
        async with opened(tmp_path) as queue:
            await accept(queue, bounce)
        listener = Listener()
        async with opened(tmp_path, listener=listener):
            [message] = await listener.take()
            assert message.reverse_path is None
            assert message.account is None
            assert message.recipients[0].notify is None

    run(main())


@pytest.mark.parametrize("octets", [LETTER, LARGE], ids=["inline", "file"])
def test_a_finished_message_leaves_no_content_but_its_history(tmp_path: Path, octets: bytes) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue, octets=octets)
            [message] = await listener.take()
            finish(queue, message, reply="250 2.0.0 Ok")
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert not shown.content_kept
            [recipient] = shown.recipients
            assert (recipient.state, recipient.attempts) == (State.DELIVERED, 1)
            assert [(e.state, e.reply, e.next_hop) for e in recipient.events] == [
                (State.DELIVERED, "250 2.0.0 Ok", "mx.example.net")
            ]
            assert (await queue.stats()).messages == 0
            await eventually(lambda: not list((tmp_path / "0" / "content").iterdir()))
        listener = Listener()
        async with opened(tmp_path, listener=listener):
            await asyncio.sleep(0.05)
            assert listener.messages == []

    run(main())


def test_content_stays_until_the_last_recipient_is_final(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            queue_id = await accept(queue, arrival("a.example", "b.example", "c.example"))
            [message] = await listener.take()
            queue.record(message, [Outcome(0, State.DELIVERED, "250 ok", "mx", START)])
            queue.record(message, [Outcome(1, State.FAILED, "550 no", "mx", START)])
            queue.record(message, [Outcome(2, State.DEFERRED, "451 later", "mx", START, START + 300)])
            queue.done_with(message)
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert shown.content_kept
            assert [r.state for r in shown.recipients] == [State.DELIVERED, State.FAILED, State.DEFERRED]
            clock.now += 301
            queue.resume()
            [message] = await listener.take()
            assert addresses(message) == ["r2@c.example"]
            assert (message.recipients[0].attempts, message.recipients[0].last_reply) == (1, "451 later")
            assert await read(queue, message) == LETTER
            finish(queue, message, State.EXPIRED, at=clock.now)
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert not shown.content_kept
            assert [e.state for e in shown.recipients[2].events] == [State.DEFERRED, State.EXPIRED]
            assert shown.recipients[2].attempts == 1

    run(main())


def test_a_deferred_recipient_waits_for_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            finish(queue, message, State.DEFERRED, next_attempt=START + 300)
            await settle(queue)
            for _ in range(3):
                queue.resume()
                await asyncio.sleep(0.01)
            assert listener.messages == []
            clock.now = START + 300
            queue.resume()
            [message] = await listener.take()
            assert message.recipients[0].attempts == 1

    run(main())


def test_the_queue_wakes_by_itself_when_a_deferral_ends(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        listener = Listener()
        queue = Queue.open(tmp_path, SETTINGS, number=0, now=lambda: START + loop.time() - began)
        queue.listener = listener
        queue.start()
        await accept(queue)
        [message] = await listener.take()
        finish(queue, message, State.DEFERRED, next_attempt=START + loop.time() - began + 0.15)
        [message] = await listener.take()
        assert loop.time() - began >= 0.15
        await queue.close()

    run(main())


def test_no_recipient_is_offered_twice_while_its_outcome_is_not_on_disk(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            for step in range(2):
                queue._window.rewind(0.0)
                queue.resume()
                await asyncio.sleep(0.02)
                assert listener.messages == []
                if step == 0:
                    finish(queue, message)

    run(main())


def test_what_delivery_returns_untried_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.queue.spool.RETURNED_AFTER", 0.02)

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue, arrival("a.example", "b.example"))
            [message] = await listener.take()
            queue.record(message, [Outcome(0, State.DELIVERED, "250", "mx", START)])
            queue.done_with(message)
            [message] = await listener.take()
            assert addresses(message) == ["r1@b.example"]

    run(main())


def test_an_outcome_for_a_recipient_that_awaits_none_is_our_mistake(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            queue.record(message, outcomes(message, State.DELIVERED))
            with pytest.raises(RuntimeError, match="awaits no outcome"):
                queue.record(message, outcomes(message, State.DELIVERED))
            with pytest.raises(RuntimeError, match="awaits no outcome"):
                queue.record(message, [Outcome(5, State.DELIVERED, "", "", START)])
            queue.done_with(message)

    run(main())


def test_a_dsn_enters_with_the_outcome_that_caused_it(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            bounce = replace(arrival("example.jp"), account=None)
            queue.record(message, outcomes(message, State.FAILED), dsn=(bounce, b"Subject: failed\r\n\r\n"))
            queue.done_with(message)
            [dsn] = await listener.take()
            assert addresses(dsn) == ["r0@example.jp"]
            assert await read(queue, dsn) == b"Subject: failed\r\n\r\n"

    run(main())


def test_words_that_are_no_unicode_are_stored_nevertheless(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue)
            [message] = await listener.take()
            finish(queue, message, State.FAILED, reply="550 \udce9t\udce9 受取人不明")
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert shown.recipients[0].events[0].reply == "550 ?t? 受取人不明"

    run(main())


@pytest.mark.parametrize("octets", [LETTER, LARGE], ids=["inline", "file"])
def test_content_that_changed_on_disk_is_never_given_out(tmp_path: Path, octets: bytes) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue, octets=octets)
        if octets is LARGE:
            [path] = (tmp_path / "0" / "content").iterdir()
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        else:
            connection = sqlite3.connect(tmp_path / "0" / "queue.db")
            connection.execute("UPDATE content SET octets = ?", (octets[:-1] + b"!",))
            connection.commit()
            connection.close()
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            [message] = await listener.take()
            with pytest.raises(ContentDamaged, match=str(message.queue_id)):
                await queue.content(message)
            finish(queue, message, State.HELD, reply="content damaged")
            await settle(queue)
            assert (await queue.stats()).recipients == {State.HELD: 1}

    run(main())


def test_fresh_content_is_read_from_memory_and_the_rest_from_disk(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, settings=replace(SETTINGS, hot_content=Size(100)), listener=listener) as queue:
            letters = [LETTER + bytes([n]) * 20 for n in range(4)]
            for letter in letters:
                await accept(queue, octets=letter)
            messages = await listener.take(4)
            assert queue._window.hot_octets == 2 * len(letters[0])
            assert [await read(queue, message) for message in messages] == letters
            for message in messages:
                finish(queue, message)
            await settle(queue)
            assert queue._window.hot_octets == 0
            assert queue._window.entries == {}
            assert queue._window.busy == set()

    run(main())


def test_held_mail_waits_for_the_operator(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, settings=replace(SETTINGS, hold_new=True), listener=listener) as queue:
            await accept(queue)
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue, arrival(hold=True))
            await asyncio.sleep(0.05)
            assert listener.messages == []
            assert (await queue.stats()).recipients == {State.HELD: 2}

    run(main())


def test_one_process_at_a_time_works_on_a_spool(tmp_path: Path) -> None:
    first = Queue.open(tmp_path, SETTINGS, number=3, now=Clock())
    with pytest.raises(SpoolLocked, match="another process"):
        Queue.open(tmp_path, SETTINGS, number=3, now=Clock())
    second = Queue.open(tmp_path, SETTINGS, number=4, now=Clock())
    asyncio.run(first.close())
    asyncio.run(second.close())
    again = Queue.open(tmp_path, SETTINGS, number=3, now=Clock())
    asyncio.run(again.close())
    assert spool_numbers(tmp_path) == [3, 4]


def test_spools_of_processes_that_are_no_more_find_a_worker(tmp_path: Path) -> None:
    assert spools_of(tmp_path, 1, 2) == [1]
    for number in range(5):
        asyncio.run(Queue.open(tmp_path, SETTINGS, number=number, now=Clock()).close())
    assert [spools_of(tmp_path, worker, 2) for worker in range(2)] == [[0, 2, 4], [1, 3]]
    assert [spools_of(tmp_path, worker, 8) for worker in range(8)] == [[worker] for worker in range(8)]


def test_two_queues_live_in_one_process(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, number=5) as other:
            left_behind = await accept(other)
        async with opened(tmp_path, listener=listener) as own, opened(tmp_path, listener=listener, number=5):
            fresh = await accept(own)
            assert {m.queue_id for m in await listener.take(2)} == {left_behind, fresh}

    run(main())


def test_ids_are_not_used_again_by_a_spool_made_anew_or_under_a_clock_set_back(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path, clock) as queue:
            ids = [await accept(queue) for _ in range(3)]
        assert ids == sorted(ids)
        clock.now -= 86400
        async with opened(tmp_path, clock) as queue:
            assert await accept(queue) > ids[-1]
        clock.now = START + 1
        async with opened(tmp_path / "anew", clock) as queue:
            assert await accept(queue) > ids[-1]

    run(main())


def test_files_of_messages_that_never_came_to_be_are_removed_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue, octets=LARGE)
            writer = queue.new_content()
            writer.write(LARGE)
        content = tmp_path / "0" / "content"
        (content / "notes.txt").touch()
        assert len(list(content.iterdir())) == 3
        async with opened(tmp_path) as queue:
            await eventually(lambda: len(list(content.iterdir())) == 2)
            arriving = queue.new_content()
            arriving.write(LARGE)
            arriving.discard()

    run(main())


def test_new_mail_is_refused_before_the_disk_is_full_and_taken_again_afterwards(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, settings=replace(SETTINGS, minimum_free=Size(1 << 60))) as queue:
            assert not queue.has_room()
            with pytest.raises(SpoolFull, match="are free"):
                await accept(queue, octets=LARGE)
            assert list((tmp_path / "0" / "content").iterdir()) == []
            queue.settings = SETTINGS
            queue._room_until = 0.0  # the second is over
            assert queue.has_room()
            await accept(queue, octets=LARGE)
            assert not queue.has_room(1 << 60)

    run(main())


def test_a_closing_queue_takes_no_mail_but_keeps_what_it_took(tmp_path: Path) -> None:
    async def main() -> None:
        queue = Queue.open(tmp_path, SETTINGS, number=0, now=Clock())
        queue.start()
        pending = [asyncio.ensure_future(accept(queue, octets=LARGE)), asyncio.ensure_future(accept(queue))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await queue.close()
        with pytest.raises(SpoolError, match="closing"):
            await accept(queue)
        ids = set(await asyncio.gather(*pending))
        async with opened(tmp_path) as queue:
            assert {listed.queue_id for listed in await queue.list()} == ids
        assert not (tmp_path / "0" / "queue.db-wal").exists()

    run(main())


def test_a_message_without_recipients_is_not_accepted(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            with pytest.raises(SpoolError, match="needs a recipient"):
                await accept(queue, replace(arrival(), envelope=Envelope(None, ())))

    run(main())


def test_history_is_purged_when_its_days_are_over(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            old = await accept(queue, arrival(*["example.net"] * 400, clock=clock))
            waiting = await accept(queue, arrival("example.org", clock=clock))
            for message in await listener.take(2):
                if message.queue_id == old:
                    finish(queue, message)
            clock.now += 20 * 86400
            new = await accept(queue, arrival(clock=clock))
            finish(queue, (await listener.take())[0])
            await settle(queue)
            queue._purge()
            for _ in range(500):
                if await queue.show(old) is None:
                    break
                await asyncio.sleep(0.01)
            assert await queue.show(old) is None
            assert await queue.show(waiting) is not None
            assert await queue.show(new) is not None
            rows = queue._spool.reader.execute("SELECT count(*) FROM recipient").fetchone()
            assert rows == (2,)

    run(main())


def test_the_checksum_stored_is_that_of_the_content(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue)
            row = queue._spool.reader.execute("SELECT checksum, octets FROM content").fetchone()
            assert row == (zlib.crc32(LETTER), LETTER)

    run(main())


def test_settings_have_the_defaults_the_reference_promises() -> None:
    """RFC 5321 §4.5.4.1: the give-up time is at least 4-5 days."""
    assert float(QueueSettings().lifetime) == 5 * 86400
    assert QueueSettings().window * 4 == 20_000
