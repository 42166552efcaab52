"""When accounts last logged in: gathered in memory, written together, seldom, and never while a client waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from sekisho.store import StoreError

from .database import LOGIN_NOTED_EVERY

__all__ = ["LoginNotes"]

_GATHER_SECONDS = 2.0
_REMEMBERED = 100_000  # accounts of which it is known that their login is written


class LoginNotes:
    """Notes logins of accounts, each at most once in `LOGIN_NOTED_EVERY` seconds. Losing some is harmless.

    Args:
        write: stores the present time for these accounts; called in a thread.
        steady: seconds of a steady clock.
    """

    __slots__ = ("_noted", "_steady", "_timer", "_waiting", "_write", "_writing")

    def __init__(self, write: Callable[[Sequence[int]], None], steady: Callable[[], float]) -> None:
        self._write = write
        self._steady = steady
        self._noted: dict[int, float] = {}
        self._waiting: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    def note(self, account: int) -> None:
        """Note a login of *account*, now. Call it in the event loop."""
        now = self._steady()
        noted = self._noted.get(account)
        if noted is not None and now - noted < LOGIN_NOTED_EVERY:
            return
        if len(self._noted) >= _REMEMBERED:
            del self._noted[next(iter(self._noted))]
        self._noted[account] = now
        self._waiting.add(account)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._begin_writing)

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await asyncio.wait([self._writing])
        accounts, self._waiting = list(self._waiting), set()
        if accounts:
            self._write_quietly(accounts)

    def _begin_writing(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():  # a slow disk: one write at a time
            self._timer = loop.call_later(_GATHER_SECONDS, self._begin_writing)
            return
        accounts, self._waiting = list(self._waiting), set()
        self._writing = loop.run_in_executor(None, self._write_quietly, accounts)

    def _write_quietly(self, accounts: Sequence[int]) -> None:
        with contextlib.suppress(StoreError):
            self._write(accounts)
