"""Pages of prose: both languages complete, nothing left to fill in, and what is broken is told by file and key."""

from __future__ import annotations

import pytest

from sekisho.guide import GuideError, catalog
from sekisho.guide.articles import Block, Inline, articles, read_articles, write_out
from sekisho.guide.render import build_site

from .samples import card

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
