"""How much an account may send in an hour. Counted in the ledger: a restart forgives nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
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

ADVANCE: Final = 16  # messages that a busy account is counted for at once: one look at the shared file for all of them
ADVANCE_FOR: Final = 1.0  # seconds until what was not sent of them is taken back
ADVANCE_PART: Final = 100  # an advance is at most this part of a limit, and none is given past half of it


@dataclass(slots=True)
class _Advance:
    """What a busy account was counted for beforehand and has not sent yet."""

    since: float
    limits: tuple[int, int]
    messages: int = 0
    recipients: int = 0


class Limits:
    """The hourly limits: `may_send` at MAIL and RCPT, `charge` right before the commit, `refund` when that fails.

    All refusals are 450 4.7.1, a policy the client may outwait. Not 452: Thunderbird takes that for too many recipients
    and offers to send in parts, which helps nobody here.

    An account that sends several messages a second is counted for some of them beforehand, and never for more than it
    may send: the counts may be too high by a hundredth of the limit for as long as this process has nothing to do.
    """

    def __init__(self, ledger: Ledger, settings: PolicySettings) -> None:
        self._ledger = ledger
        self._roomy: dict[tuple[str, int, int], float] = {}  # by login and limits: when room for much was seen
        self._advances: dict[str, _Advance] = {}  # by login, of those that sent within the last second, oldest first
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
        limits, login = self._limits(account), account.login
        advance = self._advances.get(login)
        if advance is not None:
            if (
                advance.messages
                and advance.recipients >= recipients
                and 0 <= now - advance.since < ADVANCE_FOR
                and advance.limits == limits
            ):
                advance.messages -= 1
                advance.recipients -= recipients
                return None
            self._take_back(login, now)
        if advance is None or not 0 <= now - advance.since < ADVANCE_FOR:
            self._take_back_old(now)
        elif self._count_beforehand(login, limits, recipients, now):
            return None
        messages_limit, recipients_limit = limits
        most = (messages_limit or math.inf, recipients_limit or math.inf)
        full = self._ledger.reserve_both(BOTH, login, (1, recipients), most, WINDOW, now)
        if full is None:
            self._advances[login] = _Advance(now, limits)
            return None
        if full == MESSAGES:
            return self._too_many_messages(login, messages_limit, now)
        return self._too_many_recipients(login, recipients, recipients_limit, now)

    def _count_beforehand(self, login: str, limits: tuple[int, int], recipients: int, now: float) -> bool:
        """Count this message together with some that may follow, where there is plenty of room."""
        messages = ADVANCE
        if limits[0]:
            messages = min(messages, limits[0] // ADVANCE_PART)
        if limits[1]:
            messages = min(messages, limits[1] // ADVANCE_PART // recipients)
        if messages < 2:
            return False
        amounts = (messages, messages * recipients)
        half = (limits[0] / 2 or math.inf, limits[1] / 2 or math.inf)
        if self._ledger.reserve_both(BOTH, login, amounts, half, WINDOW, now) is not None:
            return False
        self._advances[login] = _Advance(now, limits, messages - 1, (messages - 1) * recipients)
        return True

    def _take_back(self, login: str, now: float) -> None:
        advance = self._advances.pop(login)
        if advance.messages:
            self._ledger.refund(MESSAGES, login, advance.messages, WINDOW, now)
        if advance.recipients:
            self._ledger.refund(RECIPIENTS, login, advance.recipients, WINDOW, now)

    def _take_back_old(self, now: float) -> None:
        while self._advances:
            login = next(iter(self._advances))
            if 0 <= now - self._advances[login].since < ADVANCE_FOR:
                break
            self._take_back(login, now)

    def close(self, now: float) -> None:
        """Take back what was counted beforehand; call it before the ledger is closed."""
        for login in list(self._advances):
            self._take_back(login, now)

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
