"""The portal's process: where its parts are put together, and what the supervisor says is done.

It starts without rights, as a mail process does, and has no spool: nothing that happens here can lose a message. When
the accounts or the log are away it answers all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sekisho.guide.errors import GuideError
from sekisho.guide.facts import catalog
from sekisho.net.tls import TlsError, server_context
from sekisho.supervise.channel import Channel, Configuration, Drain, Failed, Ready, Reload, Reloaded
from sekisho.supervise.parent import PORTAL, Seat
from sekisho.supervise.provider import provider
from sekisho.supervise.sections import places
from sekisho.telemetry import EventLog, Recall

from .app import make_app
from .gate import RateLimit
from .parts import Parts, portal_card
from .stores import Accounts, Logins
from .tries import Tries
from .visitor import normal_address
from .web import Bounds, Swap, WebServer

__all__ = ["live"]

NICENESS = 10  # mail comes first: pages wait for milliseconds when all cores are busy
START_ERRORS = (GuideError, TlsError, OSError)

try:
    import uvloop

    NEW_LOOP: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:
    NEW_LOOP = asyncio.new_event_loop

log = logging.getLogger(__name__)


def live(seat: Seat, configuration: Configuration, channel: Channel, secret: bytes) -> int:
    """Be the portal until the supervisor says otherwise. Returns the exit status."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with asyncio.Runner(loop_factory=NEW_LOOP) as runner:
        return runner.run(_live(seat, configuration, channel, secret))


async def _live(seat: Seat, configuration: Configuration, channel: Channel, secret: bytes) -> int:
    portal = Portal(seat, secret)
    try:
        portal.start(configuration)
    except START_ERRORS as error:
        channel.send(Failed(str(error)))
        return 1
    stopped: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _stop, stopped, portal.drain_timeout)
    loop.add_reader(channel.socket.fileno(), _listen_to_supervisor, channel, portal, stopped)
    gc.collect()
    gc.freeze()
    channel.send(Ready())
    seconds = await stopped
    loop.remove_reader(channel.socket.fileno())
    await portal.drain(seconds)
    return 0


def _stop(stopped: asyncio.Future[float], seconds: float) -> None:
    if not stopped.done():
        stopped.set_result(seconds)


def _listen_to_supervisor(channel: Channel, portal: Portal, stopped: asyncio.Future[float]) -> None:
    messages = channel.receive()
    if messages is None:  # the supervisor is gone
        asyncio.get_running_loop().remove_reader(channel.socket.fileno())
        _stop(stopped, portal.drain_timeout)
        return
    for message in messages:
        if isinstance(message, Drain):
            _stop(stopped, message.seconds)
        elif isinstance(message, Reload):
            try:
                portal.reload(message.configuration)
            except START_ERRORS as error:
                channel.send(Reloaded(str(error)))
            except Exception as error:
                log.exception("reload failed")
                channel.send(Reloaded(str(error)))
            else:
                channel.send(Reloaded(None))


@dataclass(slots=True)
class _Running:
    """What is open, and outlives a reload."""

    configuration: Configuration
    parts: Parts
    swap: Swap
    limit: RateLimit
    server: WebServer


class Portal:
    """The portal's parts, from start to drain."""

    def __init__(self, seat: Seat, secret: bytes) -> None:
        self._seat = seat
        self._secret = secret
        self._running: _Running | None = None
        self._stopping = threading.Event()

    @property
    def drain_timeout(self) -> float:
        """Seconds that answers under way may take when the service stops."""
        return float(self._now().configuration.settings.service.drain_timeout)

    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the portal is not started")
        return self._running

    def start(self, configuration: Configuration) -> None:
        """Put the pages together, then accept connections.

        Raises:
            one of `START_ERRORS`: the message is the operator's.
        """
        settings = configuration.settings
        where = places(settings)
        tls = _tls(configuration)
        events = EventLog(where.log, settings.log, PORTAL)
        accounts = Accounts.of(where.accounts, settings.accounts)
        parts = Parts(
            settings=settings,
            where=where,
            card=portal_card(settings),
            provider=provider(settings),
            catalog=catalog(),
            accounts=accounts,
            sessions=Logins(accounts, settings.portal),
            tries=Tries(where.ledger, settings.policy, events, time.time),
            recall=Recall(where.log),
            events=events,
            secret=self._secret,
            signer=_signer(configuration),
        )
        threading.Thread(target=parts.recall.follow, args=(self._stopping,), name="recall", daemon=True).start()
        limit = RateLimit()
        swap = Swap(make_app(parts, limit=limit))
        server = WebServer(swap, _bounds(parts), crowded=lambda: events.emit("portal.crowded"))
        self._running = _Running(configuration, parts, swap, limit, server)
        server.start([(each, tls if kind == "https" else None) for kind, each in self._seat.listening])

    def reload(self, configuration: Configuration) -> None:
        """Make the pages anew from *configuration*, around the stores that stay open.

        Raises:
            one of `START_ERRORS`: nothing was changed.
        """
        running, settings = self._now(), configuration.settings
        tls = _tls(configuration)
        parts = replace(
            running.parts,
            settings=settings,
            card=portal_card(settings),
            provider=provider(settings),
            sessions=Logins(running.parts.accounts, settings.portal),
            signer=_signer(configuration),
        )
        app = make_app(parts, limit=running.limit)
        running.configuration, running.parts, running.swap.app = configuration, parts, app
        running.server.bounds = _bounds(parts)
        running.server.use_tls(tls)
        parts.tries.reload(settings.policy)
        parts.events.reload(settings.log)

    async def drain(self, seconds: float) -> None:
        """End well: no new connection, answers under way are finished, files are closed."""
        running = self._now()
        self._stopping.set()
        await running.server.stop(seconds)
        await running.parts.accounts.close()
        running.parts.tries.close()
        running.parts.events.close()


def _tls(configuration: Configuration) -> ssl.SSLContext:
    certificate, key = configuration.certificate or b"", configuration.key or b""
    minimum = configuration.settings.tls.minimum
    return server_context(certificate, key, minimum=minimum, channel_binding=False).context


def _signer(configuration: Configuration) -> tuple[bytes, bytes] | None:
    if configuration.certificate is None or configuration.key is None:
        return None
    return configuration.certificate, configuration.key


def _bounds(parts: Parts) -> Bounds:
    portal, around = parts.settings.portal, parts.around

    def is_proxy(peer: str) -> bool:
        address = normal_address(peer)
        return address is not None and any(address in network for network in around.proxies)

    return Bounds(portal.max_connections, portal.max_connections_per_address, is_proxy)
