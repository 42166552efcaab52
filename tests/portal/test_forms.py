"""Forms and logins: who sent it, is it ours, whose browser is it."""

from __future__ import annotations

import re

import httpx
import jinja2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from sekisho.portal import session
from sekisho.portal.forms import form
from sekisho.portal.pages import environment
from sekisho.portal.pages import page as render
from sekisho.portal.parts import Parts
from sekisho.portal.session import own_path

from .conftest import MakeParts, said, with_page

URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
PASSWORD = "correct horse battery"


async def page(request: Request) -> Response:
    """A page with a form: GET shows its token, POST takes it."""
    if request.method == "POST":
        fields = await form(request)
        return PlainTextResponse(repr(sorted(fields.items())))
    response = PlainTextResponse(session.form_token(request))
    session.remember_form(request, response)
    return response


async def fill_in(browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    token = (await browser.get("/ja/form")).text
    return await browser.post("/ja/form", data={"form_token": token, **fields})


def test_a_form_comes_back_with_its_fields(make_parts: MakeParts) -> None:
    answer = with_page(make_parts(), "/ja/form", page, lambda browser: fill_in(browser, name="凛", empty=""))
    assert answer.text == repr([("empty", ""), ("name", "凛")])


def test_the_cookie_of_a_form_is_the_browsers_alone(make_parts: MakeParts) -> None:
    async def both(browser: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        return await browser.get("/ja/form"), await browser.get("/ja/form")

    first, again = with_page(make_parts(), "/ja/form", page, both)
    assert re.fullmatch(
        r"__Host-sekisho-form=[\w.-]+; HttpOnly; Path=/; SameSite=lax; Secure", first.headers["set-cookie"]
    )
    assert "set-cookie" not in again.headers
    assert first.text == again.text, "two open pages of one browser both work"


def test_over_plain_loopback_the_cookie_has_another_name(make_parts: MakeParts) -> None:
    where = {"address": "127.0.0.1", "scheme": "http", "host": "localhost:8080"}
    answer = with_page(make_parts(), "/ja/form", page, lambda browser: browser.get("/ja/form"), **where)
    assert answer.headers["set-cookie"].startswith("sekisho-form=")
    assert "Secure" not in answer.headers["set-cookie"]
    assert with_page(make_parts(), "/ja/form", page, lambda browser: fill_in(browser), **where).status_code == 200


def test_a_token_does_not_work_in_another_browser(make_parts: MakeParts) -> None:
    async def steal(browser: httpx.AsyncClient) -> list[int]:
        token = (await browser.get("/ja/form")).text
        statuses = []
        browser.cookies.clear()
        statuses.append((await browser.post("/ja/form", data={"form_token": token})).status_code)
        await browser.get("/ja/form")
        statuses.append((await browser.post("/ja/form", data={"form_token": token})).status_code)
        return statuses

    assert with_page(make_parts(), "/ja/form", page, steal) == [403, 403]


def test_a_cookie_that_nobody_signed_is_no_cookie(make_parts: MakeParts) -> None:
    """Whoever can set a cookie from a neighboring host must not be able to make the pair himself."""

    async def forge(browser: httpx.AsyncClient) -> int:
        token = (await browser.get("/ja/form")).text
        nonce, _, mac = browser.cookies["__Host-sekisho-form"].partition(".")
        browser.cookies.clear()
        browser.cookies.set("__Host-sekisho-form", f"{nonce}x.{mac}", domain="mail.example.test")
        return (await browser.post("/ja/form", data={"form_token": token})).status_code

    assert with_page(make_parts(), "/ja/form", page, forge) == 403


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"a=1", URLENCODED, 403, "もう一度送信してください"),
        (b"form_token=&a=1", URLENCODED, 403, "もう一度送信してください"),
        (b"form_token=\xe3\x81\x82", URLENCODED, 400, "読み取れませんでした"),
        (b"form_token=%E3%81%82", URLENCODED, 403, "もう一度送信してください"),
        (b"a=%00", URLENCODED, 400, "読み取れませんでした"),
        (b"a=%ff%fe", URLENCODED, 400, "読み取れませんでした"),
        (b"&".join(b"f%d=1" % number for number in range(70)), URLENCODED, 400, "読み取れませんでした"),
        (b"{}", {"content-type": "application/json"}, 415, "読み取れませんでした"),
        (b"x", {"content-type": "multipart/form-data; boundary=x"}, 415, "読み取れませんでした"),
        (b"", {}, 415, "読み取れませんでした"),
        (b"a=" + b"x" * 65535, URLENCODED, 413, "長すぎます"),
    ],
)
def test_what_is_no_form_of_ours(
    make_parts: MakeParts, content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    answer = with_page(
        make_parts(), "/ja/form", page, lambda browser: browser.post("/ja/form", content=content, headers=headers)
    )
    assert answer.status_code == status
    assert words in answer.text


def test_a_body_that_hides_its_length_is_cut_off_all_the_same(make_parts: MakeParts) -> None:
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while True:
            sent += 1000
            yield b"x" * 1000

    async def post(browser: httpx.AsyncClient) -> httpx.Response:
        return await browser.post("/ja/form", content=endless(), headers=URLENCODED)  # type: ignore[arg-type]

    assert with_page(make_parts(), "/ja/form", page, post).status_code == 413
    assert sent <= 67_000


# Logins


async def add(parts: Parts, login: str) -> int:
    return await parts.accounts.call(lambda store: store.add(login, PASSWORD).id)


async def account(request: Request) -> Response:
    """Opens a session with ?login=ID, ends it with ?logout, otherwise says whose it is."""
    if (number := request.query_params.get("login")) is not None:
        response: Response = PlainTextResponse("welcome")
        await session.login(request, response, int(number), second_factor="twice" in request.query_params)
        return response
    if "logout" in request.query_params:
        response = RedirectResponse("/ja/", 303)
        await session.logout(request, response)
        return response
    if request.method == "POST":
        await form(request)
    found = session.require(request)
    return PlainTextResponse(f"{found.account.login} {found.second_factor} {session.form_token(request)}")


def test_a_login_from_cookie_to_logout(make_parts: MakeParts) -> None:
    parts = make_parts()

    async def visit(browser: httpx.AsyncClient) -> None:
        number = await add(parts, "rin@example.test")
        welcome = await browser.get(f"/ja/me?login={number}&twice")
        (cookie,) = [each for each in welcome.headers.get_list("set-cookie") if each.startswith("__Host-sekisho=")]
        assert re.fullmatch(r"__Host-sekisho=[\w-]{43}; HttpOnly; Path=/; SameSite=lax; Secure", cookie)
        assert (await browser.get("/ja/me")).text.startswith("rin@example.test True ")
        token = browser.cookies["__Host-sekisho"]
        await browser.get("/ja/me?logout")
        assert "__Host-sekisho" not in browser.cookies
        browser.cookies.set("__Host-sekisho", token, domain="mail.example.test")
        assert (await browser.get("/ja/me")).status_code == 303, "the token is worth nothing any more"

    with_page(parts, "/ja/me", account, visit)
    (event,) = said(parts, "portal.login")
    assert (event["account"], event["client"], event["factors"]) == ("rin@example.test", "198.51.100.7", 2)


def test_a_second_login_replaces_the_first_and_its_token(make_parts: MakeParts) -> None:
    parts = make_parts()

    async def visit(browser: httpx.AsyncClient) -> None:
        number = await add(parts, "rin@example.test")
        await browser.get(f"/ja/me?login={number}")
        first = browser.cookies["__Host-sekisho"]
        await browser.get(f"/ja/me?login={number}")
        assert browser.cookies["__Host-sekisho"] != first
        assert await parts.sessions.find(first) is None

    with_page(parts, "/ja/me", account, visit)


def test_a_form_belongs_to_the_login(make_parts: MakeParts) -> None:
    parts = make_parts()

    async def visit(browser: httpx.AsyncClient) -> list[int]:
        numbers = [await add(parts, f"{name}@example.test") for name in ("rin", "aoi")]
        statuses = []
        await browser.get(f"/ja/me?login={numbers[0]}")
        token = (await browser.get("/ja/me")).text.split()[-1]
        statuses.append((await browser.post("/ja/me", data={"form_token": token})).status_code)
        statuses.append((await browser.post("/ja/me", data={"form_token": ""})).status_code)
        await browser.get(f"/ja/me?login={numbers[1]}")
        statuses.append((await browser.post("/ja/me", data={"form_token": token})).status_code)
        return statuses

    assert with_page(parts, "/ja/me", account, visit) == [200, 403, 403]


@pytest.mark.parametrize("token", ["x", "", "x" * 5000, "é", '"; DROP TABLE', "__Host-"])
def test_a_foreign_token_is_no_login(make_parts: MakeParts, token: str) -> None:
    cookie = f"__Host-sekisho={token}".encode()
    answer = with_page(
        make_parts(), "/en/me", account, lambda browser: browser.get("/en/me", headers=[(b"cookie", cookie)])
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/en/account/login?next=%2Fen%2Fme"


def test_over_https_a_cookie_of_the_plain_name_counts_for_nothing(make_parts: MakeParts) -> None:
    """A neighboring host or plain HTTP could have set it; ``__Host-`` is what neither can set."""
    parts = make_parts()

    async def visit(browser: httpx.AsyncClient) -> int:
        token = await parts.sessions.open(await add(parts, "rin@example.test"), client="::1", second_factor=False)
        return (await browser.get("/ja/me", headers={"cookie": f"sekisho={token}"})).status_code

    assert with_page(parts, "/ja/me", account, visit) == 303


def test_over_plain_http_no_login_is_offered(make_parts: MakeParts) -> None:
    answer = with_page(make_parts(), "/ja/me", account, lambda browser: browser.get("/ja/me"), scheme="http")
    assert answer.status_code == 403
    assert "この接続ではログインできません" in answer.text


def test_pages_go_on_when_the_accounts_are_away(make_parts: MakeParts) -> None:
    parts = make_parts()
    parts.where.accounts.write_bytes(b"this is no database" * 100)
    cookie = {"cookie": "__Host-sekisho=abcdefgh"}

    async def visit(browser: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        private = await browser.get("/ja/me", headers=cookie)
        public = await browser.get("/mail/config-v1.1.xml", headers=cookie)
        parts.where.accounts.unlink()
        return private, public, await browser.get("/ja/me", headers=cookie)

    private, public, again = with_page(parts, "/ja/me", account, visit)
    assert private.status_code == 503
    assert "アカウントの情報を確認できません" in private.text
    assert public.status_code == 200
    assert again.status_code == 303, "the file was put back: it is opened anew"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/ja/account/", "/ja/account/"),
        ("/en/check/port25", "/en/check/port25"),
        ("", "/ja/"),
        ("//evil.example/ja/", "/ja/"),
        ("https://evil.example/ja/", "/ja/"),
        ("/ja/\\evil.example", "/ja/"),
        ("/ja//evil.example", "/ja/"),
        ("/ja/\r\nSet-Cookie:x", "/ja/"),
        ("/language/en/ja/", "/ja/"),
        ("/ja/" + "x" * 500, "/ja/"),
        ("/ja/あ", "/ja/"),
    ],
)
def test_a_login_leads_back_to_pages_of_ours_alone(text: str, path: str) -> None:
    assert own_path(text, "/ja/") == path


# Pages


def test_a_page_with_a_form_is_kept_by_nobody(make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch) -> None:
    source = '{% extends "frame.html" %}{% block title %}{% endblock %}{% block main %}{{ csrf() }}{% endblock %}'
    own = jinja2.DictLoader({"with-form.html": source, "without.html": source.replace("{{ csrf() }}", "")})
    loader = environment().loader
    assert loader is not None
    monkeypatch.setattr(environment(), "loader", jinja2.ChoiceLoader([own, loader]))

    async def view(request: Request) -> Response:
        return render(request, f"{request.query_params['name']}.html")

    async def visit(browser: httpx.AsyncClient) -> list[str]:
        plain = await browser.get("/ja/p?name=without")
        found = await browser.get("/ja/p?name=with-form")
        assert '<input type="hidden" name="form_token" value="' in found.text
        assert "__Host-sekisho-form" in browser.cookies
        again = await browser.get("/ja/p?name=with-form")
        return [each.headers["cache-control"] for each in (plain, found, again)]

    assert with_page(make_parts(), "/ja/p", view, visit) == ["public, max-age=300", "no-store", "no-store"]
