"""A store with cheap hashing, and an authenticator over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.accounts import AccountsSettings, AccountStore
from sekisho.config import KIB, Size

CHEAP = AccountsSettings(
    argon2_passes=1, argon2_memory=Size(64 * KIB), scram_iterations=4096, cram_md5=True, channel_binding=True
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AccountStore]:
    opened = AccountStore.open(tmp_path / "accounts.sqlite", settings=CHEAP)
    yield opened
    opened.close()
