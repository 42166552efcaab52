"""Databases: created whole or not at all, upgraded step by step, refused when newer."""

import multiprocessing
import sqlite3
import sys
from pathlib import Path

import pytest

from sekisho.store import (
    Migration,
    SchemaTooNew,
    StoreDamaged,
    StoreError,
    StoreFull,
    connect,
    load_migrations,
    mapped,
    migrate,
    open_database,
    transaction,
    version_of,
)

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE mail (id INTEGER PRIMARY KEY, note TEXT DEFAULT 'a;b');")
SECOND = Migration(
    2, "0002_second.sql", "ALTER TABLE mail ADD COLUMN size INTEGER; -- octets\nUPDATE mail SET size = 1;"
)
BROKEN = Migration(2, "0002_broken.sql", "ALTER TABLE mail ADD COLUMN size INTEGER; INSERT INTO nowhere VALUES (1);")


def test_a_new_database_has_the_newest_schema_and_syncs_every_commit(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "x.db", [FIRST, SECOND])
    assert version_of(connection) == 2
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA secure_delete").fetchone() == (0,)
    connection.execute("INSERT INTO mail (id) VALUES (7)")
    assert connection.execute("SELECT note FROM mail").fetchone() == ("a;b",)
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_an_older_database_is_upgraded_and_keeps_its_rows(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "x.db", [FIRST])
    connection.execute("INSERT INTO mail (id) VALUES (7)")
    connection.close()
    connection = open_database(tmp_path / "x.db", [FIRST, SECOND])
    assert connection.execute("SELECT id, size FROM mail").fetchall() == [(7, 1)]
    assert migrate(connection, [FIRST, SECOND], path=tmp_path / "x.db") == 0
    connection.close()


def test_a_step_that_fails_is_undone_as_a_whole(tmp_path: Path) -> None:
    open_database(tmp_path / "x.db", [FIRST]).close()
    with pytest.raises(StoreError, match="nowhere"):
        open_database(tmp_path / "x.db", [FIRST, BROKEN])
    connection = connect(tmp_path / "x.db")
    assert version_of(connection) == 1
    assert [row[1] for row in connection.execute("PRAGMA table_info(mail)")] == ["id", "note"]
    connection.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_database(tmp_path / "x.db", [FIRST, SECOND]).close()
    with pytest.raises(SchemaTooNew, match=r"schema version 2 was written by a newer Sekisho") as caught:
        open_database(tmp_path / "x.db", [FIRST])
    assert caught.value.path == tmp_path / "x.db"


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        open_database(tmp_path / "x.db", [FIRST, BROKEN])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to have a header " * 40)
    with pytest.raises(StoreDamaged, match=r"x\.db"):
        open_database(tmp_path / "x.db", [FIRST])


def test_a_missing_database_is_not_created_by_connecting(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        connect(tmp_path / "x.db")
    assert list(tmp_path.iterdir()) == []


def test_a_full_database_is_told_from_other_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = open_database(path, [FIRST])
    connection.execute("PRAGMA max_page_count = 4")
    with pytest.raises(StoreFull), mapped(path), transaction(connection):
        connection.execute("INSERT INTO mail VALUES (1, ?)", ("x" * 100_000,))
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM mail").fetchone() == (0,)
    connection.close()


def test_a_transaction_is_undone_by_any_exception(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "x.db", [FIRST])
    with pytest.raises(KeyError), transaction(connection):  # noqa: PT012 - the statement before is what is undone
        connection.execute("INSERT INTO mail (id) VALUES (7)")
        raise KeyError
    assert connection.execute("SELECT count(*) FROM mail").fetchone() == (0,)
    connection.close()


def _open_and_insert(path: Path, number: int) -> None:
    connection = open_database(path, [FIRST, SECOND])
    connection.execute("INSERT INTO mail (id) VALUES (?)", (number,))
    connection.close()


def test_processes_that_create_one_database_at_once_share_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_open_and_insert, args=(tmp_path / "x.db", n)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    connection = connect(tmp_path / "x.db")
    assert connection.execute("SELECT count(*) FROM mail").fetchone() == (4,)
    connection.close()


def test_migrations_are_read_from_a_package_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "steps_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "0002_b.sql").write_text("CREATE TABLE b (x);")
    (package / "0001_a.sql").write_text("CREATE TABLE a (x);")
    monkeypatch.syspath_prepend(tmp_path)
    assert [step.name for step in load_migrations("steps_of_a_test")] == ["0001_a.sql", "0002_b.sql"]
    (package / "0001_a.sql").unlink()
    with pytest.raises(ValueError, match="not numbered"):
        load_migrations("steps_of_a_test")
    sys.modules.pop("steps_of_a_test", None)


def test_a_migration_without_its_last_semicolon_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="semicolon"):
        open_database(tmp_path / "x.db", [Migration(1, "0001_x.sql", "CREATE TABLE mail (id)")])


def test_errors_of_sqlite_carry_path_and_cause(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such table") as caught, mapped(tmp_path / "x.db"):
        sqlite3.connect(":memory:").execute("SELECT * FROM mail")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
