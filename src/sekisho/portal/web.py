"""The web server's shell: uvicorn's HTTP protocol on our own sockets, with the limits that it lacks.

Connections are accepted here, so that those of one address are counted before a TLS handshake costs anything. A sweep
ends what takes too long: a handshake, a request that does not arrive, a body that trickles, an answer nobody takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from sekisho.policy import ConnectionCounter

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Bounds", "Swap", "WebServer"]

MAX_HEAD = 16 * 1024  # octets of request line and header fields
HANDSHAKE = 10.0  # seconds for TLS
REQUEST = 15.0  # seconds from a connection's first octet, or the last answer, to a whole request header
BODY = 30.0  # seconds for the rest of a form of 64 KiB
ANSWER = 60.0  # seconds for an answer to be made and taken
KEEP_ALIVE = 15  # seconds between requests
SWEEP = 1.0
TELL_EVERY = 60.0
ACCEPT_AT_ONCE = 64
PAUSE = 0.5  # seconds without accepting when the process has no descriptor left

log = logging.getLogger(__name__)


class Swap:
    """The application as the server sees it: another one may take its place between two requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@dataclass(slots=True)
class Bounds:
    """How many connections are taken; reloadable.

    Fields:
        is_proxy: tells whether an address is a web server in front, whose connections are many people's.
    """

    total: int
    per_address: int
    is_proxy: Callable[[str], bool]


class _Connection(H11Protocol):
    """One connection. Its clock is looked at by the sweep, never set for a single request."""

    def __init__(self, *args: Any, peer: str, listed: dict[_Connection, str], ended: Callable[[str], None]) -> None:
        super().__init__(*args)
        self.peer = peer
        self.was_made = False
        self._listed = listed
        self._ended = ended
        self.since = self.loop.time()
        self._state_seen: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.was_made = True
        self._listed[self] = self.peer

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._listed.pop(self, None) is not None:
            self._ended(self.peer)

    def is_overdue(self, now: float) -> bool:
        """Tell whether the present step takes longer than it may; called about once a second."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request, whatever its type says
        if cycle is None or cycle.response_complete:
            state: object = ("head", id(cycle))
            allowed = REQUEST
        elif cycle.more_body:
            state, allowed = ("body", id(cycle)), BODY
        else:
            state, allowed = ("answer", id(cycle)), ANSWER
        if state != self._state_seen:
            self._state_seen, self.since = state, now
            return False
        return now - self.since > allowed

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()


class WebServer:
    """Serves one application on inherited sockets."""

    def __init__(self, app: ASGIApp, bounds: Bounds, *, crowded: Callable[[], None]) -> None:
        """*crowded* is told, at most once a minute, that connections were closed unheard."""
        self.bounds = bounds
        self._crowded = crowded
        self._told = -TELL_EVERY
        self._config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self._config.load()
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what a stranger sends is no news
        self._state = ServerState()
        self._open: dict[_Connection, str] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._counter = ConnectionCounter()
        self._listening: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._tls: dict[int, ssl.SSLContext] = {}

    def start(self, listening: list[tuple[socket.socket, ssl.SSLContext | None]]) -> None:
        """Accept connections on *listening*, each with or without TLS."""
        loop = asyncio.get_running_loop()
        self._tick()
        self._sweeping = loop.create_task(self._sweep())
        for each, context in listening:
            each.setblocking(False)
            self._listening.append(each)
            if context is not None:
                self._tls[each.fileno()] = context
            loop.add_reader(each.fileno(), self._accept, each)

    @property
    def connections(self) -> int:
        """How many are open, those in their TLS handshake left out."""
        return len(self._open)

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Use another certificate from the next connection on."""
        self._tls = dict.fromkeys(self._tls, context)

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, let answers under way be finished for at most *seconds*, then end everything."""
        loop = asyncio.get_running_loop()
        for each in self._listening:
            loop.remove_reader(each.fileno())
            each.close()
        self._listening.clear()
        for task in self._handshakes:
            task.cancel()
        for connection in list(self._open):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        for connection in list(self._open):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    # Accepting

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            self._take(accepted, str(peer[0]), self._tls.get(listening.fileno()))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        log.warning("no connection can be accepted for a moment: %s", error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())

        def again() -> None:
            if listening in self._listening:
                loop.add_reader(listening.fileno(), self._accept, listening)

        loop.call_later(PAUSE, again)

    def _take(self, accepted: socket.socket, peer: str, tls: ssl.SSLContext | None) -> None:
        bounds = self.bounds
        per_address = bounds.total if bounds.is_proxy(peer) else bounds.per_address
        if self._counter.opened(peer, limit=per_address, total=bounds.total) is not None:
            self._counter.closed(peer)
            accepted.close()
            self._tell_crowded()
            return
        self._idle.clear()
        accepted.setblocking(False)
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self._config, self._state, {}, peer=peer, listed=self._open, ended=self._ended)
        task = asyncio.get_running_loop().create_task(self._connect(connection, accepted, tls))
        self._handshakes.add(task)
        task.add_done_callback(lambda task: self._connected(task, connection, accepted))

    def _tell_crowded(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self._crowded()

    async def _connect(self, connection: _Connection, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):  # no TLS, or gone
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=HANDSHAKE if tls is not None else None
            )

    def _connected(self, task: asyncio.Task[None], connection: _Connection, accepted: socket.socket) -> None:
        """The handshake is over, in whatever way; also when its task was cancelled before it began."""
        self._handshakes.discard(task)
        if not connection.was_made:  # `connection_lost` will not be called either
            accepted.close()
            self._ended(connection.peer)
        elif task.cancelled():
            connection.abort()

    def _ended(self, peer: str) -> None:
        self._counter.closed(peer)
        if not self._counter.total:
            self._idle.set()

    # Time

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._tick()
            now = asyncio.get_running_loop().time()
            for connection in [each for each in self._open if each.is_overdue(now)]:
                connection.abort()

    def _tick(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
