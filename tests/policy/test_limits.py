"""Hourly limits: told in the person's terms, charged once, surviving a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

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
