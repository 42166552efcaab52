"""The second factor: switched on by its first code, each code taken once, recovery codes for when the app is lost."""

import base64
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP
from tests.accounts.test_websessions import Clock

from sekisho.accounts import AccountsError, AccountStore, SecondFactors, WebSessions, WrongCode
from sekisho.accounts.second_factor import RECOVERY_CODES, Enrolment
from sekisho.accounts.totp import PERIOD, code_at
from sekisho.store import StoreError

PASSWORD = "hana-fubuki"


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
def factors(store: AccountStore) -> SecondFactors:
    return SecondFactors(store)


def code_of(enrolment: Enrolment, clock: Clock, steps: int = 0) -> str:
    return code_at(base64.b32decode(enrolment.secret.replace(" ", "")), int(clock.now) // PERIOD + steps)


def switched_on(factors: SecondFactors, clock: Clock) -> tuple[Enrolment, tuple[str, ...], int]:
    enrolment = factors.begin("rin", issuer="mail")
    codes = factors.confirm("rin", code_of(enrolment, clock))
    clock.now += PERIOD
    return enrolment, codes, 1


def test_it_is_on_once_the_first_code_was_right(store: AccountStore, factors: SecondFactors, clock: Clock) -> None:
    enrolment = factors.begin("rin", issuer="mail")
    assert not store.known("rin").second_factor
    assert factors.state("rin").since is None
    with pytest.raises(WrongCode):
        factors.confirm("rin", "000000" if code_of(enrolment, clock) != "000000" else "111111")
    assert factors.pending("rin", issuer="mail") == enrolment
    assert store.find("rin") is not None
    factors.confirm("rin", code_of(enrolment, clock))
    entry = store.find("rin")  # what was remembered is forgotten
    assert entry is not None
    assert entry.account.second_factor
    assert factors.state("rin").since == clock.now
    assert factors.pending("rin", issuer="mail") is None
    with pytest.raises(AccountsError, match="has a second factor already"):
        factors.begin("rin", issuer="mail")


def test_the_latest_enrolment_counts(factors: SecondFactors, clock: Clock) -> None:
    first = factors.begin("rin", issuer="mail")
    second = factors.begin("rin", issuer="mail")
    with pytest.raises(WrongCode):
        factors.confirm("rin", code_of(first, clock))
    factors.confirm("rin", code_of(second, clock))


def test_nothing_is_confirmed_that_was_not_begun(factors: SecondFactors) -> None:
    with pytest.raises(WrongCode):
        factors.confirm("rin", "123456")


def test_each_code_is_taken_once_whichever_process_asks(
    store: AccountStore, factors: SecondFactors, clock: Clock
) -> None:
    """RFC 6238 §5.2."""
    enrolment, _, number = switched_on(factors, clock)
    other = AccountStore.open(store.database.path, settings=CHEAP, now=clock)
    code = code_of(enrolment, clock)
    assert SecondFactors(other).check(number, code)
    assert not factors.check(number, code)
    assert not SecondFactors(other).check(number, code)
    assert not factors.check(number, code_of(enrolment, clock, -1))
    assert factors.check(number, code_of(enrolment, clock, 1))
    other.close()


def test_the_code_that_switched_it_on_opens_nothing(factors: SecondFactors, clock: Clock) -> None:
    enrolment = factors.begin("rin", issuer="mail")
    factors.confirm("rin", code_of(enrolment, clock))
    assert not factors.check(1, code_of(enrolment, clock))


def test_a_code_that_two_processes_found_right_at_once_goes_to_one_of_them(
    store: AccountStore, factors: SecondFactors, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment, _, number = switched_on(factors, clock)
    code = code_of(enrolment, clock)
    other = AccountStore.open(store.database.path, settings=CHEAP, now=clock)
    taken: list[bool] = []
    step = SecondFactors._step

    def quicker(self: SecondFactors, account_id: int, sealed: str, typed: str, *, after: int) -> int | None:
        found = step(self, account_id, sealed, typed, after=after)
        if not taken:
            taken.append(True)
            taken[0] = SecondFactors(other).check(number, code)
        return found

    monkeypatch.setattr(SecondFactors, "_step", quicker)
    assert not factors.check(number, code)
    assert taken == [True]
    other.close()


def test_a_wrong_code_writes_nothing(store: AccountStore, factors: SecondFactors, clock: Clock) -> None:
    _, codes, number = switched_on(factors, clock)
    before = store.database.changes
    for typed in ("", "12", "abcd-efgh-ijkm-npqr", "x" * 10_000, "\ud800", codes[0][:-1], "０００"):
        assert not factors.check(number, typed)
    assert store.database.changes == before


def test_ten_recovery_codes_count_once_each_however_they_are_typed(factors: SecondFactors, clock: Clock) -> None:
    _, codes, number = switched_on(factors, clock)
    assert len(set(codes)) == RECOVERY_CODES == 10
    assert all(re.fullmatch(r"([a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}", code) for code in codes)
    assert factors.check(number, codes[3].upper().replace("-", " "))
    assert not factors.check(number, codes[3])
    assert factors.state("rin").recovery_codes == 9
    assert factors.check(number, codes[4])


def test_new_recovery_codes_void_the_old(factors: SecondFactors, clock: Clock) -> None:
    _, codes, number = switched_on(factors, clock)
    renewed = factors.renew_recovery_codes("rin")
    assert not set(codes) & set(renewed)
    assert not factors.check(number, codes[0])
    assert factors.check(number, renewed[0])


def test_recovery_codes_of_one_account_open_no_other(store: AccountStore, factors: SecondFactors, clock: Clock) -> None:
    _, codes, _ = switched_on(factors, clock)
    aoi = store.add("aoi@example.jp", PASSWORD)
    assert not factors.check(aoi.id, codes[0])


def test_switched_off_it_takes_no_code_any_more(store: AccountStore, factors: SecondFactors, clock: Clock) -> None:
    enrolment, codes, number = switched_on(factors, clock)
    assert factors.switch_off("rin")
    assert not factors.switch_off("rin")
    assert not factors.check(number, code_of(enrolment, clock))
    assert not factors.check(number, codes[0])
    assert not store.known("rin").second_factor
    with pytest.raises(AccountsError, match="no second factor"):
        factors.renew_recovery_codes("rin")


def test_switching_it_on_logs_out_browsers_that_gave_no_code(
    store: AccountStore, factors: SecondFactors, clock: Clock
) -> None:
    sessions = WebSessions(store, idle=1000, lifetime=1000)
    token = sessions.open(1, client="192.0.2.7", second_factor=False)
    switched_on(factors, clock)
    assert sessions.find(token) is None


def test_neither_secret_nor_recovery_code_is_in_the_database(
    store: AccountStore, factors: SecondFactors, clock: Clock
) -> None:
    enrolment, codes, _ = switched_on(factors, clock)
    with sqlite3.connect(store.database.path) as connection:
        everything = "".join(connection.iterdump()).lower()
    connection.close()
    for secret in (enrolment.secret.replace(" ", ""), *codes, *(code.replace("-", "") for code in codes)):
        assert secret.lower() not in everything


def test_a_secret_moved_to_another_account_opens_nothing(
    store: AccountStore, factors: SecondFactors, clock: Clock
) -> None:
    enrolment, _, _ = switched_on(factors, clock)
    aoi = store.add("aoi@example.jp", PASSWORD)
    with store.database.writing() as connection:
        connection.execute(
            "INSERT INTO second_factors SELECT ?, secret, confirmed, 0 FROM second_factors WHERE account = 1", (aoi.id,)
        )
    assert not factors.check(aoi.id, code_of(enrolment, clock))


def test_without_its_key_no_code_fits_and_the_recovery_codes_do(
    store: AccountStore, factors: SecondFactors, clock: Clock
) -> None:
    enrolment, codes, number = switched_on(factors, clock)
    other = AccountStore.open(store.database.path, key=b"another key of thirty-two octets", settings=CHEAP, now=clock)
    assert not SecondFactors(other).check(number, code_of(enrolment, clock))
    assert SecondFactors(other).check(number, codes[0])
    other.close()
    missing = AccountStore.open(store.database.path, key=store.database.path.with_name("gone"), settings=CHEAP)
    with pytest.raises(StoreError, match="key of the sealed secrets"):
        SecondFactors(missing).check(number, code_of(enrolment, clock))
    missing.close()
