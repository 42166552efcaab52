"""Pages of prose: both languages complete, nothing left to fill in, and what is broken is told by file and key."""

from __future__ import annotations

import re

import pytest

from sekisho.guide.articles import Block, Inline, articles, read_articles, write_out
from sekisho.guide.errors import GuideError
from sekisho.guide.facts import catalog
from sekisho.guide.render import build_site

from .samples import card

SITE = build_site(catalog(), card())
VALUES = {"operator.name": "Center", "ports": "587"}
WHOLE = """
[[article]]
id = "a.html"
title = { ja = "題", en = "Title" }
lead = { ja = "文", en = "Lead" }
[[article.section]]
id = "one"
title = { ja = "題", en = "Title" }
text = { ja = "TEXT", en = "TEXT" }
"""


def test_lines_become_blocks() -> None:
    text = "First {ports}.\n- one\n- two [b](term:smtp)\n1. do\nLast."
    assert write_out(text, VALUES, "x") == (
        Block("text", ((Inline("First 587."),),)),
        Block("list", ((Inline("one"),), (Inline("two "), Inline("b", "term", "smtp")))),
        Block("steps", ((Inline("do"),),)),
        Block("text", ((Inline("Last."),),)),
    )


def test_lines_for_others_are_left_out() -> None:
    text = "- {?operator.vpn_url}VPN\n- {?operator.name}mine\n{?operator.vpn_url}[x](link:operator.vpn_url)"
    assert write_out(text, VALUES, "x") == (Block("list", ((Inline("mine"),),)),)


@pytest.mark.parametrize("text", ["{operator.moon}", "[{operator.moon}](term:smtp)", "[x](link:operator.moon)"])
def test_a_missing_value_names_its_place(text: str) -> None:
    with pytest.raises(GuideError, match=r"articles\.toml, article a: .*operator\.moon"):
        write_out(text, VALUES, "article a")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (', en = "Lead"', "", r"articles\.toml, article a\.html: lead\.en: is missing"),
        ('ja = "TEXT"', 'ja = "[x](term:smtp)"', r"section one: text: one language has links that the other lacks"),
        ('id = "one"', 'id = "one"\ncolor = "red"', r"section one: color: unknown key"),
        ("[[article]]", "[article", "not valid TOML"),
    ],
)
def test_a_broken_file_is_told(old: str, new: str, complaint: str) -> None:
    with pytest.raises(GuideError, match=complaint):
        read_articles(WHOLE.replace(old, new, 1))


def test_the_explainer_has_what_the_notice_has() -> None:
    """S-01, S-02, S-23, S-24, S-28, S-88, S-93, S-96: title, reasons, what stays, settings, other ways, words."""
    site = build_site(catalog(), card())
    page = site["ja/port-25.html"]
    assert "<h1>25番ポートブロックについて</h1>" in page
    for words in ("迷惑メール", "なりすまして", "110番", "SMTP認証", "SPF", "提供元が同じ場合"):
        assert words in page
    for term in ("op25b", "smtp", "port25", "submission_port", "smtp_auth"):
        assert f'href="glossary.html#{term}"' in page
    assert "<h1>About port-25 blocking</h1>" in site["en/port-25.html"]


@pytest.mark.parametrize(
    ("path", "words", "links"),
    [
        ("line-server.html", ("SPF", "DKIM", "DMARC", "受け取りを拒まれます"), ("clients.html",)),  # S-23
        ("for/hosting.html", ("アドレス全体", "証明書", "一つだけ"), ("own-server.html",)),  # S-38
        (
            "port-25.html",
            ("使えるサーバーと使えないサーバー", "抜け道にならない"),
            ("for/elsewhere.html",),
        ),  # S-63, S-65
        ("history.html", ("JEAG", "2005年3月", "2006年11月21日", "RFC 2476", "固定アドレス"), ()),  # S-73, S-74
        ("encryption.html", ("993番", "995番", "STARTTLS"), ("problems/certificate_warning.html",)),  # S-76
        ("several-addresses.html", ("割り当て", "550"), ("problems/sender_rejected.html",)),  # S-77
        ("own-server.html", ("Connection timed out", "オープンリレー"), ("postfix-3.html", "exim-4.html")),  # S-78
        ("devices.html", ("認証できない機器", "いつまで使うか"), ("mfp-generic.html", "device-generic.html")),  # S-79
    ],
)
def test_an_article_says_what_it_is_there_for(path: str, words: tuple[str, ...], links: tuple[str, ...]) -> None:
    page = SITE[f"ja/{path}"]
    for each in words:
        assert each in page
    for link in links:
        assert re.search(rf'href="[^"]*{re.escape(link)}"', page), link


def test_articles_are_named_on_the_first_page_and_in_the_guides_they_go_with() -> None:
    """S-80: related guides."""
    for each in articles():
        assert not (each.more or each.kinds) or "{" not in each.title.ja + each.title.en, each.path
        assert (f'href="{each.path}"' in SITE["en/index.html"]) == (
            each.more
            or each.path in ("port-25.html", "clients/other.html", "webmail.html", "vpn.html")
            or each.path.startswith("for/")
        ), each.path
    assert 'href="../devices.html"' in SITE["ja/clients/mfp-generic.html"]
    assert 'href="../own-server.html"' in SITE["ja/clients/postfix-3.html"]
    assert 'href="../encryption.html"' in SITE["ja/clients/thunderbird-current.html"]
    assert 'href="../devices.html"' not in SITE["ja/clients/thunderbird-current.html"]


def test_pages_for_what_the_operator_lacks_are_not_there() -> None:
    site = build_site(catalog(), card(vpn_url=None, webmail_url=None, access_network=False))
    for path in ("vpn.html", "webmail.html", "for/line.html"):
        assert f"ja/{path}" not in site
        assert not [name for name, text in site.items() if f'/{path}"' in text or f'"{path}"' in text], path
    assert {each.path for each in articles()} >= {"port-25.html", "clients/other.html", "for/hosting.html"}


def test_the_first_thing_on_the_first_page_is_the_way_to_help() -> None:
    """S-83."""
    page = build_site(catalog(), card())["ja/index.html"]
    content = page[page.index('<main id="content">') :]
    assert (
        content.index("突然メールが送れなくなった方へ")
        < content.index('href="check/index.html"')
        < content.index("<h2>")
    )
