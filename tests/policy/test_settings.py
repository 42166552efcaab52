"""Settings of policy that contradict each other are told."""

from __future__ import annotations

from sekisho.config import Duration, rows_of
from sekisho.policy import PolicySettings


def test_the_longest_delay_is_not_shorter_than_the_first() -> None:
    assert list(PolicySettings().problems()) == []
    [(key, _, _)] = PolicySettings(auth_delay=Duration(9.0)).problems()
    assert key in {row.name for row in rows_of(PolicySettings)}
