"""Pages as people see them: on a desk, on a phone, at night, on paper, with and without script, by ear."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.browser.conftest import (
    DARK,
    DESKTOP,
    PHONE,
    SHOTS,
    WITHOUT_SCRIPT,
    Opened,
    Portal,
    View,
    log_in,
    shoot,
)
from tests.interop.programs import need

OPEN = (  # one of each kind, without login
    "",
    "port-25.html",
    "clients.html",
    "clients/thunderbird-current.html",
    "clients/outlook-2010.html",
    "clients/eudora-5.1.html",
    "clients/postfix-3.html",
    "clients/other.html",
    "systems.html",
    "problems.html",
    "problems/timeout_25.html",
    "glossary.html",
    "for/hosting.html",
    "webmail.html",
    "confirmed.html",
    "revisions.html",
    "search?q=0x800CCC0E",
    "search",
    "nothing.html",
    "check/",
    "check/line",
    "check/b_client.html",
    "check/change_required_own.html",
    "check/provider",
    "check/report",
    "account/login",
)
OWN = (  # after login
    "",
    "clients/thunderbird-current.html",
    "check/line",
    "account/",
    "account/password",
    "account/devices",
    "account/factor",
    "operator/",
    "operator/queue",
    "operator/failures",
    "operator/renewal",
    "operator/old",
)
LANGUAGES = ("ja", "en")
VIEWS = (DESKTOP, DARK, PHONE)
SERIOUS = ("serious", "critical")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(page: Page, axe: Path) -> list[str]:
    """Return what axe-core finds serious or critical, with the elements."""
    page.add_script_tag(path=axe)
    found = page.evaluate(f"axe.run(document, {json.dumps(RULES)}).then(found => found.violations)")
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in SERIOUS
    ]


def is_wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_page_can_be_used_by_everybody(
    portal: Portal, opened: Opened, axe: Path, language: str, view: View
) -> None:
    page = opened(view)
    wrong: dict[str, object] = {}
    for path in OPEN:
        page.goto(portal.at(f"/{language}/{path}"))
        shoot(page, f"{language}/{path or 'home'}", view)
        if found := violations(page, axe):
            wrong[path] = found
        if is_wider_than_the_screen(page):
            wrong[f"{path} (width)"] = page.evaluate("document.documentElement.scrollWidth")
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_after_login_can_be_used_by_everybody(
    portal: Portal, opened: Opened, axe: Path, language: str, view: View
) -> None:
    page = opened(view)
    log_in(page, portal, language)
    wrong: dict[str, object] = {}
    for path in OWN:
        answer = page.goto(portal.at(f"/{language}/{path}"))
        assert answer is not None
        shoot(page, f"{language}/own/{path or 'home'}", view)
        if answer.status != 200:
            wrong[f"{path} (status)"] = answer.status
        if found := violations(page, axe):
            wrong[path] = found
        if is_wider_than_the_screen(page):
            wrong[f"{path} (width)"] = page.evaluate("document.documentElement.scrollWidth")
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_says_the_same_without_script(portal: Portal, opened: Opened, language: str) -> None:
    with_script, without = opened(DESKTOP), opened(WITHOUT_SCRIPT)
    for path in OPEN:
        texts = []
        for page in (with_script, without):
            page.goto(portal.at(f"/{language}/{path}"))
            assert page.locator("script").count() == 0
            texts.append(page.locator("main").inner_text())
        assert texts[0] == texts[1], path


def test_a_browser_finds_nothing_to_complain_of(portal: Portal, opened: Opened) -> None:
    """No request fails, nothing is loaded from elsewhere, and the policy of the pages forbids nothing they have."""
    page = opened(View("strict", 1180, 900, script=False))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith((portal.url, "data:")) else complaints.append(request.url),
    )
    for path in ("", "port-25.html", "clients/thunderbird-current.html", "check/", "account/login"):
        page.goto(portal.at(f"/ja/{path}"))
    assert not complaints


def test_a_reader_with_a_keyboard_comes_to_the_text_at_once(portal: Portal, opened: Opened) -> None:
    page = opened(DESKTOP)
    page.goto(portal.at("/ja/clients/thunderbird-current.html"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")


def test_the_first_page_leads_to_the_cause_in_one_step(portal: Portal, opened: Opened) -> None:
    """S-83."""
    page = opened(DESKTOP)
    page.goto(portal.at("/ja/"))
    assert page.locator("h1").inner_text() == "突然メールが送れなくなった方へ"
    page.locator(".entry .button").click()
    assert page.url == portal.at("/ja/check/")


def test_a_guide_is_found_by_the_error_and_read_in_the_other_language(portal: Portal, opened: Opened) -> None:
    page = opened(PHONE)
    page.goto(portal.at("/ja/"))
    page.locator("input[type=search]").fill("0x800CCC0E")
    page.locator("input[type=search]").press("Enter")
    page.locator(".found a").first.click()
    assert page.url == portal.at("/ja/problems/timeout_25.html")
    page.locator("a[hreflang=en]").click()
    assert page.url == portal.at("/en/problems/timeout_25.html")
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("path", ["", "port-25.html", "clients/thunderbird-current.html", "check/b_client.html"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_print_on_a4(portal: Portal, opened: Opened, language: str, path: str) -> None:
    page = opened(DESKTOP)
    page.goto(portal.at(f"/{language}/{path}"))
    SHOTS.mkdir(parents=True, exist_ok=True)
    name = f"{language}-{path.replace('/', '-') or 'home'}"
    pdf = SHOTS / f"{name}.print.pdf"
    page.pdf(path=pdf, prefer_css_page_size=True, print_background=False)
    told = subprocess.run([need("pdfinfo"), pdf], capture_output=True, check=True, text=True).stdout
    assert "A4" in told
    assert int(told.partition("Pages:")[2].split()[0]) <= 4
    subprocess.run([need("pdftoppm"), "-r", "60", "-png", str(pdf), str(SHOTS / f"{name}.print")], check=True)
    assert page.locator(".nav").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".nav").is_visible()


def test_one_with_values_of_their_own_reads_them_in_the_guide(portal: Portal, opened: Opened) -> None:
    """S-41."""
    page = opened(DESKTOP)
    page.goto(portal.at("/ja/clients/thunderbird-current.html"))
    assert "name@home.test" in page.locator("main").inner_text()
    log_in(page, portal, "ja")
    page.goto(portal.at("/ja/clients/thunderbird-current.html"))
    text = page.locator("main").inner_text()
    assert "rin@home.test" in text
    assert "name@home.test" not in text
