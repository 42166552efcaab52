"""Noting when accounts last logged in."""

import asyncio
from collections.abc import Sequence

from sekisho.accounts.notes import LoginNotes
from sekisho.store import StoreError


def test_logins_are_gathered_and_each_account_is_written_once_in_ten_minutes() -> None:
    async def run() -> None:
        written: list[list[int]] = []
        now = [0.0]
        notes = LoginNotes(lambda accounts: written.append(sorted(accounts)), lambda: now[0])
        for account in (1, 2, 1):
            notes.note(account)
        await notes.close()
        now[0] = 599
        notes.note(1)
        await notes.close()
        now[0] = 600
        notes.note(1)
        await notes.close()
        assert written == [[1, 2], [1]]

    asyncio.run(run())


def test_a_database_that_cannot_be_written_hurts_nobody() -> None:
    def fail(accounts: Sequence[int]) -> None:
        raise StoreError("accounts.sqlite", "no room left on the disk")

    async def run() -> None:
        notes = LoginNotes(fail, lambda: 0.0)
        notes.note(1)
        await notes.close()

    asyncio.run(run())
