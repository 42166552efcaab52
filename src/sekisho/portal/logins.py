"""The logins of browsers, kept in the accounts database and read in its thread."""

from __future__ import annotations

from .errors import Unavailable
from .parts import Accounts, WebSession

__all__ = ["Logins"]


class Logins:
    """`accounts.WebSessions`, from the event loop."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def open(self, account_id: int, *, client: str, second_factor: bool) -> str:
        """Return the token of a new session. Raises Unavailable."""
        raise Unavailable("accounts", "there are no web sessions yet")

    async def find(self, token: str) -> WebSession | None:
        """Return the session that *token* stands for, while it lasts. Raises Unavailable."""
        return None

    async def close(self, token: str) -> None:
        """End one session. Raises Unavailable."""

    async def close_all(self, account_id: int, but: str | None) -> None:
        """End every session of an account but one. Raises Unavailable."""
