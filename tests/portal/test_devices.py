"""The second factor's secret while it is on its way into the app: for the browser alone that proved whose it is."""

from __future__ import annotations

import re

import httpx
import pytest
from tests.portal.conftest import HOST, MakeParts
from tests.portal.test_account import CHEAP, PASSWORD, Person, visit

from sekisho.accounts import SecondFactors
from sekisho.portal.app import make_app


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
