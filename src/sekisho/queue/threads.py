"""Threads that do what would stall the event loop: syncing, reading the disk, checkpoints.

One `Worker` is one thread and one order of calls. The queue hands it whole steps (a COMMIT, a scan), never statements,
so that the interpreter lock changes hands once per step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Worker"]

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]


class Worker:
    """Run calls one after the other on a thread, which starts with the first one; results arrive in *loop*."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any], Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], Any], done: Done) -> None:
        """Run *call* after those before it, then *done(result, error)* in the loop; one of the two is None."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put((call, done))

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run *call* after those before it; its result or exception becomes that of the future."""
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.submit(call, done)
        return future

    def stop(self) -> None:
        """Wait for the calls handed over so far and end the thread. Results still reach the loop if it runs on."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, done = item
            result, error = None, None
            try:
                result = call()
            except BaseException as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:  # the loop was closed without `stop`; nobody waits any more
                return
            del call, done, item, result, error  # keep nothing alive while waiting
