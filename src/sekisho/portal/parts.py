"""What the views stand on: the settings with all that derives from them, and the stores, each of which may be away.

Made anew at a reload, around the stores that stay open. A view is given one `Parts` when its routes are made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sekisho.autoconfig.provider import Provider
from sekisho.guide.card import Card
from sekisho.guide.model import Both, Catalog
from sekisho.supervise.card import guide_card
from sekisho.supervise.control import ask
from sekisho.supervise.errors import ControlError
from sekisho.supervise.sections import Places, Settings
from sekisho.telemetry import EventLog, Recall

from .clock import Clock
from .errors import Unavailable
from .stores import Accounts, Logins
from .tries import Tries
from .visitor import Surroundings

__all__ = ["Parts", "Unavailable", "portal_card"]


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that the views use.

    Fields:
        tries: what every password that is asked for passes through.
        recall: what the event log tells; see `fresh_recall`.
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
    sessions: Logins
    tries: Tries
    recall: Recall
    events: EventLog
    secret: bytes
    signer: tuple[bytes, bytes] | None = None
    now: Callable[[], float] = time.time
    around: Surroundings = field(init=False, default_factory=Surroundings)
    clock: Clock = field(init=False, default_factory=Clock)

    def __post_init__(self) -> None:
        self.clock = Clock.of(self.settings.guide.time_zone, lambda: self.now())
        self.around = Surroundings.of(self.settings.portal)

    async def ask(self, verb: str, **arguments: object) -> list[Any]:
        """Ask every mail process, and return the answers of those that gave one, in their order.

        Raises:
            Unavailable: none of them answers.
        """
        return await asyncio.to_thread(self._ask, verb, arguments)

    async def fresh_recall(self) -> Recall:
        """Return what the event log tells, read as far as it goes now."""
        await asyncio.to_thread(self.recall.refresh)
        return self.recall

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
