"""Pages in a real browser: one service as an operator runs it, its portal, and Chromium.

Screenshots are left in build/screenshots, to be looked at: no assertion knows whether a page is beautiful.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import NewPlace, authority, new_place, scratch
from tests.interop.instance import Instance
from tests.interop.processes import free_port
from tests.interop.programs import lacking, need

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402  # only once it is known to be there

__all__ = ["authority", "new_place", "scratch"]

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
AXE = Path("node_modules", "axe-core", "axe.min.js")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
LOGIN, PASSWORD = "rin@home.test", "correct horse battery"

GUIDE = {
    "name_ja": "城北大学 情報統括センター",
    "name_en": "Johoku University Information Center",
    "contact_ja": "情報統括センター窓口 内線 2200 / help@home.test",
    "contact_en": "Help desk, extension 2200, help@home.test",
    "hours_ja": "平日 9:00–17:00",
    "hours_en": "weekdays 9:00–17:00",
    "url": "https://mail.home.test",
    "webmail_url": "https://webmail.home.test/",
    "vpn_url": "https://www.home.test/vpn",
    "accounts_renewed": "2026-04-01",
    "notice": [
        {
            "date": "2026-11-20",
            "ja": "12月1日から、学寮の回線で25番ポートでの送信を止めます。",
            "en": "From December 1, port 25 is blocked on the lines of the dormitories.",
        }
    ],
}


@dataclass(frozen=True)
class Portal:
    """Where the portal is, and whose account is there."""

    url: str
    instance: Instance

    def at(self, path: str) -> str:
        return self.url + path


@dataclass(frozen=True)
class View:
    """How a page is looked at."""

    name: str
    width: int
    height: int
    scheme: str = "light"
    script: bool = True


DESKTOP = View("desktop", 1180, 900)
DARK = View("dark", 1180, 900, "dark")
PHONE = View("phone", 390, 844)
WITHOUT_SCRIPT = View("noscript", 1180, 900, script=False)

Opened = Callable[[View], Page]


@pytest.fixture(scope="session")
def portal(new_place: NewPlace, authority: Authority) -> Iterator[Portal]:
    """Start a service with a portal, and an account that may see everything."""
    port = free_port()
    portal = {
        "addresses": [f"127.0.0.1:{port}"],
        "requests_per_minute": 100_000,
        "own_lines": ["127.0.0.0/8"],
        "lookup": False,
        "link": [{"url": "https://www.home.test/privacy", "ja": "プライバシーポリシー", "en": "Privacy policy"}],
    }
    pair = authority.issue("mail.home.test", "127.0.0.1", "localhost")
    changes = {"portal": portal, "guide": GUIDE, "service": {"workers": 1}}
    instance = Instance(new_place("portal"), pair, authority.certificate, changes=changes)
    instance.initialize()
    instance.add_account(LOGIN, PASSWORD)
    instance.did("account", "change", LOGIN, "--operator")
    instance.start()
    yield Portal(f"http://localhost:{port}", instance)
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


@pytest.fixture(
    scope="module"
)  # while it is there, an event loop runs in this thread, and no other module could have one
def chromium() -> Iterator[Browser]:
    """Start the browser of the system."""
    program = need("chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Opened]:
    """Return a function that opens an empty page; what it shows is closed at the end of the test."""
    contexts = []

    def open_page(view: View) -> Page:
        context = chromium.new_context(
            viewport={"width": view.width, "height": view.height},
            color_scheme="dark" if view.scheme == "dark" else "light",
            java_script_enabled=view.script,
            bypass_csp=view.script,  # for axe-core alone: pages have no script of their own
            locale="ja-JP",
        )
        contexts.append(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe() -> Path:
    """Return axe-core, as scripts/install-test-peers leaves it."""
    bases = filter(None, (os.environ.get("SEKISHO_TEST_NODE"), str(ROOT / "build" / "peers")))
    found = next((Path(base) / AXE for base in bases if (Path(base) / AXE).exists()), None)
    return found or lacking("axe-core is not installed")


def shoot(page: Page, path: str, view: View, *, full: bool = True) -> None:
    """Leave a picture of what *page* shows."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    page.screenshot(path=SHOTS / f"{name}.{view.name}.png", full_page=full)


def log_in(page: Page, portal: Portal, language: str) -> None:
    """Log in as a person does."""
    page.goto(portal.at(f"/{language}/account/login"))
    page.get_by_role("textbox").locator("visible=true")
    page.locator("main input[autocomplete=username]").fill(LOGIN)
    page.locator("main input[type=password]").fill(PASSWORD)
    page.locator("main button").first.click()
