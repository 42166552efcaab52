"""From the replies of a next hop to what is recorded: outcomes, events, DSNs."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from sekisho.queue import Arrival, ContentDamaged, Outcome, QueuedRecipient, State
from sekisho.smtp import Reply

from . import dsn
from .pool import Job, Pending
from .schedule import Backoff
from .transaction import beginning

__all__ = ["Events", "Settler"]

DAMAGED = "451 4.3.0 The stored message is damaged; it waits for the operator"
REPORT_FAILED = "451 4.3.0 The report to the sender could not be made; it is tried again"

MAX_TEXT = 1000  # characters kept of a peer's reply: it is written for each recipient, and again in the DSN

_EVENTS = {
    State.DELIVERED: "delivery.delivered",
    State.DEFERRED: "delivery.deferred",
    State.FAILED: "delivery.failed",
    State.EXPIRED: "delivery.expired",
}


class Events(Protocol):
    """Where operational events go (`sekisho.telemetry.EventLog`)."""

    def emit(self, event: str, /, **fields: object) -> None: ...


class Settler:
    """Settles jobs: each recipient gets its outcome, the operator an event, the sender a DSN where one is due.

    Fields:
        backoff: when a deferred recipient is tried again.
    """

    def __init__(
        self,
        events: Events,
        *,
        hostname: str,
        language: str,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.backoff = Backoff(300.0, 3600.0)
        self._events = events
        self._hostname = hostname
        self._language = language
        self._now = now
        self._chance = chance
        self._reports: set[asyncio.Task[None]] = set()

    def settle(
        self,
        job: Job,
        replies: Sequence[Reply],
        next_hop: str,
        *,
        promises: bool = False,
        final: bool = False,
        not_before: float = 0.0,
        detail: str = "",
    ) -> None:
        """Record what *replies* mean for the recipients of *job*, in their order.

        Args:
            next_hop: who spoke, "" when nobody was reached.
            promises: the next hop takes over the duty to send DSNs (RFC 3461 §5.2.1).
            final: delivered means that the mail is in its mailbox.
            not_before: seconds from now before which nothing is tried again.
            detail: for the event alone.
        """
        pending = job.pending
        message = pending.message
        now = self._now()
        outcomes: list[Outcome] = []
        reached: list[tuple[QueuedRecipient, Outcome]] = []
        told: dict[tuple[State, str], list[QueuedRecipient]] = {}
        earliest: float | None = None
        last: Reply | None = None
        text = ""
        for recipient, reply in zip(job.recipients, replies, strict=True):
            if reply is not last:
                last, text = reply, str(reply)[:MAX_TEXT]
            state, next_attempt = self._judge(reply, recipient, message.expires, now, not_before)
            outcome = Outcome(recipient.number, state, text, next_hop, now, next_attempt)
            if state is State.DELIVERED:
                if recipient.notify and not promises and dsn.wants_success(message, recipient):
                    reached.append((recipient, outcome))
                else:
                    outcomes.append(outcome)
            elif state is not State.DEFERRED and dsn.wants_failure(message, recipient):
                pending.failures.append((recipient, outcome))
            else:
                outcomes.append(outcome)
                earliest = next_attempt if earliest is None else min(earliest, next_attempt or earliest)
            told.setdefault((state, text), []).append(recipient)
        if outcomes:
            pending.queue.record(message, outcomes)
        if reached:
            pending.jobs += 1
            self._start(self._report_reached(pending, reached, relayed=not final))
        self._tell(pending, told, next_hop, now, earliest, detail)
        self._done(job)

    def hold(self, job: Job, detail: str) -> None:
        """Hold the recipients of *job*: the stored message is damaged, and no attempt will mend it."""
        pending = job.pending
        now = self._now()
        outcomes = [Outcome(recipient.number, State.HELD, DAMAGED, "", now) for recipient in job.recipients]
        pending.queue.record(pending.message, outcomes)
        self._events.emit("queue.damaged", queue_id=pending.message.queue_id, detail=detail)
        self._done(job)

    async def close(self) -> None:
        """Wait for the DSNs that are being made."""
        while self._reports:
            await asyncio.wait(self._reports)

    def _judge(
        self, reply: Reply, recipient: QueuedRecipient, expires: float, now: float, not_before: float
    ) -> tuple[State, float | None]:
        if reply.code < 400:
            return State.DELIVERED, None
        if reply.code >= 500:
            return State.FAILED, None
        next_attempt = self.backoff.next_attempt(recipient.attempts, now, expires, self._chance())
        if next_attempt is None:
            return State.EXPIRED, None
        return State.DEFERRED, min(max(next_attempt, now + not_before), expires)

    def _tell(
        self,
        pending: Pending,
        told: dict[tuple[State, str], list[QueuedRecipient]],
        next_hop: str,
        now: float,
        next_attempt: float | None,
        detail: str,
    ) -> None:
        message = pending.message
        for (state, text), recipients in told.items():
            fields: dict[str, object] = {
                "queue_id": message.queue_id,
                "recipients": [str(recipient.mailbox) for recipient in recipients],
                "next_hop": next_hop,
                "reply": text,
                "delay": round(now - message.arrived, 3),
            }
            if detail:
                fields["detail"] = detail
            if next_attempt is not None and state is State.DEFERRED:
                fields["next_attempt"] = next_attempt
            if message.session.startswith(dsn.REPORT_ON):
                fields["reported_queue_id"] = message.session.removeprefix(dsn.REPORT_ON)  # joins both in a trace
            self._events.emit(_EVENTS[state], **fields)
            if message.reverse_path is None and state in (State.FAILED, State.EXPIRED):
                self._events.emit("dsn.dropped", queue_id=message.queue_id)

    def _done(self, job: Job) -> None:
        job.settled = True
        self._one_less(job.pending)

    def _one_less(self, pending: Pending) -> None:
        pending.jobs -= 1
        if pending.jobs:
            return
        if pending.failures:
            self._start(self._report_failures(pending))
        else:
            pending.queue.done_with(pending.message)

    def _start(self, report: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(report)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report_failures(self, pending: Pending) -> None:
        """Record the failures kept back, in one transaction with the DSN that tells of them."""
        outcomes = [outcome for _, outcome in pending.failures]
        try:
            report = await self._compose(pending, pending.failures)
        except Exception as error:  # the sender must hear of it; so it fails again later, and is reported then
            self._unreported(error)
            outcomes = [self._later(outcome) for outcome in outcomes]
            report = None
        self._record(pending, outcomes, report)
        pending.queue.done_with(pending.message)

    async def _report_reached(
        self, pending: Pending, reached: list[tuple[QueuedRecipient, Outcome]], *, relayed: bool
    ) -> None:
        try:
            report = await self._compose(pending, reached, relayed=relayed)
        except Exception as error:  # the mail is delivered: that is recorded in any case
            self._unreported(error)
            report = None
        self._record(pending, [outcome for _, outcome in reached], report)
        self._one_less(pending)

    async def _compose(
        self, pending: Pending, told: Sequence[tuple[QueuedRecipient, Outcome]], *, relayed: bool = False
    ) -> tuple[Arrival, bytes]:
        message = pending.message
        try:
            if pending.content is None:
                pending.content = await pending.queue.content(message)
            content = await beginning(pending.content, dsn.MAX_RETURNED)
        except (ContentDamaged, OSError):
            content = b""  # the report matters more than what it returns
        return dsn.compose(
            message,
            told,
            content,
            hostname=self._hostname,
            language=self._language,
            now=self._now(),
            token=secrets.token_hex(12),
            relayed=relayed,
        )

    def _record(self, pending: Pending, outcomes: list[Outcome], report: tuple[Arrival, bytes] | None) -> None:
        pending.queue.record(pending.message, outcomes, dsn=report)
        if report is not None:
            message = pending.message
            self._events.emit(
                "dsn.queued", queue_id=message.queue_id, recipient=str(message.reverse_path), reported=len(outcomes)
            )

    def _unreported(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a DSN could not be made", "exception": error})

    def _later(self, outcome: Outcome) -> Outcome:
        return dataclasses.replace(
            outcome, state=State.DEFERRED, reply=REPORT_FAILED, next_attempt=self._now() + self.backoff.longest
        )
