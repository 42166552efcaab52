"""Who gets in by password and code: what attackers who know the password learn, and how often they may try."""

from __future__ import annotations

import pytest
from tests.portal.conftest import CHEAP, MakeParts, said
from tests.portal.person import Person, visit


def test_the_same_code_again_is_another_guess(make_parts: MakeParts) -> None:
    """Codes change every half minute: whoever sends one until its time has come must run out of tries as well."""
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3)

    async def work(person: Person) -> None:
        code = person.code(await person.with_factor())
        wrong = "000000" if code != "000000" else "000001"
        assert [(await person.log_in(code=wrong)).status_code for _ in range(4)] == [403, 403, 403, 429]

    visit(parts, work)


def test_a_password_without_a_code_is_one_mistake_however_often(make_parts: MakeParts) -> None:
    parts = make_parts(**CHEAP, policy__auth_failures_per_address=3)

    async def work(person: Person) -> None:
        await person.with_factor()
        assert {(await person.log_in()).status_code for _ in range(5)} == {403}

    visit(parts, work)


@pytest.mark.parametrize("code", ["", "000000"])
def test_with_a_second_factor_the_password_alone_does_not_show_a_suspension(make_parts: MakeParts, code: str) -> None:
    parts = make_parts(**CHEAP)

    async def work(person: Person) -> None:
        secret = await person.with_factor()
        await person.store(lambda store: store.suspend("rin", "sends worms"))
        wrong, right = await person.log_in(password="wrong", code=code), await person.log_in(code=code)
        assert (right.status_code, _words(right.text)) == (wrong.status_code, _words(wrong.text))
        told = await person.log_in(code=person.code(secret))
        assert person.say("account.suspended.title") in told.text
        assert not await person.is_in()

    visit(parts, work)
    reasons = [each["reason"] for each in said(parts, "portal.login_refused")]
    assert reasons == ["wrong", "wrong"]


def _words(page: str) -> list[str]:
    return [line for line in page.splitlines() if "form_token" not in line]
