"""The bounded pool."""

import asyncio
import threading

import pytest

from sekisho.accounts.hasher import HashingBusy, HashingPool


def test_more_work_than_threads_and_backlog_is_refused_and_places_come_back() -> None:
    async def run() -> None:
        release = threading.Event()
        pool = HashingPool(threads=1, backlog=2)
        tasks = [asyncio.create_task(pool.run(release.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(HashingBusy):
            await pool.run(lambda: True)
        release.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert await pool.run(lambda: "again") == "again"
        pool.close()

    asyncio.run(run())


def test_a_canceled_caller_gives_its_place_back_and_its_work_is_never_done() -> None:
    async def run() -> None:
        release = threading.Event()
        done: list[str] = []
        pool = HashingPool(threads=1, backlog=1)
        running = asyncio.create_task(pool.run(release.wait))
        waiting = asyncio.create_task(pool.run(lambda: done.append("waiting")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        another = asyncio.create_task(pool.run(lambda: done.append("another")))
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(running, another)
        assert done == ["another"]
        pool.close()

    asyncio.run(run())


def test_an_error_in_the_work_reaches_the_caller_and_frees_the_place() -> None:
    async def run() -> None:
        pool = HashingPool(threads=1, backlog=0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(lambda: 1 // 0)
            await asyncio.sleep(0.001)  # the place is given back by the thread, just after the result
        pool.close()

    asyncio.run(run())
