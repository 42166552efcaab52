"""Looking at spools: by the mail process itself and from another process."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from tests.queue.spooling import LETTER, START, Clock, Listener, accept, arrival, finish, opened, outcomes, run, settle

from sekisho.queue import Destination, Filter, SpoolError, SpoolReader, State
from sekisho.smtp import Mailbox


def ids(listed: object) -> list[str]:
    return [row.queue_id for row in listed]  # type: ignore[attr-defined]


def test_a_listing_tells_what_an_operator_asks_first(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            queue_id = await accept(queue, arrival(*[f"{n}.example" for n in range(7)]))
            [message] = await listener.take()
            message.recipients = message.recipients[:2]
            finish(queue, message, State.DEFERRED, reply="451 4.7.1 Greylisted", next_attempt=START + 300)
            await settle(queue)
            [row] = await queue.list()
            with SpoolReader(tmp_path) as reader:
                assert reader.list() == (row,)
            assert row.queue_id == queue_id
            assert row.recipients == {State.DEFERRED: 2, State.QUEUED: 5}
            assert row.reverse_path == Mailbox("rin", "example.jp")
            assert row.last_reply == "451 4.7.1 Greylisted"
            assert [str(m) for m in row.mailboxes][:2] == ["r0@0.example", "r1@1.example"]
            assert len(row.mailboxes) == 5
            assert (row.size, row.arrived, row.next_attempt) == (len(LETTER), START, START)

    run(main())


def test_filters_narrow_a_listing(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            done = await accept(queue, arrival("done.example", account="ken@example.jp"))
            finish(queue, (await listener.take())[0])
            held = await accept(queue, arrival("held.example", "Other.example", hold=True))
            clock.now += 100
            late = await accept(queue, arrival("late.example", clock=clock))
            await settle(queue)
            for filter_, expected in [
                (Filter(), [held, late]),
                (Filter(states=(State.HELD,)), [held]),
                (Filter(states=tuple(State)), [done, held, late]),
                (Filter(states=(State.DELIVERED,), account="KEN@example.jp"), [done]),
                (Filter(domain="other.EXAMPLE"), [held]),
                (Filter(sender="Rin@EXAMPLE.jp", arrived_after=START + 50), [late]),
                (Filter(sender="ken@example.jp"), []),
                (Filter(arrived_before=START + 50), [held]),
                (Filter(states=(State.FAILED,)), []),
            ]:
                assert ids(await queue.list(filter_)) == expected, filter_

    run(main())


def test_pages_of_several_spools_follow_one_another_in_the_order_of_arrival(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        everything = []
        async with opened(tmp_path, clock, number=0) as one, opened(tmp_path, clock, number=1) as other:
            for _ in range(4):
                for queue in (other, one):
                    everything.append(await accept(queue))
                clock.now += 1
        everything.sort()
        with SpoolReader(tmp_path) as reader:
            pages: list[str] = []
            after = None
            while page := reader.list(limit=3, after=after):
                pages += ids(page)
                after = page[-1].queue_id
            assert pages == everything
            assert reader.stats().messages == 8
            assert {n: s.messages for n, s in reader.stats_by_spool().items()} == {0: 4, 1: 4}
            assert reader.stats().oldest == START
            for queue_id in everything:
                shown = reader.show(queue_id)
                assert shown is not None
                assert shown.queue_id == queue_id
            with pytest.raises(ValueError, match="no queue id"):
                reader.list(after="what")

    run(main())


def test_one_message_is_shown_with_its_whole_envelope(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            arrived = arrival("a.example", "b.example")
            queue_id = await accept(queue, arrived)
            shown = await queue.show(queue_id.lower())
            assert shown is not None
            assert shown.arrival == arrived
            assert shown.recipient_count == 2
            assert shown.content_kept
            assert await queue.show("ZZZZZZZZZZ") is None
            assert await queue.show("") is None

    run(main())


def test_reading_needs_no_running_service_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            await accept(queue)

    run(main())
    before = sorted(path.name for path in (tmp_path / "0").iterdir())
    with SpoolReader(tmp_path) as reader:
        assert reader.stats().messages == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connections[0].execute("DELETE FROM message")
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == before


def test_a_service_without_spools_has_an_empty_queue(tmp_path: Path) -> None:
    with SpoolReader(tmp_path / "none") as reader:
        assert reader.list() == ()
        assert reader.stats().messages == 0
        assert reader.show("ZZZZZZZZZZ") is None


def test_a_spool_of_another_version_is_not_misread(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path):
            pass

    run(main())
    connection = sqlite3.connect(tmp_path / "0" / "queue.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SpoolError, match="another version"):
        SpoolReader(tmp_path)
    with pytest.raises(SpoolError, match="newer Sekisho"):
        run(main())


def test_what_waits_is_summed_up_by_destination_the_worst_first(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            await accept(queue, arrival("slow.example", "slow.example", "slow.example"))
            [message] = await listener.take()
            for number, reply in enumerate(("451 first", "452 second")):
                clock.now += 10
                some = dataclasses.replace(message, recipients=message.recipients[number : number + 1])
                queue.record(some, outcomes(some, State.DEFERRED, reply=reply, at=clock.now, next_attempt=START + 300))
                await settle(queue)
            queue.done_with(message)
            await accept(queue, arrival("done.example"))
            finish(queue, (await listener.take())[0])
            await accept(queue, arrival(*["many.example"] * 5))
            await settle(queue)
            with SpoolReader(tmp_path) as reader:
                first, second, *rest = reader.destinations()
                assert (first.domain, first.count, first.last_reply) == ("slow.example", 3, "452 second")
                assert first.recipients[State.DEFERRED] == 2
                assert second == Destination("many.example", {State.QUEUED: 5}, second.next_attempt, None)
                assert "done.example" not in [each.domain for each in rest]
                assert [each.domain for each in reader.destinations(1)] == ["slow.example"]

    run(main())
