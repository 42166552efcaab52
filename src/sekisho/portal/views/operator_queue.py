"""The queue in the portal: what waits and why, one message with its life, and what an operator may do to messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sekisho.portal.clock import Clock
from sekisho.portal.errors import Refusal, Unavailable
from sekisho.portal.forms import form
from sekisho.portal.operators import octets, open_to_operator, state_words, with_spools
from sekisho.portal.pages import page
from sekisho.portal.parts import Parts
from sekisho.portal.words import LANGUAGES
from sekisho.queue import Destination, Filter, Listed, Shown, SpoolReader, State, Stats, decode
from sekisho.supervise.control import running_workers
from sekisho.supervise.errors import ControlError
from sekisho.supervise.queues import VERBS, change
from sekisho.telemetry import Entry, log_files, timeline

__all__ = ["routes"]

LISTED = 50  # messages on a page; with the other fields of its form below `forms.MAX_FIELDS`
DESTINATIONS = 20
MAX_FILTER = 320  # characters
MAX_LOG = 256 * 1024 * 1024  # octets of the log that are searched for the life of one message
MAX_DAYS = 7
CHOSEN = "m-"  # begins the name of the field of a chosen message
GRAVE = frozenset({"delete"})
FILTERS = ("state", "account", "sender", "domain", "id")
OPEN = (State.QUEUED, State.DEFERRED, State.HELD)


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""

    async def queue(request: Request) -> Response:
        open_to_operator(request)
        wanted = {name: request.query_params.get(name, "").strip()[:MAX_FILTER] for name in FILTERS}
        if wanted["id"]:
            return RedirectResponse(f"/{request.state.language}/operator/queue/{_id(wanted['id'])}", 303)
        after = request.query_params.get("after") or None
        if after is not None and decode(after) is None:
            raise Refusal(400, "common.not_understood")
        filter_ = _filter(wanted, parts.settings.accounts.default_domain)
        stats, worst, listed = await with_spools(parts, lambda reader: _read(reader, filter_, after))
        language = request.state.language
        more = len(listed) > LISTED
        return page(
            request,
            "operator/queue.html",
            here="queue",
            stats=stats,
            size=octets(stats.octets),
            states=[(state_words(each, language), stats.recipients.get(each, 0)) for each in OPEN],
            worst=[(each, parts.clock.figures(each.next_attempt)) for each in worst],
            wanted=wanted,
            options=[("", ""), *((each.value, state_words(each, language)) for each in OPEN)],
            listed=[_row(parts.clock, each, language) for each in listed[:LISTED]],
            next_page=_query(wanted, listed[LISTED - 1].queue_id) if more else "",
            verbs=[*VERBS],
            done=_done(request),
        )

    async def message(request: Request) -> Response:
        open_to_operator(request)
        queue_id, language = _id(request.path_params["id"]), request.state.language
        shown = await with_spools(parts, lambda reader: reader.show(queue_id))
        if shown is None:
            raise Refusal(404, "operator.no_message", {"id": queue_id})
        life = await asyncio.to_thread(_life, parts.where.log, queue_id, shown.arrival.arrived, parts.now())
        return page(
            request,
            "operator/message.html",
            here="queue",
            shown=shown,
            arrived=parts.clock.figures(shown.arrival.arrived),
            expires=parts.clock.figures(shown.expires),
            size=octets(shown.size),
            recipients=[
                (
                    each,
                    state_words(each.state, language),
                    parts.clock.figures(each.next_attempt),
                    parts.clock.figures(each.events[-1].at if each.events else None),
                )
                for each in shown.recipients[:LISTED]
            ],
            beyond=max(0, shown.recipient_count - LISTED),
            life=life
            if life is None
            else [(parts.clock.figures(each.time), each.event, _told(each, parts.clock)) for each in life],
            verbs=_verbs({each.state for each in shown.recipients}),
            done=_done(request),
        )

    async def confirm(request: Request) -> Response:
        """Show what is about to be done to which messages; nothing is done yet."""
        open_to_operator(request)
        verb, ids = _chosen(await form(request))
        found = await with_spools(parts, lambda reader: [reader.show(each) for each in ids])
        return page(
            request,
            "operator/confirm.html",
            here="queue",
            verb=verb,
            grave=verb in GRAVE,
            chosen=[(each, _sender(shown)) for each, shown in zip(ids, found, strict=True)],
        )

    async def carry_out(request: Request) -> Response:
        session = open_to_operator(request)
        verb, ids = _chosen(await form(request))
        changed = await asyncio.to_thread(_change, parts, verb, ids, session.account.login)
        only = f"/{ids[0]}" if len(ids) == 1 and verb != "delete" else ""
        return RedirectResponse(f"/{request.state.language}/operator/queue{only}?did={verb}&count={len(changed)}", 303)

    return [
        route
        for each in LANGUAGES
        for route in (
            Route(f"/{each}/operator/queue", queue),
            Route(f"/{each}/operator/queue/confirm", confirm, methods=["POST"]),
            Route(f"/{each}/operator/queue/change", carry_out, methods=["POST"]),
            Route(f"/{each}/operator/queue/{{id}}", message),
        )
    ]


def _read(
    reader: SpoolReader, filter_: Filter, after: str | None
) -> tuple[Stats, tuple[Destination, ...], tuple[Listed, ...]]:
    return reader.stats(), reader.destinations(DESTINATIONS), reader.list(filter_, limit=LISTED + 1, after=after)


def _id(text: str) -> str:
    if decode(text) is None:
        raise Refusal(404, "operator.no_message", {"id": text[:40]})
    return text


def _filter(wanted: Mapping[str, str], default_domain: str | None) -> Filter:
    states = tuple(each for each in OPEN if wanted["state"] in ("", each)) or OPEN
    account = wanted["account"] or None
    if account is not None and "@" not in account and default_domain is not None:
        account = f"{account}@{default_domain}"
    return Filter(
        states=states,
        account=account,
        sender=wanted["sender"] or None,
        domain=wanted["domain"] or None,
    )


def _query(wanted: Mapping[str, str], after: str) -> str:
    return urlencode({**{name: value for name, value in wanted.items() if value}, "after": after})


def _row(clock: Clock, listed: Listed, language: str) -> dict[str, object]:
    count = sum(listed.recipients.values())
    return {
        "id": listed.queue_id,
        "arrived": clock.figures(listed.arrived),
        "size": octets(listed.size),
        "sender": str(listed.reverse_path or "<>"),
        "account": listed.account or "",
        "to": [str(each) for each in listed.mailboxes[:2]],
        "beyond": max(0, count - 2),
        "states": ", ".join(
            f"{state_words(state, language)} {number}" if count > 1 else state_words(state, language)
            for state, number in listed.recipients.items()
        ),
        "next": clock.figures(listed.next_attempt),
        "reply": listed.last_reply or "",
    }


def _chosen(fields: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the verb and the queue ids of a form.

    Raises:
        Refusal: there are none, or what is there is none.
    """
    verb = fields.get("verb", "")
    ids = [name.removeprefix(CHOSEN) for name in fields if name.startswith(CHOSEN)]
    if verb not in VERBS or any(decode(each) is None for each in ids):
        raise Refusal(400, "common.not_understood")
    if not ids:
        raise Refusal(400, "operator.none_chosen")
    return verb, ids


def _change(parts: Parts, verb: str, ids: list[str], by: str) -> dict[str, int]:
    """Have the mail processes do it. When none runs, nothing is done: the spools are not this process's."""
    if not running_workers(parts.where.run):
        raise Unavailable("service", "no mail process answers")
    try:
        return change(parts.settings, parts.where, verb, ids, by=by)
    except ControlError as error:
        raise Unavailable("service", str(error)) from error


def _done(request: Request) -> tuple[str, int] | None:
    verb, count = request.query_params.get("did", ""), request.query_params.get("count", "")
    return (verb, int(count)) if verb in VERBS and count.isascii() and count.isdigit() and len(count) < 5 else None


def _verbs(states: set[State]) -> list[str]:
    """Return what can be done to a message some of whose recipients are in *states*."""
    found = []
    if states & {State.QUEUED, State.DEFERRED}:
        found += ["hold"]
    if State.HELD in states:
        found += ["release"]
    if State.DEFERRED in states:
        found += ["retry"]
    return [*found, "delete"] if states & set(OPEN) else []


def _sender(shown: Shown | None) -> str:
    return "" if shown is None else str(shown.arrival.envelope.reverse_path or "<>")


def _life(directory: Path, queue_id: str, arrived: float, now: float) -> list[Entry] | None:
    """Return what the log tells of a message; None when that would be too much to search, or cannot be read."""
    days = int(now // 86400) - int(arrived // 86400) + 1
    try:
        files = [path for _, path in log_files(directory)[:days]]
        if days > MAX_DAYS or sum(path.stat().st_size for path in files) > MAX_LOG:
            return None
        return timeline(directory, queue_id, days=days, limit=200)
    except OSError:
        return None


def _told(entry: Entry, clock: Clock) -> str:
    """Return the fields of an event on one line."""
    hidden = ("worker", "queue_id")
    return "  ".join(
        f"{name}={_shown(name, value, clock)}" for name, value in entry.fields.items() if name not in hidden
    )


def _shown(name: str, value: object, clock: Clock) -> str:
    if name in ("next_attempt", "expires") and isinstance(value, int | float):
        return clock.figures(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
