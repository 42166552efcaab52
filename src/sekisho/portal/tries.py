"""Limits on guessing passwords, shared with the mail server: one ledger counts what is tried here and what there.

Every form that takes a password (or anything else that could be guessed) goes through `Tries.attempt`. The name is
counted as it was claimed, in the one spelling that all names of an account share, and whether anybody has it or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sekisho.accounts import Account
from sekisho.policy import AuthGuard, Limits, PolicySettings, SessionFailures
from sekisho.store.ledger import Ledger, LedgerError
from sekisho.telemetry import EventLog

from .errors import Refusal, Unavailable
from .visitor import Visitor

__all__ = ["Tries", "Wrong"]

T = TypeVar("T")
MECHANISM = "portal"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What was tried is wrong; *detail* is for the log alone."""

    detail: str


class Tries:
    """The guard, over a ledger that is opened when it is first needed. For the event loop alone."""

    def __init__(self, path: Path, settings: PolicySettings, events: EventLog, now: Callable[[], float]) -> None:
        self._path = path
        self._settings = settings
        self._events = events
        self._now = now
        self._ledger: Ledger | None = None
        self._guard: AuthGuard | None = None

    def reload(self, settings: PolicySettings) -> None:
        """Use *settings* from now on."""
        self._settings = settings
        if self._guard is not None:
            self._guard.reload(settings)

    async def attempt(
        self,
        visitor: Visitor,
        name: str,
        check: Callable[[], Awaitable[T | Wrong | None]],
        *,
        digest: bytes | None = None,
        step: str = "password",
    ) -> T | None:
        """Take one try from the limits, await *check*, and settle; a wrong one is answered late, as in the mail server.

        Args:
            name: in its canonical spelling (`AccountStore.identify`).
            check: returns `Wrong`, or None, for what was wrong.
            digest: keyed digest of what was tried, so that the same mistake counts once.
            step: what is checked, for the event: ``password``, ``second-factor``, ``token``.

        Returns:
            what *check* returned; None for what was wrong.

        Raises:
            Refusal: too many tries; nothing was checked.
            Unavailable: nobody can count now, so nobody may try.
        """
        guard = self._opened()
        if not guard.reserve(visitor.address, name, self._now()):
            self._refused(visitor, name, step, "throttled")
            minutes = max(1, round(float(self._settings.auth_window) / 60))
            raise Refusal(429, "common.too_many_logins", {"minutes": minutes}, {"Retry-After": str(minutes * 60)})
        try:
            found = await check()
        except BaseException:
            guard.undecided(visitor.address, name, self._now())
            raise
        if found is not None and not isinstance(found, Wrong):
            guard.succeeded(visitor.address, name, self._now())
            return found
        self._refused(visitor, name, step, "wrong", found.detail if found is not None else None)
        delay = guard.failed(visitor.address, name, self._now(), SessionFailures(), mechanism=MECHANISM, digest=digest)
        await asyncio.sleep(delay)
        return None

    def sent(self, account: Account) -> tuple[int, int]:
        """Return how many messages, and to how many recipients, the account has sent within the last hour.

        Raises:
            Unavailable: nobody can count now.
        """
        messages, recipients = Limits(self._open_ledger(), self._settings).used(account, self._now())
        return round(messages), round(recipients)

    def _refused(self, visitor: Visitor, name: str, step: str, reason: str, detail: str | None = None) -> None:
        self._events.emit(
            "portal.login_refused", client=visitor.address, account=name, step=step, reason=reason, detail=detail
        )

    def _opened(self) -> AuthGuard:
        if self._guard is None:
            self._guard = AuthGuard(self._open_ledger(), self._settings)
        return self._guard

    def _open_ledger(self) -> Ledger:
        if self._ledger is None:
            try:
                self._ledger = Ledger(
                    self._path, notice=lambda notice: self._events.emit("ledger.replaced", detail=notice)
                )
            except LedgerError as error:
                raise Unavailable("accounts", str(error)) from error
        return self._ledger

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = self._guard = None
