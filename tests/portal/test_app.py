"""The application as a whole: the way in, what every answer carries, and what goes wrong."""

from __future__ import annotations

import logging

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from sekisho.portal.errors import Refusal, Unavailable
from sekisho.portal.gate import RateLimit, preferred
from sekisho.portal.hosts import host_of

from .conftest import HOST, MakeParts, get, said, visiting, with_page


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "ja"),
        ("*", "ja"),
        ("en-US,en;q=0.9", "en"),
        ("ja,en;q=0.5", "ja"),
        ("en;q=0.3, ja;q=0.8", "ja"),
        ("de,fr;q=0.9", "en"),
        ("de, ja;q=0.1", "ja"),
        ("en;q=nonsense", "en"),
        ("ja;q=nan, en;q=0.1", "en"),
        (";;;,,,=", "en"),
    ],
)
def test_the_language_that_the_reader_likes_best(header: str, language: str) -> None:
    assert preferred(header) == language


def test_the_front_door_leads_to_the_readers_language(make_parts: MakeParts) -> None:
    parts = make_parts()
    for headers, target in (
        ({"accept-language": "en"}, "/en/"),
        ({}, "/ja/"),
        ({"cookie": "sekisho-language=en"}, "/en/"),
    ):
        answer = get(parts, "/", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (302, target)
        assert answer.headers["cache-control"] == "no-store"


def test_an_address_of_the_account_without_a_language_leads_to_the_readers(make_parts: MakeParts) -> None:
    parts = make_parts()
    answer = get(parts, "/account/password", headers={"accept-language": "en"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/en/account/password")
    assert get(parts, "/account/token").headers["location"] == "/ja/account/token"
    assert get(parts, "/account/%5Cevil.example").headers["location"] == "/ja/account/"


def test_a_page_can_be_had_in_the_other_language_and_that_is_remembered(make_parts: MakeParts) -> None:
    parts = make_parts()
    answer = get(parts, "/language/en/clients/x.html?step=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/en/clients/x.html?step=2")
    assert "sekisho-language=en" in answer.headers["set-cookie"]
    assert get(parts, "/language/en//evil.example/").headers["location"] == "/en/"
    assert get(parts, "/language/fr/x").status_code == 404


HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.mark.parametrize(
    "path", ["/", "/ja/nothing", "/health", "/assets/x/y", "/mail/config-v1.1.xml", "/language/fr/"]
)
def test_every_answer_tells_the_browser_to_do_nothing_but_show_it(make_parts: MakeParts, path: str) -> None:
    answer = get(make_parts(), path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "server" not in answer.headers


def test_plain_http_is_never_told_to_be_strict(make_parts: MakeParts) -> None:
    assert "strict-transport-security" not in get(make_parts(), "/health", scheme="http").headers


@pytest.mark.parametrize(
    ("path", "words"), [("/ja/no/such.html", "ページが見つかりません"), ("/en/x", "There is no such page")]
)
def test_what_is_not_there_is_said_in_the_readers_language_with_ways_on(
    make_parts: MakeParts, path: str, words: str
) -> None:
    answer = get(make_parts(guide__name_ja="情報<センター>", guide__name_en="Center<>"), path)
    assert answer.status_code == 404
    assert words in answer.text
    language = path[1:3]
    for way in (f"/{language}/", f"/{language}/check/", f"/{language}/clients.html"):
        assert f'href="{way}"' in answer.text
    assert "センター>" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-language"] == language


def test_the_portal_speaks_for_the_host_where_the_guide_names_nobody(make_parts: MakeParts) -> None:
    text = get(make_parts(), "/en/x").text
    assert HOST in text
    assert "postmaster@example.test" in text


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("PUT", "/ja/", {}, 405),
        ("TRACE", "/ja/", {}, 405),
        ("POST", "/health", {}, 405),
        ("GET", "/" + "a" * 2050, {}, 414),
        ("GET", "/ja/?" + "a" * 2050, {}, 414),
        ("GET", "/ja/%00", {}, 404),
        ("GET", "/ja/%0d%0aSet-Cookie:x", {}, 404),
        ("GET", "/ja/../../etc/passwd", {}, 404),
        ("GET", "/ja/%ff%fe", {}, 404),
        ("GET", "/ja/x", {"cookie": "a=" + "x" * 17_000}, 431),
        ("POST", "/ja/x", {"content-length": "65537"}, 413),
        ("POST", "/ja/x", {"content-length": "9" * 400}, 413),
        ("POST", "/ja/x", {"content-length": "-1"}, 413),
        ("POST", "/ja/x", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", "/ja/x", {"sec-fetch-site": "same-site"}, 403),
        ("POST", "/ja/x", {"origin": "https://evil.example"}, 403),
        ("POST", "/ja/x", {"origin": "null"}, 403),
        ("POST", "/ja/x", {"origin": "https://[broken"}, 403),
        ("POST", "/ja/x", {"origin": f"https://{HOST}", "sec-fetch-site": "same-origin"}, 404),
        ("POST", "/ja/x", {}, 404),
    ],
)
def test_requests_out_of_bounds(
    make_parts: MakeParts, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = visiting(make_parts(), lambda browser: browser.request(method, path, headers=headers))
    assert answer.status_code == status
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        (HOST, "/ja/x", 404),
        (f"{HOST}:8443", "/ja/x", 404),
        (f"{HOST.upper()}.", "/ja/x", 404),
        ("www.example.test", "/ja/x", 404),
        ("help.example.test", "/ja/x", 404),
        ("localhost:8080", "/ja/x", 404),
        ("[::1]:8080", "/ja/x", 404),
        ("evil.example", "/ja/x", 421),
        ("evil.example", "/health", 503),  # there is no mail process in this test
        (f"{HOST}.evil.example", "/ja/x", 421),
        (f"{HOST}@evil.example", "/ja/x", 421),
        ("192.0.2.1", "/ja/x", 421),
        ("", "/ja/x", 400),
        ("[::1", "/ja/x", 400),
        (f"{HOST}:port", "/ja/x", 400),
        ("autoconfig.example.test", "/mail/config-v1.1.xml", 200),
        ("autoconfig.other.test", "/mail/config-v1.1.xml", 421),
        ("autoconfig.example.test", "/ja/account/login", 302),
        ("example.test", "/.well-known/autoconfig/mail/config-v1.1.xml", 200),
    ],
)
def test_only_requests_for_our_own_names_are_answered(make_parts: MakeParts, host: str, path: str, status: int) -> None:
    parts = make_parts(autoconfig__web_host="www.example.test", portal__names=["help.example.test"])
    answer = get(parts, path, headers={"host": host})
    assert answer.status_code == status
    if status == 302:
        assert answer.headers["location"] == "https://www.example.test/"


@pytest.mark.parametrize("text", ["a:b:c", "a:123456", "[::1]x", "[::1]:x", "::1", "x" * 300, ":80", "[]"])
def test_what_is_no_host(text: str) -> None:
    assert host_of(text) is None


def test_one_address_cannot_ask_without_end(make_parts: MakeParts) -> None:
    clock = [1000.0]
    parts = make_parts(now=lambda: clock[0], portal__requests_per_minute=10)

    async def hammer(browser: httpx.AsyncClient) -> list[int]:
        found = [(await browser.get("/ja/x")).status_code for _ in range(12)]
        last = await browser.get("/ja/x")
        assert last.headers["retry-after"] == "6"
        assert "アクセスが集中" in last.text
        assert (await browser.get("/health")).status_code != 429, "a monitor is never held up"
        clock[0] += 6
        return [*found, (await browser.get("/ja/x")).status_code, (await browser.get("/ja/x")).status_code]

    assert visiting(parts, hammer) == [404] * 10 + [429] * 2 + [404, 429]
    assert [each["client"] for each in said(parts, "portal.limited")] == ["198.51.100.7"]


def test_addresses_are_limited_apart_and_ipv6_by_its_64() -> None:
    limit = RateLimit(size=3)
    for address in ("2001:db8::1", "2001:db8::2"):
        assert limit.take(address, 2, 0.0) == 0
    assert limit.take("2001:db8:0:0:1::", 2, 0.0) == 30
    assert limit.take("2001:db8:0:1::1", 2, 0.0) == 0
    for number in range(3):
        limit.take(f"192.0.2.{number}", 2, 0.0)
    assert limit.take("2001:db8::1", 2, 0.0) == 0, "memory is bounded: the one longest not seen was forgotten"


def test_a_mistake_of_ours_shows_nothing_of_our_insides(
    make_parts: MakeParts, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> Response:
        raise ValueError("secret of the house")

    parts = make_parts()
    with caplog.at_level(logging.ERROR):
        answer = with_page(parts, "/ja/broken", broken, lambda browser: browser.get("/ja/broken"))
    assert answer.status_code == 500
    assert "こちらの不具合" in answer.text
    assert "secret" not in answer.text
    assert "secret of the house" in caplog.text
    (event,) = said(parts, "portal.failed")
    assert event["error"] == "ValueError"
    assert "secret" not in str(event)


def test_refusals_of_views_become_pages_with_their_words(make_parts: MakeParts) -> None:
    async def refuses(request: Request) -> Response:
        if "away" in request.query_params:
            raise Unavailable("accounts", "the disk of the house is full")
        raise Refusal(409, "common.wrong_host", {"host": "<b>&"}, {"Retry-After": "7"})

    async def both(browser: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        return await browser.get("/en/x"), await browser.get("/en/x?away=1")

    refused, away = with_page(make_parts(), "/en/x", refuses, both)
    assert (refused.status_code, refused.headers["retry-after"]) == (409, "7")
    assert "https://&lt;b&gt;&amp;/" in refused.text
    assert away.status_code == 503
    assert "Accounts cannot be looked up now" in away.text
    assert "disk" not in away.text


def test_plain_http_leads_to_tls_where_the_portal_has_it(make_parts: MakeParts) -> None:
    parts = make_parts(portal__addresses=[":80", ":443"])
    answer = get(parts, "/ja/x?y=1", scheme="http")
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{HOST}/ja/x?y=1")
    assert get(parts, "/mail/config-v1.1.xml", scheme="http").status_code == 200
    other = make_parts(portal__addresses=["198.51.100.1:8443", "198.51.100.1:80"])
    assert get(other, "/ja/x", scheme="http").headers["location"] == f"https://{HOST}:8443/ja/x"
