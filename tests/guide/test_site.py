"""The site: complete in both languages, every value from the card, no link into nothing, small, without script."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.guide.card import Card, Notice
from sekisho.guide.choose import choose
from sekisho.guide.errors import GuideError
from sekisho.guide.facts import catalog, load_catalog
from sekisho.guide.model import Both
from sekisho.guide.render import Pages, build_site, render_text, revisions
from sekisho.guide.settings import NoticeSettings
from sekisho.guide.words import words

from .samples import FACTS, broken_facts, card

MADE = card()
SITE = build_site(catalog(), MADE)
PAGES = [name for name in SITE if name.endswith(".html")]


def outputs(made: Card) -> dict[str, str]:
    """Everything that is made from a card: each page, and each guide for the terminal."""
    found: dict[str, str] = dict(build_site(catalog(), made))
    for version in catalog().versions.values():
        for language in ("ja", "en"):
            text = render_text(catalog(), made, choose(catalog(), made, version), language)
            found[f"text/{language}/{version.id}"] = text
    return found


class Page(HTMLParser):
    """What a page links to and has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if href := values.get("href"):
            self.links.append(href)
        if name := values.get("id"):
            assert name not in self.ids, f"the id {name} stands twice"
            self.ids.add(name)


def test_both_languages_have_the_same_pages() -> None:
    japanese, english = ({name[3:] for name in SITE if name.startswith(each)} for each in ("ja/", "en/"))
    assert japanese == english
    assert len(japanese) > 130


def test_every_link_leads_to_a_page_and_to_a_place_on_it() -> None:
    parsed = {name: Page(SITE[name]) for name in PAGES}
    for name, page in parsed.items():
        for link in page.links:
            if re.match(r"https?:", link):
                continue
            path, _, place = link.partition("#")
            parts: list[str] = []
            for part in [*PurePosixPath(name).parent.parts, *path.split("/")] if path else [*name.split("/")]:
                parts = parts[:-1] if part == ".." else [*parts, part]
            target = "/".join(parts)
            assert target in SITE, f"{name} links to {link}"
            assert not place or place in parsed[target].ids, f"{name} links to {link}"


def test_every_page_is_reached_from_the_first() -> None:
    reached, waiting = set(), ["ja/index.html"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in SITE:
            continue
        reached.add(name)
        for link in Page(SITE[name]).links:
            if not re.match(r"https?:|#", link) and not link.endswith((".css", ".xml")):
                parts: list[str] = []
                for part in [*PurePosixPath(name).parent.parts, *link.partition("#")[0].split("/")]:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                waiting.append("/".join(parts))
    assert {name for name in PAGES if name != "index.html"} <= reached


def test_pages_are_small_and_run_nothing() -> None:
    style = len(SITE["style.css"].encode())
    for name in PAGES:
        assert len(SITE[name].encode()) + style <= 60_000, name
        for tag, values in Page(SITE[name]).tags:
            assert tag not in ("script", "iframe", "img", "form"), name
            assert not [key for key in values if key.startswith("on") or key == "style"], name
    assert "@import" not in SITE["style.css"]
    assert "url(" not in SITE["style.css"]


def test_every_page_has_a_title_a_heading_and_its_language() -> None:
    for name in PAGES:
        tags = Page(SITE[name]).tags
        assert [values["lang"] for tag, values in tags if tag == "html"] == [name[:2] if "/" in name else "ja"]
        assert [tag for tag, _ in tags].count("h1") == 1, name
        assert [tag for tag, _ in tags[: [tag for tag, _ in tags].index("body")]].count("title") == 1, name


def test_no_placeholder_is_left_anywhere() -> None:
    for name, text in outputs(MADE).items():
        if name != "style.css":
            assert not re.search(r"\{[a-z_.]+\}", text), name


def test_english_pages_mark_what_is_japanese() -> None:
    page = re.sub(r'<(\w+)[^>]*lang="ja"[^>]*>.*?</\1>', "", SITE["en/clients/outlook-2010.html"])
    assert not re.search(r"[\u3041-\u30ff\u4e00-\u9fff]", page)


def test_words_that_were_not_compared_are_marked() -> None:
    assert 'class="unsure"' in SITE["ja/clients/outlook-2010.html"]
    assert 'class="unsure"' not in SITE["ja/clients/outlook-2007.html"]
    assert words()["guide.unsure"]["ja"] in SITE["ja/clients/outlook-2010.html"]


# ---------------------------------------------------------------------- one card

CHANGES: dict[str, Callable[[Card, str], Card]] = {
    "smtp.johoku.invalid": lambda made, new: replace(
        made, hostname=new, audiences=tuple(replace(each, host=new) for each in made.audiences)
    ),
    "name@johoku.invalid": lambda made, new: replace(
        made, audiences=tuple(replace(each, example=new, user_name=new) for each in made.audiences)
    ),
    "城北情報センター": lambda made, new: replace(made, name=Both(new, "Johoku Center")),
    "Johoku Center": lambda made, new: replace(made, name=Both("城北情報センター", new)),
    "内線いちにさん": lambda made, new: replace(made, contact=Both(new, "extension onetwothree")),
    "extension onetwothree": lambda made, new: replace(made, contact=Both("内線いちにさん", new)),
    "平日のひる": lambda made, new: replace(made, hours=Both(new, "weekdays at noon")),
    "weekdays at noon": lambda made, new: replace(made, hours=Both("平日のひる", new)),
    "https://published.invalid/guide": lambda made, new: replace(made, url=new),
    "https://profile.invalid/x.mobileconfig": lambda made, new: replace(made, profile_url=new),
    **{
        old: (lambda made, new, key=key: replace(made, parameters={**made.parameters, key: new}))  # type: ignore[misc]
        for key, old in MADE.parameters.items()
    },
}
BEFORE = outputs(MADE)


@pytest.mark.parametrize("old", CHANGES)
@given(new=st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=20))
@settings(max_examples=2, deadline=None)
def test_a_changed_value_changes_everywhere_or_nowhere(old: str, new: str) -> None:
    """Whatever shows a value of the card shows the new one, and nothing else changes."""
    showing = {name for name, text in BEFORE.items() if old in text}
    assert showing, f"nothing shows {old}"
    for name, text in outputs(CHANGES[old](MADE, new)).items():
        assert old not in text, f"{name} still has {old}"
        assert text == BEFORE[name].replace(old, new), name


def test_changed_ports_change_in_every_guide() -> None:
    made = replace(MADE, ways=tuple(replace(way, port=way.port + 30000) for way in MADE.ways))
    site = build_site(catalog(), made)
    for version in catalog().versions.values():
        before, after = choose(catalog(), MADE, version), choose(catalog(), made, version)
        if after.way is None or before.way is None:
            continue
        page = site[f"ja/clients/{version.id}.html"]
        assert f">{after.way.port}<" in page
        assert f">{before.way.port}<" not in page


def test_a_changed_minimum_of_tls_sends_other_programs_away() -> None:
    page = build_site(catalog(), replace(MADE, minimum_tls="TLS1.3"))["en/clients/opera-9-12.html"]
    assert "TLS 1.3 or newer" in page
    assert "TLS 1.3" not in SITE["en/clients/opera-9-12.html"]


# ---------------------------------------------------------------------- the flow chart


def test_three_questions_lead_to_four_exits() -> None:
    """S-97 to S-101."""

    def walk(name: str, asked: int) -> set[tuple[str, int]]:
        page = SITE[f"ja/check/{name}.html"]
        following = re.findall(r'class="button" href="(\w+)\.html">(?:はい|いいえ)<', page)
        if not following:
            return {(name, asked)}
        return {end for each in following for end in walk(each, asked + 1)}

    assert walk("b_client", 0) == {
        ("no_change_webmail", 1),
        ("change_recommended", 2),
        ("change_required_other", 3),
        ("change_required_own", 3),
    }
    assert "ja/check/b_address_offnet.html" not in SITE


def test_an_operator_without_lines_is_not_asked_about_them() -> None:
    site = build_site(catalog(), card(access_network=False))
    assert "ja/check/b_network.html" not in site
    assert 'href="b_address_offnet.html"' in site["ja/check/b_client.html"]


def test_what_the_operator_does_not_have_is_not_spoken_of() -> None:
    plain = build_site(
        catalog(), card(webmail_url=None, vpn_url=None, password_url=None, accounts_renewed=None, profile_url=None)
    )
    assert "2026-04-01" in SITE["ja/problems/auth_failed.html"]
    assert "認証基盤の入れ替え前" not in plain["ja/problems/auth_failed.html"]
    assert "webmail.invalid" in SITE["ja/check/no_change_webmail.html"]


# ---------------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name_ja": None, "name_en": None}, r"\[guide\] name_ja, name_en: are missing"),
        ({"contact_ja": None, "contact_en": None}, r"\[guide\] contact_ja, contact_en: are missing"),
        ({"offer": ()}, r"\[guide\] offer: no way to send is open"),
    ],
)
def test_a_missing_value_fails_the_build(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(GuideError, match=complaint):
        build_site(catalog(), card(**changes))  # type: ignore[arg-type]


def test_a_placeholder_that_nothing_fills_in_fails_the_build(tmp_path: Path) -> None:
    facts = load_catalog(
        broken_facts(tmp_path, "thunderbird.toml", 'value = "{port}"', 'value = "{port} {mobileconfig_url}"')
    )
    with pytest.raises(GuideError, match=r"thunderbird\.toml, guide thunderbird-\S+, step \d+: nothing fills in {mob"):
        build_site(facts, replace(card(profile_url=None), minimum_tls="TLS1.0"))


def test_text_of_the_operator_cannot_become_markup() -> None:
    site = build_site(catalog(), card(name_en='<script>alert("x")</script>', contact_ja="<b>"))
    for name in PAGES:
        assert "<script" not in site[name]
        assert "お問い合わせ</strong> <b>" not in site[name]


# ---------------------------------------------------------------------- the log of changes


def test_the_feed_is_atom() -> None:
    feed = ElementTree.fromstring(SITE["en/revisions.xml"])
    atom = {"a": "http://www.w3.org/2005/Atom"}
    assert feed.findtext("a:id", namespaces=atom) == "https://published.invalid/guide/en/revisions.xml"
    entries = feed.findall("a:entry", atom)
    assert len(entries) == len(revisions((FACTS.parent / "revisions.toml").read_text("utf-8")))
    for entry in entries:
        assert datetime.datetime.fromisoformat(entry.findtext("a:updated", "", atom)).tzinfo == datetime.UTC
    assert "en/revisions.xml" not in build_site(catalog(), card(url=None))


def test_each_guide_has_the_log_of_its_own_changes() -> None:
    """S-27, S-58: those of this program, those of all, and what the operator wants to be seen in every guide."""
    log = revisions(
        "".join(
            f'[[revision]]\ndate = 2026-0{month}-01\n{programs}text = {{ja = "{word}", en = "{word}"}}\n'
            for month, programs, word in (
                (5, 'programs = ["becky"]\n', "ofBecky"),
                (4, 'programs = ["*"]\n', "ofAll"),
                (3, "", "ofNone"),
            )
        )
    )
    moved, party = (
        NoticeSettings(date="2026-06-01", ja=word, en=word, in_guides=word == "newServer")
        for word in ("newServer", "openDay")
    )
    pages = Pages(catalog(), card(notice=(moved, party)), "en", log=log)
    told = {
        name: re.findall(r"<dd>(\w+)</dd>", pages.render(f"clients/{name}.html"))
        for name in ("becky-current", "ios-18")
    }
    assert told == {"becky-current": ["newServer", "ofBecky", "ofAll"], "ios-18": ["newServer", "ofAll"]}
    assert "2026-06-01" in pages.render("clients/ios-18.html").partition('id="log"')[0]
    with pytest.raises(GuideError, match=r"revisions\.toml: there is no program bekky"):
        Pages(catalog(), card(), "en", log=(Notice(datetime.date.min, Both("x", "x"), ("bekky",)),))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("revision = []", "revision: there is none"),
        (
            '[[revision]]\ndate = "today"\ntext = {ja = "x", en = "x"}',
            r"revisions\.toml, revision 1: date: is not a date",
        ),
        ('[[revision]]\ndate = 2026-01-01\ntext = {ja = "x"}', r"revisions\.toml, revision 1: text\.en: is missing"),
        (
            '[[revision]]\ndate = 2026-01-01\ntext = {ja = "x", en = "x"}\n'
            '[[revision]]\ndate = 2026-02-01\ntext = {ja = "x", en = "x"}',
            "newest must come first",
        ),
    ],
)
def test_a_broken_log_is_told(text: str, complaint: str) -> None:
    with pytest.raises(GuideError, match=complaint):
        revisions(text)


# ---------------------------------------------------------------------- our own words


def test_our_words_are_in_both_languages_with_the_same_placeholders() -> None:
    for key, texts in words().items():
        assert set(texts) == {"ja", "en"}, key
        assert all(text.strip() for text in texts.values()), key
        places = [sorted(re.findall(r"\{(\w+)\}", text)) for text in texts.values()]
        assert places[0] == places[1], key
        assert not re.search(r"[\u3041-\u30ff\u4e00-\u9fff]", texts["en"]) or key == "site.language", key


def test_our_words_are_all_said_somewhere() -> None:
    package = FACTS.parent
    files = [*package.rglob("*.py"), *package.rglob("templates/*")]
    source = "\n".join(path.read_text("utf-8") for path in files)
    for key in words():
        start = key.rpartition(".")[0]
        assert key in source or f'"{start}.{{' in source or f"'{start}.' ~" in source, key
