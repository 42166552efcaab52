"""When to try again, and how hard to knock. Pure: time and randomness are arguments.

`Backoff` is about one recipient, `Health` about one destination: how many connections it bears, and for how long it is
left alone after nobody there answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from sekisho.smtp import Reply

__all__ = ["Backoff", "Health"]

JITTER = 0.1  # of the wait, up and down: mail deferred together does not come back together
FIRST_WINDOW = 5.0  # connections at first to a destination we know nothing of


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between attempts, in seconds: *first*, doubled each time, up to *longest*."""

    first: float
    longest: float

    def wait(self, attempts: int, chance: float) -> float:
        """Return the wait after the attempt just made.

        Args:
            attempts: attempts made before this one.
            chance: uniformly random in [0, 1).
        """
        wait = min(self.first * 2.0 ** min(attempts, 30), self.longest)
        return wait * (1.0 - JITTER + 2.0 * JITTER * chance)

    def next_attempt(self, attempts: int, now: float, expires: float, chance: float) -> float | None:
        """Return when to try again, None when the message is at its end.

        The last attempt falls on the moment of expiry, so that a message gets its whole lifetime.
        """
        if now >= expires:
            return None
        return min(now + self.wait(attempts, chance), expires)


class Health:
    """What is known of one destination.

    Fields:
        window: connections it is given; grows with each success, halves when one fails beside others.
        resting_until: nobody answered; until then its mail is deferred without knocking. 0 when it is well.
        reason: what the failed attempt ended with, for the mail deferred meanwhile.
    """

    __slots__ = ("_failures", "reason", "resting_until", "window")

    def __init__(self) -> None:
        self.window = FIRST_WINDOW
        self.resting_until = 0.0
        self.reason: Reply | None = None
        self._failures = 0

    def succeeded(self, limit: int) -> None:
        """Note that a transaction went through, whatever its reply."""
        self._failures = 0
        self.resting_until = 0.0
        if self.window < limit:
            self.window = min(self.window + 1.0 / self.window, float(limit))

    def failed(self, now: float, reason: Reply, rest: Backoff, *, others_connected: bool) -> None:
        """Note that no connection could be made, or that it broke.

        Args:
            rest: how long to leave the destination alone after the first failure, and at most.
            others_connected: connections to the same destination work, so it is busy rather than dead.
        """
        self.window = max(1.0, self.window / 2)
        if others_connected:
            return
        self.reason = reason
        self.resting_until = now + rest.wait(self._failures, 0.5)
        self._failures += 1

    def is_resting(self, now: float) -> bool:
        return now < self.resting_until
