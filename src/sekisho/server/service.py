"""`MailServer`: one listener's service inside a mail process, and what all listeners of the process share."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket as sockets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sekisho.accounts import AccountStore, Authenticator
from sekisho.net.tls import ServerTls, TlsFailure
from sekisho.policy import Acquaintances, AuthGuard, ConnectionCounter, Limits
from sekisho.queue import Queue
from sekisho.smtp import Mailbox, Reply, ServerProfile
from sekisho.telemetry import EventLog

from .listener import Conversation
from .session import Session
from .settings import ListenerSettings, RelaySettings

__all__ = ["Kind", "MailServer", "Services"]

Kind = Literal["submission", "submissions", "mx"]

_LETTERS = {"submission": "s", "submissions": "t", "mx": "m"}
SWEEP = 2.0  # seconds between looks at the deadlines of connections

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Services:
    """What the listeners of one mail process share.

    Fields:
        hostname: our name in greeting, EHLO and Received.
        local_domains: domains whose mailboxes are accounts here, in lower case; reloadable.
        postmaster: mailbox that takes mail for the postmaster of a local domain that has none; reloadable.
        relay: networks that may relay through the mx listener; reloadable.
        guide: web address told with refusals that other settings would mend; reloadable.
        now: UTC seconds since the epoch.
    """

    hostname: str
    authenticator: Authenticator
    accounts: AccountStore
    queue: Queue
    limits: Limits
    auth_guard: AuthGuard
    connections: ConnectionCounter
    acquaintances: Acquaintances
    events: EventLog
    local_domains: frozenset[str] = frozenset()
    postmaster: Mailbox | None = None
    relay: RelaySettings = field(default_factory=RelaySettings)
    guide: str | None = None
    now: Callable[[], float] = time.time

    def may_relay(self, address: str) -> bool:
        """Tell whether a client at *address* may send anywhere through the mx listener."""
        if not self.relay.networks:
            return False
        try:
            host = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(host in network for network in self.relay.networks if network.version == host.version)


class MailServer:
    """One listener: accepts connections, knows its settings, sweeps for missed deadlines, drains."""

    def __init__(
        self,
        services: Services,
        settings: ListenerSettings,
        kind: Kind,
        tls: ServerTls | None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.services = services
        self.kind: Kind = kind
        self.loop = loop or asyncio.get_running_loop()
        self.clock = self.loop.time
        self.implicit_tls = kind == "submissions"
        self._conversations: set[Conversation] = set()
        self._listening: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._counter = 0
        self.draining = False
        # start time, mail process, listener: no two sessions of a log share an id
        self._session_prefix = f"{int(services.now() * 1000):x}"[-9:] + f"{services.queue.number}{_LETTERS[kind]}"
        self.reload(settings, tls)

    # ------------------------------------------------------------------ settings

    def reload(self, settings: ListenerSettings, tls: ServerTls | None) -> None:
        """Use *settings* and the certificate in *tls* for everything that begins from now on."""
        if self.implicit_tls and tls is None:
            raise ValueError("the submissions listener needs a certificate")
        self.settings = settings
        self.tls = tls
        self.idle_timeout = float(settings.idle_timeout)
        self.data_timeout = float(settings.data_timeout)
        self._profiles: dict[bool, ServerProfile] = {}

    def profile(self, *, tls: bool) -> ServerProfile:
        """Return what the protocol core offers in this TLS state."""
        profile = self._profiles.get(tls)
        if profile is None:
            profile = self._profiles[tls] = self._make_profile(tls)
        return profile

    def _make_profile(self, tls: bool) -> ServerProfile:
        submission = self.kind != "mx"
        mechanisms: tuple[str, ...] = ()
        if submission:
            mechanisms = self.services.authenticator.mechanisms(
                tls=tls, listener_mechanisms=self.settings.mechanisms, bindings_available=tls
            )
        return ServerProfile(
            hostname=self.services.hostname,
            max_content_octets=int(self.settings.max_message_size),
            max_recipients=self.settings.max_recipients,
            max_transactions=self.settings.max_transactions,
            offer_starttls=not tls and self.tls is not None,
            require_tls=submission and not tls and not mechanisms,
            require_auth=submission,
            mechanisms=mechanisms,
            advice=self.services.guide,
        )

    def greeting_wait(self, address: str) -> float:
        """Return how many seconds to wait for a ClientHello before greeting *address*."""
        if self.kind != "submission" or self.tls is None or self.services.acquaintances.knows(address):
            return 0.0
        return float(self.settings.greeting_wait)

    # ------------------------------------------------------------------ connections

    async def accept_on(self, listening: sockets.socket) -> None:
        """Accept connections from *listening*, which stays open when this server stops."""
        server = await self.loop.create_server(lambda: Conversation(self), sock=listening.dup(), backlog=1024)
        self._listening.append(server)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP, self._sweep)

    def admit(self, conversation: Conversation) -> Reply | None:
        """Count a connection in; a reply means that it must be refused."""
        self._conversations.add(conversation)
        refusal = self.services.connections.opened(
            conversation.address,
            limit=self.settings.max_connections_per_address,
            total=self.settings.max_connections,
        )
        if refusal is not None:
            self.services.events.emit(
                "session.refused", client=conversation.address, listener=self.kind, reply=refusal.text
            )
        return refusal

    def dismiss(self, conversation: Conversation) -> None:
        """Count a connection out."""
        self._conversations.discard(conversation)
        self.services.connections.closed(conversation.address)

    def new_session(self, address: str) -> Session:
        """Make the session of a connection that is let in."""
        self._counter += 1
        return Session(self, f"{self._session_prefix}{self._counter:x}", address)

    def met_tls_first(self, address: str) -> None:
        """Note a client that spoke TLS at once on the STARTTLS port; it is not to be greeted early next time."""
        self.services.acquaintances.forget(address)

    def tls_failed(self, address: str, session: str | None, reason: TlsFailure, problem: str | None = None) -> None:
        """Note a handshake that failed: the self-check tells the person about it."""
        self.services.events.emit(
            "tls.failed", session=session, client=address, listener=self.kind, reason=reason.value, problem=problem
        )

    def failed(self, address: str, session: str | None) -> None:
        """Log our own mistake, the exception at hand, with its traceback; the peer only sees 421 4.3.0."""
        self.services.events.emit(
            "session.failed",
            session=session,
            client=address,
            listener=self.kind,
            reason="internal",
            problem=type(sys.exception()).__name__,
        )
        log.exception("session with %s on %s ended by an internal error", address, self.kind)

    def _sweep(self) -> None:
        now = self.clock()
        for conversation in [c for c in self._conversations if c.active or c.deadline <= now]:
            if conversation.active:
                conversation.renew()
            else:
                conversation.expire()
        self._sweeper = self.loop.call_later(SWEEP, self._sweep)

    # ------------------------------------------------------------------ stopping

    def stop_accepting(self) -> None:
        """Take no more connections; the parent's copy of the socket keeps the backlog for a successor."""
        for server in self._listening:
            server.close()
        self._listening.clear()

    async def drain(self, seconds: float) -> None:
        """Let transactions under way finish, for at most *seconds*; close everything else with 421 4.3.2."""
        self.stop_accepting()
        self.draining = True
        end = self.clock() + seconds
        while self._conversations and self.clock() < end:
            for conversation in list(self._conversations):
                conversation.drain()
            await asyncio.sleep(0.05)
        for conversation in list(self._conversations):
            conversation.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
