"""The accounts as the portal has them: away for a while, and back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sekisho.accounts import AccountsSettings, AccountStore
from sekisho.config import KIB, Size
from sekisho.portal.errors import Unavailable
from sekisho.portal.stores import Accounts

CHEAP = AccountsSettings(argon2_passes=1, argon2_memory=Size(64 * KIB), scram_iterations=4096)


def test_accounts_that_were_moved_away_are_not_taken_for_none_and_are_there_when_they_are_back(tmp_path: Path) -> None:
    path, away = tmp_path / "accounts.sqlite", tmp_path / "away"
    store = AccountStore.open(path, settings=CHEAP)
    store.add("rin@example.test", "hana-fubuki")
    store.close()

    async def work() -> None:
        accounts = Accounts.of(path, CHEAP)
        path.rename(away)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await accounts.call(lambda store: store.known("rin"))
        assert not path.exists()
        away.rename(path)
        assert (await accounts.call(lambda store: store.known("rin"))).login == "rin@example.test"
        await accounts.close()

    asyncio.run(work())
