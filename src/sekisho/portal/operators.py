"""What all pages for operators share: who may open them, and how times and reasons read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.requests import Request

from sekisho.queue import SpoolError, SpoolReader

from . import session
from .errors import Refusal
from .parts import Parts
from .stores import WebSession
from .words import word, words

__all__ = [
    "duration",
    "octets",
    "open_to_operator",
    "reason_words",
    "state_words",
    "with_spools",
]

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
UNITS: Final = ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes"), (1, "seconds"))

T = TypeVar("T")


def open_to_operator(request: Request) -> WebSession:
    """Return the session of an operator, who is where operators work; no cache keeps the page.

    Raises:
        Refusal: the visitor is elsewhere, or the account is no operator's, or has given no code of its second factor.
        Redirect: to the login.
    """
    request.state.private = True
    if not request.state.visitor.operator:
        raise Refusal(403, "operator.outside")
    found = session.require(request)
    if not found.account.operator:
        raise Refusal(403, "operator.nobody")
    if found.account.second_factor and not found.second_factor:
        raise Refusal(403, "operator.no_second_factor")
    return found


async def with_spools(parts: Parts, work: Callable[[SpoolReader], T]) -> T:
    """Return what *work* reads in the queue, off the event loop.

    Raises:
        Refusal: the queue cannot be read now.
    """

    def read() -> T:
        with SpoolReader(parts.where.queue) as reader:
            return work(reader)

    try:
        return await asyncio.to_thread(read)
    except (SpoolError, OSError) as error:
        raise Refusal(503, "operator.queue_away", headers={"Retry-After": "30"}) from error


# Words


def duration(seconds: float, language: str) -> str:
    """Return a span of time in its largest unit, and the next smaller one where that says more."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, name in UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(word(f"operator.unit.{name}", language, number=number))
        if number >= 10 or len(parts) == 2 or (parts and not number):
            break
    return ("" if language == "ja" else " ").join(parts) or word("operator.unit.seconds", language, number=0)


def octets(number: int) -> str:
    """Return a size in binary units."""
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def reason_words(reason: str, language: str) -> str:
    """Return why something failed, in words; a reason that has none of its own by its area and code."""
    key = f"operator.reason.{reason}"
    if key in words():
        return word(key, language)
    area, _, rest = reason.partition(".")
    key = f"operator.reason.{area}"
    return word(key, language, code=rest) if key in words() else reason


def state_words(state: str, language: str) -> str:
    """Return the name of a recipient's state."""
    return word(f"operator.state.{state}", language)
