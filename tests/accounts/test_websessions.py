"""Logins of browsers: how long they last, and what ends them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP

from sekisho.accounts import Account, AccountStore, WebSessions
from sekisho.accounts.database import AccountDatabase
from sekisho.accounts.websessions import MAX_PER_ACCOUNT
from sekisho.store import StoreFull

START = 1_800_000_000.0
IDLE, LIFETIME = 1800.0, 12 * 3600.0
PASSWORD = "hana-fubuki"


class Clock:
    """UTC, turned by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[AccountStore]:
    opened = AccountStore.open(tmp_path / "accounts.sqlite", settings=CHEAP, now=clock)
    yield opened
    opened.close()


@pytest.fixture
def rin(store: AccountStore) -> Account:
    return store.add("rin@example.jp", PASSWORD)


@pytest.fixture
def sessions(store: AccountStore) -> WebSessions:
    return WebSessions(store, idle=IDLE, lifetime=LIFETIME)


def test_a_session_is_found_by_its_token_alone(sessions: WebSessions, rin: Account) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=True)
    assert len(token) >= 43  # 256 bits in base64
    assert token != sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    found = sessions.find(token)
    assert found is not None
    assert (found.account.login, found.second_factor, found.client, found.opened) == (
        "rin@example.jp",
        True,
        "192.0.2.7",
        START,
    )
    for other in ("", token[:-1], token + "x", token.swapcase(), "x" * 100_000, "\ud800", "鍵"):
        assert sessions.find(other) is None


def test_the_token_itself_is_not_in_the_database(sessions: WebSessions, rin: Account, store: AccountStore) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    with sqlite3.connect(store.database.path) as connection:
        assert token not in "".join(connection.iterdump())
    connection.close()


def test_when_nothing_can_be_written_a_session_lasts_until_its_idle_time_all_the_same(
    sessions: WebSessions, rin: Account, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator must get in to see that the disk is full."""
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)

    def full(database: AccountDatabase) -> None:
        raise StoreFull(database.path, "no room left on the disk")

    monkeypatch.setattr(AccountDatabase, "writing", full)
    clock.now += IDLE - 1
    assert sessions.find(token) is not None
    clock.now += 1
    assert sessions.find(token) is None


def test_a_session_ends_after_its_idle_time_which_a_request_begins_anew(
    sessions: WebSessions, rin: Account, clock: Clock
) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    clock.now += IDLE - 1
    assert sessions.find(token) is not None
    clock.now += IDLE - 1
    assert sessions.find(token) is not None
    clock.now += IDLE
    assert sessions.find(token) is None


def test_a_session_ends_after_its_lifetime_however_busy(sessions: WebSessions, rin: Account, clock: Clock) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    while clock.now < START + LIFETIME - 600:
        clock.now += 600
        assert sessions.find(token) is not None, clock.now
    clock.now = START + LIFETIME
    assert sessions.find(token) is None


def test_requests_in_quick_succession_write_nothing(
    sessions: WebSessions, rin: Account, store: AccountStore, clock: Clock
) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    before = store.database.changes
    for _ in range(50):
        clock.now += 1
        sessions.find(token)
    assert store.database.changes == before
    clock.now += 11
    sessions.find(token)
    assert store.database.changes == before + 1


def test_a_session_that_is_closed_is_gone_and_the_others_stay(sessions: WebSessions, rin: Account) -> None:
    one, other = (sessions.open(rin.id, client="192.0.2.7", second_factor=False) for _ in range(2))
    sessions.close(one)
    sessions.close(one)
    assert sessions.find(one) is None
    assert sessions.find(other) is not None


def test_all_sessions_but_one_are_closed_and_those_of_others_stay(
    sessions: WebSessions, rin: Account, store: AccountStore
) -> None:
    aoi = store.add("aoi@example.jp", PASSWORD)
    tokens = [sessions.open(rin.id, client="192.0.2.7", second_factor=False) for _ in range(3)]
    hers = sessions.open(aoi.id, client="192.0.2.7", second_factor=False)
    sessions.close_all(rin.id, tokens[1])
    assert [sessions.find(token) is not None for token in (*tokens, hers)] == [False, True, False, True]
    sessions.close_all(rin.id, None)
    assert sessions.find(tokens[1]) is None


def test_a_new_password_ends_every_session_but_the_one_it_was_set_in(
    sessions: WebSessions, rin: Account, store: AccountStore
) -> None:
    tokens = [sessions.open(rin.id, client="192.0.2.7", second_factor=False) for _ in range(3)]
    store.set_password("rin", "ume-no-hana", but=tokens[0])
    assert [sessions.find(token) is not None for token in tokens] == [True, False, False]
    store.set_password("rin", PASSWORD)
    assert sessions.find(tokens[0]) is None


def test_suspension_ends_sessions_for_good_and_deletion_does(
    sessions: WebSessions, rin: Account, store: AccountStore
) -> None:
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    store.suspend("rin")
    assert sessions.find(token) is None
    store.resume("rin")
    assert sessions.find(token) is None
    later = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    store.delete("rin")
    assert sessions.find(later) is None


def test_a_session_opened_while_the_account_is_being_suspended_is_none(
    sessions: WebSessions, rin: Account, store: AccountStore
) -> None:
    store.suspend("rin")
    assert sessions.find(sessions.open(rin.id, client="192.0.2.7", second_factor=False)) is None


def test_an_account_has_a_bounded_number_of_sessions_and_the_one_unused_for_longest_goes(
    sessions: WebSessions, rin: Account, clock: Clock
) -> None:
    tokens = []
    for _ in range(MAX_PER_ACCOUNT):
        tokens.append(sessions.open(rin.id, client="192.0.2.7", second_factor=False))
        clock.now += 10
    clock.now += 60
    assert sessions.find(tokens[0]) is not None
    tokens.append(sessions.open(rin.id, client="192.0.2.7", second_factor=False))
    assert [number for number, token in enumerate(tokens) if sessions.find(token) is None] == [1]


def test_what_is_over_is_swept(sessions: WebSessions, rin: Account, store: AccountStore, clock: Clock) -> None:
    sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    clock.now += IDLE
    sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    assert store.database.row("SELECT count(*) FROM web_sessions") == (1,)


def test_opening_and_using_a_session_empties_no_memory(
    sessions: WebSessions, rin: Account, store: AccountStore, clock: Clock
) -> None:
    before = store.database.generation()
    token = sessions.open(rin.id, client="192.0.2.7", second_factor=False)
    clock.now += 100
    sessions.find(token)
    sessions.close(token)
    assert store.database.generation() == before
