"""One's own account: who gets in, what changes, from where, and what is said to whom."""

from __future__ import annotations

import asyncio
import base64
import html
import html.parser
import re
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from tests.portal.conftest import MakeParts, said, visiting

from sekisho.accounts import Account, AccountStore, AppPasswords, OneTimeTokens, SecondFactors
from sekisho.accounts.totp import PERIOD, code_at
from sekisho.portal.errors import Unavailable
from sekisho.portal.parts import Parts
from sekisho.portal.words import word

RIN = "rin@example.test"
PASSWORD, NEW = "hana-fubuki", "ume-no-hana"
CAMPUS, OUTSIDE = "192.0.2.10", "198.51.100.7"
LANGUAGES = ("ja", "en")
START = 1_800_000_000.0
CHEAP = {
    "accounts__argon2_passes": 1,
    "accounts__argon2_memory": "64KiB",
    "accounts__scram_iterations": 4096,
    "policy__auth_delay": "0s",
    "policy__auth_max_delay": "0s",
}
NETWORKS = {"portal__campus_networks": ["192.0.2.0/24"], "portal__vpn_networks": ["203.0.113.0/24"]}

Visit = Callable[["Person"], Coroutine[Any, Any, None]]


class Clock:
    """UTC of the accounts, turned by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Person:
    """Somebody at a browser, who reads one language."""

    def __init__(self, parts: Parts, clock: Clock, browser: httpx.AsyncClient, language: str) -> None:
        self.parts = parts
        self.clock = clock
        self.browser = browser
        self.language = language

    async def open(self, path: str, **query: str) -> httpx.Response:
        return await self.browser.get(f"/{self.language}/account/{path}", params=query)

    async def send(self, path: str, form_at: str | None = None, **fields: str) -> httpx.Response:
        """Fill in the form of a page, and send it."""
        page = await self.open(path if form_at is None else form_at)
        found = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert found, page.status_code
        return await self.post(path, headers=None, form_token=found[1], **fields)

    async def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return await self.browser.post(f"/{self.language}/account/{path}", data=fields, headers=headers)

    async def log_in(self, name: str = "rin", password: str = PASSWORD, code: str = "", **more: str) -> httpx.Response:
        return await self.send("login", username=name, password=password, code=code, **more)

    async def is_in(self) -> bool:
        return (await self.open("")).status_code == 200

    async def store(self, work: Callable[[AccountStore], Any]) -> Any:
        return await self.parts.accounts.call(work)

    async def rin(self) -> Account:
        found: Account = await self.store(lambda store: store.known("rin"))
        return found

    async def opens(self, password: str) -> bool:
        entry = await self.store(lambda store: store.find("rin"))
        assert entry is not None
        return bool(entry.verifiers.opens_by_scram(password))

    def say(self, key: str, **values: object) -> str:
        return word(key, self.language, **values)

    async def with_factor(self) -> bytes:
        """Have a second factor switched on; return its secret. The code of the present step is used up."""

        def on(store: AccountStore) -> bytes:
            factors = SecondFactors(store)
            secret = base64.b32decode(factors.begin("rin", issuer="mail").secret.replace(" ", ""))
            factors.confirm("rin", code_at(secret, int(self.clock.now) // PERIOD))
            return secret

        secret: bytes = await self.store(on)
        self.clock.now += PERIOD
        return secret

    def code(self, secret: bytes) -> str:
        return code_at(secret, int(self.clock.now) // PERIOD)


def visit(
    parts: Parts,
    work: Visit,
    *,
    language: str = "ja",
    address: str = OUTSIDE,
    scheme: str = "https",
) -> None:
    """Let somebody do *work*, with an account ``rin`` in the store."""
    clock = Clock()

    def ready(store: AccountStore) -> None:
        store.now = clock
        if store.find("rin") is None:
            store.add(RIN, PASSWORD, identities=["info@example.test"])

    async def go(browser: httpx.AsyncClient) -> None:
        await parts.accounts.call(ready)
        await work(Person(parts, clock, browser, language))

    visiting(parts, go, address=address, scheme=scheme)


@pytest.fixture
def parts(make_parts: MakeParts) -> Parts:
    return make_parts(**CHEAP, **NETWORKS)


# In and out


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


# A new password


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("address", [CAMPUS, "203.0.113.9"])
def test_on_campus_and_vpn_a_new_password_renews_everything_and_closes_other_sessions(
    parts: Parts, language: str, address: str
) -> None:
    async def work(person: Person) -> None:
        await person.store(lambda store: store.set_password("rin", PASSWORD, cram_md5=True))
        await person.store(lambda store: store.change("rin", renewal=True))
        await person.log_in()
        other = person.browser.cookies["__Host-sekisho"]
        person.browser.cookies = httpx.Cookies()
        await person.log_in()
        assert person.say("account.renewal.title") in (await person.open("")).text
        before = dict((await person.store(lambda store: store.find("rin"))).rows)
        answer = await person.send("password", password=PASSWORD, new=NEW, again=NEW)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/{language}/account/?done=password")
        after = dict((await person.store(lambda store: store.find("rin"))).rows)
        assert set(after) == set(before) == {"argon2id", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}
        assert not set(after.items()) & set(before.items())
        assert await person.opens(NEW)
        page = await person.open("", done="password")
        assert page.status_code == 200
        assert person.say("account.done.password") in page.text
        assert person.say("account.renewal.title") not in page.text
        person.browser.cookies = httpx.Cookies({"__Host-sekisho": other})
        assert not await person.is_in()
        (event,) = said(person.parts, "account.password_set")
        assert (event["account"], event["by"], event["client"]) == (RIN, "portal", address)

    visit(parts, work, language=language, address=address)


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_elsewhere_the_page_says_why_not_and_what_to_do(make_parts: MakeParts, language: str) -> None:
    parts = make_parts(**CHEAP, **NETWORKS, guide__vpn_url="https://www.example.jp/vpn")

    async def work(person: Person) -> None:
        for is_in in (False, True):
            if is_in:
                await person.log_in()
            page = await person.open("password")
            assert page.status_code == 403
            for key in ("why", "ways", "vpn", "token", "counter"):
                assert html.escape(person.say(f"account.elsewhere.{key}"), quote=False) in page.text
            assert "https://www.example.jp/vpn" in page.text
            assert f"/{language}/account/token" in page.text
            assert OUTSIDE in page.text
            assert 'name="new"' not in page.text
        token = re.search(r'name="form_token" value="([^"]+)"', (await person.open("")).text)
        assert token
        answer = await person.post("password", form_token=token[1], password=PASSWORD, new=NEW, again=NEW)
        assert answer.status_code == 403
        assert await person.opens(PASSWORD)

    visit(parts, work, language=language)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": CAMPUS},
        {"x-forwarded-for": f"{CAMPUS}, {CAMPUS}"},
        {"forwarded": f"for={CAMPUS};proto=https"},
        {"x-real-ip": CAMPUS},
        {"x-forwarded-for": CAMPUS, "x-forwarded-proto": "https", "via": "1.1 proxy"},
        {"x-client-ip": CAMPUS, "true-client-ip": CAMPUS, "cf-connecting-ip": CAMPUS},
    ],
)
def test_no_header_opens_the_password_page(parts: Parts, headers: dict[str, str]) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        assert (await person.browser.get("/ja/account/password", headers=headers)).status_code == 403
        token = re.search(r'name="form_token" value="([^"]+)"', (await person.open("")).text)
        assert token
        fields = {"form_token": token[1], "password": PASSWORD, "new": NEW, "again": NEW}
        assert (await person.post("password", headers=headers, **fields)).status_code == 403
        assert await person.opens(PASSWORD)

    visit(parts, work)


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (CAMPUS, 200),
        (f"{OUTSIDE}, {CAMPUS}", 200),
        (OUTSIDE, 403),
        (f"{CAMPUS}, {OUTSIDE}", 403),  # the visitor wrote the first, the proxy the second
        ("", 403),
        ("campus", 403),
    ],
)
def test_behind_a_trusted_proxy_the_visitor_himself_must_be_on_campus(
    make_parts: MakeParts, forwarded: str, status: int
) -> None:
    parts = make_parts(**CHEAP, **NETWORKS, portal__trusted_proxies=["10.0.0.0/8"])

    async def work(person: Person) -> None:
        headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https"}
        person.browser.headers.update({"x-forwarded-for": OUTSIDE, "x-forwarded-proto": "https"})
        await person.log_in()
        assert (await person.browser.get("/ja/account/password", headers=headers)).status_code == status

    visit(parts, work, address="10.0.0.1")


def test_without_networks_passwords_are_changed_from_anywhere(make_parts: MakeParts) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        assert (await person.send("password", password=PASSWORD, new=NEW, again=NEW)).status_code == 303

    visit(make_parts(**CHEAP), work)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("fields", "at", "key"),
    [
        ({"password": "wrong"}, "password", "account.prove.wrong"),
        ({"again": "something-else"}, "again", "account.password.differ"),
        ({"new": "short", "again": "short"}, "new", "account.weak.short"),
        ({"new": RIN, "again": RIN}, "new", "account.weak.login"),
        ({"new": "a" * 20, "again": "a" * 20}, "new", "account.weak.uniform"),
        ({"new": "a\x7fbcdefghij", "again": "a\x7fbcdefghij"}, "new", "account.weak.unfit"),
        ({"new": "x1" * 600, "again": "x1" * 600}, "new", "account.weak.unfit"),
    ],
)
def test_what_is_wrong_with_a_new_password_stands_at_its_field(
    parts: Parts, language: str, fields: dict[str, str], at: str, key: str
) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        answer = await person.send("password", **({"password": PASSWORD, "new": NEW, "again": NEW} | fields))
        words = person.say(key, minimum=8)
        assert answer.status_code == 422
        page = Page(answer.text)
        assert page.alerts
        assert f'<a href="#{at}">{words}</a>' in answer.text
        assert page.fields[at]["aria-invalid"] == "true"
        assert f"{at}-wrong" in page.fields[at]["aria-describedby"]
        assert await person.opens(PASSWORD)
        for secret in (PASSWORD, *fields.values()):
            assert f'value="{secret}"' not in answer.text or secret == RIN

    visit(parts, work, language=language, address=CAMPUS)


def test_with_a_second_factor_a_new_password_needs_a_code(parts: Parts) -> None:
    async def work(person: Person) -> None:
        secret = await person.with_factor()
        await person.log_in(code=person.code(secret))
        used = person.code(secret)
        fields = {"password": PASSWORD, "new": NEW, "again": NEW}
        assert 'name="code"' in (await person.open("password")).text
        assert (await person.send("password", **fields)).status_code == 422
        assert (await person.send("password", code=used, **fields)).status_code == 422
        person.clock.now += PERIOD
        assert (await person.send("password", code=person.code(secret), **fields)).status_code == 303
        assert await person.is_in()

    visit(parts, work, address=CAMPUS)


# A one-time token


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_token_from_the_counter_sets_a_password_from_anywhere_once(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        token, _ = await person.store(lambda store: OneTimeTokens(store).issue("rin", hours=1))
        answer = await person.send("token", token=token.upper(), new=NEW, again=NEW)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/{language}/account/login?done=token")
        assert await person.opens(NEW)
        assert not await person.is_in()  # it ended every session
        assert person.say("account.done.token") in (await person.open("login", done="token")).text
        again = await person.send("token", token=token, new="another-one", again="another-one")
        assert again.status_code == 422
        assert person.say("account.token.wrong") in again.text
        assert await person.opens(NEW)
        (event,) = said(person.parts, "account.password_set")
        assert (event["account"], event["by"]) == (RIN, "token")
        assert (await person.log_in(password=NEW)).status_code == 303

    visit(parts, work, language=language)


def test_a_token_that_has_expired_or_was_never_issued_is_refused_with_the_same_words(parts: Parts) -> None:
    async def work(person: Person) -> None:
        token, _ = await person.store(lambda store: OneTimeTokens(store).issue("rin", hours=1))
        person.clock.now += 3600
        for given in (token, "abcd-efgh-ijkm-npqr", "", "<script>"):
            answer = await person.send("token", token=given, new=NEW, again=NEW)
            assert answer.status_code == 422
            assert person.say("account.token.wrong") in answer.text
            assert "<script>" not in answer.text
        assert await person.opens(PASSWORD)

    visit(parts, work)


def test_a_weak_or_mistyped_password_leaves_the_token_as_it_is(parts: Parts) -> None:
    async def work(person: Person) -> None:
        token, _ = await person.store(lambda store: OneTimeTokens(store).issue("rin", hours=1))
        for new, again in (("short", "short"), (NEW, "other-than-that")):
            answer = await person.send("token", token=token, new=new, again=again)
            assert answer.status_code == 422
            assert token in answer.text  # it need not be typed again
        assert (await person.send("token", token=token, new=NEW, again=NEW)).status_code == 303

    visit(parts, work)


def test_tokens_cannot_be_tried_without_end_and_those_who_try_shut_nobody_else_out(make_parts: MakeParts) -> None:
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3, policy__auth_failures_per_account=3)

    async def guess(person: Person) -> None:
        codes = [
            (await person.send("token", token=f"abcd-efgh-ijkm-np{n}{n}", new=NEW, again=NEW)).status_code
            for n in range(2, 6)
        ]
        assert codes == [422, 422, 422, 429]

    async def owner(person: Person) -> None:
        token, _ = await person.store(lambda store: OneTimeTokens(store).issue("rin", hours=1))
        assert (await person.send("token", token=token, new=NEW, again=NEW)).status_code == 303

    visit(parts, guess)
    visit(parts, owner, address="203.0.113.77")


# The second factor


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_second_factor_from_beginning_to_end(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        other = person.browser.cookies["__Host-sekisho"]
        person.browser.cookies = httpx.Cookies()
        await person.log_in()
        assert (await person.send("factor/begin", "factor", password="wrong")).status_code == 422
        assert (await person.open("factor/confirm")).headers["location"].endswith("/account/factor")
        assert (await person.send("factor/begin", "factor", password=PASSWORD)).headers["location"].endswith("/confirm")
        page = (await person.open("factor/confirm")).text
        secret = base64.b32decode(re.search(r"((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})", page)[1].replace(" ", ""))  # type: ignore[index]  # asserted
        image = re.search(r'<img src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', page)
        assert image
        assert base64.b64decode(image[1]).startswith(b"<svg")
        wrong = await person.send("factor/confirm", code="12345")
        assert wrong.status_code == 422
        assert not (await person.rin()).second_factor
        recovery = await person.send("factor/confirm", code=person.code(secret))
        assert recovery.status_code == 200
        codes = re.findall(r"<span>((?:[a-z2-9]{4}-){3}[a-z2-9]{4})</span>", recovery.text)
        assert len(set(codes)) == 10
        assert await person.is_in()
        cookies = person.browser.cookies
        person.browser.cookies = httpx.Cookies({"__Host-sekisho": other})
        assert not await person.is_in()  # it was opened by the password alone

        person.browser.cookies = httpx.Cookies()
        assert (await person.log_in()).status_code == 403
        assert (await person.log_in(code=person.code(secret))).status_code == 403  # switched it on, and is used up
        person.clock.now += PERIOD
        code = person.code(secret)
        assert (await person.log_in(code=code)).status_code == 303
        await person.send("logout", "")
        assert (await person.log_in(code=code)).status_code == 403
        assert (await person.log_in(code=codes[0].upper())).status_code == 303
        await person.send("logout", "")
        assert (await person.log_in(code=codes[0])).status_code == 403

        person.browser.cookies = cookies
        assert person.say("account.recovery.left", count=9) in (await person.open("factor")).text
        off = {"password-off": PASSWORD}
        assert (await person.send("factor/off", "factor", **off)).status_code == 422
        assert (await person.send("factor/off", "factor", **off, **{"code-off": code})).status_code == 422
        assert (
            await person.send("factor/off", "factor", **{"password-off": "no", "code-off": codes[1]})
        ).status_code == 422
        assert (await person.rin()).second_factor
        done = await person.send("factor/off", "factor", **off, **{"code-off": codes[1]})
        assert done.headers["location"].endswith("?done=factor-off")
        assert not (await person.rin()).second_factor
        await person.send("logout", "")
        assert (await person.log_in()).status_code == 303
        assert [len(said(person.parts, f"account.factor_{each}")) for each in ("on", "off")] == [1, 1]

    visit(parts, work, language=language)


def test_new_recovery_codes_need_password_and_code(parts: Parts) -> None:
    async def work(person: Person) -> None:
        secret = await person.with_factor()
        await person.log_in(code=person.code(secret))
        assert (await person.send("factor/recovery", "factor", password=PASSWORD)).status_code == 422
        person.clock.now += PERIOD
        answer = await person.send("factor/recovery", "factor", password=PASSWORD, code=person.code(secret))
        codes = re.findall(r"<span>((?:[a-z2-9]{4}-){3}[a-z2-9]{4})</span>", answer.text)
        assert len(codes) == 10
        assert answer.headers["cache-control"] == "no-store"
        await person.send("logout", "")
        assert (await person.log_in(code=codes[9])).status_code == 303

    visit(parts, work)


def test_guesses_at_the_first_code_are_limited(make_parts: MakeParts) -> None:
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3)

    async def work(person: Person) -> None:
        await person.log_in()
        await person.send("factor/begin", "factor", password=PASSWORD)
        codes = [(await person.send("factor/confirm", code=f"{n}")).status_code for n in range(4)]
        assert codes == [422, 422, 422, 429]

    visit(parts, work)


# App passwords


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_app_password_is_shown_once_with_its_settings_and_revoked(parts: Parts, language: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        answer = await person.send("devices", label="<b>my telephone</b>", program="thunderbird", password=PASSWORD)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        found = re.search(r'class="secret"[^>]*>((?:[a-z2-9]{4}-){3}[a-z2-9]{4})<', answer.text)
        assert found
        password = found[1]
        assert "<b>my telephone</b>" not in answer.text
        for shown in ("mail.example.test", "465", "587", RIN, person.say("account.device.this")):
            assert shown in answer.text
        link = re.search(r'href="(/[a-z]{2}/clients/thunderbird[^"]*)"', answer.text)
        assert link
        assert (await person.browser.get(link[1])).status_code == 200
        listed = (await person.open("devices")).text
        assert password not in listed
        assert "&lt;b&gt;my telephone" in listed
        assert person.say("account.never") in listed
        (device,) = await person.store(lambda store: AppPasswords(store).list("rin"))
        gone = await person.send("devices/remove", "devices", number=str(device.number))
        assert gone.headers["location"] == f"/{language}/account/devices?done=removed"
        assert await person.store(lambda store: AppPasswords(store).list("rin")) == ()
        again = await person.send("devices/remove", "devices", number=str(device.number))
        assert again.status_code == 303
        assert [len(said(person.parts, f"account.app_password_{each}")) for each in ("added", "removed")] == [1, 1]
        await person.send("logout", "")
        assert (await person.log_in(password=password)).status_code == 403

    visit(parts, work, language=language)


def test_nobody_removes_the_device_of_somebody_else(parts: Parts) -> None:
    async def work(person: Person) -> None:
        await person.store(lambda store: store.add("kei@example.test", PASSWORD))
        device, _ = await person.store(lambda store: AppPasswords(store).add("kei", "printer"))
        await person.log_in()
        await person.send("devices/remove", "devices", number=str(device.number))
        assert await person.store(lambda store: AppPasswords(store).list("kei")) == (device,)

    visit(parts, work)


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "\u0661", "9" * 19, "9" * 5000])
def test_a_device_number_that_is_none_is_not_understood(parts: Parts, number: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        assert (await person.send("devices/remove", "devices", number=number)).status_code == 400

    visit(parts, work)


@pytest.mark.parametrize("label", ["", "   ", "x" * 61, "a\x1bb"])
def test_a_device_without_a_usable_name_is_asked_for_again(parts: Parts, label: str) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        answer = await person.send("devices", label=label, program="no such program", password=PASSWORD)
        assert answer.status_code == 422
        assert Page(answer.text).fields["label"]["aria-invalid"] == "true"

    visit(parts, work)


def test_an_app_password_needs_the_password_again(parts: Parts) -> None:
    async def work(person: Person) -> None:
        await person.log_in()
        for password in ("", "wrong"):
            answer = await person.send("devices", label="printer", password=password)
            assert answer.status_code == 422
            fields = Page(answer.text).fields
            assert fields["password"]["aria-invalid"] == "true"
            assert fields["label"]["value"] == "printer"
            assert "code" not in fields
        assert await person.store(lambda store: AppPasswords(store).list("rin")) == ()
        assert (await person.send("devices", label="printer", password=PASSWORD)).status_code == 200

    visit(parts, work)


def test_with_a_second_factor_an_app_password_needs_a_code_which_a_missing_name_does_not_use_up(parts: Parts) -> None:
    async def work(person: Person) -> None:
        secret = await person.with_factor()
        await person.log_in(code=person.code(secret))
        used = await person.send("devices", label="printer", password=PASSWORD, code=person.code(secret))
        assert used.status_code == 422
        missing = await person.send("devices", label="printer", password=PASSWORD)
        assert missing.status_code == 422
        person.clock.now += PERIOD
        nameless = await person.send("devices", label="", password=PASSWORD, code=person.code(secret))
        assert nameless.status_code == 422
        assert await person.store(lambda store: AppPasswords(store).list("rin")) == ()
        answer = await person.send("devices", label="printer", password=PASSWORD, code=person.code(secret))
        assert answer.status_code == 200
        assert len(await person.store(lambda store: AppPasswords(store).list("rin"))) == 1

    visit(parts, work)


# All pages


class Page(html.parser.HTMLParser):
    """What assistive programs make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.labels: set[str] = set()
        self.fields: dict[str, dict[str, str]] = {}
        self.alerts = 0
        self.refers: set[str] = set()
        self.tags: set[str] = set()
        self.styles = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.styles += "style" in given
        self.alerts += given.get("role") == "alert"
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "label":
            self.labels.add(given["for"])
        if tag in ("input", "select") and given.get("type") != "hidden" and "hidden" not in given:
            self.fields[given["id"]] = given
        for name in ("aria-describedby", "aria-errormessage", "aria-labelledby"):
            self.refers.update(given.get(name, "").split())
        if tag == "a" and given.get("href", "").startswith("#"):
            self.refers.add(given["href"][1:])


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
