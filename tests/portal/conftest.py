"""A portal without network: the application over real stores, asked through ASGI."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sekisho.accounts import AccountStore
from sekisho.guide.facts import catalog
from sekisho.portal.app import make_app
from sekisho.portal.parts import Parts, portal_card
from sekisho.portal.stores import Accounts, Logins
from sekisho.portal.tries import Tries
from sekisho.supervise.init import Answers, initialize
from sekisho.supervise.provider import provider
from sekisho.supervise.sections import Settings, places
from sekisho.telemetry import EventLog, Recall

T = TypeVar("T")
HOST = "mail.example.test"
CHEAP = {
    "accounts__argon2_passes": 1,
    "accounts__argon2_memory": "64KiB",
    "accounts__scram_iterations": 4096,
    "policy__auth_delay": "0s",
    "policy__auth_max_delay": "0s",
}
NETWORKS = {"portal__campus_networks": ["192.0.2.0/24"], "portal__vpn_networks": ["203.0.113.0/24"]}

MakeParts = Callable[..., Parts]


def toml(value: object) -> str:
    """Return *value* as a TOML value: text, numbers, booleans and lists are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture
def settings_with(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that reads the settings of an instance below the test's directory.

    Its keyword arguments are dotted keys with ``__`` for the dot: ``portal__campus_networks=["192.0.2.0/24"]``.
    """

    def read(**changes: object) -> Settings:
        own: dict[str, object] = {"service.user": "root"} if os.geteuid() == 0 else {}
        given = own | {
            "incoming.imap": "imap.example.test",
            "portal.addresses": ["127.0.0.1:8080"],
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        config = tmp_path / "sekisho.toml"
        config.unlink(missing_ok=True)
        texts = {key: toml(value) for key, value in given.items() if value is not None}
        return initialize(Answers(config, HOST, "example.test", "data", texts), None).settings

    return read


@pytest.fixture
def make_parts(settings_with: Callable[..., Settings]) -> Iterator[MakeParts]:
    """Return a function that makes `Parts` over real stores; changes of settings as for `settings_with`."""
    opened: list[Parts] = []

    def make(now: Callable[[], float] | None = None, **changes: object) -> Parts:
        settings = settings_with(**changes)
        where = places(settings)
        accounts = Accounts(lambda: AccountStore.open(where.accounts, settings=settings.accounts))
        events = EventLog(where.log, settings.log, -3)
        parts = Parts(
            settings=settings,
            where=where,
            card=portal_card(settings),
            provider=provider(settings),
            catalog=catalog(),
            accounts=accounts,
            sessions=Logins(accounts, settings.portal),
            tries=Tries(where.ledger, settings.policy, events, now or time.time),
            recall=Recall(where.log),
            events=events,
            secret=b"s" * 32,
            signer=(where.certificate.read_bytes(), where.key.read_bytes()),
            **({"now": now} if now is not None else {}),
        )
        opened.append(parts)
        return parts

    yield make
    for parts in opened:
        asyncio.run(parts.accounts.close())
        parts.tries.close()
        parts.events.close()


def visiting(
    parts: Parts,
    visit: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]],
    *,
    address: str = "198.51.100.7",
    scheme: str = "https",
    host: str = HOST,
) -> T:
    """Run *visit* with a browser at *address*: ``visiting(parts, lambda browser: browser.get("/ja/"))``."""

    async def go() -> T:
        transport = httpx.ASGITransport(make_app(parts), client=(address, 4711), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}") as browser:
            return await visit(browser)

    return asyncio.run(go())


def with_page(
    parts: Parts,
    path: str,
    page: Callable[[Request], Awaitable[Response]],
    visit: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]],
    **where: str,
) -> T:
    """Run *visit* as `visiting`, with one page more, which takes GET and POST."""

    async def go() -> T:
        app = make_app(parts)
        app.router.routes.insert(0, Route(path, page, methods=["GET", "POST"]))
        transport = httpx.ASGITransport(app, client=(where.get("address", "198.51.100.7"), 4711))
        base = f"{where.get('scheme', 'https')}://{where.get('host', HOST)}"
        async with httpx.AsyncClient(transport=transport, base_url=base) as browser:
            return await visit(browser)

    return asyncio.run(go())


def said(parts: Parts, event: str) -> list[dict[str, Any]]:
    """Return every *event* that was written so far."""
    parts.events.flush()
    lines = [line for path in sorted(parts.where.log.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [each for each in map(json.loads, lines) if each["event"] == event]


def get(parts: Parts, path: str, *, headers: dict[str, str] | None = None, **where: str) -> httpx.Response:
    """Fetch one page; *where* as for `visiting`."""
    return visiting(parts, lambda browser: browser.get(path, headers=headers), **where)


@pytest.fixture
def parts(make_parts: MakeParts) -> Parts:
    """A portal where passwords cost little and campus and VPN are known."""
    return make_parts(**CHEAP, **NETWORKS)
