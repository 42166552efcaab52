"""Accounts in the database: names, mailboxes, changes, and other processes."""

import logging
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP

from sekisho.accounts import (
    UNCHANGED,
    AccountExists,
    AccountsError,
    AccountStore,
    BadLogin,
    UnknownAccount,
    WeakPassword,
)
from sekisho.accounts.store import LOOK_EVERY
from sekisho.smtp import Mailbox
from sekisho.store import SchemaTooNew, StoreDamaged, StoreError

PASSWORD = "hana-fubuki"


def login_of(store: AccountStore, name: str) -> str | None:
    account = store.find_login(name)
    return None if account is None else account.login


def test_an_account_is_found_by_login_local_part_and_alias_in_any_case(store: AccountStore) -> None:
    store.add("Rin@Example.JP", PASSWORD, identities=["info@example.jp", "@rin.example"])
    for name in ("rin@example.jp", "RIN@EXAMPLE.JP", "rin", " Rin ", "info@example.jp", "INFO"):
        assert login_of(store, name) == "rin@example.jp", name
    for name in ("", "@rin.example", "someone@rin.example", "ri", "rin@example.com", "rin@", "rin+tag@example.jp", "%"):
        assert login_of(store, name) is None, name


def test_a_bare_name_that_fits_two_accounts_is_nobody(store: AccountStore) -> None:
    store.add("rin@a.example", PASSWORD, identities=["info@a.example"])
    store.add("rin@b.example", PASSWORD, identities=["info@b.example"])
    assert login_of(store, "rin") is None
    assert login_of(store, "info") is None
    assert login_of(store, "info@b.example") == "rin@b.example"


def test_an_alias_never_takes_the_bare_name_of_a_login(store: AccountStore) -> None:
    store.add("rin@a.example", PASSWORD)
    store.add("mallory@b.example", PASSWORD, identities=["rin@b.example"])
    assert login_of(store, "rin") == "rin@a.example"


def test_the_default_domain_decides_between_equal_local_parts(tmp_path: Path) -> None:
    store = AccountStore.open(tmp_path / "a.sqlite", settings=replace(CHEAP, default_domain="B.example"))
    store.add("rin@a.example", PASSWORD)
    assert store.add("rin", PASSWORD).login == "rin@b.example"
    assert login_of(store, "rin") == "rin@b.example"
    assert store.get("rin") == store.find_login("rin@b.example")
    store.close()


def test_a_shared_alias_logs_nobody_in_and_may_be_sent_as_by_both(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD, identities=["info@example.jp"])
    store.add("ren@example.jp", PASSWORD, identities=["info@example.jp"])
    assert login_of(store, "info@example.jp") is None
    for login in ("rin@example.jp", "ren@example.jp"):
        account = store.get(login)
        assert account is not None
        assert account.owns(Mailbox.parse("info@example.jp"))


@pytest.mark.parametrize(
    ("address", "login"),
    [
        ("rin@example.jp", "rin@example.jp"),
        ("RIN+shop+x@example.jp", "rin@example.jp"),
        ("info@example.jp", "rin@example.jp"),
        ("info+a@example.jp", "rin@example.jp"),
        ("postmaster@example.jp", "rin@example.jp"),
        ("postmaster", "rin@example.jp"),
        ("someone@rin.example", None),
        ("+rin@example.jp", None),
        ("rin", None),
        ("ren@example.jp", None),
    ],
)
def test_mail_is_for_the_account_with_the_login_or_alias(store: AccountStore, address: str, login: str | None) -> None:
    store.add("rin@example.jp", PASSWORD, identities=["info@example.jp", "postmaster@example.jp", "@rin.example"])
    store.suspend("rin@example.jp")
    mailbox = Mailbox.parse(address) if "@" in address or address == "postmaster" else Mailbox(address, "")
    for _ in range(2):
        account = store.mailbox_for(mailbox)
        assert (account and account.login) == login


def test_taken_logins_and_addresses_are_refused(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD, identities=["info@example.jp"])
    with pytest.raises(AccountExists, match="already"):
        store.add("RIN@example.jp", PASSWORD)
    with pytest.raises(AccountExists, match=r"identity of the account rin@example\.jp"):
        store.add("info@example.jp", PASSWORD)
    with pytest.raises(AccountExists, match="login of another account"):
        store.add("ren@example.jp", PASSWORD, identities=["rin@example.jp"])
    assert store.get("ren@example.jp") is None
    assert [account.login for account in store.list()] == ["rin@example.jp"]


def test_wrong_logins_passwords_and_names_are_refused(store: AccountStore) -> None:
    with pytest.raises(BadLogin, match="whole address"):
        store.add("rin", PASSWORD)
    with pytest.raises(WeakPassword):
        store.add("rin@example.jp", "short")
    with pytest.raises(BadLogin):
        store.add("rin@example.jp", PASSWORD, identities=["not an address"])
    assert store.list() == ()
    for change in (store.suspend, store.resume, store.delete, store.show):
        with pytest.raises(UnknownAccount, match="ghost"):
            change("ghost@example.jp")
    with pytest.raises(UnknownAccount):
        store.set_password("ghost@example.jp", PASSWORD)


def test_changes_are_seen_at_once(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    assert store.find_login("rin") is not None
    assert store.suspend("rin", "stolen").suspension == "stolen"
    entry = store.find_login("rin")
    assert entry is not None
    assert entry.suspended
    assert not store.resume("rin").suspended
    changed = store.change("rin", messages_per_hour=5, language="ja", recipients_per_hour=UNCHANGED)
    assert (changed.messages_per_hour, changed.recipients_per_hour, changed.language) == (5, None, "ja")
    assert store.change("rin", messages_per_hour=None).messages_per_hour is None
    assert store.change("rin") == store.find_login("rin")
    assert store.add_identity("rin", "Info@Example.jp").identities == ("info@example.jp",)
    assert store.add_identity("rin", "info@example.jp").identities == ("info@example.jp",)
    assert store.find_login("info@example.jp") is not None
    assert store.remove_identity("rin", "info@example.jp").identities == ()
    with pytest.raises(BadLogin):
        store.remove_identity("rin", "info@example.jp")
    assert store.delete("rin").login == "rin@example.jp"
    assert store.find_login("rin") is None


def test_the_id_of_a_deleted_account_is_not_given_again(store: AccountStore) -> None:
    first = store.add("rin@example.jp", PASSWORD)
    store.delete("rin@example.jp")
    assert store.add("rin@example.jp", PASSWORD).id > first.id


def test_show_tells_everything_but_secrets(tmp_path: Path) -> None:
    now = [1000.0]
    store = AccountStore.open(tmp_path / "a.sqlite", settings=CHEAP, now=lambda: now[0])
    account = store.add("rin@example.jp", PASSWORD, cram_md5=True, smarthost=True)
    now[0] = 2000.0
    store.set_password("rin", "hana-fubuki-2")
    store.note_logins([account.id, 999])
    now[0] = 2500.0
    store.note_logins([account.id])
    details = store.show("rin")
    assert (details.created, details.changed, details.last_login) == (1000.0, 2000.0, 2000.0)
    assert set(details.mechanisms) == {"argon2id", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}
    now[0] = 2600.0
    store.note_logins([account.id])
    assert store.show("rin").last_login == 2600.0
    store.close()


def test_keeping_a_password_for_cram_md5_is_kept_up_and_can_be_ended(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    assert "CRAM-MD5" not in store.show("rin").mechanisms
    store.set_password("rin", PASSWORD, cram_md5=True)
    store.set_password("rin", PASSWORD)
    assert "CRAM-MD5" in store.show("rin").mechanisms
    store.set_password("rin", PASSWORD, cram_md5=False)
    assert "CRAM-MD5" not in store.show("rin").mechanisms


def test_the_list_comes_in_pages(store: AccountStore) -> None:
    for name in ("c", "a", "b"):
        store.add(f"{name}@example.jp", None)
    first = store.list(limit=2)
    assert [account.login for account in first] == ["a@example.jp", "b@example.jp"]
    assert [account.login for account in store.list(after=first[-1].login)] == ["c@example.jp"]


def test_imported_scram_keys_are_noticed_until_the_account_has_a_hash(store: AccountStore) -> None:
    store.add("rin@example.jp", None)

    def noticed() -> bool:
        store.find("rin")
        return store.has_imported

    assert not noticed()
    store.import_verifier("rin", "SCRAM-SHA-256", store.workshop.make(PASSWORD)["SCRAM-SHA-256"])
    assert noticed()
    store.set_password("rin", PASSWORD)
    assert not noticed()
    with pytest.raises(AccountsError, match="cannot be used"):
        store.import_verifier("rin", "SCRAM-SHA-256", "nonsense")


def test_an_unknown_name_is_spelled_as_if_it_were_an_account(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    assert store.identify("RIN")[0] == "rin@example.jp"
    assert store.identify("Ghost") == ("ghost@example.jp", None)
    assert store.identify("ghost@Example.jp") == ("ghost@example.jp", None)


OTHER_PROCESS = """
import sys
from dataclasses import replace
from pathlib import Path
from sekisho.accounts import AccountsSettings, AccountStore
from sekisho.config import Size
store = AccountStore.open(Path(sys.argv[1]), settings=AccountsSettings(argon2_passes=1, argon2_memory=Size(65536)))
getattr(store, sys.argv[2])(*sys.argv[3:])
store.close()
"""


def in_another_process(store_path: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(store_path), *arguments], check=True, env=environment, timeout=60
    )


def test_what_another_process_changes_counts_at_the_next_login_and_within_a_second_elsewhere(tmp_path: Path) -> None:
    path, steady = tmp_path / "accounts.sqlite", [1000.0]
    store = AccountStore.open(path, settings=CHEAP, steady=lambda: steady[0])
    assert store.find_login("rin") is None
    assert store.mailbox_for(Mailbox("rin", "example.jp")) is None
    in_another_process(path, "add", "rin@example.jp", PASSWORD)
    assert store.mailbox_for(Mailbox("rin", "example.jp")) is not None
    before = store.find("rin")
    assert before is not None
    in_another_process(path, "set_password", "rin", "hana-fubuki-2")
    after = store.find("rin")
    assert after is not None
    assert after.rows != before.rows
    assert store.find_login("rin") == after.account
    in_another_process(path, "suspend", "rin")
    steady[0] += LOOK_EVERY
    suspended = store.find_login("rin")
    assert suspended is not None
    assert suspended.suspended
    assert store.mailbox_for(Mailbox("rin", "example.jp")) == suspended
    in_another_process(path, "resume", "rin")
    login = store.find("rin")
    assert login is not None
    assert not login.account.suspended
    assert store.find_login("rin") == login.account
    in_another_process(path, "delete", "rin")
    steady[0] += LOOK_EVERY
    assert store.find_login("rin") is None
    assert store.mailbox_for(Mailbox("rin", "example.jp")) is None
    store.close()


def test_what_this_process_changes_counts_at_once(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    for change, suspended in ((store.suspend, True), (store.resume, False)):
        change("rin")
        account = store.find_login("rin")
        assert account is not None
        assert account.suspended is suspended


def test_between_looks_a_session_asks_memory_alone(store: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("rin@example.jp", PASSWORD)
    looks: list[int] = []
    refresh = AccountStore._refresh

    def counted(self: AccountStore) -> None:
        looks.append(1)
        refresh(self)

    monkeypatch.setattr(AccountStore, "_refresh", counted)
    for _ in range(5):
        store.find_login("rin")
        store.mailbox_for(Mailbox("rin", "example.jp"))
    assert len(looks) == 2


def test_names_are_answered_from_memory_and_noting_a_login_does_not_empty_it(store: AccountStore) -> None:
    account = store.add("rin@example.jp", PASSWORD)
    entry = store.find("rin")
    store.note_logins([account.id])
    assert store.find("rin") is entry
    store.suspend("rin")
    assert store.find("rin") is not entry


def test_memory_is_bounded(store: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.accounts.store._REMEMBERED", 5)
    for number in range(20):
        store.find(f"ghost{number}")
        store.mailbox_for(Mailbox(f"ghost{number}", "example.jp"))
    assert len(store._entries) == 5
    assert len(store._mailboxes) == 5


def test_an_account_knows_whether_its_password_is_still_the_one_it_was(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    earlier = store.find("rin")
    assert earlier is not None
    assert store.renew_verifiers(earlier, {"argon2id": store.workshop.hash_password(PASSWORD)})
    renewed = store.find("rin")
    assert renewed is not None
    assert renewed.account.has_password_of(earlier.account)
    store.set_password("rin", "hana-fubuki-2")
    later = store.find_login("rin")
    assert later is not None
    assert not later.has_password_of(earlier.account)
    assert not later.has_password_of(renewed.account)


def test_renewed_verifiers_never_overwrite_a_new_password(store: AccountStore) -> None:
    store.add("rin@example.jp", PASSWORD)
    entry = store.find("rin")
    assert entry is not None
    store.set_password("rin", "hana-fubuki-2")
    assert not store.renew_verifiers(entry, store.workshop.make(PASSWORD))
    now = store.find("rin")
    assert now is not None
    assert now.verifiers.opens_by_scram("hana-fubuki-2")
    assert store.renew_verifiers(now, store.workshop.make("hana-fubuki-2"))


def test_the_files_are_for_their_owner_alone(store: AccountStore, tmp_path: Path) -> None:
    store.add("rin@example.jp", PASSWORD, cram_md5=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"accounts.sqlite", "accounts.key"} <= names
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_no_password_is_in_the_files_or_in_a_repr_or_log(
    store: AccountStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account = store.add("rin@example.jp", PASSWORD, cram_md5=True)
    entry = store.find("rin")
    assert entry is not None
    shown = " ".join(map(repr, (account, entry, entry.verifiers, store.show("rin"), store, store.workshop)))
    for secret in (PASSWORD, *(text for _, text in entry.rows)):
        assert secret not in shown
        assert secret not in caplog.text
    for path in tmp_path.iterdir():
        assert PASSWORD.encode() not in path.read_bytes(), path.name


def test_a_database_of_a_newer_version_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    AccountStore.open(path, settings=CHEAP).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(SchemaTooNew, match=r"accounts\.sqlite"):
        AccountStore.open(path, settings=CHEAP)
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreDamaged, match=r"accounts\.sqlite"):
        AccountStore.open(path, settings=CHEAP)


def test_a_database_without_its_schema_is_brought_up_to_it(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    sqlite3.connect(path).close()
    path.touch()
    store = AccountStore.open(path, settings=CHEAP)
    store.add("rin@example.jp", PASSWORD)
    store.close()
    again = AccountStore.open(path, settings=CHEAP)
    assert login_of(again, "rin") == "rin@example.jp"
    again.close()


def test_reading_from_a_closed_store_is_a_store_error(store: AccountStore) -> None:
    store.close()
    with pytest.raises(StoreError):
        store.find("rin")


def test_whoever_only_reads_makes_no_empty_database_in_the_place_of_one_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    with pytest.raises(StoreError):
        AccountStore.open(path, settings=CHEAP, create=False)
    assert list(tmp_path.iterdir()) == []
    AccountStore.open(path, settings=CHEAP).close()
    AccountStore.open(path, settings=CHEAP, create=False).close()
