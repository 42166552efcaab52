"""The second factor and app passwords, from beginning to end, and for nobody but their owner."""

from __future__ import annotations

import base64
import re

import httpx
import pytest
from tests.portal.conftest import CHEAP, HOST, MakeParts, said
from tests.portal.person import LANGUAGES, PASSWORD, RIN, Page, Person, visit

from sekisho.accounts import AppPasswords, SecondFactors
from sekisho.accounts.totp import PERIOD
from sekisho.portal.app import make_app
from sekisho.portal.parts import Parts


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


# The secret on its way into the app: for the browser alone that proved whose it is


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_secret_that_was_begun_is_shown_to_no_other_browser(make_parts: MakeParts, method: str) -> None:
    """Whoever finds one open would have the second factor in his own app, too, or alone."""
    parts = make_parts(**CHEAP)

    async def work(person: Person) -> None:
        app = make_app(parts)
        ways = [httpx.ASGITransport(app, client=(f"198.51.100.{n}", 4711)) for n in (7, 8)]
        async with (
            httpx.AsyncClient(transport=ways[0], base_url=f"https://{HOST}") as own,
            httpx.AsyncClient(transport=ways[1], base_url=f"https://{HOST}") as found_open,
        ):
            owner = Person(parts, person.clock, own, "en")
            finder = Person(parts, person.clock, found_open, "en")
            await owner.log_in()
            await finder.log_in()
            begun = await owner.send("factor/begin", "factor", password=PASSWORD)
            assert begun.headers["location"] == "/en/account/factor/confirm"
            if method == "GET":
                answer = await finder.open("factor/confirm")
            else:
                answer = await finder.send("factor/confirm", "factor", code="000000")
            assert (answer.status_code, answer.headers.get("location")) == (303, "/en/account/factor")
            assert not re.search(r"[A-Z2-7]{4} [A-Z2-7]{4}", answer.text)
            shown = await owner.open("factor/confirm")
            assert shown.status_code == 200
            state = await person.store(lambda store: SecondFactors(store).state("rin"))
            assert state.since is None

    visit(parts, work)
