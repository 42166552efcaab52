"""The self-check's pages: in both languages, from real stores, hostile input, and with parts of what they read away."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sekisho.edge.codes import Codes
from sekisho.guide.lookup import Answer, Outgoing, Published, Source
from sekisho.portal.parts import Parts
from sekisho.portal.words import word

from .conftest import MakeParts, get, visiting

LANGUAGES = ("ja", "en")
HERE = "198.51.100.7"


def log(parts: Parts, *events: tuple[str, dict[str, object]]) -> None:
    for name, fields in events:
        parts.events.emit(name, **{"client": HERE, "listener": "submission", **fields})
    parts.events.flush()


def refused_login(**changes: object) -> tuple[str, dict[str, object]]:
    fields = {
        "account": "rin@example.test",
        "mechanism": "PLAIN",
        "reason": "bad-credentials",
        "detail": "wrong password",
    }
    return "auth.refused", {**fields, **changes}


class Alive:
    """Mail processes that answer."""

    @staticmethod
    async def ask(parts: Parts, verb: str, **arguments: object) -> list[Any]:
        return [{"worker": 0}]


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail service answers, unless a test says otherwise."""
    monkeypatch.setattr(Parts, "ask", Alive.ask)


def main_of(answer: httpx.Response) -> str:
    """Return the text of a page between header and footer, without markup."""
    assert answer.status_code == 200, answer.text
    text = answer.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_way_in_asks_the_question_of_the_seed_and_has_two_doors(make_parts: MakeParts, language: str) -> None:
    """S-111."""
    answer = get(make_parts(), f"/{language}/check/")
    assert f"<h1>{word('check.title', language)}</h1>" in answer.text
    assert 'href="/%s/check/line"' % language in answer.text
    assert 'href="/%s/check/b_client.html"' % language in answer.text
    assert language == "en" or word("check.title", "ja") == "突然メールが送れなくなった"
    assert get(make_parts(), f"/{language}/check/index.html").headers["location"] == f"/{language}/check/"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_login_of_the_line_is_found_without_a_name(make_parts: MakeParts, language: str) -> None:
    parts = make_parts()
    log(parts, refused_login())
    answer = get(parts, f"/{language}/check/line")
    text = main_of(answer)
    assert {"ja": "ユーザー名かパスワードが受け付けられませんでした", "en": "User name or password was not accepted"}[
        language
    ] in text
    assert "rin" not in text
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert "style=" not in answer.text
