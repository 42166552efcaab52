"""Every page of the guide in the portal: there in both languages, small, well formed, leading nowhere into nothing."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from tests.portal.conftest import MakeParts, get, visiting

from sekisho.guide.card import Notice
from sekisho.guide.model import Both
from sekisho.guide.search import make_index
from sekisho.guide.words import words as guide_words
from sekisho.portal.guidebook import Guidebook
from sekisho.portal.logo import read_logo
from sekisho.portal.words import AREAS, word, words
from sekisho.supervise.portal_settings import LinkSettings, PortalSettings

BUDGET = 60_000  # octets of a page with its style sheet, uncompressed
LANGUAGES = ("ja", "en")
OTHERS = ("/ja/check/", "/ja/account/", "/ja/operator/", "/en/check/", "/en/account/", "/en/operator/", "/language/")
SETTINGS = {
    "guide__name_ja": "城北情報センター",
    "guide__name_en": "Johoku Center",
    "guide__contact_ja": "内線いちにさん",
    "guide__contact_en": "extension onetwothree",
    "guide__hours_ja": "平日のひる",
    "guide__hours_en": "weekdays at noon",
    "guide__url": "https://mail.example.test",
    "guide__webmail_url": "https://webmail.example.test/",
    "guide__vpn_url": "https://vpn.example.test/",
}


class Page(HTMLParser):
    """What a page has, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.tags if name == tag]

    def links(self) -> Iterator[str]:
        yield from (values["href"] or "" for tag, values in self.tags if tag in ("a", "link") and "href" in values)


@pytest.fixture
def fetched(make_parts: MakeParts) -> dict[str, httpx.Response]:
    """Return every page of the guide, as a browser without login gets it."""
    parts = make_parts(portal__requests_per_minute=100_000, **SETTINGS)
    book = Guidebook(parts.catalog, parts.card)
    paths = [
        f"/{language}/{'' if path == 'index.html' else path}" for language in LANGUAGES for path in book.paths(language)
    ]
    paths += ["/ja/search", "/en/search", "/ja/search?q=0x800CCC0E", "/en/search?q=outlook", "/ja/search?q=zzzzqq"]

    async def visit(browser: httpx.AsyncClient) -> dict[str, httpx.Response]:
        return {path: await browser.get(path) for path in paths}

    return visiting(parts, visit)


def test_every_page_is_there_small_and_clean(fetched: dict[str, httpx.Response], make_parts: MakeParts) -> None:
    pages = {path: answer for path, answer in fetched.items() if not path.endswith(".xml")}
    assert len(pages) > 240
    sheets = {link for answer in pages.values() for link in re.findall(r'href="(/assets/[^"]+)"', answer.text)}
    assert len(sheets) == 1
    sheet = get(make_parts(**SETTINGS), sheets.pop())
    assert sheet.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "@import" not in sheet.text
    assert "url(" not in sheet.text
    for path, answer in pages.items():
        assert answer.status_code == 200, path
        assert len(answer.content) + len(sheet.content) <= BUDGET, path
        page = Page(answer.text)
        assert [each["lang"] for each in page.all("html")] == [path[1:3]]
        assert not [name for name in page.ids if page.ids.count(name) > 1], path
        for tag, values in page.tags:
            assert tag not in ("script", "style", "iframe", "object"), path
            assert not [name for name in values if name.startswith("on") or name == "style"], path
        assert all(not link.startswith("http:") for link in page.links())


def test_headings_go_down_one_level_at_a_time(fetched: dict[str, httpx.Response]) -> None:
    for path, answer in fetched.items():
        levels = [int(tag[1]) for tag, _ in Page(answer.text).tags if re.fullmatch(r"h[1-6]", tag)]
        if path.endswith(".xml"):
            continue
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (path, levels)


def test_every_link_leads_to_a_page_and_to_a_place_on_it(fetched: dict[str, httpx.Response]) -> None:
    places = {path.partition("?")[0]: set(Page(answer.text).ids) for path, answer in fetched.items()}
    for path, answer in fetched.items():
        if path.endswith(".xml"):
            continue
        for link in Page(answer.text).links():
            target, _, place = urljoin(path, link).partition("#")
            target = target.partition("?")[0]
            if re.match(r"https?:|mailto:|/assets/", target) or target.startswith(OTHERS):
                continue
            assert target in places, f"{path} leads to {link}"
            assert not place or place in places[target], f"{path} leads to {link}"


def test_a_page_in_the_other_language_is_one_step_away(fetched: dict[str, httpx.Response]) -> None:
    for path, answer in fetched.items():
        if path.endswith(".xml") or "?" in path:
            continue
        other = {"ja": "en", "en": "ja"}[path[1:3]]
        assert f'href="/language/{other}/{path[4:]}"' in answer.text, path
        assert f"/{other}{path[3:]}" in fetched


def test_names_of_the_static_guide_lead_to_the_same_pages(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)
    answer = get(parts, "/ja/index.html")
    assert (answer.status_code, answer.headers["location"]) == (308, "/ja/")
    for path in ("/ja/nothing.html", "/ja/clients/nothing.html", "/ja/clients/", "/ja/x/y.html", "/de/index.html"):
        assert get(parts, path).status_code == 404, path


def test_the_operator_is_named_on_every_page(fetched: dict[str, httpx.Response]) -> None:
    """S-06, S-110, S-131."""
    for path, answer in fetched.items():
        if not path.endswith(".xml"):
            for words_of_it in {"ja": ("城北情報センター", "内線いちにさん", "平日のひる")}.get(
                path[1:3], ("Johoku Center",)
            ):
                assert words_of_it in answer.text, path
            assert 'href="#top"' in answer.text


# ---------------------------------------------------------------------- the same for everybody, or one's own


def test_the_way_into_the_self_check_is_named_by_the_trouble(fetched: dict[str, httpx.Response]) -> None:
    for path, answer in fetched.items():
        if path.endswith(".xml"):
            continue
        language = path.split("/")[1]
        link = f'<a href="/{language}/check/"[^>]*>{re.escape(word("common.nav.check", language))}</a>'
        assert re.search(link, answer.text), path


def test_pages_are_sent_compressed_and_only_once(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)

    async def visit(browser: httpx.AsyncClient) -> None:
        plain = await browser.get("/ja/glossary.html", headers={"accept-encoding": "identity"})
        packed = await browser.get("/ja/glossary.html", headers={"accept-encoding": "br, gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == plain.content
        assert int(packed.headers["content-length"]) < len(plain.content) / 2
        refused = await browser.get("/ja/glossary.html", headers={"accept-encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers
        again = await browser.get("/ja/glossary.html", headers={"if-none-match": f'"x", {plain.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert "Cookie" in plain.headers["vary"]
        assert plain.headers["cache-control"] == "no-cache"

    visiting(parts, visit)


def test_what_everybody_gets_does_not_depend_on_who_asked_first(make_parts: MakeParts) -> None:
    parts = make_parts(portal__campus_networks=["198.51.100.0/24"], **SETTINGS)
    first = get(parts, "/ja/clients/becky-current.html", address="198.51.100.7")
    other = get(parts, "/ja/clients/becky-current.html", address="203.0.113.9", headers={"cookie": "x=y"})
    assert first.content == other.content
    assert "set-cookie" not in first.headers


def test_a_person_gets_the_values_of_their_own(make_parts: MakeParts) -> None:
    """S-41: the guide is personal after login, and nobody else gets that page."""
    parts = make_parts(**SETTINGS)
    book = Guidebook(parts.catalog, parts.card)
    frame = {"visitor": None, "csrf": lambda: "", **_frame()}
    own = book.personal("ja", "clients/thunderbird-current.html", "rin@example.test", frame)
    assert "rin@example.test" in own
    assert "name@example.test" not in own
    assert "name はあなたの名前" not in own
    shared = book.fixed("ja", "clients/thunderbird-current.html", frame).octets.decode()
    assert "rin@example.test" not in shared
    assert "name@example.test" in shared


def _frame() -> dict[str, object]:
    return {
        "word": lambda key, **values: word(key, "ja", **values),
        "settings": PortalSettings(),
        "session": None,
        "style": "/assets/x/style.css",
        "can_report": False,
        "path": "",
    }


# ---------------------------------------------------------------------- search


def test_search_escapes_what_was_typed(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)
    answer = get(parts, '/ja/search?q="><script>alert(1)</script>')
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_search_takes_long_and_odd_queries(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)
    for query in ("a" * 1500, "%00%01", "%ff%fe", "+" * 50, "q=" * 300, "%F0%9F%93%AB"):
        assert get(parts, f"/en/search?q={query}").status_code == 200, query[:20]
    assert "Only the first 200" in get(parts, f"/en/search?q={'a' * 900}").text


def test_an_error_code_leads_to_its_page_from_the_search_box(make_parts: MakeParts) -> None:
    answer = get(make_parts(**SETTINGS), "/ja/search?q=0x800CCC0E")
    first = re.search(r'<ol class="found">.*?href="([^"]+)"', answer.text, re.S)
    assert first is not None
    assert first[1] == "/ja/problems/timeout_25.html"


# ---------------------------------------------------------------------- branding


@pytest.mark.parametrize(
    ("language", "query", "path"),
    [
        ("ja", "パスワード変更", "account/password"),
        ("ja", "パスワードを忘れた", "account/password"),
        ("ja", "アプリパスワード", "account/devices"),
        ("ja", "２段階認証", "account/factor"),
        ("ja", "認証アプリ", "account/factor"),
        ("en", "change password", "account/password"),
        ("en", "app password", "account/devices"),
        ("en", "TOTP", "account/factor"),
    ],
)
def test_pages_of_the_account_are_found(make_parts: MakeParts, language: str, query: str, path: str) -> None:
    found = get(make_parts(**SETTINGS), f"/{language}/search?q={query}").text
    hits = re.findall(r'</span> <a href="([^"]+)">', found)
    assert f"/{language}/{path}" in hits[:3], hits


def test_a_logo_is_shown_and_runs_nothing(make_parts: MakeParts, tmp_path: Path) -> None:
    picture = tmp_path / "logo.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    parts = make_parts(portal__logo=str(picture), **SETTINGS)
    assert '<img src="/logo" alt="">' in get(parts, "/ja/").text
    answer = get(parts, "/logo")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]


def test_what_is_no_picture_is_no_logo(tmp_path: Path) -> None:
    for octets in (b"<html>", b"GIF89a", b"<svg" + b" " * 70_000, b""):
        path = tmp_path / "logo"
        path.write_bytes(octets)
        assert read_logo(path) is None
    assert read_logo(tmp_path / "nothing") is None
    assert read_logo(None) is None


def test_links_of_the_operator_stand_at_the_foot(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)
    link = LinkSettings(url="https://www.example.test/privacy", ja="個人情報", en="Privacy")
    parts.settings = replace(parts.settings, portal=replace(parts.settings.portal, link=(link,)))
    assert '<a href="https://www.example.test/privacy">個人情報</a>' in get(parts, "/ja/").text


def test_a_notice_is_on_the_first_page_and_in_the_feed(make_parts: MakeParts) -> None:
    """S-82."""
    parts = make_parts(**SETTINGS)
    notice = Notice(datetime.date(2026, 12, 24), Both("今夜は作業です。", "Work tonight."))
    parts.card = replace(parts.card, notices=(notice,))
    assert "今夜は作業です。" in get(parts, "/ja/").text
    feed = get(parts, "/en/revisions.xml")
    assert feed.headers["content-type"].startswith("application/atom+xml")
    assert "Work tonight." in feed.text


# ---------------------------------------------------------------------- words


def test_words_of_guide_and_portal_do_not_hide_one_another() -> None:
    seen = set(guide_words())
    for area in AREAS:
        file = resources.files("sekisho.portal").joinpath("words").joinpath(f"{area}.toml")
        if file.is_file():
            own = set(tomllib.loads(file.read_text("utf-8")))
            assert not own & seen, area
            seen |= own
    assert seen == set(words())


def test_packed_assets_are_what_they_were(make_parts: MakeParts) -> None:
    parts = make_parts(**SETTINGS)
    link = re.search(r'href="(/assets/[^"]+)"', get(parts, "/ja/").text)
    assert link is not None

    async def visit(browser: httpx.AsyncClient) -> bytes:
        async with browser.stream("GET", link[1], headers={"accept-encoding": "gzip"}) as answer:
            return b"".join([each async for each in answer.aiter_raw()])

    assert (
        gzip.decompress(visiting(parts, visit)) == get(parts, link[1], headers={"accept-encoding": "identity"}).content
    )


def test_readers_who_search_at_the_same_moment_share_one_making_of_the_index(
    make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts()
    book = Guidebook(parts.catalog, parts.card)
    made = []

    def counted(*values: Any) -> Any:
        made.append(values)
        return make_index(*values)

    monkeypatch.setattr("sekisho.portal.guidebook.make_index", counted)

    async def search() -> list[int]:
        return [len(hits) for hits in await asyncio.gather(*(book.search("en", "port 587") for _ in range(20)))]

    found = asyncio.run(search())
    assert found[0] > 0
    assert set(found) == {found[0]}
    assert len(made) == 1
