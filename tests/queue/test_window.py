"""Bounded memory and fair turns: what enters the window, when, and in which pieces."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.queue.spooling import (
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
    run,
    settle,
)

from sekisho.queue import QueuedMessage, State, decode
from sekisho.queue.journal import Verb
from sekisho.queue.window import Found, Plan, scan

SMALL = replace(SETTINGS, window=10)  # 40 recipients, slices of 10


def test_messages_beyond_the_window_wait_on_disk_and_follow(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, settings=SMALL, listener=listener) as queue:
            ids = [await accept(queue) for _ in range(35)]
            await eventually(lambda: len(listener.messages) == 10)
            await asyncio.sleep(0.05)
            assert len(listener.messages) == 10
            taken: list[str] = []
            while len(taken) < 35:
                [message] = await listener.take()
                assert queue._window.slices <= 10
                taken.append(message.queue_id)
                finish(queue, message)
            assert sorted(taken) == ids
            await settle(queue)
            assert queue._window.entries == {}

    run(main())


def test_a_message_that_a_scan_finds_before_its_commit_is_told_enters_once(tmp_path: Path) -> None:
    """The scan's thread sees the rows as soon as they are committed; the loop may hear of the scan first."""

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            loop = asyncio.get_running_loop()

            def scan_first(leg: str) -> None:
                if leg == "committed":  # on the committing thread, behind COMMIT, before the loop hears of it
                    loop.call_soon_threadsafe(queue._look_again, START)
                    assert found.wait(10)

            def take(message: QueuedMessage) -> None:
                listener(message)
                found.set()

            found = threading.Event()
            queue.listener = take
            queue._commits.leg = scan_first
            await accept(queue)
            queue._commits.leg = None
            [message] = await listener.take()
            finish(queue, message)
            await settle(queue)
            await asyncio.sleep(0.02)
            assert listener.messages == []
            assert queue._window.entries == {}

    run(main())


def test_a_message_with_many_recipients_enters_in_slices_each_recipient_once(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, settings=SMALL, listener=listener) as queue:
            queue_id = await accept(queue, arrival(*["example.net"] * 205))
            seen: Counter[str] = Counter()
            while sum(seen.values()) < 205:
                [message] = await listener.take()
                assert len(message.recipients) <= 10
                assert len(queue._window.busy) <= 40
                seen.update(addresses(message))
                finish(queue, message)
            await settle(queue)
            assert set(seen.values()) == {1}
            shown = await queue.show(queue_id)
            assert shown is not None
            assert not shown.content_kept
            assert queue._window.parked == {}

    run(main())


def test_a_giant_message_leaves_room_for_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, settings=SMALL) as queue:
            giant = await accept(queue, arrival(*["slow.example"] * 500))
            others = [await accept(queue) for _ in range(3)]
        listener = Listener()
        async with opened(tmp_path, settings=SMALL, listener=listener) as queue:
            await eventually(lambda: {m.queue_id for m in listener.messages} >= {giant, *others})
            fresh = await accept(queue)
            await eventually(lambda: fresh in {m.queue_id for m in listener.messages})
            assert len(queue._window.busy) <= 40

    run(main())


def test_many_messages_with_many_recipients_are_all_delivered_in_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, settings=SMALL, listener=listener) as queue:
            sizes = [1, 9, 10, 11, 20, 57, 3, 40]
            ids = [await accept(queue, arrival(*["example.net"] * size)) for size in sizes]
            seen: Counter[tuple[str, str]] = Counter()

            def tell(message: QueuedMessage) -> None:
                first = message.recipients[0].attempts == 0
                seen.update((message.queue_id, address) for address in addresses(message))
                state = State.DEFERRED if first and message.number % 2 else State.DELIVERED
                finish(queue, message, state, at=clock.now, next_attempt=clock.now + 60)

            while (await queue.stats()).messages:
                for message in await listener.take(len(listener.messages)):
                    tell(message)
                await settle(queue)
                await asyncio.sleep(0.005)
                if not listener.messages:
                    clock.now += 61
                    queue.resume()
            assert {queue_id for queue_id, _ in seen} == set(ids)
            assert set(seen.values()) <= {1, 2}
            assert len(seen) == sum(sizes)

    run(main())


def test_no_message_is_forgotten_when_scans_and_outcomes_overlap(tmp_path: Path) -> None:
    """A scan reads a snapshot; what is settled meanwhile must be neither repeated nor lost."""

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, settings=replace(SETTINGS, window=20), listener=listener) as queue:
            deliveries: Counter[str] = Counter()

            async def deliver() -> None:
                while True:
                    for message in await listener.take():
                        deliveries.update(f"{message.queue_id} {address}" for address in addresses(message))
                        finish(queue, message)

            courier = asyncio.ensure_future(deliver())
            for _ in range(40):
                await asyncio.gather(*[accept(queue, arrival("a.example", "b.example")) for _ in range(10)])
                queue._look_again(0.0)
            await eventually(lambda: len(deliveries) == 800)
            courier.cancel()
            assert set(deliveries.values()) == {1}

    run(main())


@pytest.mark.parametrize("verb", ["hold", "delete"])
def test_what_the_operator_stops_while_a_scan_is_reading_it_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    read, go_on = threading.Event(), threading.Event()

    def slow_scan(connection: sqlite3.Connection, plan: Plan) -> Found:
        found = scan(connection, plan)
        read.set()
        assert go_on.wait(10)
        return found

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path) as queue:
            queue_id = await accept(queue)
            await asyncio.sleep(0.01)
            monkeypatch.setattr("sekisho.queue.spool.scan", slow_scan)
            queue.listener = listener
            await asyncio.get_running_loop().run_in_executor(None, read.wait, 10)
            stop = Verb(verb, [decode(queue_id)[0]], START)  # type: ignore[index]
            await queue._commits.execute(stop)
            go_on.set()
            await eventually(lambda: not queue._scanning)
            await asyncio.sleep(0.01)
            assert listener.messages == []
            assert (await queue.stats()).recipients.get(State.QUEUED) is None

    run(main())


def test_a_hundred_thousand_recipients_do_not_lie_in_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue, arrival(*["example.net"] * 100_000))
        listener = Listener()
        tracemalloc.start()
        try:
            async with opened(tmp_path, listener=listener) as queue:
                await eventually(lambda: len(listener.messages) > 0)
                await asyncio.sleep(0.1)
                assert sum(len(m.recipients) for m in listener.messages) <= 4000
                for _ in range(4):
                    for message in listener.messages:
                        finish(queue, message)
                    listener.messages = []
                    await settle(queue)
                    await eventually(lambda: len(listener.messages) > 0)
                assert tracemalloc.get_traced_memory()[1] < 16_000_000
        finally:
            tracemalloc.stop()

    run(main())


def test_a_paused_queue_accepts_but_hands_out_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue.pause()
            queue_id = await accept(queue)
            await asyncio.sleep(0.03)
            assert listener.messages == []
            queue.resume()
            assert [m.queue_id for m in await listener.take()] == [queue_id]

    run(main())


def test_mail_from_the_future_waits_for_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            await accept(queue, replace(arrival(), arrived=START + 50))
            await asyncio.sleep(0.02)
            assert listener.messages == []
            clock.now += 51
            queue.resume()
            await listener.take()

    run(main())


def test_opening_fifty_thousand_deferred_messages_is_quick(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue)
            connection = queue._spool.writer
            first = queue._last_number + 1
            connection.execute("BEGIN")
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999) "
                "INSERT INTO message SELECT ? + i, ?, ?, 1, 1, 'a', 'example.jp', '7BIT', 0, NULL, NULL, 'a', 's', "
                "'c', 'l', 10 FROM n",
                (first, START, START + 1e6),
            )
            connection.execute(
                "INSERT INTO recipient SELECT number << 20, 1, ?, 1, 'r', 'example.net', NULL, NULL, ?, 'mx', "
                "'451 later' FROM message WHERE number >= ?",
                (START + 600, START, first),
            )
            connection.execute(
                "INSERT INTO content SELECT number, 0, NULL, NULL, NULL, x'00' FROM message WHERE number >= ?",
                (first,),
            )
            connection.execute("COMMIT")
        loop = asyncio.get_running_loop()
        began = loop.time()
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            taken = loop.time() - began
            assert taken < 0.3
            await listener.take(2)
            assert (await queue.stats()).recipients == {State.QUEUED: 2, State.DEFERRED: 50_000}

    run(main())
