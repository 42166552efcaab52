"""A new password: from where, with what, and by a token from the help desk."""

from __future__ import annotations

import html
import html.parser
import re

import httpx
import pytest
from tests.portal.conftest import CHEAP, NETWORKS, MakeParts, said
from tests.portal.person import CAMPUS, LANGUAGES, NEW, OUTSIDE, PASSWORD, RIN, Page, Person, visit

from sekisho.accounts import OneTimeTokens
from sekisho.accounts.totp import PERIOD
from sekisho.portal.parts import Parts


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
