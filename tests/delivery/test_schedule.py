"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.delivery.schedule import FIRST_WINDOW, JITTER, Backoff, Health
from sekisho.smtp import Reply

BACKOFF = Backoff(300.0, 3600.0)
DOWN = Reply(451, "4.4.1", ("down",))


@pytest.mark.parametrize(("attempts", "wait"), [(0, 300), (1, 600), (2, 1200), (3, 2400), (4, 3600), (1000, 3600)])
def test_waits_double_up_to_the_longest(attempts: int, wait: float) -> None:
    assert BACKOFF.wait(attempts, 0.5) == pytest.approx(wait)


@given(attempts=st.integers(0, 100), chance=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_tenth(attempts: int, chance: float) -> None:
    assert abs(BACKOFF.wait(attempts, chance) / BACKOFF.wait(attempts, 0.5) - 1) <= JITTER + 1e-9


def test_the_last_attempt_falls_on_the_moment_of_expiry() -> None:
    assert BACKOFF.next_attempt(0, 0.0, 1000.0, 0.5) == pytest.approx(300.0)
    assert BACKOFF.next_attempt(5, 0.0, 1000.0, 0.5) == 1000.0
    assert BACKOFF.next_attempt(5, 1000.0, 1000.0, 0.5) is None


def test_a_destination_where_nobody_answers_is_left_alone_longer_each_time() -> None:
    health = Health()
    rest = Backoff(60.0, 900.0)
    until = []
    for _ in range(6):
        health.failed(0.0, DOWN, rest, others_connected=False)
        until.append(health.resting_until)
    assert until == pytest.approx([60, 120, 240, 480, 900, 900])
    assert health.is_resting(899.0)
    assert not health.is_resting(900.0)
    assert health.reason is DOWN
    health.succeeded(20)
    health.failed(1000.0, DOWN, rest, others_connected=False)
    assert health.resting_until == pytest.approx(1060)


def test_a_busy_destination_gets_fewer_connections_but_no_rest() -> None:
    health = Health()
    health.failed(0.0, DOWN, Backoff(60.0, 900.0), others_connected=True)
    assert not health.is_resting(0.0)
    assert health.window == FIRST_WINDOW / 2
    for _ in range(1000):
        health.succeeded(20)
    assert health.window == 20.0
