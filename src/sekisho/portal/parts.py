"""What the views stand on: the settings with all that derives from them, and the stores, each of which may be away.

Made anew at a reload, around the stores that stay open. A view is given one `Parts` when its routes are made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sekisho.accounts import Account, AccountStore
from sekisho.autoconfig import Provider
from sekisho.guide import Both, Card, Catalog
from sekisho.store import StoreError
from sekisho.supervise.card import guide_card
from sekisho.supervise.control import ask
from sekisho.supervise.errors import ControlError
from sekisho.supervise.sections import Places, Settings
from sekisho.telemetry import EventLog, Recall

from .errors import Unavailable
from .visitor import Surroundings

__all__ = ["Accounts", "Parts", "Sessions", "Unavailable", "WebSession", "portal_card"]

T = TypeVar("T")


class WebSession(Protocol):
    """A login, as `accounts.WebSessions` tells it."""

    @property
    def account(self) -> Account:
        """Whose it is."""

    @property
    def second_factor(self) -> bool:
        """Whether it was opened with a second factor."""


class Accounts:
    """The accounts, opened when they are first needed and read in one thread of their own, never in the event loop."""

    def __init__(self, open_store: Callable[[], AccountStore]) -> None:
        self._open = open_store
        self._store: AccountStore | None = None
        self._thread = ThreadPoolExecutor(1, "accounts")

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


class Sessions(Protocol):
    """The logins of browsers. Each method raises `Unavailable` when the accounts are away."""

    async def open(self, account_id: int, *, client: str, second_factor: bool) -> str:
        """Return the token of a new session."""

    async def find(self, token: str) -> WebSession | None:
        """Return the session that *token* stands for, while it lasts."""

    async def close(self, token: str) -> None:
        """End one session."""

    async def close_all(self, account_id: int, but: str | None) -> None:
        """End every session of an account but one."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that the views use.

    Fields:
        card: with name and contact in any case, see `portal_card`.
        secret: what forms are signed with.
        signer: certificate chain and key, PEM, with which profiles are signed; None leaves them unsigned.
        now: UTC seconds since the epoch.
    """

    settings: Settings
    where: Places
    card: Card
    provider: Provider
    catalog: Catalog
    accounts: Accounts
    sessions: Sessions
    recall: Recall
    events: EventLog
    secret: bytes
    signer: tuple[bytes, bytes] | None = None
    now: Callable[[], float] = time.time
    around: Surroundings = field(init=False, default_factory=Surroundings)

    def __post_init__(self) -> None:
        self.around = Surroundings.of(self.settings.portal)

    async def ask(self, verb: str, **arguments: object) -> list[Any]:
        """Ask every mail process, and return the answers of those that gave one, in their order.

        Raises:
            Unavailable: none of them answers.
        """
        return await asyncio.to_thread(self._ask, verb, arguments)

    def _ask(self, verb: str, arguments: dict[str, object]) -> list[Any]:
        answers, problem = [], "there is no mail process"
        for path in sorted(self.where.run.glob("worker-*.sock"), key=_number):
            try:
                answers.append(ask(path, verb, **arguments))
            except ControlError as error:
                problem = str(error)
        if not answers:
            raise Unavailable("service", problem)
        return answers


def _number(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def portal_card(settings: Settings) -> Card:
    """Return the settings card for the pages. Where [guide] names nobody, the host and its postmaster speak.

    Raises:
        GuideError
    """
    card = guide_card(settings)
    postmaster = settings.local.postmaster or f"postmaster@{card.audiences[0].domain}"
    return replace(
        card,
        name=card.name or Both(settings.hostname, settings.hostname),
        contact=card.contact or Both(postmaster, postmaster),
    )
