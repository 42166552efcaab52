"""The courier: takes due messages from the queue, carries them to their next hops, and reports what became of them.

One task per connection, not per message. For each message the courier finds the destinations of its recipients, makes
one job per transaction, and gives it to a worker of that destination's pool; each settled job is recorded at once. A
crash in the middle leaves recipients without an outcome, and so due again: nothing needs to be undone here.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sekisho.net.tls import client_context
from sekisho.queue import ContentDamaged, QueuedMessage
from sekisho.smtp import DeliveryFailure, PermanentFailure, Reply, TemporaryFailure

from . import transaction
from .connection import AuthRefused, Connection, Timeouts
from .hosts import Dialer
from .local import FindAccount, Postbox
from .mx import Lookup
from .pool import Job, MailQueue, Pending, Pool
from .route import Destination, DestinationKind, Router
from .schedule import Backoff
from .settings import DeliverySettings, LocalSettings, RouteSettings
from .settle import Events, Settler

__all__ = ["Courier"]

TICK = 1.0  # seconds between looks at deadlines, idle workers and stuck jobs
MAX_BROKEN = 4  # connections that may break under one job before it is deferred
FIRST_REST, LONGEST_REST = 60.0, 900.0  # seconds a destination is left alone after nobody there answered
FORGET_AFTER = 3600.0  # seconds after which nothing is remembered of a destination without mail
MAILDIR_WORKERS = 2
MAILDIR_BATCH = 64

INTERNAL_ERROR = Reply(451, "4.3.0", ("A problem on this server; the mail is tried again",))
CONTENT_UNREADABLE = Reply(451, "4.3.0", ("The stored message cannot be read at the moment",))
LOOP = Reply(554, "5.4.6", ("The message passed through too many servers; it is in a loop",))  # RFC 5321 §6.3
NO_TRANSPORT = Reply(451, "4.3.5", ("No transport for local mail is configured",))


class Courier:
    """Delivers what its queues hand out. One for each mail process; everything runs in one event loop."""

    def __init__(
        self,
        queues: Iterable[MailQueue],
        settings: DeliverySettings,
        routes: Iterable[RouteSettings],
        local: LocalSettings,
        resolver: Lookup,
        accounts: FindAccount | None,
        events: Events,
        hostname: str,
        language: str,
        *,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        contexts: Callable[[bool], ssl.SSLContext] = client_context,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            accounts: finds the account that a local mailbox belongs to; None takes mail for any local mailbox.
            now: seconds since 1970, UTC, for what is recorded; waits are measured on the loop's clock.
            chance: uniformly random in [0, 1), for jitter.
            contexts: makes a TLS context, with or without verification; each kind is made once.
        """
        self._queues = list(queues)
        self._resolver = resolver
        self._accounts = accounts
        self._events = events
        self._hostname = hostname
        self._make_context = contexts
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._pools: dict[Destination, Pool] = {}
        self._hungry: deque[Pool] = deque()  # pools that would have a worker but for max_connections
        self._connections: set[Connection] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(MAILDIR_WORKERS, thread_name_prefix="maildir")
        self._ticker: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._draining = False
        self._settler = Settler(events, hostname=hostname, language=language, now=now, chance=chance)
        self._configure(settings, routes, local)

    # What the process calls

    def start(self) -> None:
        """Become the listener of the queues and begin to deliver. Call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        for queue in self._queues:
            self.attach(queue)
        self._ticker = self._loop.call_later(TICK, self._tick)

    def attach(self, queue: MailQueue) -> None:
        """Take the mail of one more queue, such as an adopted spool."""
        queue.listener = partial(self.accept_from, queue)

    def accept(self, message: QueuedMessage) -> None:
        """Deliver a message of the first queue; see `accept_from`."""
        self.accept_from(self._queues[0], message)

    def reload(self, settings: DeliverySettings, routes: Iterable[RouteSettings], local: LocalSettings) -> None:
        """Use new settings for all mail that is not under way. Connections made before finish their work and leave."""
        self._configure(settings, routes, local)
        for pool in self._pools.values():
            pool.dismiss_idle(float("inf"))
        self._contexts.clear()

    def wake(self) -> None:
        """Forget which destinations did not answer: the operator wants mail tried now."""
        for pool in self._pools.values():
            pool.health.resting_until = 0.0

    async def drain(self, seconds: float) -> None:
        """Stop: begin nothing new, let transactions under way finish for *seconds*, then break off.

        Recipients without an outcome stay due.
        """
        self._draining = True
        if self._ticker is not None:
            self._ticker.cancel()
        for pool in self._pools.values():
            pool.backlog.clear()
            pool.dismiss_idle(float("inf"))
        running = set(self._workers)
        if running:
            _, running = await asyncio.wait(running, timeout=seconds)
        for worker in running:
            worker.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._settler.close()
        await asyncio.sleep(0)  # lets the last QUIT leave
        for connection in list(self._connections):
            connection.abort()
        self._threads.shutdown(wait=True)

    def accept_from(self, queue: MailQueue, message: QueuedMessage) -> None:
        """Find out where each due recipient's mail goes, and set it on its way."""
        if self._draining:
            return
        pending = Pending(queue, message)
        recipients = message.recipients
        destination_of = self._router.destination
        account, reverse_path = message.account, message.reverse_path
        now = self._loop.time()
        jobs: list[tuple[Destination, Job]]
        if len(recipients) == 1:
            destination = destination_of(account, reverse_path, recipients[0].mailbox)
            jobs = [(destination, Job(pending, recipients, now))]
        else:
            groups: dict[Destination, list[int]] = {}
            for at, recipient in enumerate(recipients):
                groups.setdefault(destination_of(account, reverse_path, recipient.mailbox), []).append(at)
            most = self._settings.recipients_per_transaction
            jobs = [
                (destination, Job(pending, [recipients[at] for at in group[first : first + most]], now))
                for destination, group in groups.items()
                for first in range(0, len(group), most)
            ]
        if not jobs:
            queue.done_with(message)
            return
        pending.jobs = len(jobs)
        for destination, job in jobs:
            self._dispatch(destination, job, now)

    # Pools and workers

    def _configure(self, settings: DeliverySettings, routes: Iterable[RouteSettings], local: LocalSettings) -> None:
        self._settings = settings
        self._router = Router(routes, local, mx_tls=settings.tls, mx_port=settings.mx_port)
        self._postbox = Postbox(local.maildir, self._accounts)
        self._timeouts = Timeouts(settings.connect_timeout, settings.command_timeout, settings.content_timeout)
        self._rest = Backoff(min(settings.first_retry, FIRST_REST), min(settings.max_retry, LONGEST_REST))
        self._settler.backoff = Backoff(settings.first_retry, settings.max_retry)

    def _context(self, verify: bool) -> ssl.SSLContext:
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = self._make_context(verify)
        return context

    def _dispatch(self, destination: Destination, job: Job, now: float) -> None:
        pool = self._pools.get(destination)
        if pool is None:
            pool = self._pools[destination] = Pool(destination)
        pool.used = now
        if pool.health.is_resting(now) and not pool.others_connected:
            # Later, not here: the queue is still handing the message out, and may answer with the next one.
            self._loop.call_soon(self._rest_out, pool, job, now)
        elif destination.kind is DestinationKind.NONE:
            self._loop.call_soon(self._settler.settle, job, [NO_TRANSPORT] * len(job.recipients), "")
        elif not pool.put(job):
            self._staff(pool, now)

    def _staff(self, pool: Pool, now: float) -> None:
        """Start a worker for the backlog of *pool* if it is worth one and there is room for one."""
        limit = self._settings.concurrency_per_destination
        if pool.destination.kind is DestinationKind.MAILDIR:
            limit = MAILDIR_WORKERS
        if not pool.wants_worker(limit, now):
            return
        if len(self._workers) >= self._settings.max_connections:
            if pool not in self._hungry:
                self._hungry.append(pool)
            self._dismiss_one()
            return
        pool.workers += 1
        run = self._file if pool.destination.kind is DestinationKind.MAILDIR else self._carry_all
        worker = self._loop.create_task(run(pool))
        self._workers.add(worker)
        worker.add_done_callback(partial(self._worker_left, pool))

    def _worker_left(self, pool: Pool, worker: asyncio.Task[None]) -> None:
        pool.workers -= 1
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._loop.call_exception_handler({"message": "a delivery worker failed", "exception": error})
        if self._draining:
            return
        now = self._loop.time()
        while self._hungry and len(self._workers) < self._settings.max_connections:
            self._staff(self._hungry.popleft(), now)
        self._staff(pool, now)

    def _dismiss_one(self) -> None:
        for pool in self._pools.values():
            if pool.idle:
                worker, _ = pool.idle.pop(0)
                if not worker.done():
                    worker.set_result(None)
                return

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK, self._tick)
        self._ticks += 1
        now = self._loop.time()
        for connection in list(self._connections):
            connection.tick(now)
        idle_since = now - self._settings.idle_timeout
        for pool in list(self._pools.values()):
            if pool.idle:
                pool.dismiss_idle(idle_since)
            if pool.backlog:
                self._staff(pool, now)
        if self._ticks % 60 == 0:
            for destination, pool in list(self._pools.items()):
                if not pool.workers and not pool.backlog and now - pool.used > FORGET_AFTER:
                    del self._pools[destination]

    def _watch(self, pool: Pool, connection: Connection) -> None:
        self._connections.add(connection)
        pool.connections.add(connection)
        connection.when_lost(partial(self._unwatch, pool, connection))

    def _unwatch(self, pool: Pool, connection: Connection) -> None:
        self._connections.discard(connection)
        pool.connections.discard(connection)

    # Carrying mail to other servers

    async def _carry_all(self, pool: Pool) -> None:
        """Carry job after job over one connection, until none has come for a while."""
        connection: Connection | None = None
        job: Job | None = None
        try:
            while not self._draining:
                if pool.backlog:
                    job = pool.backlog.popleft()
                elif connection is None or not connection.usable:
                    return
                else:
                    job = await pool.wait(self._loop.time())
                    if job is None:
                        return
                connection = await self._carry(pool, job, connection)
                job = None
        except Exception as error:
            self._failed_ourselves([] if job is None else [job], error)
        finally:
            if connection is not None:
                connection.quit()

    async def _carry(self, pool: Pool, job: Job, connection: Connection | None) -> Connection | None:
        """Carry one job to its end, over *connection* or a new one, and return the connection if it can go on."""
        if not await self._ready(job):
            return connection
        if pool.destination.is_local and not self._postbox.admit(job, self._settler):
            return connection
        tried: set[str] = set()
        broken: DeliveryFailure | None = None
        while True:
            if connection is not None and connection.transactions >= self._most_transactions(connection):
                connection.quit()
            reused = connection is not None and connection.usable
            if connection is None or not reused:
                try:
                    connection = await self._dialer().connect(
                        pool.destination, tried, partial(self._watch, pool), broken=broken
                    )
                except DeliveryFailure as failure:
                    self._unreachable(pool, job, failure)
                    return None
            try:
                reply = await transaction.refusal(job.pending, job.mailboxes, connection.capabilities)
                if reply is not None:
                    self._settler.settle(job, [reply] * len(job.recipients), connection.next_hop)
                    return connection
                broken = await self._transact(pool, job, connection, last=len(tried) >= MAX_BROKEN and not reused)
            except BaseException:
                connection.abort()  # it may stand in the middle of a transaction
                raise
            if broken is None:
                return connection if connection.usable else None
            connection = None  # a fresh start: at the same address after a reused connection, else at the next

    def _most_transactions(self, connection: Connection) -> int:
        ours, theirs = self._settings.transactions_per_connection, connection.capabilities.max_transactions
        return ours if theirs is None else min(ours, theirs)  # RFC 9422 §4.1

    def _dialer(self) -> Dialer:
        return Dialer(self._resolver, self._hostname, self._timeouts, self._context, self._loop.time)

    async def _ready(self, job: Job) -> bool:
        """Have the content at hand; False when the job was settled because of what that showed."""
        pending = job.pending
        if pending.content is not None:
            return True
        try:
            pending.content = await pending.queue.content(pending.message)
            received = await transaction.hops_of(pending.content)
        except ContentDamaged as error:
            self._settler.hold(job, str(error))
            return False
        except OSError:
            self._settler.settle(job, [CONTENT_UNREADABLE] * len(job.recipients), "")
            return False
        if received > self._settings.max_received:
            self._settler.settle(job, [LOOP] * len(job.recipients), "")
            return False
        return True

    async def _transact(self, pool: Pool, job: Job, connection: Connection, *, last: bool) -> DeliveryFailure | None:
        """Run one transaction and settle its job; return the failure when another connection is to try instead.

        Args:
            last: settle the job in any case.
        """
        act = transaction.begin(job, connection)
        content = job.pending.content
        assert content is not None
        began = self._loop.time()
        try:
            await connection.transact(act, None if content.octets is not None else transaction.in_parts(content))
        except ContentDamaged as error:
            connection.abort()  # the peer discards what has no final dot
            self._settler.hold(job, str(error))
            return None
        except OSError:
            connection.abort()
            self._settler.settle(job, [CONTENT_UNREADABLE] * len(job.recipients), "")
            return None
        except TemporaryFailure as failure:
            if not act.content_begun and not last:
                return failure
            # Once content was sent, the peer may have taken it: another server at once could mean two copies.
            self._settler.settle(job, [reply or failure.reply for reply in act.replies], connection.next_hop)
            self._failed(pool, failure)
            return None
        replies = [reply for reply in act.replies if reply is not None]
        if act.must_close and not act.content_begun and not last:
            return TemporaryFailure(
                replies[-1]
            )  # 421 before the content: this server, or this connection, has had enough
        pool.measured(self._loop.time() - began)
        pool.health.succeeded(self._settings.concurrency_per_destination)
        if act.over_limit:
            pool.backlog.appendleft(job.split_off(act.over_limit))
            refused = frozenset(act.over_limit)
            replies = [reply for at, reply in enumerate(replies) if at not in refused]
        self._settler.settle(
            job,
            replies,
            connection.next_hop,
            promises=connection.capabilities.dsn,
            final=pool.destination.is_local,
        )
        return None

    def _unreachable(self, pool: Pool, job: Job, failure: DeliveryFailure) -> None:
        """No connection could be made. The destination gets its rest, and so does its whole backlog."""
        detail = failure.detail
        if isinstance(failure, AuthRefused):
            detail = f"the smarthost refused our login, see the password in route {pool.destination.name}: {detail}"
            self._events.emit("delivery.login_refused", route=pool.destination.name, reply=str(failure.reply))
        self._settler.settle(job, [failure.reply] * len(job.recipients), "", detail=detail)
        if isinstance(failure, PermanentFailure):
            return
        self._failed(pool, failure)

    def _failed(self, pool: Pool, failure: DeliveryFailure) -> None:
        now = self._loop.time()
        pool.health.failed(now, failure.reply, self._rest, others_connected=pool.others_connected)
        if pool.health.is_resting(now):
            backlog, pool.backlog = pool.backlog, deque()
            for job in backlog:
                self._rest_out(pool, job, now)

    def _rest_out(self, pool: Pool, job: Job, now: float) -> None:
        reply = pool.health.reason or INTERNAL_ERROR
        rest = pool.health.resting_until - now
        self._settler.settle(job, [reply] * len(job.recipients), "", not_before=rest)

    # Carrying mail into Maildirs

    async def _file(self, pool: Pool) -> None:
        """Write the backlog into Maildirs, many messages per visit to the disk."""
        while pool.backlog and not self._draining:
            jobs = [pool.backlog.popleft() for _ in range(min(len(pool.backlog), MAILDIR_BATCH))]
            try:
                ready = [job for job in jobs if await self._ready(job) and self._postbox.admit(job, self._settler)]
                answers = await self._loop.run_in_executor(self._threads, self._postbox.file, ready)
                for job, replies in zip(ready, answers, strict=True):
                    self._settler.settle(job, replies, "maildir", final=True)
            except Exception as error:
                self._failed_ourselves(jobs, error)

    def _failed_ourselves(self, jobs: Iterable[Job], error: Exception) -> None:
        """The one handler of our own mistakes: the traceback to the program's log, the mail to another attempt."""
        unsettled = [job for job in jobs if not job.settled]
        ids = " ".join(job.pending.message.queue_id for job in unsettled)
        self._loop.call_exception_handler({"message": f"delivery failed unexpectedly: {ids}", "exception": error})
        for job in unsettled:
            self._settler.settle(job, [INTERNAL_ERROR] * len(job.recipients), "")
