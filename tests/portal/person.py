"""Somebody at a browser with an account, for the tests of its pages."""

from __future__ import annotations

import base64
import html
import html.parser
import re
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
from tests.portal.conftest import visiting

from sekisho.accounts import Account, AccountStore, SecondFactors
from sekisho.accounts.totp import PERIOD, code_at
from sekisho.portal.parts import Parts
from sekisho.portal.words import word

RIN = "rin@example.test"
PASSWORD, NEW = "hana-fubuki", "ume-no-hana"
CAMPUS, OUTSIDE = "192.0.2.10", "198.51.100.7"
LANGUAGES = ("ja", "en")
START = 1_800_000_000.0

Visit = Callable[["Person"], Coroutine[Any, Any, None]]


class Clock:
    """UTC of the accounts, turned by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Person:
    """Somebody at a browser, who reads one language."""

    def __init__(self, parts: Parts, clock: Clock, browser: httpx.AsyncClient, language: str) -> None:
        self.parts = parts
        self.clock = clock
        self.browser = browser
        self.language = language

    async def open(self, path: str, **query: str) -> httpx.Response:
        return await self.browser.get(f"/{self.language}/account/{path}", params=query)

    async def send(self, path: str, form_at: str | None = None, **fields: str) -> httpx.Response:
        """Fill in the form of a page, and send it."""
        page = await self.open(path if form_at is None else form_at)
        found = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert found, page.status_code
        return await self.post(path, headers=None, form_token=found[1], **fields)

    async def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return await self.browser.post(f"/{self.language}/account/{path}", data=fields, headers=headers)

    async def log_in(self, name: str = "rin", password: str = PASSWORD, code: str = "", **more: str) -> httpx.Response:
        return await self.send("login", username=name, password=password, code=code, **more)

    async def is_in(self) -> bool:
        return (await self.open("")).status_code == 200

    async def store(self, work: Callable[[AccountStore], Any]) -> Any:
        return await self.parts.accounts.call(work)

    async def rin(self) -> Account:
        found: Account = await self.store(lambda store: store.known("rin"))
        return found

    async def opens(self, password: str) -> bool:
        entry = await self.store(lambda store: store.find("rin"))
        assert entry is not None
        return bool(entry.verifiers.opens_by_scram(password))

    def say(self, key: str, **values: object) -> str:
        return word(key, self.language, **values)

    async def with_factor(self) -> bytes:
        """Have a second factor switched on; return its secret. The code of the present step is used up."""

        def on(store: AccountStore) -> bytes:
            factors = SecondFactors(store)
            secret = base64.b32decode(factors.begin("rin", issuer="mail").secret.replace(" ", ""))
            factors.confirm("rin", code_at(secret, int(self.clock.now) // PERIOD))
            return secret

        secret: bytes = await self.store(on)
        self.clock.now += PERIOD
        return secret

    def code(self, secret: bytes) -> str:
        return code_at(secret, int(self.clock.now) // PERIOD)


def visit(
    parts: Parts,
    work: Visit,
    *,
    language: str = "ja",
    address: str = OUTSIDE,
    scheme: str = "https",
) -> None:
    """Let somebody do *work*, with an account ``rin`` in the store."""
    clock = Clock()

    def ready(store: AccountStore) -> None:
        store.now = clock
        if store.find("rin") is None:
            store.add(RIN, PASSWORD, identities=["info@example.test"])

    async def go(browser: httpx.AsyncClient) -> None:
        await parts.accounts.call(ready)
        await work(Person(parts, clock, browser, language))

    visiting(parts, go, address=address, scheme=scheme)


class Page(html.parser.HTMLParser):
    """What assistive programs make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.labels: set[str] = set()
        self.fields: dict[str, dict[str, str]] = {}
        self.alerts = 0
        self.refers: set[str] = set()
        self.tags: set[str] = set()
        self.styles = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.styles += "style" in given
        self.alerts += given.get("role") == "alert"
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "label":
            self.labels.add(given["for"])
        if tag in ("input", "select") and given.get("type") != "hidden" and "hidden" not in given:
            self.fields[given["id"]] = given
        for name in ("aria-describedby", "aria-errormessage", "aria-labelledby"):
            self.refers.update(given.get(name, "").split())
        if tag == "a" and given.get("href", "").startswith("#"):
            self.refers.add(given["href"][1:])
