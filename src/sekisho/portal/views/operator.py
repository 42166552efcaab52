"""The operator's first pages: is it well, what fails and why, and what a monitor is told."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sekisho.portal.charts import Columns, columns
from sekisho.portal.clock import Clock
from sekisho.portal.counted import by_hour
from sekisho.portal.health import Check, Checkup, is_well
from sekisho.portal.operators import duration, octets, open_to_operator, reason_words
from sekisho.portal.pages import page
from sekisho.portal.parts import Parts
from sekisho.portal.words import LANGUAGES, word
from sekisho.telemetry import Tallies, failure_of

from . import operator_people, operator_queue

__all__ = ["routes"]

LISTED = 100  # failures on the page
MAX_FILTER = 320  # characters


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""
    checkup = Checkup(parts)

    async def health(request: Request) -> Response:
        """Tell anybody whether the service is well, and nothing else."""
        well = is_well(await checkup.look())
        return JSONResponse(
            {"status": "ok" if well else "failing"}, 200 if well else 503, headers={"Cache-Control": "no-store"}
        )

    async def health_in_full(request: Request) -> Response:
        open_to_operator(request)
        checks = await checkup.look()
        well = is_well(checks)
        told = [{"name": each.name, "state": each.state, "is": each.verdict, **each.values} for each in checks]
        return JSONResponse(
            {"status": "ok" if well else "failing", "checks": told},
            200 if well else 503,
            headers={"Cache-Control": "no-store"},
        )

    async def overview(request: Request) -> Response:
        open_to_operator(request)
        language = request.state.language
        checks, tallies = await asyncio.gather(checkup.look(), asyncio.to_thread(parts.recall.tallies))
        return page(
            request,
            "operator/overview.html",
            here="overview",
            well=is_well(checks),
            checks=[
                (each, word(f"operator.health.{each.name}", language), _verdict(parts.clock, each, language))
                for each in checks
            ],
            figures=_figures(tallies, language),
            messages=columns(_messages(tallies, parts.clock, language)),
            failures=columns(_failures(tallies, parts.clock, language)),
            known=_known(parts, language),
        )

    async def failures(request: Request) -> Response:
        open_to_operator(request)
        language = request.state.language
        wanted = {
            each: request.query_params.get(each, "").strip()[:MAX_FILTER] for each in ("reason", "line", "account")
        }
        tallies, found = await asyncio.gather(
            asyncio.to_thread(parts.recall.tallies),
            asyncio.to_thread(
                parts.recall.failures,
                reason=wanted["reason"],
                client=wanted["line"],
                account=wanted["account"],
                limit=LISTED + 1,
            ),
        )
        counted = tallies.totals("failures")
        listed = [
            (
                parts.clock.figures(each.time),
                reason_words(failure_of(each.event, each.fields) or "", language),
                *(str(each.fields.get(name, "")) for name in ("client", "account")),
                next((str(each.fields[name]) for name in ("reply", "problem", "detail") if name in each.fields), ""),
            )
            for each in found[:LISTED]
        ]
        return page(
            request,
            "operator/failures.html",
            here="failures",
            chart=columns(_failures(tallies, parts.clock, language)),
            reasons=[(each, f"{reason_words(each, language)} ({number:,})") for each, number in counted.items()],
            wanted=wanted,
            listed=listed,
            more=len(found) > LISTED,
            known=_known(parts, language),
        )

    own = [
        route
        for each in LANGUAGES
        for route in (
            Route(f"/{each}/operator/", overview),
            Route(f"/{each}/operator/health.json", health_in_full),
            Route(f"/{each}/operator/failures", failures),
        )
    ]
    return [Route("/health", health), *own, *operator_queue.routes(parts), *operator_people.routes(parts)]


def _known(parts: Parts, language: str) -> str:
    """Say what the counts rest on: since when the log was read, or that it cannot be."""
    recall = parts.recall
    if recall.problem is not None:
        return word("operator.known.away", language)
    if recall.since is None:
        return word("operator.known.nothing", language)
    key = "operator.known.since" if recall.is_caught_up else "operator.known.reading"
    return word(key, language, since=parts.clock.moment(recall.since, language))


def _verdict(clock: Clock, check: Check, language: str) -> str:
    values = {name: _value(clock, name, number, language) for name, number in check.values.items()}
    return word(f"operator.health.{check.name}.{check.verdict}", language, **values)


def _value(clock: Clock, name: str, number: float | int, language: str) -> str:
    if name.endswith("_at"):
        return clock.moment(number, language)
    if name in ("up", "age", "left"):
        return duration(number, language)
    return octets(int(number)) if name in ("free", "minimum", "octets") else f"{number:,}"


def _figures(tallies: Tallies, language: str) -> list[tuple[str, str]]:
    numbers = {
        "accepted": tallies.total("messages", "accepted"),
        "delivered": tallies.total("deliveries", "delivered"),
        "logins": tallies.total("logins", "accepted"),
        "failures": sum(tallies.totals("failures").values()),
    }
    return [(word(f"operator.figure.{name}", language), f"{number:,}") for name, number in numbers.items()]


def _messages(tallies: Tallies, clock: Clock, language: str) -> Columns:
    return by_hour(
        tallies,
        clock,
        id="messages",
        title=word("operator.chart.messages", language),
        language=language,
        series=tallies.series["messages"],
        name=lambda each: word(f"operator.messages.{each}", language),
    )


def _failures(tallies: Tallies, clock: Clock, language: str) -> Columns:
    return by_hour(
        tallies,
        clock,
        id="failures",
        title=word("operator.chart.failures", language),
        language=language,
        series=tallies.series["failures"],
        name=lambda each: reason_words(each, language),
    )
