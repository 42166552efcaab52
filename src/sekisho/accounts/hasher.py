"""A bounded pool of threads for password hashing, which would otherwise hold up every session of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

__all__ = ["HashingBusy", "HashingPool"]

Result = TypeVar("Result")


class HashingBusy(Exception):
    """As many checks wait as may; nothing was started. Temporary."""


class HashingPool:
    """Runs checks in *threads* threads, with at most *backlog* waiting. argon2 and PBKDF2 release the interpreter."""

    __slots__ = ("_executor", "_places")

    def __init__(self, threads: int, backlog: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="sekisho-hashing")
        self._places = BoundedSemaphore(threads + backlog)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of *work*. A caller that is canceled gives up its place in the backlog.

        Raises:
            HashingBusy: no place is free.
        """
        if not self._places.acquire(blocking=False):
            raise HashingBusy
        try:
            future = self._executor.submit(work)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits and let the threads end; what runs is finished."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[Result]) -> None:
        self._places.release()
