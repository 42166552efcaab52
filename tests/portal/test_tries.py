"""Guessing passwords in the portal counts for the mail server, and the reverse."""

from __future__ import annotations

import asyncio

import pytest

from sekisho.policy import AuthGuard, SessionFailures
from sekisho.portal.errors import Refusal, Unavailable
from sekisho.portal.parts import Parts
from sekisho.portal.visitor import Place, Visitor
from sekisho.store.ledger import Ledger

from .conftest import MakeParts, said

VISITOR = Visitor("198.51.100.7", True, Place.OUTSIDE, proxied=False)
NAME = "rin@example.test"
FEW = {"policy__auth_failures_per_address": 3, "policy__auth_delay": 0, "policy__auth_max_delay": 0}


def attempt(parts: Parts, found: str | None, *, digest: bytes | None = None) -> str | None:
    async def check() -> str | None:
        return found

    return asyncio.run(parts.tries.attempt(VISITOR, NAME, check, digest=digest))


def test_guesses_run_out_and_nothing_more_is_checked(make_parts: MakeParts) -> None:
    parts = make_parts(**FEW)
    assert [attempt(parts, None) for _ in range(3)] == [None] * 3
    with pytest.raises(Refusal) as caught:
        attempt(parts, "the right one")
    assert (caught.value.status, caught.value.key) == (429, "common.too_many_logins")
    assert caught.value.headers["Retry-After"] == "900"
    assert [each["reason"] for each in said(parts, "portal.login_refused")] == ["wrong"] * 3 + ["throttled"]


def test_a_right_password_costs_nothing(make_parts: MakeParts) -> None:
    parts = make_parts(**FEW)
    assert [attempt(parts, "rin") for _ in range(10)] == ["rin"] * 10


def test_the_same_mistake_counts_once(make_parts: MakeParts) -> None:
    parts = make_parts(**FEW)
    for _ in range(6):
        attempt(parts, None, digest=b"the old password")
    assert attempt(parts, "rin") == "rin"


def test_what_was_guessed_here_is_missing_there_and_the_reverse(make_parts: MakeParts) -> None:
    parts = make_parts(**FEW)
    attempt(parts, None)
    ledger = Ledger(parts.where.ledger)  # as a mail process opens it
    guard = AuthGuard(ledger, parts.settings.policy)
    now = parts.now()
    for _ in range(2):
        assert guard.reserve(VISITOR.address, NAME, now)
        guard.failed(VISITOR.address, NAME, now, SessionFailures(), mechanism="PLAIN")
    assert not guard.reserve(VISITOR.address, NAME, now)
    with pytest.raises(Refusal):
        attempt(parts, "rin")
    ledger.close()


def test_what_could_not_be_checked_does_not_count(make_parts: MakeParts) -> None:
    parts = make_parts(**FEW)

    async def away() -> str | None:
        raise Unavailable("accounts", "locked")

    for _ in range(5):
        with pytest.raises(Unavailable):
            asyncio.run(parts.tries.attempt(VISITOR, NAME, away))
    assert attempt(parts, "rin") == "rin"


def test_where_nobody_can_count_nobody_may_try(make_parts: MakeParts) -> None:
    parts = make_parts()
    parts.where.ledger.mkdir()
    with pytest.raises(Unavailable):
        attempt(parts, "rin")
