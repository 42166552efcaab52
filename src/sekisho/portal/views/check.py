"""The self-check: what is seen of the visitor's line and account, the chart of questions, and what leads on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sekisho.edge.lookups import LineRecord
from sekisho.guide.diagnose import diagnose, unknown
from sekisho.guide.lookup import Outgoing, probe
from sekisho.guide.render import Pages, revisions
from sekisho.guide.render.telling import Told, tell
from sekisho.guide.situation import AccountFacts, LineFacts
from sekisho.guide.story import timeline
from sekisho.portal.checkup import Checkup
from sekisho.portal.flowchart import FLOW_PAGES, OWN_LINE, known_answer
from sekisho.portal.forms import Refusal, form
from sekisho.portal.gate import RateLimit
from sekisho.portal.others import others
from sekisho.portal.pages import environment, frame_values, page
from sekisho.portal.parts import Parts, Unavailable
from sekisho.portal.report import MAX_FIELD, compose_report, mail_link
from sekisho.portal.visitor import Visitor
from sekisho.portal.words import LANGUAGES, word

__all__ = ["routes"]

CODES_PER_MINUTE = 6  # an address may ask for; see `edge.codes`
LOOKUPS_PER_MINUTE = 6
PROBES_PER_MINUTE = 2


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""
    views = _Views(parts)
    found = [Route("/c/{code}", views.short_link)]
    for language in LANGUAGES:
        base = f"/{language}/check"
        found += [
            Route(f"{base}/", views.start),
            Route(f"{base}/index.html", views.to_start),
            Route(f"{base}/line", views.line),
            Route(f"{base}/code", views.code),
            Route(f"{base}/provider", views.provider),
            Route(f"{base}/provider", views.try_provider, methods=["POST"]),
            Route(f"{base}/report", views.report),
            Route(f"{base}/report", views.write_report, methods=["POST"]),
            Route(f"{base}/{{name}}.html", views.flow),
        ]
    return found


class _Views:
    """The handlers, and what they keep between requests: answers of other providers, and counts of visitors."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._checkup = Checkup(parts)
        self._others = others(parts)
        self._codes = RateLimit()
        self._lookups = RateLimit()
        self._probes = RateLimit()
        log = revisions()
        self._pages = {
            each: Pages(parts.catalog, parts.card, each, log=log, templates=environment(), frame="frame.html")
            for each in LANGUAGES
        }

    # ------------------------------------------------------------------ the way in

    async def start(self, request: Request) -> Response:
        return page(
            request, "check/start.html", page="check", flow=FLOW_PAGES["start"], has_gate=self._checkup.has_gate
        )

    async def to_start(self, request: Request) -> Response:
        return RedirectResponse(f"/{request.state.language}/check/", 308)

    async def flow(self, request: Request) -> Response:
        """Show a question, an end, or the whole chart; a question whose answer the line tells says so."""
        name, language = request.path_params["name"], request.state.language
        pages = self._pages[language]
        path = f"check/{FLOW_PAGES.get(name, name)}.html"
        if path not in pages.paths:
            raise HTTPException(404)
        values: dict[str, object] = {}
        if name == OWN_LINE:
            answer = known_answer(await self._checkup.place(request.state.visitor, _port(request)))
            values = {"known": word(f"check.known.{answer}", language), "answered": answer} if answer else {}
        elif name in self._parts.catalog.selfcheck.outcomes:
            actor = self._parts.catalog.selfcheck.outcomes[name].actor
            key, target = (
                ("check.way.provider", "provider") if actor == "other_provider" else ("check.door.line", "line")
            )
            values = {"more": [(word(key, language), target)]}
        text = pages.render(path, person=None, **{**frame_values(request), **values})
        headers = {"Cache-Control": "no-store", "Content-Language": language}
        return Response(text, 200, headers, "text/html; charset=utf-8")

    # ------------------------------------------------------------------ the line and the account

    async def line(self, request: Request) -> Response:
        request.state.private = True
        line, account, account_away = await self._facts(request)
        told = self._told(request, line, account)
        return page(
            request,
            "check/line.html",
            page="check",
            first=told[0],
            others=told[1:],
            story=timeline(line, account),
            unknown=unknown(line, account),
            account_away=account_away,
            when=self._when(request),
            now=line.now,
            place=line.place if self._checkup.knows_networks else None,
            parameters=self._parts.card.parameters,
            client=lambda name: self._parts.catalog.versions[name].names,
            problem=lambda name: self._parts.catalog.selfcheck.symptoms[name].text,
        )

    async def _facts(self, request: Request) -> tuple[LineFacts, AccountFacts | None, bool]:
        visitor: Visitor = request.state.visitor
        line = await self._checkup.line(visitor, _port(request))
        session = request.state.session
        if session is None:
            return line, None, bool(request.state.session_unknown)
        try:
            return line, await self._checkup.account(session.account, visitor), False
        except Unavailable:
            return line, None, True

    def _told(self, request: Request, line: LineFacts, account: AccountFacts | None) -> list[Told]:
        parts = self._parts
        findings = diagnose(line, account, parts.card, parts.catalog)
        return [tell(each, request.state.language, self._when(request), parts.catalog, parts.card) for each in findings]

    # ------------------------------------------------------------------ the explainer's link

    async def short_link(self, request: Request) -> Response:
        code = request.path_params["code"][:64]
        query = f"?c={code}" if code.replace("-", "").isalnum() and code.isascii() else ""
        return RedirectResponse(
            f"/{request.state.language}/check/code{query}", 302, headers={"Cache-Control": "no-store"}
        )

    async def code(self, request: Request) -> Response:
        """Explain a blocked attempt: what it was to the line itself, to anybody else only what such a link means."""
        request.state.private = True
        typed = request.query_params.get("c", "")[:64].strip()
        record = await self._own_record(request, typed) if typed else None
        entry = record.explained[0] if record is not None and record.explained else None
        language = request.state.language
        reason = record.reasons.get(language, "") if record is not None else ""
        return page(
            request, "check/code.html", page="check", typed=typed, entry=entry, reason=reason, when=self._when(request)
        )

    async def _own_record(self, request: Request, typed: str) -> LineRecord | None:
        """Return what is behind a code, when it is the visitor's own line: nobody learns whether another one exists."""
        self._count(self._codes, request, CODES_PER_MINUTE)
        visitor: Visitor = request.state.visitor
        record = await self._checkup.behind(typed)
        own = await self._checkup.line_of(visitor, _port(request))
        if record is None or own is None or own.shared or record.shared:
            return None
        return record if (own.line, own.network) == (record.line, record.network) else None

    # ------------------------------------------------------------------ other providers

    async def provider(self, request: Request) -> Response:
        """Show what another provider publishes; of an address that was typed, only the domain stays in the link."""
        typed = request.query_params.get("address", "")[:320].strip()
        if "@" in typed:
            domain = self._others.finder.domain_of(typed) or "-"
            where = f"/{request.state.language}/check/provider?address={domain}"
            return RedirectResponse(where, 303, headers={"Cache-Control": "no-store"})
        return await self._provider(request, typed)

    async def try_provider(self, request: Request) -> Response:
        """Try the servers that were found for a domain; a host is never taken from the form."""
        fields = await form(request)
        return await self._provider(request, fields.get("address", "")[:320].strip(), tries=True)

    async def _provider(self, request: Request, typed: str, *, tries: bool = False) -> Response:
        finder = self._others.finder
        domain = finder.domain_of(typed) if typed else None
        is_own = domain is not None and domain in self._others.own
        answer, probed = None, {}
        if domain is not None and not is_own and self._parts.settings.portal.lookup:
            if not finder.is_kept(domain):
                self._count(self._lookups, request, LOOKUPS_PER_MINUTE)
            answer = await finder.find(domain)
            if tries and answer.published is not None:
                self._count(self._probes, request, PROBES_PER_MINUTE)
                probed = await self._probe(answer.published.servers)
        return page(
            request,
            "check/provider.html",
            page="check",
            typed=typed,
            domain=domain,
            is_own=is_own,
            answer=answer,
            probed=probed,
        )

    async def _probe(self, servers: tuple[Outgoing, ...]) -> dict[tuple[str, int], str]:
        hosts = dict.fromkeys(each.host for each in servers)
        found = {}
        for host in list(hosts)[:2]:
            for each in await probe(self._others.fetcher, host, hello=self._parts.settings.hostname):
                found[host, each.port] = each.reached.value
        return found

    # ------------------------------------------------------------------ asking for help

    async def report(self, request: Request) -> Response:
        """Show the report for the help desk, as text to copy and as a letter that a mail program opens."""
        return await self._report(request, request.query_params)

    async def write_report(self, request: Request) -> Response:
        """Show it with what the person adds. Nothing is sent, and nothing is kept."""
        return await self._report(request, await form(request))

    async def _report(self, request: Request, fields: Mapping[str, str]) -> Response:
        request.state.private = True
        asked = {name: fields.get(name, "")[:MAX_FIELD] for name in ("program", "message", "page")}
        line, account, _ = await self._facts(request)
        findings = diagnose(line, account, self._parts.card, self._parts.catalog)
        session = request.state.session
        text = compose_report(
            self._parts.clock,
            asked,
            request.state.visitor,
            line,
            findings,
            login=session.account.login if session is not None else None,
        )
        subject = word("check.report.subject", request.state.language, host=self._parts.settings.hostname)
        link = mail_link(self._parts, subject, text)
        number = hashlib.sha256(text.encode()).hexdigest()[:8]
        return page(
            request, "check/report.html", page="check", asked=asked, text_of_report=text, link=link, number=number
        )

    def _when(self, request: Request) -> Callable[[float], str]:
        clock, language = self._parts.clock, request.state.language
        return lambda at: clock.moment(at, language)

    def _count(self, limit: RateLimit, request: Request, per_minute: int) -> None:
        """Raises Refusal when the visitor asks too often."""
        wait = limit.take(request.state.visitor.address, per_minute, self._parts.now())
        if wait:
            raise Refusal(429, "common.too_many", headers={"Retry-After": str(int(wait) + 1)})


def _port(request: Request) -> int | None:
    """Return the source port of the visitor's own connection; through a proxy nobody tells it."""
    return None if request.state.visitor.proxied or request.client is None else request.client.port
