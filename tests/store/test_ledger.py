"""Counters over sliding windows that outlive their processes and cannot be overrun by several at once."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.store.ledger import HEADER_SIZE, SLOT, WAYS, Ledger, LedgerError

HOUR = 3600.0
NOW = 1_800_000_000.0  # the beginning of an hour


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger")
    yield ledger
    ledger.close()


def test_counts_are_kept_apart_by_kind_key_and_window(ledger: Ledger) -> None:
    assert ledger.add("messages", "rin", 2, HOUR, NOW) == 2
    assert ledger.add("messages", "rin", 3, HOUR, NOW) == 5
    assert ledger.add("recipients", "rin", 1, HOUR, NOW) == 1
    assert ledger.add("messages", "aoi", 1, HOUR, NOW) == 1
    assert ledger.peek("messages", "rin", 60, NOW) == 0
    assert ledger.peek("messages", "rin", HOUR, NOW) == 5


def test_what_was_counted_leaves_the_window_bit_by_bit(ledger: Ledger) -> None:
    ledger.add("messages", "rin", 100, HOUR, NOW + 1)
    totals = [ledger.peek("messages", "rin", HOUR, NOW + HOUR * quarter / 4) for quarter in range(3, 9)]
    assert totals == [100, 100, 75, 50, 25, 0]


def test_a_reservation_beyond_the_limit_counts_nothing(ledger: Ledger) -> None:
    assert ledger.reserve("messages", "rin", 8, 10, HOUR, NOW)
    assert not ledger.reserve("messages", "rin", 3, 10, HOUR, NOW)
    assert ledger.peek("messages", "rin", HOUR, NOW) == 8
    assert ledger.reserve("messages", "rin", 2, 10, HOUR, NOW)


def test_a_refund_makes_room_again_but_never_credit(ledger: Ledger) -> None:
    ledger.add("messages", "rin", 5, HOUR, NOW)
    ledger.refund("messages", "rin", 2, HOUR, NOW + 1)
    assert ledger.peek("messages", "rin", HOUR, NOW + 1) == 3
    ledger.refund("messages", "rin", 2, HOUR, NOW + HOUR)  # counted in the stretch before
    assert ledger.peek("messages", "rin", HOUR, NOW + HOUR) == 1
    ledger.refund("messages", "rin", 50, HOUR, NOW + HOUR)
    assert ledger.peek("messages", "rin", HOUR, NOW + HOUR) == 0
    ledger.refund("messages", "nobody", 1, HOUR, NOW)
    assert ledger.peek("messages", "nobody", HOUR, NOW) == 0


@given(
    counted=st.lists(st.tuples(st.integers(1, 20), st.floats(0, 2 * HOUR)), max_size=6),
    amount=st.integers(1, 20),
    limit=st.integers(20, 60),
    at=st.floats(0, HOUR),
)
@settings(max_examples=100, deadline=None)
def test_the_wait_is_how_long_a_reservation_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
    counted: list[tuple[int, float]],
    amount: int,
    limit: int,
    at: float,
) -> None:
    path = tmp_path_factory.getbasetemp() / "waiting"
    path.unlink(missing_ok=True)
    ledger = Ledger(path, buckets=1)
    for sum_, when in sorted(counted, key=lambda pair: pair[1]):
        ledger.add("k", "rin", sum_, HOUR, NOW + when)
    now = NOW + 2 * HOUR + at
    wait = ledger.wait("k", "rin", amount, limit, HOUR, now)
    if wait > 1:
        assert not ledger.reserve("k", "rin", amount, limit, HOUR, now + wait - 1)
    assert ledger.reserve("k", "rin", amount, limit, HOUR, now + wait + 0.01)
    assert ledger.wait("k", "rin", limit + 1, limit, HOUR, now) == math.inf
    ledger.close()


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger")
    first.add("messages", "rin", 7, HOUR, NOW)
    first.close()
    first.close()
    second = Ledger(tmp_path / "ledger")
    assert second.peek("messages", "rin", HOUR, NOW) == 7
    second.close()


def test_names_are_not_in_the_file(tmp_path: Path, ledger: Ledger) -> None:
    ledger.add("messages", "rin@example.jp", 1, HOUR, NOW)
    ledger.flush()
    assert b"rin@" not in (tmp_path / "ledger").read_bytes()
    assert (tmp_path / "ledger").stat().st_mode & 0o077 == 0


def _damage_magic(octets: bytearray) -> None:
    octets[0:8] = b"whatever"


def _damage_version(octets: bytearray) -> None:
    octets[8] = 99


def _damage_size(octets: bytearray) -> None:
    del octets[-1]


def _damage_all(octets: bytearray) -> None:
    del octets[5:]


@pytest.mark.parametrize(
    ("damage", "word"),
    [(_damage_magic, "damaged"), (_damage_version, "version 99"), (_damage_size, "damaged"), (_damage_all, "damaged")],
)
def test_a_damaged_file_is_replaced_with_a_notice(tmp_path: Path, damage: object, word: str) -> None:
    path = tmp_path / "ledger"
    old = Ledger(path, buckets=4)
    old.add("messages", "rin", 7, HOUR, NOW)
    octets = bytearray(path.read_bytes())
    assert callable(damage)
    damage(octets)
    path.with_name("damaged").write_bytes(octets)
    path.with_name("damaged").rename(path)
    notices: list[str] = []
    new = Ledger(path, buckets=4, notice=notices.append)
    assert new.add("messages", "rin", 1, HOUR, NOW) == 1
    assert len(notices) == 1
    assert word in notices[0]
    assert old.peek("messages", "rin", HOUR, NOW) == 7  # who had the old file open is not cut short
    new.close()
    old.close()
    assert os.listdir(tmp_path) == ["ledger"]


def test_a_damaged_slot_counts_as_nothing(ledger: Ledger) -> None:
    ledger.add("messages", "rin", 7, HOUR, NOW)
    for at in range(HEADER_SIZE, len(ledger._map), SLOT.size):
        digest, number, window, _, _ = SLOT.unpack_from(ledger._map, at)
        if window:
            ledger._map[at : at + SLOT.size] = SLOT.pack(digest, number, window, math.nan, -1e300)
    assert ledger.add("messages", "rin", 1, HOUR, NOW) == 1


def test_where_no_file_can_be_made_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="No such file"):
        Ledger(tmp_path / "missing" / "ledger")


def test_a_flood_of_names_grows_nothing_and_the_oldest_give_way(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path, buckets=2)
    size = path.stat().st_size
    for number in range(200):
        ledger.add("k", f"old{number}", 1, HOUR, NOW)
    for number in range(WAYS):
        ledger.add("k", f"new{number}", 1, HOUR, NOW + HOUR)
    assert path.stat().st_size == size
    assert all(ledger.peek("k", f"new{number}", HOUR, NOW + HOUR) == 1 for number in range(WAYS))
    ledger.close()


def test_a_clock_that_steps_back_neither_forgets_nor_locks_out(ledger: Ledger) -> None:
    ledger.add("k", "rin", 5, HOUR, NOW)
    assert ledger.peek("k", "rin", HOUR, NOW - 60) == 5
    ledger.add("k", "aoi", 5, HOUR, NOW + 30 * 24 * HOUR)  # a wrong clock, set right later
    assert ledger.peek("k", "aoi", HOUR, NOW) == 0


def test_two_counters_of_one_bucket_are_counted_together_or_not_at_all(ledger: Ledger) -> None:
    kinds = ("a", "a/b")
    assert ledger.reserve_both(kinds, "rin", (1, 7), (2, 10), HOUR, NOW) is None
    assert ledger.reserve_both(kinds, "rin", (1, 4), (2, 10), HOUR, NOW) == "a/b"
    assert ledger.reserve_both(kinds, "rin", (2, 1), (2, 10), HOUR, NOW) == "a"
    assert [ledger.peek(kind, "rin", HOUR, NOW) for kind in kinds] == [1, 7]
    ledger.refund("a/b", "rin", 5, HOUR, NOW)
    assert ledger.reserve_both(kinds, "rin", (1, 8), (2, 10), HOUR, NOW) is None
    with pytest.raises(ValueError, match="beside"):
        ledger.reserve_both(("a", "c/b"), "rin", (1, 1), (9, 9), HOUR, NOW)


def test_neither_of_two_counters_drives_the_other_out_of_a_full_bucket(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", buckets=1)
    ledger.add("a/b", "rin", 5, HOUR, NOW)  # the oldest of a bucket that the others fill up
    for number in range(WAYS - 1):
        ledger.add("k", f"new{number}", 1, HOUR, NOW + HOUR)
    assert ledger.reserve_both(("a", "a/b"), "rin", (1, 2), (9, 9), HOUR, NOW + HOUR) is None
    assert ledger.peek("a", "rin", HOUR, NOW + HOUR) == 1
    assert ledger.peek("a/b", "rin", HOUR, NOW + HOUR) == 7
    ledger.close()


def test_remembered_places_are_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.store.ledger.REMEMBERED", 5)
    for number in range(20):
        ledger.peek("k", f"name{number}", HOUR, NOW)
    assert len(ledger._places) <= 5


def _reserve_all(path: Path, start: multiprocessing.synchronize.Event, won: multiprocessing.SimpleQueue[int]) -> None:
    ledger = Ledger(path)
    start.wait(10)
    took = sum(ledger.reserve("k", "rin", 1, 500, HOUR, NOW) for _ in range(500))
    both = [ledger.reserve_both(("a", "a/b"), "rin", (1, 2), (900, 1000), HOUR, NOW) for _ in range(500)]
    won.put(took + both.count(None))


def test_processes_at_the_same_time_never_exceed_a_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, won = context.Event(), context.SimpleQueue()
    processes = [context.Process(target=_reserve_all, args=(tmp_path / "ledger", start, won)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    assert sum(won.get() for _ in processes) == 500 + 500
    for process in processes:
        process.join()


def test_a_ledger_opened_before_a_fork_is_shared_after_it(ledger: Ledger) -> None:
    child = os.fork()
    if child == 0:
        ledger.add("k", "rin", 1, HOUR, NOW)
        os._exit(0)
    os.waitpid(child, 0)
    assert ledger.add("k", "rin", 1, HOUR, NOW) == 2
