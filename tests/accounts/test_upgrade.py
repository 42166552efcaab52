"""Databases of earlier versions are brought up to date as they are opened, and nothing in them is lost.

Each file in `databases` was made by the version that ended with that migration; all passwords are ``hana-fubuki``.
"""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP

from sekisho.accounts import AccountStore, Renewal, WebSessions
from sekisho.accounts.hasher import HashingPool
from sekisho.accounts.password_check import PasswordCheck
from sekisho.accounts.recent import RecentSuccesses
from sekisho.store import version_of

DATABASES = Path(__file__).parent / "databases"
NEWEST = 2


def made_by(version: str, path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.executescript((DATABASES / f"{version}.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return made_by("0001", tmp_path / "accounts.sqlite")


def test_a_database_of_the_first_version_keeps_its_accounts(old: Path) -> None:
    store = AccountStore.open(old, key=b"k" * 32, settings=CHEAP)
    accounts = {account.login: account for account in store.list()}
    assert [login.partition("@")[0] for login in accounts] == ["aoi", "kei", "nami", "rin", "sora", "umi"]
    rin = accounts["rin@example.jp"]
    assert rin.identities == ("@rin.example", "info@example.jp")
    assert (rin.language, rin.messages_per_hour, rin.smarthost, rin.suspended) == ("en", 50, False, False)
    assert not any(account.operator or account.second_factor for account in accounts.values())
    assert accounts["umi@example.jp"].suspension == "sends worms"
    assert store.show("rin").last_login == 1_790_000_000.0
    with sqlite3.connect(old) as connection:
        assert version_of(connection) == NEWEST
    connection.close()
    store.close()


def test_whose_verifiers_are_incomplete_is_seen_after_the_upgrade(old: Path) -> None:
    store = AccountStore.open(old, key=b"k" * 32, settings=CHEAP)
    needing = {account.login.partition("@")[0]: account.renewal for account in store.list() if account.renewal}
    assert needing == dict.fromkeys(("kei", "nami", "sora"), Renewal.VERIFIERS)
    store.set_password("kei", "ume-no-hana")
    assert store.known("kei").renewal is Renewal.NOT_NEEDED
    store.close()


def test_passwords_and_sealed_secrets_still_open(old: Path) -> None:
    store = AccountStore.open(old, key=b"k" * 32, settings=CHEAP)
    pool = HashingPool(1, 8)
    check = PasswordCheck(store, pool, RecentSuccesses(0, 0))

    async def opens(name: str) -> bool:
        return await check.opens(name, store.find(name), "hana-fubuki", 0.0)

    opened = {name for name in ("rin", "aoi", "kei", "sora", "nami", "umi") if asyncio.run(opens(name))}
    assert opened == {"rin", "aoi", "kei", "sora", "umi"}
    aoi = store.find("aoi")
    assert aoi is not None
    assert store.workshop.unseal(aoi.account.id, aoi.verifiers) == b"hana-fubuki"
    pool.close()
    store.close()


def test_what_is_new_works_on_an_upgraded_database(old: Path) -> None:
    store = AccountStore.open(old, key=b"k" * 32, settings=CHEAP)
    sessions = WebSessions(store, idle=60, lifetime=60)
    assert sessions.find(sessions.open(1, client="192.0.2.7", second_factor=False)) is not None
    store.close()


def test_two_processes_that_upgrade_at_once_do_it_once(old: Path) -> None:
    first, second = (AccountStore.open(old, key=b"k" * 32, settings=CHEAP) for _ in range(2))
    assert first.digests.of("x", 1, "y") == second.digests.of("x", 1, "y")
    first.close()
    second.close()
