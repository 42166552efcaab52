"""How much an account may send in an hour. Counted in the ledger: a restart forgives nothing."""

from __future__ import annotations

import math
from typing import Final

from sekisho.accounts import Account
from sekisho.config import HOUR
from sekisho.smtp import Reply
from sekisho.store.ledger import Ledger

from .settings import PolicySettings

__all__ = ["Limits"]

MESSAGES: Final = "messages"
RECIPIENTS: Final = "messages/recipients"  # beside the messages: one lock for both
BOTH: Final = (MESSAGES, RECIPIENTS)
WINDOW: Final = float(HOUR)

ROOMY_FOR: Final = 1.0  # seconds for which an account far from its limits is not looked at again at MAIL and RCPT
ROOMY_MESSAGES: Final = 100
ROOMY_RECIPIENTS: Final = 2000
REMEMBERED: Final = 10_000


class Limits:
    """The hourly limits: `may_send` at MAIL and RCPT, `charge` right before the commit, `refund` when that fails.

    All refusals are 450 4.7.1, a policy the client may outwait. Not 452: Thunderbird takes that for too many recipients
    and offers to send in parts, which helps nobody here.
    """

    def __init__(self, ledger: Ledger, settings: PolicySettings) -> None:
        self._ledger = ledger
        self._roomy: dict[tuple[str, int, int], float] = {}  # by login and limits: when room for much was seen
        self.settings = settings

    def reload(self, settings: PolicySettings) -> None:
        """Use *settings* from now on."""
        self.settings = settings

    def may_send(self, account: Account, recipients: int, now: float) -> Reply | None:
        """Tell whether a message to *recipients* recipients would pass now. Counts nothing.

        Where there was room for very much a moment ago, there is believed to be enough: `charge` has the last word.
        """
        messages_limit, recipients_limit = self._limits(account)
        login = account.login
        seen = self._roomy.get((login, messages_limit, recipients_limit), -math.inf)
        if 0 <= now - seen < ROOMY_FOR and recipients < ROOMY_RECIPIENTS:
            return None
        peek = self._ledger.peek
        messages_room = recipients_room = math.inf
        if messages_limit:
            messages_room = messages_limit - peek(MESSAGES, login, WINDOW, now)
            if messages_room < 1:
                return self._too_many_messages(login, messages_limit, now)
        if recipients_limit:
            recipients_room = recipients_limit - peek(RECIPIENTS, login, WINDOW, now)
            if recipients_room < recipients:
                return self._too_many_recipients(login, recipients, recipients_limit, now)
        if messages_room >= ROOMY_MESSAGES and recipients_room >= ROOMY_RECIPIENTS:
            if len(self._roomy) >= REMEMBERED:
                self._roomy.clear()
            self._roomy[login, messages_limit, recipients_limit] = now
        return None

    def charge(self, account: Account, recipients: int, now: float) -> Reply | None:
        """Count a message to *recipients* recipients, or return why not: then nothing is counted.

        Sessions in all processes share the counts: no two of them can take the same last place.
        """
        messages_limit, recipients_limit = self._limits(account)
        login = account.login
        most = (messages_limit or math.inf, recipients_limit or math.inf)
        full = self._ledger.reserve_both(BOTH, login, (1, recipients), most, WINDOW, now)
        if full is None:
            return None
        if full == MESSAGES:
            return self._too_many_messages(login, messages_limit, now)
        return self._too_many_recipients(login, recipients, recipients_limit, now)

    def refund(self, account: Account, recipients: int, now: float) -> None:
        """Take a charge back: the message was not accepted after all."""
        self._ledger.refund(MESSAGES, account.login, 1, WINDOW, now)
        self._ledger.refund(RECIPIENTS, account.login, recipients, WINDOW, now)

    def used(self, account: Account, now: float) -> tuple[float, float]:
        """Return the messages and recipients counted over the last hour."""
        peek = self._ledger.peek
        return peek(MESSAGES, account.login, WINDOW, now), peek(RECIPIENTS, account.login, WINDOW, now)

    def _limits(self, account: Account) -> tuple[int, int]:
        """Messages and recipients allowed in an hour; 0 means no limit."""
        settings = self.settings
        messages, recipients = account.messages_per_hour, account.recipients_per_hour
        return (
            settings.messages_per_hour if messages is None else messages,
            settings.recipients_per_hour if recipients is None else recipients,
        )

    def _too_many_messages(self, login: str, limit: int, now: float) -> Reply:
        wait = self._ledger.wait(MESSAGES, login, 1, limit, WINDOW, now)
        text = f"Your account has sent its {limit} messages of this hour; please try again in {_minutes(wait)}"
        return Reply(450, "4.7.1", (text,))

    def _too_many_recipients(self, login: str, recipients: int, limit: int, now: float) -> Reply:
        wait = self._ledger.wait(RECIPIENTS, login, recipients, limit, WINDOW, now)
        if wait == math.inf:
            text = f"Your account may send to {limit} recipients an hour; please send to fewer, or ask your operator"
        else:
            text = (
                f"Your account may send to {limit} recipients an hour and has used them up; "
                f"please try again in {_minutes(wait)}, or send to fewer"
            )
        return Reply(450, "4.7.1", (text,))


def _minutes(seconds: float) -> str:
    minutes = max(1, math.ceil(seconds / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
