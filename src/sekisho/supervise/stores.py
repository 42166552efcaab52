"""Opening the accounts from outside a worker: commands, `check`, `init` and the demonstration."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from sekisho.accounts import AccountStore

from .sections import Places, Settings


@contextlib.contextmanager
def open_accounts(settings: Settings, where: Places) -> Iterator[AccountStore]:
    """Open the accounts; files that root makes on the way belong to the service user afterwards.

    Raises:
        StoreError: the database is damaged, locked or not readable.
        OSError: the directory is missing or not ours.
    """
    store = AccountStore.open(where.accounts, settings=settings.accounts)
    try:
        yield store
    finally:
        store.close()
        hand_to_owner(where)


def hand_to_owner(where: Places) -> None:
    """Give what root made among the service's files to the owner of their directory: the service must open them."""
    if os.geteuid() != 0:
        return
    for directory, pattern in ((where.accounts.parent, "accounts*"), (where.log, "events-*"), (where.queue, "*/*")):
        if not directory.is_dir():
            continue
        owner = directory.stat()
        for path in directory.glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # SQLite removes its side files when it likes
                if path.lstat().st_uid == 0 != owner.st_uid:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
