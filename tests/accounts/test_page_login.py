"""Passwords given to a page: the same work and answer whoever is named."""

import asyncio
import threading

import pytest
from tests.accounts.test_app_passwords import PASSWORD, with_second_factor
from tests.accounts.test_authenticate import hashes

from sekisho.accounts import Accepted, AccountStore, AppPasswords, HashingPool, PageLogin, Refusal, Refused
from sekisho.accounts.verifiers import Workshop

__all__ = ["hashes"]


@pytest.fixture
def rin(store: AccountStore) -> AccountStore:
    store.add("rin@example.jp", PASSWORD, identities=["info@example.jp"])
    return store


def answer_to(store: AccountStore, name: str, password: str, backlog: int = 8) -> Accepted | Refused:
    async def ask() -> Accepted | Refused:
        pool = HashingPool(1, backlog)
        try:
            return await PageLogin.of(store, pool, name, password).check()
        finally:
            pool.close()

    return asyncio.run(ask())


def test_the_right_password_is_accepted_under_every_name(rin: AccountStore) -> None:
    for name in ("rin", " RIN@example.jp", "info@example.jp"):
        answer = answer_to(rin, name, PASSWORD)
        assert isinstance(answer, Accepted)
        assert answer.account.login == "rin@example.jp"


def test_the_same_is_hashed_whoever_is_named_and_whatever_was_right_before(
    rin: AccountStore, hashes: list[str]
) -> None:
    seen = set()
    for name, password in (
        ("rin", PASSWORD),
        ("rin", PASSWORD),
        ("rin", "hana-fubuka"),
        ("ghost", PASSWORD),
        ("ghost" * 1000, PASSWORD),
        ("rin", "\x00"),
        ("rin", "\ud800"),
        ("rin", ""),
        ("rin", "x" * 60_000),
    ):
        del hashes[:]
        answer_to(rin, name, password)
        seen.add(len(hashes))
    assert seen == {1}


def test_what_can_be_no_password_is_wrong_even_where_its_stand_in_is_right(rin: AccountStore) -> None:
    rin.import_verifier("rin", "argon2id", rin.workshop.hash_password("?"))
    assert isinstance(answer_to(rin, "rin", "?"), Accepted)
    answer = answer_to(rin, "rin", "\x00")
    assert isinstance(answer, Refused)
    assert answer.kind is Refusal.BAD_CREDENTIALS


def test_app_passwords_open_no_page(rin: AccountStore) -> None:
    _, password = AppPasswords(rin).add("rin", "telephone")
    assert isinstance(answer_to(rin, "rin", password), Refused)


def test_the_password_is_right_with_a_second_factor_too_which_is_left_to_the_caller(rin: AccountStore) -> None:
    with_second_factor(rin)
    answer = answer_to(rin, "rin", PASSWORD)
    assert isinstance(answer, Accepted)
    assert answer.account.second_factor


def test_a_suspension_changes_nothing_here_and_is_left_to_the_caller(rin: AccountStore) -> None:
    rin.suspend("rin", "sends worms")
    right, wrong = (answer_to(rin, "rin", password) for password in (PASSWORD, "hana-fubuka"))
    assert isinstance(right, Accepted)
    assert right.account.suspended
    assert isinstance(wrong, Refused)
    assert wrong.kind is Refusal.BAD_CREDENTIALS


def test_a_failed_login_of_an_account_that_needs_renewal_says_so_to_the_log(rin: AccountStore) -> None:
    rin.change("rin", renewal=True)
    answer = answer_to(rin, "rin", "hana-fubuka")
    assert answer == Refused(Refusal.RENEWAL, "wrong password; asked")
    assert isinstance(answer_to(rin, "rin", PASSWORD), Accepted)


def test_a_guess_at_the_code_repeats_no_mistake(rin: AccountStore) -> None:
    pool = HashingPool(1, 1)
    without = {PageLogin.of(rin, pool, "rin", PASSWORD, code).digest for code in ("", " ", "")}
    assert len(without) == 1
    assert None not in without
    assert PageLogin.of(rin, pool, "rin", PASSWORD, "000000").digest is None, "it may be right half a minute later"
    pool.close()


def test_it_is_busy_when_too_many_wait(rin: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()

    def slow(password_hash: str, password: str) -> bool:
        may_end.wait(30)
        return True

    monkeypatch.setattr(Workshop, "check_password", staticmethod(slow))

    async def ask() -> None:
        asyncio.get_running_loop().call_later(0.1, may_end.set)
        pool = HashingPool(1, 0)
        answers = await asyncio.gather(*(PageLogin.of(rin, pool, "rin", PASSWORD).check() for _ in range(3)))
        pool.close()
        busy = [answer for answer in answers if isinstance(answer, Refused)]
        assert {answer.kind for answer in busy} == {Refusal.BUSY}
        assert len(busy) == 2

    asyncio.run(ask())


def test_a_lack_of_memory_is_busy_not_wrong(rin: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(password_hash: str, password: str) -> bool:
        raise MemoryError

    monkeypatch.setattr(Workshop, "check_password", staticmethod(fail))
    for name in ("rin", "ghost"):
        answer = answer_to(rin, name, PASSWORD)
        assert isinstance(answer, Refused)
        assert answer.kind is Refusal.BUSY
