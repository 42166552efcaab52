"""What the accounts' settings must not say together."""

from __future__ import annotations

import pytest

from sekisho.accounts import AccountsSettings
from sekisho.config import KIB, Size


@pytest.mark.parametrize(("lanes", "kib", "told"), [(8, 64, []), (9, 64, ["argon2_memory"]), (16, 128, [])])
def test_each_lane_needs_its_memory(lanes: int, kib: int, told: list[str]) -> None:
    """RFC 9106 §3.1: 8 KiB for each lane; with less, no password could be checked."""
    settings = AccountsSettings(argon2_lanes=lanes, argon2_memory=Size(kib * KIB))
    assert [key for key, _, _ in settings.problems()] == told
