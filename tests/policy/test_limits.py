"""Hourly limits: told in the person's terms, charged once, surviving a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sekisho.accounts import Account
from sekisho.policy import Limits, PolicySettings
from sekisho.store.ledger import Ledger

NOW = 1_800_000_000.0
RIN = Account(id=1, login="rin@example.jp")
SETTINGS = PolicySettings(messages_per_hour=3, recipients_per_hour=10)


def test_messages_are_limited_and_the_person_learns_when_to_try_again(ledger: Ledger) -> None:
    limits = Limits(ledger, SETTINGS)
    for _ in range(3):
        assert limits.may_send(RIN, 1, NOW) is None
        assert limits.charge(RIN, 1, NOW) is None
    for refusal in (limits.may_send(RIN, 1, NOW), limits.charge(RIN, 1, NOW)):
        assert refusal is not None
        assert str(refusal) == (
            "450 4.7.1 Your account has sent its 3 messages of this hour; please try again in 80 minutes"
        )
    assert limits.charge(RIN, 1, NOW + 80 * 60) is None


def test_with_much_room_the_early_look_is_saved_and_the_last_word_is_as_exact_as_ever(ledger: Ledger) -> None:
    limits = Limits(ledger, PolicySettings(messages_per_hour=1000, recipients_per_hour=4000))
    others = Limits(ledger, PolicySettings(messages_per_hour=1000, recipients_per_hour=4000))
    assert limits.may_send(RIN, 1, NOW) is None
    assert others.charge(RIN, 4000, NOW) is None  # another process, a moment later
    assert limits.may_send(RIN, 1, NOW + 0.5) is None
    assert limits.charge(RIN, 1, NOW + 0.5) is not None
    assert limits.may_send(RIN, 3000, NOW + 0.5) is not None
    assert limits.may_send(RIN, 1, NOW + 1) is not None
    assert limits.may_send(RIN, 1, NOW - 1) is not None  # the clock was set back
    own = Account(id=1, login="rin@example.jp", messages_per_hour=1)
    assert limits.may_send(own, 1, NOW + 0.5) is not None


def test_recipients_are_limited_and_a_refused_message_is_not_counted(ledger: Ledger) -> None:
    limits = Limits(ledger, SETTINGS)
    assert limits.charge(RIN, 8, NOW) is None
    assert limits.may_send(RIN, 2, NOW) is None
    assert limits.may_send(RIN, 3, NOW) is not None
    refusal = limits.charge(RIN, 3, NOW)
    assert refusal is not None
    assert refusal.code == 450
    assert "10 recipients an hour" in refusal.text
    assert limits.used(RIN, NOW) == (1, 8)


def test_a_message_to_more_than_an_hour_allows_is_not_told_to_wait(ledger: Ledger) -> None:
    refusal = Limits(ledger, SETTINGS).charge(RIN, 11, NOW)
    assert refusal is not None
    assert "try again" not in refusal.text


def test_a_refund_undoes_a_charge(ledger: Ledger) -> None:
    limits = Limits(ledger, SETTINGS)
    assert limits.charge(RIN, 4, NOW) is None
    limits.refund(RIN, 4, NOW + 1)
    assert limits.used(RIN, NOW + 1) == (0, 0)


@pytest.mark.parametrize(("own", "allowed"), [(None, 3), (5, 5), (0, 20)])
def test_an_account_may_have_limits_of_its_own(ledger: Ledger, own: int | None, allowed: int) -> None:
    account = Account(id=1, login="own@example.jp", messages_per_hour=own, recipients_per_hour=0)
    limits = Limits(ledger, SETTINGS)
    passed = sum(limits.charge(account, 1, NOW) is None for _ in range(20))
    assert passed == allowed


def test_a_restart_forgives_nothing_and_a_reload_takes_new_limits(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "own")
    assert Limits(first, SETTINGS).charge(RIN, 10, NOW) is None
    first.close()
    second = Ledger(tmp_path / "own")
    limits = Limits(second, SETTINGS)
    assert limits.may_send(RIN, 1, NOW) is not None
    limits.reload(PolicySettings(recipients_per_hour=11))
    assert limits.may_send(RIN, 1, NOW) is None
    second.close()


LARGE = PolicySettings(messages_per_hour=1000, recipients_per_hour=4000)


def test_a_busy_account_is_counted_beforehand_and_what_it_does_not_send_is_taken_back(ledger: Ledger) -> None:
    limits = Limits(ledger, LARGE)
    assert limits.charge(RIN, 2, NOW) is None
    assert limits.used(RIN, NOW) == (1, 2)
    assert limits.charge(RIN, 2, NOW + 0.1) is None  # the second within a second
    assert limits.used(RIN, NOW + 0.1) == (11, 22)
    assert limits.charge(RIN, 2, NOW + 0.2) is None
    assert limits.used(RIN, NOW + 0.2) == (11, 22)
    assert limits.charge(RIN, 1, NOW + 5) is None
    assert limits.used(RIN, NOW + 5) == (4, 7)


def test_what_was_counted_beforehand_is_taken_back_at_the_end_and_when_others_come(ledger: Ledger) -> None:
    aoi = Account(id=2, login="aoi@example.jp")
    limits = Limits(ledger, LARGE)
    for moment in (0.0, 0.1, 0.2):
        assert limits.charge(RIN, 1, NOW + moment) is None
    assert limits.charge(aoi, 1, NOW + 2) is None
    assert limits.used(RIN, NOW + 2) == (3, 3)
    for moment in (3.0, 3.1, 3.2):
        assert limits.charge(RIN, 1, NOW + moment) is None
    limits.close(NOW + 4)
    assert limits.used(RIN, NOW + 4) == (6, 6)
    assert limits.used(aoi, NOW + 4) == (1, 1)


def test_other_limits_or_a_clock_set_back_end_what_was_counted_beforehand(ledger: Ledger) -> None:
    limits = Limits(ledger, LARGE)
    for moment in (0.0, 0.1, 0.2):
        assert limits.charge(RIN, 1, NOW + moment) is None
    lower = Account(id=1, login="rin@example.jp", messages_per_hour=2)
    assert limits.charge(lower, 1, NOW + 0.3) is not None
    assert limits.used(RIN, NOW + 0.3) == (3, 3)
    for moment in (0.4, 0.5, -1.0):
        assert limits.charge(RIN, 1, NOW + moment) is None


@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.floats(0, 2)), max_size=300),
    settings=st.sampled_from([(200, 0), (0, 2000), (300, 900)]).map(
        lambda most: PolicySettings(messages_per_hour=most[0], recipients_per_hour=most[1])
    ),
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_two_processes_together_let_more_pass_than_the_limit(
    tmp_path: Path, steps: list[tuple[int, int, float]], settings: PolicySettings
) -> None:
    path = tmp_path / "together"
    path.unlink(missing_ok=True)
    first, second = Ledger(path, buckets=8), Ledger(path, buckets=8)
    processes = Limits(first, settings), Limits(second, settings)
    messages = recipients = 0
    now = NOW - NOW % 3600
    for process, count, pause in steps:
        now += pause
        if processes[process].charge(RIN, count, now) is None:
            messages, recipients = messages + 1, recipients + count
    assert messages <= (settings.messages_per_hour or 10**9)
    assert recipients <= (settings.recipients_per_hour or 10**9)
    for each in processes:
        each.close(now)
    assert processes[0].used(RIN, now) == (messages, recipients)
    first.close()
    second.close()
