"""What waits for one destination, and who carries it there. No I/O: the courier runs the workers.

A worker is one task with at most one connection; it takes job after job and stays idle for a few seconds before it
leaves. A job that finds an idle worker is handed straight to it, so that a message costs no task of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from sekisho.queue import Arrival, Outcome, QueuedMessage, QueuedRecipient
from sekisho.smtp import Mailbox

from .connection import Connection
from .route import Destination
from .schedule import Health

__all__ = ["Content", "Job", "MailQueue", "Pending", "Pool"]

PATIENCE = 0.02  # seconds a job may expect to wait for a busy worker before another connection is opened
STUCK = 1.0  # seconds after which a waiting job gets another worker whatever was expected
FIRST_PACE = 0.05  # seconds per transaction, until measured


class Content(Protocol):
    """The octets of a message, as the queue hands them out."""

    @property
    def octets(self) -> bytes | None:
        """All of it when it is small, else None."""
        ...

    def chunks(self, length: int, /) -> Iterator[bytes]:
        """Read it piece by piece; blocking when it is in a file. Raises ContentDamaged."""
        ...

    def pieces(self, length: int, /) -> Iterator[bytes | None]:
        """The same, with a None in front of every step that may wait for the disk. Raises ContentDamaged."""
        ...


class MailQueue(Protocol):
    """What the courier needs of `sekisho.queue.Queue`."""

    listener: Callable[[QueuedMessage], None] | None

    def content(self, message: QueuedMessage) -> Awaitable[Content]: ...

    def record(
        self, message: QueuedMessage, outcomes: Sequence[Outcome], *, dsn: tuple[Arrival, bytes] | None = None
    ) -> None: ...

    def done_with(self, message: QueuedMessage) -> None: ...


class Pending:
    """One message in delivery, shared by its jobs.

    Fields:
        jobs: not yet settled; at 0 the message leaves the window.
        failures: outcomes that the sender is to be told of. They are recorded together with the DSN, once all jobs are
            settled: one DSN tells of all, and a crash before that only means that these recipients are tried again.
        stuffed: the content ready to send, made once however many transactions carry it.
    """

    __slots__ = ("content", "failures", "jobs", "message", "queue", "stuffed")

    def __init__(self, queue: MailQueue, message: QueuedMessage) -> None:
        self.queue = queue
        self.message = message
        self.jobs = 0
        self.content: Content | None = None
        self.stuffed: bytes | None = None
        self.failures: list[tuple[QueuedRecipient, Outcome]] = []


class Job:
    """Recipients of one message that go to one destination in one transaction.

    Fields:
        mailboxes: to whom each recipient's mail is addressed there: itself, or for local mail the account it means.
        since: loop time at which it began to wait.
        settled: its outcomes are with the queue.
    """

    __slots__ = ("mailboxes", "pending", "recipients", "settled", "since")

    def __init__(self, pending: Pending, recipients: list[QueuedRecipient], since: float) -> None:
        self.pending = pending
        self.recipients = recipients
        self.mailboxes: list[Mailbox] = [recipient.mailbox for recipient in recipients]
        self.since = since
        self.settled = False

    def split_off(self, positions: Sequence[int]) -> Job:
        """Move the recipients at *positions* into a job of their own and return it."""
        moved = Job(self.pending, [self.recipients[at] for at in positions], self.since)
        moved.mailboxes = [self.mailboxes[at] for at in positions]
        gone = frozenset(positions)
        self.recipients = [recipient for at, recipient in enumerate(self.recipients) if at not in gone]
        self.mailboxes = [mailbox for at, mailbox in enumerate(self.mailboxes) if at not in gone]
        self.pending.jobs += 1
        return moved


class Pool:
    """The backlog, the workers and the health of one destination."""

    __slots__ = ("backlog", "connections", "destination", "health", "idle", "pace", "used", "workers")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.health = Health()
        self.backlog: deque[Job] = deque()
        self.workers = 0
        self.idle: list[tuple[asyncio.Future[Job | None], float]] = []
        self.connections: set[Connection] = set()
        self.pace = FIRST_PACE
        self.used = 0.0

    def put(self, job: Job) -> bool:
        """Give *job* to an idle worker, the one that worked last; False when it had to be put into the backlog."""
        while self.idle:
            worker, _ = self.idle.pop()
            if not worker.done():
                worker.set_result(job)
                return True
        self.backlog.append(job)
        return False

    def wants_worker(self, limit: int, now: float) -> bool:
        """Tell whether one more connection is worth opening for the backlog.

        A fast peer gets few connections, since a job's turn comes before a new one would be ready; a slow peer gets
        them at once, as far as *limit* and the destination's health allow.
        """
        if not self.backlog:
            return False
        workers = self.workers
        if workers == 0:
            return True
        if workers >= min(limit, int(self.health.window)):
            return False
        return len(self.backlog) * self.pace > PATIENCE * workers or now - self.backlog[0].since > STUCK

    def measured(self, seconds: float) -> None:
        """Note how long a transaction took."""
        self.pace += (seconds - self.pace) / 8

    async def wait(self, now: float) -> Job | None:
        """Wait, idle, for the next job; None when the worker is to leave."""
        future: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        self.idle.append((future, now))
        return await future

    def dismiss_idle(self, idle_since: float) -> int:
        """Send away the workers idle since *idle_since* or longer; return how many."""
        gone = [entry for entry in self.idle if entry[1] <= idle_since]
        for entry in gone:
            self.idle.remove(entry)
            if not entry[0].done():
                entry[0].set_result(None)
        return len(gone)

    @property
    def others_connected(self) -> bool:
        """True when some connection to this destination is ready for mail."""
        return any(connection.usable and connection.ready for connection in self.connections)
