"""A mail process: the one place where the parts are put together.

It has its own spool, its own event loop and its own connections; what it shares with the other workers are files (the
accounts, the ledger) and the listening sockets' port. It starts without rights and never has the path of the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from sekisho.accounts import AccountStore, Authenticator
from sekisho.delivery import Courier, LocalSettings
from sekisho.net.resolver import Resolver
from sekisho.net.tls import ServerTls, TlsError, server_context
from sekisho.policy import Acquaintances, AuthGuard, ConnectionCounter, Limits
from sekisho.queue import Queue, QueueError, spools_of
from sekisho.server import Kind, MailServer, Services
from sekisho.smtp import Mailbox
from sekisho.store import StoreError
from sekisho.store.ledger import Ledger, LedgerError
from sekisho.telemetry import EventLog, purge

from .channel import Channel, Configuration, Drain, Failed, Ready, Reload, Reloaded
from .control import ControlServer
from .errors import ControlError
from .parent import Seat
from .queues import VERBS, perform, report
from .sections import Places, Settings, listeners, places

DELIVERY_SHARE = 0.5  # of the drain time, for deliveries under way after the sessions have ended
LEAST_DELIVERY = 2.0  # seconds
PURGE_EVERY = 6 * 3600.0  # seconds
START_ERRORS = (QueueError, StoreError, LedgerError, TlsError, OSError)

try:
    import uvloop

    NEW_LOOP: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:  # a platform without uvloop: slower, and the same otherwise
    NEW_LOOP = asyncio.new_event_loop

log = logging.getLogger(__name__)


def run_worker(seat: Seat, configuration: Configuration, channel: Channel) -> int:
    """Be worker *seat* until the supervisor says otherwise. Returns the exit status of the process."""
    _work_in_batches()
    with asyncio.Runner(loop_factory=NEW_LOOP) as runner:
        return runner.run(_live(seat, configuration, channel))


def _work_in_batches() -> None:
    """Let what runs go on when we wake up: under load fewer switches, and more that is done at each."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it, and nothing depends on it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _live(seat: Seat, configuration: Configuration, channel: Channel) -> int:
    worker = MailWorker(seat, configuration)
    try:
        await worker.start()
    except START_ERRORS as error:
        channel.send(Failed(str(error)))
        return 1
    stop = _Stop()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.ask, float(configuration.settings.service.drain_timeout))
    loop.add_reader(channel.socket.fileno(), _listen_to_supervisor, channel, worker, stop)
    gc.collect()
    gc.freeze()
    channel.send(Ready())
    await stop.asked.wait()
    loop.remove_reader(channel.socket.fileno())
    await worker.drain(stop)
    return 0


class _Stop:
    """The order to stop: how long work under way may take. A later order can only shorten it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.deadline = float("inf")

    def ask(self, seconds: float) -> None:
        self.deadline = min(self.deadline, asyncio.get_running_loop().time() + seconds)
        self.asked.set()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


def _listen_to_supervisor(channel: Channel, worker: MailWorker, stop: _Stop) -> None:
    messages = channel.receive()
    if messages is None:  # the supervisor is gone: nobody would replace us, reload us or tell us to end
        asyncio.get_running_loop().remove_reader(channel.socket.fileno())
        stop.ask(worker.drain_timeout)
        return
    for message in messages:
        if isinstance(message, Drain):
            stop.ask(message.seconds)
        elif isinstance(message, Reload):
            try:
                worker.reload(message.configuration)
            except Exception as error:
                log.exception("reload failed")
                channel.send(Reloaded(str(error)))
            else:
                channel.send(Reloaded(None))


@dataclass(slots=True)
class _Parts:
    """What is running, in the order in which it was started."""

    events: EventLog
    ledger: Ledger
    store: AccountStore
    queues: list[Queue]
    services: Services
    servers: list[MailServer]
    courier: Courier
    control: ControlServer


class MailWorker:
    """One worker's parts, from start to drain."""

    def __init__(self, seat: Seat, configuration: Configuration) -> None:
        self._seat = seat
        self._configuration = configuration
        self._where = places(configuration.settings)
        self._channel_binding = configuration.settings.accounts.channel_binding  # until the next restart
        self._started = time.time()
        self._parts: _Parts | None = None
        self._purging: asyncio.Task[None] | None = None

    @property
    def drain_timeout(self) -> float:
        """Seconds that work under way may take when the service stops."""
        return float(self._configuration.settings.service.drain_timeout)

    async def start(self) -> None:
        """Open the stores, recover the spools, then accept connections, last.

        Raises:
            one of `START_ERRORS`: a part could not be started; the message is the operator's.
        """
        settings, where, seat = self._configuration.settings, self._where, self._seat
        tls = self._server_tls(self._configuration)
        events = EventLog(where.log, settings.log, seat.number)
        ledger = Ledger(where.ledger, notice=lambda notice: events.emit("ledger.replaced", detail=notice))
        store = AccountStore.open(where.accounts, settings=settings.accounts)
        queues = self._open_queues(events)
        authenticator = Authenticator(store, settings.accounts, hostname=settings.hostname)
        services = Services(
            hostname=settings.hostname,
            authenticator=authenticator,
            accounts=store,
            queue=queues[0],
            limits=Limits(ledger, settings.policy),
            auth_guard=AuthGuard(ledger, settings.policy),
            connections=ConnectionCounter(seat.workers),
            acquaintances=Acquaintances(),
            events=events,
            local_domains=_local_domains(settings),
            postmaster=_postmaster(settings),
            relay=settings.relay,
            guide=settings.guide.url,
        )
        courier = Courier(
            queues,
            settings.delivery,
            settings.route,
            _local(settings, where),
            Resolver(settings.dns),
            store.mailbox_for,
            events,
            settings.hostname,
            settings.language,
        )
        courier.start()
        for queue in queues:
            queue.start()
        control = ControlServer(where.control_socket(seat.number), self._verbs())
        await control.start()
        self._parts = _Parts(events, ledger, store, queues, services, [], courier, control)
        if seat.number == 0:
            self._purging = asyncio.get_running_loop().create_task(self._purge_logs())
        await self._accept(tls)

    async def _purge_logs(self) -> None:
        """Delete event files past their time, now and every few hours; one worker does it for all."""
        while True:
            keep = self._configuration.settings.log.retention_days
            try:
                await asyncio.to_thread(purge, self._where.log, keep, time.time())
            except OSError as error:
                log.warning("old event files stay: %s", error)
            await asyncio.sleep(PURGE_EVERY)

    def _open_queues(self, events: EventLog) -> list[Queue]:
        """Open this worker's own spool, then those of numbers that have no worker any more."""
        settings, where, seat = self._configuration.settings, self._where, self._seat
        numbers = spools_of(where.queue, seat.number, seat.workers)
        queues = []
        for number in sorted(numbers, key=lambda number: number != seat.number):
            queue = Queue.open(where.queue, settings.queue, number=number, now=time.time)
            queues.append(queue)
            queue.problem = partial(_tell_trouble, events, number)
            events.emit("queue.recovered", spool=number)
        return queues

    async def _accept(self, tls: ServerTls) -> None:
        parts = self._running()
        enabled = listeners(self._configuration.settings)
        servers = {}
        for kind, listening in self._seat.listening:
            if kind not in servers:
                servers[kind] = MailServer(parts.services, enabled[kind], cast("Kind", kind), tls)
                parts.servers.append(servers[kind])
            await servers[kind].accept_on(listening)

    def _server_tls(self, configuration: Configuration) -> ServerTls:
        certificate, key = configuration.certificate or b"", configuration.key or b""
        minimum = configuration.settings.tls.minimum
        return server_context(certificate, key, minimum=minimum, channel_binding=self._channel_binding)

    def _running(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("the worker is not started")
        return self._parts

    def reload(self, configuration: Configuration) -> None:
        """Use what can change without a restart, from the next session, login or delivery on.

        Raises:
            TlsError: certificate and key do not serve; nothing was changed.
        """
        tls = self._server_tls(configuration)
        parts, settings = self._running(), configuration.settings
        self._configuration = configuration
        parts.events.reload(settings.log)
        parts.services.limits.reload(settings.policy)
        parts.services.auth_guard.reload(settings.policy)
        parts.services.local_domains = _local_domains(settings)
        parts.services.postmaster = _postmaster(settings)
        parts.services.relay = settings.relay
        parts.services.guide = settings.guide.url
        every = settings.listener
        kinds = {"submission": every.submission, "submissions": every.submissions, "mx": every.mx}
        for server in parts.servers:
            server.reload(kinds[server.kind], tls)
        parts.courier.reload(settings.delivery, settings.route, _local(settings, self._where))

    async def drain(self, stop: _Stop) -> None:
        """End well: no new connection, sessions and deliveries end, what they brought is on disk, files are closed."""
        parts = self._running()
        for _, listening in self._seat.listening:
            listening.close()
        parts.control.close()
        if self._purging is not None:
            self._purging.cancel()
        for server in parts.servers:
            server.stop_accepting()
        seconds = stop.seconds_left
        await asyncio.gather(*(server.drain(seconds * DELIVERY_SHARE) for server in parts.servers))
        await parts.courier.drain(max(min(seconds, LEAST_DELIVERY), stop.seconds_left))
        for queue in parts.queues:
            await queue.close()
        await parts.services.authenticator.close()
        parts.store.close()
        parts.services.limits.close(time.time())
        parts.ledger.close()
        parts.events.close()

    # What the command line may ask

    def _verbs(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        return {"ping": self._ping, "queue": self._change_queue, "stats": self._stats}

    async def _ping(self, request: Mapping[str, Any]) -> object:
        return {
            "worker": self._seat.number,
            "workers": self._seat.workers,
            "since": self._started,
            "spools": self._spools(),
        }

    def _spools(self) -> list[int]:
        return [queue.number for queue in self._running().queues]

    async def _change_queue(self, request: Mapping[str, Any]) -> object:
        verb, spool, ids, by = request.get("do"), request.get("spool"), request.get("ids"), request.get("by")
        if verb not in VERBS or not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
            raise ControlError("not a request about the queue that this version knows")
        parts = self._running()
        for queue in parts.queues:
            if queue.number == spool:
                done = await perform(queue, str(verb), ids)
                report(parts.events, str(verb), done, by if isinstance(by, str) else None)
                if verb == "retry":
                    parts.courier.wake()
                return done
        raise ControlError(f"spool {spool} is not this worker's")

    async def _stats(self, request: Mapping[str, Any]) -> object:
        parts = self._running()
        return {"worker": self._seat.number, "connections": parts.services.connections.total, "spools": self._spools()}


def _tell_trouble(events: EventLog, spool: int, detail: str) -> None:
    events.emit("queue.trouble", spool=spool, detail=detail)


def _local_domains(settings: Settings) -> frozenset[str]:
    return frozenset(domain.lower() for domain in (*settings.local.domains, settings.hostname))


def _postmaster(settings: Settings) -> Mailbox | None:
    login = settings.local.postmaster
    return Mailbox.parse(login) if login is not None else None


def _local(settings: Settings, where: Places) -> LocalSettings:
    domains = (*settings.local.domains, settings.hostname)  # this host's own postmaster, cron and the like
    return replace(settings.local, maildir=where.maildir, domains=domains)
