"""Who has to change something: accounts that need a new password, and who still sends the old way. Also as CSV."""

from __future__ import annotations

import asyncio
import csv
import functools
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sekisho.accounts import Account, AccountStore
from sekisho.guide.agents import Prospect, known_agents, prospect
from sekisho.portal.charts import Bar, bars
from sekisho.portal.clock import Clock
from sekisho.portal.errors import Refusal
from sekisho.portal.operators import open_to_operator
from sekisho.portal.pages import page
from sekisho.portal.parts import Parts
from sekisho.portal.visitor import normal_address
from sekisho.portal.words import LANGUAGES, word
from sekisho.telemetry import Remaining
from sekisho.telemetry.tallies import OTHER

__all__ = ["routes"]

LISTED = 75  # rows on a page, which stays below 60 kB; the CSV has all
BATCH = 1000  # accounts read at once: logins wait meanwhile
COLUMNS = ("account", "line", "others", "detail", "first", "last", "times", "success")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # begins what a spreadsheet takes for a formula


@dataclass(frozen=True, slots=True)
class _Kind:
    """One old way.

    Fields:
        recalled: the kinds of `Recall.remaining` that show it.
        is_old: judges their detail.
        strangers: lines that nobody has logged in from count, too.
    """

    recalled: tuple[str, ...]
    is_old: Callable[[str], bool]
    strangers: bool = False


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""
    kinds = _kinds(parts)

    async def remaining(request: Request) -> Response:
        open_to_operator(request)
        language = request.state.language
        found = await asyncio.to_thread(lambda: {name: _rows(parts, kind) for name, kind in kinds.items()})
        rows = [
            Bar(
                word(f"operator.old.{name}", language),
                len(own),
                f"/{language}/operator/old/{name}",
                word("operator.old.lines", language, count=others) if others else "",
            )
            for name, (own, others) in found.items()
        ]
        tallies = await asyncio.to_thread(parts.recall.tallies)
        head = word("operator.head.what", language), word("operator.head.who", language)
        used = word("operator.head.messages", language)
        none = word("operator.old.none", language)
        return page(
            request,
            "operator/remaining.html",
            here="remaining",
            chart=bars(word("operator.old.chart", language), head, rows, none),
            used=[_shares(tallies.totals(each), each, used, language) for each in ("agent", "tls", "mechanism")],
        )

    async def one(request: Request) -> Response:
        open_to_operator(request)
        name, language = request.path_params["kind"], request.state.language
        if name not in kinds:
            raise Refusal(404, "common.not_found")
        own, others = await asyncio.to_thread(_rows, parts, kinds[name])
        return page(
            request,
            "operator/old.html",
            here="remaining",
            kind=name,
            rows=[_shown(parts.clock, each, name, language) for each in own[:LISTED]],
            more=max(0, len(own) - LISTED),
            others=others,
        )

    async def one_as_csv(request: Request) -> Response:
        open_to_operator(request)
        name, language = request.path_params["kind"], request.state.language
        if name not in kinds:
            raise Refusal(404, "common.not_found")
        own, _ = await asyncio.to_thread(_rows, parts, kinds[name])
        return _csv(f"{name}.csv", _heads(COLUMNS, language), (_cells(parts.clock, each, language) for each in own))

    async def renewal(request: Request) -> Response:
        open_to_operator(request)
        found = await _needing(parts)
        return page(
            request,
            "operator/renewal.html",
            here="renewal",
            rows=[(each, parts.clock.figures(_last(parts, each))) for each in found[:LISTED]],
            total=len(found),
            more=max(0, len(found) - LISTED),
        )

    async def renewal_as_csv(request: Request) -> Response:
        open_to_operator(request)
        language = request.state.language
        found = await _needing(parts)
        rows = (
            [each.login, word(f"operator.renewal.{each.renewal}", language), parts.clock.figures(_last(parts, each))]
            for each in found
        )
        return _csv("renewal.csv", _heads(("account", "why", "success"), language), rows)

    return [
        route
        for each in LANGUAGES
        for route in (
            Route(f"/{each}/operator/old", remaining),
            Route(f"/{each}/operator/old/{{kind}}.csv", one_as_csv),
            Route(f"/{each}/operator/old/{{kind}}", one),
            Route(f"/{each}/operator/renewal", renewal),
            Route(f"/{each}/operator/renewal.csv", renewal_as_csv),
        )
    ]


def _kinds(parts: Parts) -> dict[str, _Kind]:
    """Return the old ways by the name of their page. Host names are old that the settings card does not give."""
    card = parts.card
    ours = {card.hostname, *(each.host for each in card.audiences), *parts.settings.portal.names}

    @functools.lru_cache(maxsize=4096)
    def cannot_go_on(agent: str) -> bool:
        found = prospect(known_agents().recognize(agent), parts.catalog, card)
        return found in (Prospect.RETIRED, Prospect.OLDER)

    def always(detail: str) -> bool:
        return True

    return {
        "port25": _Kind(("port25",), always),
        "cleartext": _Kind(("cleartext",), always),
        "names": _Kind(("name",), lambda detail: detail not in ours),
        "cram-md5": _Kind(("mechanism",), lambda detail: detail == "CRAM-MD5"),
        "tls": _Kind(("tls-version",), always),
        "clients": _Kind(("agent",), cannot_go_on),
        "relay": _Kind(("relay",), always, strangers=True),
    }


def _rows(parts: Parts, kind: _Kind) -> tuple[list[Remaining], int]:
    """Return who is known to send the old way, and the number of lines that did and may be anybody's."""
    found = [each for name in kind.recalled for each in parts.recall.remaining(name, kind.is_old)]
    own = [each for each in found if kind.strangers or each.account or each.partners or _is_ours(parts, each.line)]
    return own, len(found) - len(own)


def _is_ours(parts: Parts, line: str | None) -> bool:
    address = normal_address((line or "").partition("/")[0])
    around = parts.around
    return address is not None and any(address in each for each in (*around.lines, *around.campus, *around.vpn))


def _shares(counts: dict[str, int], kind: str, head: str, language: str) -> Markup:
    """Return the chart of what messages were sent by; clients of one family count together."""
    sums: dict[str, int] = {}
    for name, number in counts.items():
        shown = _share(name, kind, language)
        sums[shown] = sums.get(shown, 0) + number
    rows = [Bar(name, number) for name, number in sorted(sums.items(), key=lambda item: -item[1])[:15]]
    title = word(f"operator.share.{kind}", language)
    return bars(
        title, (word(f"operator.share.{kind}.head", language), head), rows, word("operator.chart.none", language)
    )


def _share(name: str, kind: str, language: str) -> str:
    if not name:
        return word("operator.share.unsaid", language)
    if kind == "agent" and (recognized := known_agents().recognize(name)) is not None:
        return recognized.family.names.say(language)
    if kind == "agent" or name == OTHER:
        return word("operator.share.other", language)
    return word("operator.share.no_tls", language) if name == "none" else name


def _shown(clock: Clock, row: Remaining, kind: str, language: str) -> dict[str, object]:
    recognized = known_agents().recognize(row.detail) if kind == "clients" else None
    client = recognized.versions[0] if recognized is not None and recognized.versions else None
    return {
        "client": client.id if client is not None else "",
        "client_name": client.names.say(language) if client is not None else "",
        "account": row.account or "",
        "line": row.line or "",
        "partners": row.partners,
        "detail": _detail(row, language),
        "first": clock.figures(row.first),
        "last": clock.figures(row.last),
        "count": f"{row.count:,}",
        "success": clock.figures(row.last_success),
        "since": row.last_success is not None and row.last_success > row.last,
    }


def _detail(row: Remaining, language: str) -> str:
    is_try = row.account is None and row.detail in ("auth", "relay")
    return word(f"operator.tried.{row.detail}", language) if is_try else row.detail


def _cells(clock: Clock, row: Remaining, language: str) -> list[str]:
    return [
        row.account or "",
        row.line or "",
        " ".join(row.partners),
        _detail(row, language),
        clock.figures(row.first),
        clock.figures(row.last),
        str(row.count),
        clock.figures(row.last_success),
    ]


async def _needing(parts: Parts) -> list[Account]:
    """Return the accounts that need a new password, in the order of their logins."""
    found: list[Account] = []
    after = ""
    while True:
        batch = await parts.accounts.call(functools.partial(AccountStore.list, after=after, limit=BATCH))
        found += [each for each in batch if each.renewal]
        if len(batch) < BATCH:
            return found
        after = batch[-1].login


def _last(parts: Parts, account: Account) -> float | None:
    history = parts.recall.account_history(account.login)
    return history.last if history is not None else None


def _heads(columns: Sequence[str], language: str) -> list[str]:
    return [word(f"operator.head.{each}", language) for each in columns]


def _csv(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    """Return a table for spreadsheets: UTF-8 with its mark, and no cell that would be a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    for row in rows:
        writer.writerow([f"'{cell}" if cell.lstrip(" \u3000").startswith(FORMULA) else cell for cell in row])
    return Response(
        text.getvalue().encode("utf-8-sig"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
