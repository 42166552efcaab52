"""How many connections a backlog is worth, and who gets the next job."""

from __future__ import annotations

import asyncio

from tests.delivery.doubles import MemoryQueue, message_to

from sekisho.delivery.pool import FIRST_PACE, STUCK, Job, Pending, Pool
from sekisho.delivery.route import Destination, DestinationKind, Security


def pool() -> Pool:
    return Pool(Destination(DestinationKind.MX, "x.example", Security()))


def job(*names: str, since: float = 0.0) -> Job:
    message = message_to(*(names or ("a@x.example",)))
    pending = Pending(MemoryQueue(), message)
    pending.jobs = 1
    return Job(pending, message.recipients, since)


def test_the_worker_that_was_idle_last_gets_the_job() -> None:
    """The others go unused, and leave."""

    async def run() -> None:
        here = pool()
        early, late = asyncio.ensure_future(here.wait(0.0)), asyncio.ensure_future(here.wait(1.0))
        await asyncio.sleep(0)
        given = job()
        assert here.put(given)
        assert await late is given
        assert here.dismiss_idle(0.5) == 1
        assert await early is None
        assert not here.put(job())
        assert len(here.backlog) == 1

    asyncio.run(run())


def test_a_slow_peer_gets_more_connections_and_a_fast_one_does_not() -> None:
    async def run() -> None:
        here = pool()
        assert not here.wants_worker(20, 0.0)
        here.put(job())
        assert here.wants_worker(20, 0.0)
        here.workers = 1
        assert here.pace == FIRST_PACE
        assert here.wants_worker(20, 0.0)
        for _ in range(100):
            here.measured(0.001)
        assert not here.wants_worker(20, 0.0)
        assert here.wants_worker(20, STUCK + 0.1)

    asyncio.run(run())


def test_connections_stay_within_the_limit_and_the_window() -> None:
    async def run() -> None:
        here = pool()
        for _ in range(100):
            here.put(job())
        here.workers = 3
        assert here.wants_worker(4, 0.0)
        assert not here.wants_worker(3, 0.0)
        here.health.window = 2.5
        assert not here.wants_worker(20, 0.0)

    asyncio.run(run())


def test_a_job_split_in_two_keeps_every_recipient_once() -> None:
    async def run() -> None:
        whole = job("a@x.example", "b@x.example", "c@x.example")
        moved = whole.split_off([0, 2])
        assert [str(recipient.mailbox) for recipient in moved.recipients] == ["a@x.example", "c@x.example"]
        assert [str(recipient.mailbox) for recipient in whole.recipients] == ["b@x.example"]
        assert [str(mailbox) for mailbox in whole.mailboxes] == ["b@x.example"]
        assert whole.pending.jobs == 2

    asyncio.run(run())
