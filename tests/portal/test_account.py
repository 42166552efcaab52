"""The way into one's own account and out of it, and what all its pages have in common."""

from __future__ import annotations

import asyncio
import base64
import re

import httpx
import pytest
from tests.portal.conftest import CHEAP, MakeParts, said
from tests.portal.person import CAMPUS, LANGUAGES, NEW, OUTSIDE, PASSWORD, RIN, Page, Person, visit

from sekisho.accounts import AccountStore, AppPasswords, SecondFactors
from sekisho.portal.errors import Unavailable
from sekisho.portal.parts import Parts


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_person_logs_in_by_any_of_his_names_and_sees_his_account(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        for name in ("rin", " RIN@example.test ", "info@example.test"):
            answer = await person.log_in(name)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/{language}/account/")
            overview = await person.open("")
            assert RIN in overview.text
            assert "info@example.test" in overview.text
            assert overview.headers["cache-control"] == "no-store"
            assert (await person.send("logout", "")).headers["location"].endswith("/account/login?done=signed-out")
            assert not await person.is_in()
        assert person.say("account.done.signed-out") in (await person.open("login", done="signed-out")).text
        assert len(said(person.parts, "portal.login")) == 3

    visit(parts, work, language=language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_whoever_does_not_get_in_is_told_the_same_whatever_was_wrong(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        secret = await person.with_factor()
        await person.store(lambda store: store.add("kei@example.test", PASSWORD))
        pages = set()
        for name, password, code in (
            ("ghost", PASSWORD, ""),
            ("kei", "hana-fubuka", ""),
            ("rin", "hana-fubuka", ""),
            ("rin", PASSWORD, ""),
            ("rin", PASSWORD, "000000" if person.code(secret) != "000000" else "000001"),
            ("rin", "hana-fubuka", person.code(secret)),
        ):
            answer = await person.log_in(name, password, code)
            assert answer.status_code == 403
            assert person.say("account.login.wrong.text") in answer.text
            assert password not in answer.text
            pages.add(re.sub(f'value="({name}|[^"]{{40}})"', "", answer.text))
            assert not await person.is_in()
        assert len(pages) == 1
        details = [event["detail"] for event in said(person.parts, "portal.login_refused")]
        assert details == [
            "unknown account",
            "wrong password",
            "wrong password",
            "code missing",
            "wrong code",
            "wrong password",
        ]
        assert (await person.log_in(code=person.code(secret))).status_code == 303  # the guess used nothing up

    visit(parts, work, language=language)


def test_after_the_login_the_page_asked_for_is_shown_and_never_another_site(parts: Parts) -> None:
    async def work(person: Person) -> None:
        answer = await person.open("devices")
        assert answer.headers["location"] == "/ja/account/login?next=%2Fja%2Faccount%2Fdevices"
        form = await person.open("login", next="/ja/account/devices")
        assert 'name="next" value="/ja/account/devices"' in form.text
        for asked, shown in (
            ("/ja/account/devices", "/ja/account/devices"),
            ("https://evil.example/", "/ja/account/"),
            ("//evil.example/ja/", "/ja/account/"),
            ("/ja//evil.example", "/ja/account/"),
            ("/ja/\\evil.example", "/ja/account/"),
            ("javascript:alert(1)", "/ja/account/"),
        ):
            assert (await person.log_in(next=asked)).headers["location"] == shown
            assert (await person.open("login", next=asked)).headers["location"] == shown  # logged in already
            await person.send("logout", "")

    visit(parts, work)


def test_a_login_makes_a_new_session_and_closes_the_one_before(parts: Parts) -> None:
    """Nobody can prepare a browser with a session of his own choice, or keep one from before."""

    async def work(person: Person) -> None:
        person.browser.cookies.set("__Host-sekisho", "chosen-by-somebody-else", "mail.example.test")
        await person.log_in()
        first = person.browser.cookies["__Host-sekisho"]
        assert first != "chosen-by-somebody-else"
        cookie = person.browser.cookies
        person.browser.cookies = httpx.Cookies()
        await person.log_in()
        second = person.browser.cookies["__Host-sekisho"]
        await person.send("logout", "")
        assert len({first, second}) == 2
        person.browser.cookies = httpx.Cookies({"__Host-sekisho": second})
        assert not await person.is_in()
        person.browser.cookies = cookie
        assert await person.is_in()

    visit(parts, work)


def test_all_browsers_are_logged_out_at_once(parts: Parts) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        other = person.browser.cookies["__Host-sekisho"]
        person.browser.cookies = httpx.Cookies()
        await person.log_in()
        answer = await person.send("logout-everywhere", "")
        assert answer.headers["location"].endswith("done=everywhere")
        for token in (other, person.browser.cookies.get("__Host-sekisho", "")):
            person.browser.cookies = httpx.Cookies({"__Host-sekisho": token} if token else {})
            assert not await person.is_in()

    visit(parts, work)


@pytest.mark.parametrize("path", ["", "password", "devices", "factor", "factor/confirm"])
def test_without_a_login_every_page_leads_to_it(parts: Parts, path: str) -> None:
    async def work(person: Person) -> None:
        answer = await person.open(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/ja/account/login?next=")

    visit(parts, work, address=CAMPUS)


FORMS = ("password", "devices", "devices/remove", "factor/begin", "factor/confirm", "factor/off", "factor/recovery")


@pytest.mark.parametrize("path", [*FORMS, "logout", "logout-everywhere"])
def test_a_form_without_its_token_or_from_another_page_does_nothing(parts: Parts, path: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        token = re.search(r'name="form_token" value="([^"]+)"', (await person.open("")).text)
        assert token
        cookies = person.browser.cookies
        person.browser.cookies = httpx.Cookies()
        await person.store(lambda store: store.find("kei") or store.add("kei@example.test", PASSWORD))
        await person.log_in("kei")
        of_kei = re.search(r'name="form_token" value="([^"]+)"', (await person.open("")).text)
        assert of_kei
        person.browser.cookies = cookies
        good = {"password": PASSWORD, "new": NEW, "again": NEW, "label": "telephone", "number": "1", "code": ""}
        before = await person.store(lambda store: store.database.rows("SELECT * FROM verifiers ORDER BY 1, 2"))
        for fields, headers in (
            (good, {}),
            (good | {"form_token": ""}, {}),
            (good | {"form_token": of_kei[1]}, {}),
            (good | {"form_token": token[1]}, {"origin": "https://evil.example"}),
            (good | {"form_token": token[1]}, {"sec-fetch-site": "cross-site"}),
        ):
            assert (await person.post(path, headers=headers, **fields)).status_code == 403
        assert await person.is_in()
        assert await person.store(lambda store: store.database.rows("SELECT * FROM verifiers ORDER BY 1, 2")) == before
        assert await person.store(lambda store: AppPasswords(store).list("rin")) == ()

    visit(parts, work, address=CAMPUS)


def test_over_a_connection_that_others_can_read_nobody_logs_in(parts: Parts) -> None:
    async def work(person: Person) -> None:
        for path in ("login", "token", "password", ""):
            assert (await person.open(path)).status_code == 403
            assert (await person.post(path)).status_code in (403, 405)

    visit(parts, work, scheme="http")


def test_a_suspended_account_is_told_so_with_the_right_password_only(parts: Parts) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        await person.store(lambda store: store.suspend("rin", "sends worms"))
        assert not await person.is_in()
        wrong, right = await person.log_in(password="wrong"), await person.log_in()
        assert person.say("account.suspended.title") not in wrong.text
        assert right.status_code == 403
        assert person.say("account.suspended.title") in right.text
        assert "worms" not in right.text
        assert not await person.is_in()

    visit(parts, work)


def test_too_many_wrong_passwords_put_even_the_right_one_off_and_the_mail_server_counts_them_too(
    make_parts: MakeParts,
) -> None:
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3)

    async def work(person: Person) -> None:
        codes = [(await person.log_in(password=text)).status_code for text in ("one", "two", "three", PASSWORD)]
        assert codes == [403, 403, 403, 429]
        guard = person.parts.tries._opened()
        assert not guard.reserve(OUTSIDE, RIN, person.parts.now())

    visit(parts, work)


def test_guesses_at_the_code_count_even_with_the_same_password(make_parts: MakeParts) -> None:
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3)

    async def work(person: Person) -> None:
        secret = await person.with_factor()
        wrong = [f"{n:06}" for n in range(5) if f"{n:06}" != person.code(secret)][:4]
        assert [(await person.log_in(code=each)).status_code for each in wrong] == [403, 403, 403, 429]

    visit(parts, work)


# All pages


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_can_be_used_by_keyboard_reader_and_password_manager(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        pages = {"login": await person.open("login"), "wrong": await person.log_in(password="no")}
        pages["token"] = await person.send("token", token="x", new=NEW, again="")
        await person.log_in()
        for path in ("", "password", "devices", "factor"):
            pages[path] = await person.open(path)
        pages["bad"] = await person.send("password", password="x", new="a", again="b")
        pages["device"] = await person.send("devices", label="printer", password=PASSWORD)
        pages["bad label"] = await person.send("devices", label="", password=PASSWORD)
        await person.send("factor/begin", "factor", password=PASSWORD)
        pages["confirm"] = await person.open("factor/confirm")
        pages["bad code"] = await person.send("factor/confirm", code="1")
        secret = await person.store(lambda store: SecondFactors(store).pending("rin", issuer="x"))
        octets = base64.b32decode(secret.secret.replace(" ", ""))
        pages["recovery"] = await person.send("factor/confirm", code=person.code(octets))
        pages["factor on"] = await person.open("factor")
        for name, answer in pages.items():
            page = Page(answer.text)
            assert len(page.ids) == len(set(page.ids)), name
            assert page.refers <= {*page.ids}, (name, page.refers - {*page.ids})
            assert {*page.fields} <= page.labels, (name, {*page.fields} - page.labels)
            assert "script" not in page.tags, name
            assert page.styles == 0, name
            assert f'<html lang="{language}"' in answer.text
            assert (page.alerts > 0) == (answer.status_code >= 400), name
            assert answer.headers["cache-control"] == "no-store", name
        expected = {
            "login": {"username": "username", "password": "current-password", "code": "one-time-code"},
            "password": {"password": "current-password", "new": "new-password", "again": "new-password"},
            "token": {"token": "off", "new": "new-password", "again": "new-password"},
            "confirm": {"code": "one-time-code"},
        }
        for name, fields in expected.items():
            found = Page(pages[name].text).fields
            assert {each: found[each]["autocomplete"] for each in fields} == fields

    visit(parts, work, language=language, address=CAMPUS)


@pytest.mark.parametrize(
    "junk", ["\x00", "\ud7ff", "x" * 60_000, "<script>alert(1)</script>", "'; DROP TABLE accounts; --", "{{7*7}}"]
)
def test_hostile_input_gets_an_answer_and_changes_nothing(parts: Parts, junk: str) -> None:
    async def work(person: Person) -> None:
        for fields in (
            {"username": junk, "password": PASSWORD},
            {"username": "rin", "password": junk},
            {"username": "rin", "password": PASSWORD, "code": junk},
        ):
            answer = await person.send("login", **fields)
            assert answer.status_code in (303, 400, 403, 413)
            assert "<script>alert" not in answer.text
            assert "49" not in re.sub(r'value="[^"]*"', "", answer.text) or "{{7*7}}" not in junk
        assert (await person.rin()).login == RIN

    visit(parts, work)


def test_when_the_accounts_are_away_the_pages_say_so(parts: Parts) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        await person.open("login")

        def away() -> AccountStore:
            raise OSError(13, "Permission denied")

        def lose(store: AccountStore) -> None:
            person.parts.accounts._open = away
            raise OSError(5, "Input/output error")

        with pytest.raises(Unavailable):
            await person.store(lose)
        for answer in (await person.open(""), await person.open("devices"), await person.log_in()):
            assert answer.status_code == 503
            assert person.say("common.accounts_away.title") in answer.text
        assert (await person.open("login")).status_code == 200

    visit(parts, work)


def test_logins_at_the_same_moment_do_not_wait_for_one_another_without_bound(parts: Parts) -> None:
    async def work(person: Person) -> None:
        answers = await asyncio.gather(*(person.log_in(f"ghost{n}") for n in range(30)))
        assert {answer.status_code for answer in answers} <= {403, 429, 503}

    visit(parts, work)
