"""App passwords: what they open, what opens nothing any more, and what is kept of them."""

import base64
import re
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.accounts.conftest import CHEAP
from tests.accounts.test_authenticate import Clerk, hashes, run

from sekisho.accounts import (
    Accepted,
    AccountsError,
    AccountStore,
    Answer,
    AppPasswords,
    Refusal,
    Refused,
    SecondFactors,
    UnknownAccount,
    generate_password,
)
from sekisho.accounts.app_passwords import MAX_PER_ACCOUNT, app_password_that_opens
from sekisho.accounts.passwords import canonical
from sekisho.accounts.totp import PERIOD, code_at

__all__ = ["hashes"]

PASSWORD = "hana-fubuki"


@pytest.fixture
def rin(store: AccountStore) -> AccountStore:
    store.add("rin@example.jp", PASSWORD, cram_md5=True)
    return store


def with_second_factor(store: AccountStore) -> None:
    factors = SecondFactors(store)
    secret = base64.b32decode(factors.begin("rin", issuer="mail").secret.replace(" ", ""))
    factors.confirm("rin", code_at(secret, int(time.time()) // PERIOD))


def refusal_of(answer: Answer) -> Refusal:
    assert isinstance(answer, Refused), answer
    return answer.kind


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_each_device_has_its_own_and_costs_no_hash(rin: AccountStore, mechanism: str, hashes: list[str]) -> None:
    made = [AppPasswords(rin).add("rin", label) for label in ("telephone", "printer")]

    async def work(clerk: Clerk) -> None:
        for device, password in made:
            for typed in (password, password.upper(), password.replace("-", ""), password.replace("-", " ")):
                _, answer = await clerk.log_in(mechanism, "rin", typed)
                assert isinstance(answer, Accepted), typed
                assert answer.app_password == device.number
        assert hashes == []
        _, answer = await clerk.log_in(mechanism, "rin")
        assert isinstance(answer, Accepted)
        assert answer.app_password is None

    run(work, rin)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"])
def test_mechanisms_that_hide_the_password_do_not_take_them(rin: AccountStore, mechanism: str) -> None:
    _, password = AppPasswords(rin).add("rin", "telephone")

    async def work(clerk: Clerk) -> None:
        assert refusal_of((await clerk.log_in(mechanism, "rin", password))[1]) is Refusal.BAD_CREDENTIALS

    run(work, rin)


def test_a_wrong_one_costs_what_a_wrong_password_costs(rin: AccountStore, hashes: list[str]) -> None:
    AppPasswords(rin).add("rin", "telephone")

    async def work(clerk: Clerk) -> None:
        seen = set()
        for name in ("rin", "ghost"):
            for password in (generate_password(), "hana-fubuka"):
                del hashes[:]
                _, answer = await clerk.log_in("PLAIN", name, password)
                assert refusal_of(answer) is Refusal.BAD_CREDENTIALS
                seen.add(tuple(hashes))
        assert len(seen) == 1

    run(work, rin)


def test_one_that_is_revoked_opens_nothing_from_the_next_login_on(rin: AccountStore) -> None:
    devices = AppPasswords(rin)
    first, password = devices.add("rin", "telephone")
    second, other = devices.add("rin", "printer")

    async def work(clerk: Clerk) -> None:
        assert isinstance((await clerk.log_in("PLAIN", "rin", password))[1], Accepted)
        elsewhere = AccountStore.open(rin.database.path, settings=CHEAP)
        assert AppPasswords(elsewhere).remove("rin", first.number) == first
        elsewhere.close()
        assert refusal_of((await clerk.log_in("PLAIN", "rin", password))[1]) is Refusal.BAD_CREDENTIALS
        assert isinstance((await clerk.log_in("PLAIN", "rin", other))[1], Accepted)

    run(work, rin)
    assert [each.number for each in devices.list("rin")] == [second.number]


@pytest.mark.parametrize(
    "mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"]
)
def test_with_a_second_factor_the_password_itself_is_refused_and_the_log_says_why(
    rin: AccountStore, mechanism: str
) -> None:
    _, password = AppPasswords(rin).add("rin", "telephone")
    with_second_factor(rin)

    async def work(clerk: Clerk) -> None:
        kind = refusal_of((await clerk.log_in(mechanism, "rin"))[1])
        assert kind is Refusal.APP_PASSWORD_REQUIRED
        assert kind.is_guess
        assert refusal_of((await clerk.log_in(mechanism, "rin", "hana-fubuka"))[1]) is Refusal.BAD_CREDENTIALS
        assert isinstance((await clerk.log_in("PLAIN", "rin", password))[1], Accepted)

    run(work, rin)


def test_with_a_second_factor_a_right_password_is_hashed_each_time_as_a_wrong_one_is(
    rin: AccountStore, hashes: list[str]
) -> None:
    """Otherwise the second try of the right one would be answered sooner."""

    async def work(clerk: Clerk) -> None:
        assert isinstance((await clerk.log_in("PLAIN", "rin"))[1], Accepted)  # remembered
        with_second_factor(rin)
        for password in (PASSWORD, PASSWORD, "hana-fubuka", "hana-fubuka"):
            del hashes[:]
            assert refusal_of((await clerk.log_in("PLAIN", "rin", password))[1]).is_guess
            assert len(hashes) == 1

    run(work, rin)


def test_suspension_holds_for_them_too(rin: AccountStore) -> None:
    _, password = AppPasswords(rin).add("rin", "telephone")
    rin.suspend("rin", "sends worms")

    async def work(clerk: Clerk) -> None:
        assert refusal_of((await clerk.log_in("PLAIN", "rin", password))[1]) is Refusal.SUSPENDED

    run(work, rin)


def test_what_an_app_password_opened_ends_with_it_and_not_with_the_password(rin: AccountStore) -> None:
    device, _ = AppPasswords(rin).add("rin", "telephone")
    earlier = rin.find_login("rin")
    assert earlier is not None
    rin.set_password("rin", "ume-no-hana")
    present = rin.find_login("rin")
    assert present is not None
    assert present.has_password_of(earlier, device.number)
    assert not present.has_password_of(earlier)
    AppPasswords(rin).remove("rin", device.number)
    present = rin.find_login("rin")
    assert present is not None
    assert not present.has_password_of(earlier, device.number)


def test_a_second_factor_ends_what_the_password_alone_opened(rin: AccountStore) -> None:
    earlier = rin.find_login("rin")
    with_second_factor(rin)
    present = rin.find_login("rin")
    assert earlier is not None
    assert present is not None
    assert not present.has_password_of(earlier)


def test_the_last_use_is_noted(rin: AccountStore) -> None:
    devices = AppPasswords(rin)
    used, password = devices.add("rin", "telephone")
    devices.add("rin", "printer")

    async def work(clerk: Clerk) -> None:
        await clerk.log_in("PLAIN", "rin", password)

    run(work, rin)
    last = {each.label: each.last_used for each in devices.list("rin")}
    assert last["printer"] is None
    assert last["telephone"] == pytest.approx(time.time(), abs=60)
    assert rin.show("rin").last_login is not None
    before = rin.database.generation()
    rin.note_app_passwords([used.number, 999])
    assert rin.database.generation() == before


def test_labels_are_one_line_of_bounded_length(rin: AccountStore) -> None:
    devices = AppPasswords(rin)
    assert devices.add("rin", "  my \n telephone ")[0].label == "my telephone"
    for label in ("", " ", "x" * 61, "a\x00b", "a\x1b[1mb"):
        with pytest.raises(AccountsError, match="Name the device"):
            devices.add("rin", label)


def test_an_account_has_a_bounded_number_of_them(rin: AccountStore) -> None:
    devices = AppPasswords(rin)
    for number in range(MAX_PER_ACCOUNT):
        devices.add("rin", f"device {number}")
    with pytest.raises(AccountsError, match="Remove one"):
        devices.add("rin", "one more")


def test_nobody_removes_those_of_somebody_else(rin: AccountStore) -> None:
    rin.add("aoi@example.jp", PASSWORD)
    device, _ = AppPasswords(rin).add("rin", "telephone")
    with pytest.raises(AccountsError, match="no app password"):
        AppPasswords(rin).remove("aoi", device.number)
    with pytest.raises(UnknownAccount):
        AppPasswords(rin).add("ghost", "telephone")


def test_one_of_another_account_opens_nothing(rin: AccountStore) -> None:
    rin.add("aoi@example.jp", PASSWORD)
    _, password = AppPasswords(rin).add("aoi", "telephone")
    assert app_password_that_opens(rin.digests, rin.find("rin"), password) is None
    assert app_password_that_opens(rin.digests, None, password) is None
    assert app_password_that_opens(rin.digests, rin.find("aoi"), password) is not None


@given(text=st.text(max_size=80))
def test_no_text_but_the_password_opens(text: str) -> None:
    letters = canonical(text)
    assert letters is None or re.fullmatch(r"[a-km-np-z2-9]{16}", letters)


@pytest.mark.parametrize("text", ["", "-", "---", "abcd-efgh-ijkm-npq1", "x" * 100_000])
def test_a_text_that_cannot_be_one_opens_nothing(rin: AccountStore, text: str) -> None:
    AppPasswords(rin).add("rin", "telephone")
    assert app_password_that_opens(rin.digests, rin.find("rin"), text) is None


def test_what_is_kept_does_not_tell_it(rin: AccountStore) -> None:
    device, password = AppPasswords(rin).add("rin", "telephone")
    assert re.fullmatch(r"([a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}", password)  # 16 of 32 letters: 80 bits
    with sqlite3.connect(rin.database.path) as connection:
        everything = "".join(connection.iterdump())
    connection.close()
    assert password not in everything
    assert password.replace("-", "") not in everything
    assert password not in repr((device, rin.find("rin")))
