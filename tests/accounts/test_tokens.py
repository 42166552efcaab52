"""One-time tokens: handed over at the counter, good for one new password."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP
from tests.accounts.test_websessions import Clock

from sekisho.accounts import (
    AccountStore,
    OneTimeTokens,
    Renewal,
    UnknownAccount,
    UnknownToken,
    WeakPassword,
    WebSessions,
)
from sekisho.accounts.store import NewPassword

PASSWORD = "hana-fubuki"
NEW = "ume-no-hana"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[AccountStore]:
    opened = AccountStore.open(tmp_path / "accounts.sqlite", settings=CHEAP, now=clock)
    opened.add("rin@example.jp", PASSWORD)
    yield opened
    opened.close()


@pytest.fixture
def tokens(store: AccountStore) -> OneTimeTokens:
    return OneTimeTokens(store)


def test_a_token_sets_one_new_password(store: AccountStore, tokens: OneTimeTokens, clock: Clock) -> None:
    token, expires = tokens.issue("rin", hours=24)
    assert expires == clock.now + 24 * 3600
    assert re.fullmatch(r"([a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}", token)
    sessions = WebSessions(store, idle=1000, lifetime=1000)
    session = sessions.open(1, client="192.0.2.7", second_factor=False)
    assert tokens.use(token.upper().replace("-", ""), NEW).login == "rin@example.jp"
    entry = store.find("rin")
    assert entry is not None
    assert entry.verifiers.opens_by_scram(NEW)
    assert sessions.find(session) is None
    with pytest.raises(UnknownToken):
        tokens.use(token, "another-password")
    assert store.find("rin") == entry


def test_an_expired_token_sets_none(tokens: OneTimeTokens, clock: Clock) -> None:
    token, _ = tokens.issue("rin", hours=1)
    clock.now += 3600
    with pytest.raises(UnknownToken):
        tokens.use(token, NEW)


def test_a_newer_token_or_password_voids_it(store: AccountStore, tokens: OneTimeTokens) -> None:
    first, _ = tokens.issue("rin", hours=1)
    second, _ = tokens.issue("rin", hours=1)
    with pytest.raises(UnknownToken):
        tokens.use(first, NEW)
    store.set_password("rin", NEW)
    with pytest.raises(UnknownToken):
        tokens.use(second, PASSWORD)


@pytest.mark.parametrize("token", ["", "abcd", "abcd-efgh-ijkm-npqr", "x" * 100_000, "\ud800", "鍵"])
def test_what_was_never_issued_sets_none(tokens: OneTimeTokens, token: str) -> None:
    tokens.issue("rin", hours=1)
    with pytest.raises(UnknownToken):
        tokens.use(token, NEW)


def test_a_weak_password_leaves_the_token_as_it_is(tokens: OneTimeTokens) -> None:
    token, _ = tokens.issue("rin", hours=1)
    with pytest.raises(WeakPassword):
        tokens.use(token, "short")
    tokens.use(token, NEW)


def test_of_two_who_use_it_at_once_one_succeeds(
    store: AccountStore, tokens: OneTimeTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = tokens.issue("rin", hours=1)
    other = AccountStore.open(store.database.path, settings=CHEAP, now=clock)
    hashing = AccountStore.new_password

    def slow(self: AccountStore, *args: object) -> NewPassword:
        new = hashing(self, *args)  # type: ignore[arg-type]  # passed on as it came
        if self is store:
            OneTimeTokens(other).use(token, "somebody-else")
        return new

    monkeypatch.setattr(AccountStore, "new_password", slow)
    with pytest.raises(UnknownToken):
        tokens.use(token, NEW)
    entry = store.find("rin")
    assert entry is not None
    assert entry.verifiers.opens_by_scram("somebody-else")
    other.close()


def test_it_answers_a_request_for_renewal_and_lifts_no_suspension(store: AccountStore, tokens: OneTimeTokens) -> None:
    store.change("rin", renewal=True)
    assert store.known("rin").renewal is Renewal.ASKED
    store.suspend("rin", "sends worms")
    token, _ = tokens.issue("rin", hours=1)
    tokens.use(token, NEW)
    rin = store.known("rin")
    assert rin.renewal is Renewal.NOT_NEEDED
    assert rin.suspended


def test_the_token_itself_is_not_in_the_database(store: AccountStore, tokens: OneTimeTokens) -> None:
    token, _ = tokens.issue("rin", hours=1)
    with sqlite3.connect(store.database.path) as connection:
        everything = "".join(connection.iterdump())
    connection.close()
    assert token not in everything
    assert token.replace("-", "") not in everything


def test_nobody_gets_a_token_for_an_account_that_is_not_there(tokens: OneTimeTokens) -> None:
    with pytest.raises(UnknownAccount):
        tokens.issue("ghost", hours=1)
