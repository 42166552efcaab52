"""Guessing passwords is slow and ends soon, in parallel too, and never locks an owner out."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from sekisho.policy import AuthGuard, PolicySettings, SessionFailures
from sekisho.store.ledger import Ledger

NOW = 1_800_000_000.0
HOME, OFFICE, ATTACKER = "192.0.2.1", "198.51.100.7", "203.0.113.9"
SETTINGS = PolicySettings(auth_failures_per_address=5, auth_failures_per_account=8)


@pytest.fixture
def guard(ledger: Ledger) -> AuthGuard:
    return AuthGuard(ledger, SETTINGS)


def guess(guard: AuthGuard, address: str, name: str, password: str, now: float = NOW) -> float | None:
    """One wrong password in a session of its own: the delay, or None when it was not even looked at."""
    if not guard.reserve(address, name, now):
        return None
    return guard.failed(address, name, now, SessionFailures(), mechanism="PLAIN", digest=password.encode())


def guesses(guard: AuthGuard, address: str, name: str, count: int) -> int:
    return sum(guess(guard, address, name, f"{address} {number}") is not None for number in range(count))


def test_an_address_gets_so_many_guesses_whatever_the_names(guard: AuthGuard) -> None:
    assert sum(guess(guard, ATTACKER, f"user{n}", "password") is not None for n in range(20)) == 5
    assert guess(guard, HOME, "user1", "password") is not None
    assert guess(guard, ATTACKER, "user30", "password", NOW + 2 * SETTINGS.auth_window) is not None


def test_the_addresses_of_one_ipv6_network_count_together(guard: AuthGuard) -> None:
    assert sum(guesses(guard, f"2001:db8::{n:x}", "rin", 1) for n in range(20)) == 5
    assert guesses(guard, "2001:db8:0:1::1", "rin", 20) > 0


def test_an_account_gets_so_many_guesses_whatever_the_addresses(guard: AuthGuard) -> None:
    """Spellings of one name are one name, and names that nobody has are counted alike."""
    for name in ("rin@example.jp", "nobody@example.jp"):
        spellings = [name, name.upper(), f" {name} ", name.replace("@", "\uff20")]
        got = [guesses(guard, f"{name[:1]}-host-{n}", spellings[n % 4], 2) for n in range(10)]
        assert sum(got) == 8


def test_the_owner_is_not_locked_out_where_he_logged_in_before(guard: AuthGuard) -> None:
    assert guard.reserve(HOME, "rin", NOW)
    guard.succeeded(HOME, "rin", NOW)
    for n in range(10):
        guesses(guard, f"attacker{n}", "rin", 5)
    assert not guard.reserve(OFFICE, "rin", NOW)
    assert guard.reserve(HOME, "Rin", NOW)
    guard.succeeded(HOME, "Rin", NOW)
    assert guard.reserve(HOME, "rin", NOW + SETTINGS.auth_memory / 2)


def test_the_owner_is_not_locked_out_by_neighbors_behind_the_same_address(guard: AuthGuard) -> None:
    assert guard.reserve(OFFICE, "rin", NOW)
    guard.succeeded(OFFICE, "rin", NOW)
    assert sum(guess(guard, OFFICE, f"user{n}", "password") is not None for n in range(20)) == 5
    assert guard.reserve(OFFICE, "rin", NOW)
    guard.succeeded(OFFICE, "rin", NOW)
    assert guesses(guard, OFFICE, "rin", 20) == 5


def test_first_logins_at_the_same_moment_leave_no_failure_behind(guard: AuthGuard) -> None:
    """The first success makes the address the owner's; the tries taken before it are given back all the same."""
    for _ in range(5):
        assert guard.reserve(OFFICE, "rin", NOW)
    assert not guard.reserve(OFFICE, "rin", NOW)
    assert guard.is_undecided(OFFICE, "aoi", NOW)
    assert guard.is_undecided(HOME, "rin", NOW)
    assert not guard.is_undecided(HOME, "aoi", NOW)
    assert not guard.is_undecided(OFFICE, "rin", NOW + 60)
    for _ in range(5):
        guard.succeeded(OFFICE, "rin", NOW)
    assert not guard.is_undecided(OFFICE, "rin", NOW)
    assert guesses(guard, OFFICE, "aoi", 20) == 5


def test_exchanges_that_are_never_finished_take_bounded_memory_and_stay_counted(tmp_path: Path) -> None:
    guard = AuthGuard(Ledger(tmp_path / "large"), SETTINGS)
    for n in range(3000):
        assert guard.reserve(f"10.0.{n // 250}.{n % 250}", f"user{n}", NOW)
    assert len(guard._undecided) <= 1024
    guard.undecided("10.0.0.0", "user0", NOW)
    assert guesses(guard, "10.0.0.0", "aoi", 20) == 4


def test_a_right_password_gives_its_try_back(guard: AuthGuard) -> None:
    for _ in range(50):
        assert guard.reserve(HOME, "rin", NOW)
        guard.succeeded(HOME, "rin", NOW)
        assert guard.reserve(OFFICE, "aoi", NOW)
        guard.undecided(OFFICE, "aoi", NOW)
    assert guesses(guard, HOME, "aoi", 20) == 5


def test_success_does_not_forgive_failures_for_other_accounts(guard: AuthGuard) -> None:
    assert guesses(guard, ATTACKER, "rin", 4) == 4
    assert guard.reserve(ATTACKER, "attacker", NOW)
    guard.succeeded(ATTACKER, "attacker", NOW)
    assert [guess(guard, ATTACKER, "rin", f"another {n}") is not None for n in range(2)] == [True, False]


def test_a_saved_password_that_became_wrong_counts_once(guard: AuthGuard) -> None:
    delays = [guess(guard, HOME, "rin", "the old one", NOW + n) for n in range(30)]
    assert None not in delays
    assert guesses(guard, HOME, "rin", 20) == 4


def test_the_delay_doubles_up_to_its_bound_alike_for_names_that_nobody_has(ledger: Ledger) -> None:
    guard = AuthGuard(ledger, PolicySettings())
    for address, name in ((HOME, "rin"), (OFFICE, "nobody")):
        assert [guess(guard, address, name, str(n)) for n in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_the_refusal_is_temporary_and_tells_nothing_about_the_account(guard: AuthGuard) -> None:
    assert (guard.refusal.code, guard.refusal.status) == (454, "4.7.0")
    assert "15 minutes" in guard.refusal.text


def test_aliases_share_the_count_of_their_account(ledger: Ledger) -> None:
    guard = AuthGuard(ledger, SETTINGS, canonical=lambda name: name.partition("@")[0])
    got = [guesses(guard, f"host{n}", "rin" if n % 2 else "rin@example.jp", 2) for n in range(10)]
    assert sum(got) == 8


def _guess_at_once(
    path: Path, number: int, start: multiprocessing.synchronize.Event, seen: multiprocessing.SimpleQueue[int]
) -> None:
    guard = AuthGuard(Ledger(path), SETTINGS)
    start.wait(10)
    seen.put(sum(guard.reserve(ATTACKER, f"user{number}-{n}", NOW) for n in range(100)))


def test_guesses_in_parallel_on_all_processes_get_no_further(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, seen = context.Event(), context.SimpleQueue()
    processes = [context.Process(target=_guess_at_once, args=(tmp_path / "shared", n, start, seen)) for n in range(3)]
    for process in processes:
        process.start()
    start.set()
    assert sum(seen.get() for _ in processes) == 5
    for process in processes:
        process.join()


@pytest.mark.parametrize(
    ("tries", "counted"),
    [
        ([("rin", "PLAIN", b"1"), ("rin", "LOGIN", b"1")], 1),
        ([("rin", "CRAM-MD5", None), ("rin", "PLAIN", b"1"), ("rin", "LOGIN", b"1")], 1),
        ([("rin", "PLAIN", b"1"), ("rin", "SCRAM-SHA-256", None)], 1),
        ([("rin", "PLAIN", b"1"), ("rin", "PLAIN", b"2")], 2),
        ([("rin", "PLAIN", b"1"), ("rin", "LOGIN", b"2")], 2),
        ([("rin", "CRAM-MD5", None), ("rin", "CRAM-MD5", None)], 2),
        ([("rin", "PLAIN", b"1"), ("aoi", "PLAIN", b"1")], 2),
        ([("rin", mechanism, None) for mechanism in ("A", "B", "C", "D", "E")], 3),
        ([("rin", "PLAIN", bytes([n])) for n in range(100)], 100),
    ],
)
def test_one_mistake_in_several_mechanisms_of_a_session_counts_once(
    tries: list[tuple[str, str, bytes | None]], counted: int
) -> None:
    failures = SessionFailures()
    assert sum(not failures.is_repeat(*one) for one in tries) == counted
