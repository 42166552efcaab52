"""Settings of policy: how much may be sent, and how many wrong passwords are borne."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sekisho.config import DAY, HOUR, MINUTE, Duration, at_least, between, setting

__all__ = ["PolicySettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicySettings:
    """Policy: how much an account may send, and what happens to those who guess passwords."""

    messages_per_hour: int = setting(
        500,
        "Messages that one account may send in any hour, unless the account has a limit of its own; 0: no limit.",
        reload=True,
        check=at_least(0),
    )
    recipients_per_hour: int = setting(
        2000,
        "Recipients that one account may send to in any hour, unless it has a limit of its own; 0: no limit.",
        reload=True,
        check=at_least(0),
    )
    auth_failures_per_address: int = setting(
        30,
        "Failed logins from one address (IPv6: one /64) within auth_window; further ones are put off unseen. An "
        "account that logged in from there lately has this many for itself.",
        reload=True,
        check=at_least(1),
    )
    auth_failures_per_account: int = setting(
        20,
        "Failed logins to one account, from anywhere, within auth_window; further ones are put off unseen, except from "
        "addresses that logged in to it lately, so that nobody can lock its owner out.",
        reload=True,
        check=at_least(1),
    )
    auth_window: Duration = setting(
        Duration(15 * MINUTE),
        "Failed logins are counted over this long.",
        reload=True,
        check=between(MINUTE, 30 * DAY),
    )
    auth_memory: Duration = setting(
        Duration(30 * DAY),
        "An address that logged in to an account is remembered for this long as one of its owner's.",
        reload=True,
        check=between(HOUR, 365 * DAY),
    )
    auth_delay: Duration = setting(
        Duration(0.5),
        "Wait this long before a failed login is answered; the wait doubles with each further failure of the address.",
        reload=True,
    )
    auth_max_delay: Duration = setting(
        Duration(5.0), "The wait before a failed login is answered grows no longer than this.", reload=True
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        """Settings that contradict each other."""
        if self.auth_max_delay < self.auth_delay:
            yield "auth_max_delay", "is shorter than auth_delay", "Raise it, or lower auth_delay."
