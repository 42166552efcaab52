"""Group commit: who waits for what, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.queue.spooling import LETTER, Clock, Listener, accept, arrival, finish, opened, run, settle

from sekisho.queue import Arrival, Queue, SpoolError, SpoolFull, State
from sekisho.queue.commits import MOST_TURNS, QUIET_TURNS
from sekisho.smtp import Envelope, Mailbox, Recipient

LARGE = b"x" * 400_000


def watch(queue: Queue) -> list[str]:
    """Legs passed, in order."""
    seen: list[str] = []
    queue._commits.leg = seen.append
    return seen


@pytest.mark.parametrize(
    ("octets", "legs"),
    [(LETTER, ["applied", "committed", "resolved"]), (LARGE, ["content-synced", "applied", "committed", "resolved"])],
    ids=["inline", "file"],
)
def test_the_legs_follow_one_another(tmp_path: Path, octets: bytes, legs: list[str]) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            seen = watch(queue)
            await accept(queue, octets=octets)
            assert seen == legs

    run(main())


def test_nobody_is_acknowledged_before_the_commit_has_returned(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            gate = threading.Event()
            reached = threading.Event()

            def stop_before_the_end(leg: str) -> None:
                if leg == "committed":
                    reached.set()
                    assert gate.wait(10)

            queue._commits.leg = stop_before_the_end
            waiting = asyncio.ensure_future(accept(queue))
            await asyncio.get_running_loop().run_in_executor(None, reached.wait, 10)
            await asyncio.sleep(0.05)
            assert not waiting.done()
            gate.set()
            await waiting

    run(main())


def test_what_becomes_ready_during_a_sync_shares_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            seen = watch(queue)
            first = [asyncio.ensure_future(accept(queue)) for _ in range(20)]
            while queue._commits._group is None:  # noqa: ASYNC110 a group tells nobody that it began
                await asyncio.sleep(0)
            second = [asyncio.ensure_future(accept(queue)) for _ in range(30)]
            ids = await asyncio.gather(*first, *second)
            assert len(set(ids)) == 50
            assert seen.count("committed") == 2

    run(main())


def test_a_group_waits_a_few_turns_of_the_loop_for_more_and_no_longer(tmp_path: Path) -> None:
    """Turns without another arrival are few, those with one are bounded: nobody waits for a stream to end."""

    async def turns_until_begun(queue: Queue, at_once: int, later: int) -> int:
        accepted = [asyncio.ensure_future(accept(queue)) for _ in range(at_once)]
        await asyncio.sleep(0)
        turns = 0
        while queue._commits._group is None:
            if turns < later:
                accepted.append(asyncio.ensure_future(accept(queue)))
            await asyncio.sleep(0)
            turns += 1
        await asyncio.gather(*accepted)
        return turns

    async def main() -> None:
        async with opened(tmp_path) as queue:
            assert await turns_until_begun(queue, 1, 0) == 1
            assert QUIET_TURNS < await turns_until_begun(queue, 2, 3) <= 3 + QUIET_TURNS
            assert 1 < await turns_until_begun(queue, 1, 0) <= QUIET_TURNS  # the last one had company
            assert await turns_until_begun(queue, 1, 0) == 1
            assert await turns_until_begun(queue, 2, 50) <= MOST_TURNS

    run(main())


def synchronous(queue: Queue) -> Callable[[], int]:
    """Record how each transaction is synced."""
    connection = queue._spool.writer
    return lambda: connection.execute("PRAGMA synchronous").fetchone()[0]


def test_outcomes_alone_are_written_at_once_and_synced_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("sekisho.queue.commits._fdatasync", synced.append)
    monkeypatch.setattr("sekisho.queue.commits.SYNC_WITHIN", 0.05)

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            finish(queue, message)
            await settle(queue)
            assert synchronous(queue)() == 1  # NORMAL: written, not synced
            reader = sqlite3.connect(tmp_path / "0" / "queue.db")
            assert reader.execute("SELECT state FROM recipient").fetchall() == [(3,)]
            reader.close()
            assert synced == []
            await asyncio.sleep(0.1)
            assert synced == [tmp_path / "0" / "queue.db-wal"]
            await accept(queue)
            assert synchronous(queue)() == 2  # FULL

    run(main())


def full(queue: Queue) -> Callable[[], None]:
    """Leave no page free in the database; the answer makes room again."""
    connection = queue._spool.writer
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def make_room() -> None:
        connection.execute("PRAGMA max_page_count = 1073741823")

    return make_room


def test_a_full_disk_refuses_new_mail_keeps_the_old_and_recovers(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        problems: list[str] = []
        async with opened(tmp_path, listener=listener) as queue:
            queue.problem = problems.append
            kept = await accept(queue)
            make_room = full(queue)
            results = await asyncio.gather(
                *[accept(queue, octets=b"x" * 50_000) for _ in range(3)],
                accept(queue, octets=LARGE * 2),
                return_exceptions=True,
            )
            assert {type(result) for result in results[:3]} == {SpoolFull}
            assert [listed.queue_id for listed in await queue.list()] == [kept] + [
                result for result in results[3:] if isinstance(result, str)
            ]
            assert problems
            make_room()
            after = await accept(queue, octets=b"x" * 50_000)
            assert after in {listed.queue_id for listed in await queue.list()}

    run(main())


def test_outcomes_wait_for_room_and_their_mail_is_not_sent_again_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.queue.commits.RETRY_AFTER", 0.02)

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue, arrival(*["example.net"] * 300))
            [message] = await listener.take()
            make_room = full(queue)
            finish(queue, message, reply="250 " + "x" * 400)
            await asyncio.sleep(0.1)
            queue._window.rewind(0.0)
            queue.resume()
            await asyncio.sleep(0.05)
            assert listener.messages == []
            make_room()
            await asyncio.sleep(0.1)
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert {r.state for r in shown.recipients} == {State.DELIVERED}
            assert queue._window.busy == set()

    run(main())


def test_an_io_error_in_the_commit_is_not_an_acceptance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:

            def fail(leg: str) -> None:
                if leg == "applied":
                    error = sqlite3.OperationalError("disk I/O error")
                    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
                    raise error

            queue._commits.leg = fail
            with pytest.raises(SpoolError, match="disk I/O error") as caught:
                await accept(queue, octets=LARGE)
            assert not isinstance(caught.value, SpoolFull)
            monkeypatch.setattr("sekisho.queue.commits._is_full", lambda directory: True)  # e.g. a quota
            with pytest.raises(SpoolFull):
                await accept(queue)
            queue._commits.leg = None
            await accept(queue)
            assert (await queue.stats()).messages == 1
            assert list((tmp_path / "0" / "content").iterdir()) == []

    run(main())


def test_a_commit_that_fails_on_its_thread_is_rolled_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            connection = queue._spool.writer
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
            connection.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")

            def break_the_commit(leg: str) -> None:
                if leg == "applied":
                    connection.execute("INSERT INTO child VALUES (1)")

            queue._commits.leg = break_the_commit
            with pytest.raises(SpoolError, match="FOREIGN KEY"):
                await accept(queue)
            assert not connection.in_transaction
            queue._commits.leg = None
            await accept(queue)
            assert (await queue.stats()).messages == 1

    run(main())


def poisoned() -> Arrival:
    """An arrival that cannot be stored: a lone surrogate is no Unicode text."""
    return replace(arrival(), envelope=Envelope(None, (Recipient(Mailbox("\udce9", "example.net")),)))


def test_one_message_that_cannot_be_stored_does_not_harm_its_group(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            await accept(queue)
            [message] = await listener.take()
            finish(queue, message)
            results = await asyncio.gather(
                accept(queue), accept(queue, poisoned()), accept(queue), return_exceptions=True
            )
            assert isinstance(results[1], SpoolError)
            await settle(queue)
            assert {listed.queue_id for listed in await queue.list()} == {results[0], results[2]}
            assert len(await listener.take(2)) == 2

    run(main())


def test_a_client_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    """RFC 1047: a duplicate is better than a loss."""

    async def main() -> None:
        async with opened(tmp_path) as queue:
            writer = queue.new_content()
            writer.write(LETTER)
            queue.commit(arrival(), writer).cancel()
            await accept(queue)
            assert (await queue.stats()).messages == 2

    run(main())


def test_the_wal_is_moved_into_the_database_while_mail_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.queue.commits.CHECKPOINT_OCTETS", 1_000_000)

    async def main() -> None:
        async with opened(tmp_path) as queue:
            for _ in range(120):
                await asyncio.gather(*[accept(queue, octets=b"x" * 50_000) for _ in range(4)])
            assert (tmp_path / "0" / "queue.db").stat().st_size > 4_000_000
            assert (tmp_path / "0" / "queue.db-wal").stat().st_size < 13_000_000
            await asyncio.sleep(0.05)
            queue._commits._grown = 1
            queue._commits.checkpoint_if_idle()
            assert (await queue.stats()).messages == 480

    run(main())


def test_a_group_that_was_lost_is_seen_by_nobody(tmp_path: Path) -> None:
    """The listener hears of mail only when it is on disk."""

    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, Clock(), listener=listener) as queue:
            make_room = full(queue)
            with pytest.raises(SpoolFull):
                await accept(queue, octets=b"x" * 50_000)
            await asyncio.sleep(0.02)
            assert listener.messages == []
            make_room()

    run(main())
