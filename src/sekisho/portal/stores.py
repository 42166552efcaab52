"""The accounts and the logins of browsers, for the event loop: read in a thread of their own, and perhaps away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from sekisho.accounts import AccountsSettings, AccountStore
from sekisho.accounts.websessions import WebSession, WebSessions
from sekisho.store import StoreError
from sekisho.supervise.portal_settings import PortalSettings

from .errors import Unavailable

__all__ = ["Accounts", "Logins", "WebSession"]

T = TypeVar("T")


class Accounts:
    """The accounts, opened when they are first needed and read in one thread of their own, never in the event loop."""

    def __init__(self, open_store: Callable[[], AccountStore]) -> None:
        self._open = open_store
        self._store: AccountStore | None = None
        self._thread = ThreadPoolExecutor(1, "accounts")

    @classmethod
    def of(cls, path: Path, settings: AccountsSettings) -> Self:
        """Return the accounts in *path*, which mail processes and commands make.

        The portal does not: while the database is away, an empty one would call everybody's password wrong.
        """
        return cls(lambda: AccountStore.open(path, create=False, settings=settings))

    async def call(self, work: Callable[[AccountStore], T]) -> T:
        """Return what *work* makes of the store.

        Raises:
            Unavailable: the store cannot be opened or read.
            AccountsError: whatever *work* raises.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def _work(self, work: Callable[[AccountStore], T]) -> T:
        try:
            if self._store is None:
                self._store = self._open()
            return work(self._store)
        except (StoreError, OSError) as error:
            store, self._store = self._store, None  # opened anew next time: the file may have been put back
            if store is not None:
                store.close()
            raise Unavailable("accounts", str(error)) from error

    async def close(self) -> None:
        """Close the store and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


class Logins:
    """`accounts.WebSessions`, from the event loop. Each method raises `Unavailable` when the accounts are away."""

    def __init__(self, accounts: Accounts, settings: PortalSettings) -> None:
        self._accounts = accounts
        self._idle = float(settings.session_idle)
        self._lifetime = float(settings.session_lifetime)

    async def open(self, account_id: int, *, client: str, second_factor: bool) -> str:
        """Return the token of a new session; it is durable by then."""
        return await self._call(lambda each: each.open(account_id, client=client, second_factor=second_factor))

    async def find(self, token: str) -> WebSession | None:
        """Return the session that *token* stands for, while it lasts."""
        return await self._call(lambda each: each.find(token))

    async def close(self, token: str) -> None:
        """End one session."""
        await self._call(lambda each: each.close(token))

    async def close_all(self, account_id: int, but: str | None) -> None:
        """End every session of an account but the one with the token *but*."""
        await self._call(lambda each: each.close_all(account_id, but))

    async def _call(self, work: Callable[[WebSessions], T]) -> T:
        return await self._accounts.call(
            lambda store: work(WebSessions(store, idle=self._idle, lifetime=self._lifetime))
        )
