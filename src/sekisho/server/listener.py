"""The shell around one SMTP session: moves octets between a socket, TLS, the protocol core and the session.

No decision about mail lives here; what lives here is what needs a clock or a socket: TLS, time limits, back-pressure,
the wait before the greeting, and the order of replies while one of them is still being worked out.

A connection costs no timer and no task: `MailServer` sweeps all connections every few seconds, gives those that were
active since then a new deadline, and ends those that missed theirs.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from sekisho.net.tls import ServerTls, TlsError, TlsFailure, TlsPipe, is_client_hello
from sekisho.smtp import Reply, ServerConnection, replies, run_dialogue, take_output

from .session import Pending, Session

if TYPE_CHECKING:
    from .service import MailServer

__all__ = ["Conversation"]

HANDSHAKE_TIMEOUT = 30.0  # seconds for a TLS handshake, as long as slow phones need
LINGER = 10.0  # seconds to let a closing peer take our last reply
BUFFERED = 262_144  # octets of unread input after which a waiting session stops reading


class Conversation(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_early",
        "_ended",
        "_greeted",
        "_paused",
        "_pipe",
        "_reading_paused",
        "_server",
        "_session",
        "_smtp",
        "_tls",
        "_transport",
        "_upgrading",
        "_waiting",
        "active",
        "address",
        "deadline",
    )

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._tls: ServerTls | None = server.tls
        self._pipe: TlsPipe | None = None
        self._transport: asyncio.Transport | None = None
        self._smtp: ServerConnection | None = None
        self._session: Session | None = None
        self._early: bytes | None = None  # octets that came before the greeting
        self._ended = False  # the client has sent its last octet, before the greeting
        self._greeted = False
        self._waiting = False  # an answer is being worked out: no command is taken until it is there
        self._upgrading = False  # STARTTLS was granted, the handshake is not over
        self._paused = False  # the peer does not take our replies
        self._reading_paused = False
        self.active = False  # something went on since the last sweep: its deadline is to be renewed
        self.address = ""
        self.deadline = 0.0

    # ------------------------------------------------------------------ connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the client in, then greet it, start TLS, or wait for a ClientHello."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else "local"
        if self.address.startswith("::ffff:"):
            self.address = self.address[7:]
        server = self._server
        refusal = server.admit(self)
        self._limit(HANDSHAKE_TIMEOUT)
        if refusal is not None:
            self._refuse(refusal)
        elif server.implicit_tls:
            self._start_tls()
        else:
            wait = server.greeting_wait(self.address)
            if wait > 0:
                server.loop.call_later(wait, self._greet)
            else:
                self._greet()

    def _refuse(self, refusal: Reply) -> None:
        transport = self._transport
        assert transport is not None
        if not self._server.implicit_tls:
            transport.write(refusal.wire)
        transport.close()

    def _open_session(self, tls: bool) -> tuple[ServerConnection, Session]:
        session = self._session
        if session is None:
            session = self._session = self._server.new_session(self.address)
        if tls:
            assert self._pipe is not None
            assert self._tls is not None
            session.tls_started(self._pipe.facts(), self._pipe.bindings(self._tls))
        smtp = self._smtp = ServerConnection(self._server.profile(tls=tls), tls=tls)
        session.smtp = smtp
        return smtp, session

    def _greet(self) -> None:
        transport = self._transport
        if self._greeted or transport is None or transport.is_closing() or self._pipe is not None:
            return
        self._greeted = True
        try:
            smtp, session = self._open_session(tls=False)
            smtp.greet()
            early, self._early = self._early, None
            self.active = True
            if self._ended:
                smtp.receive_eof()
            if early or self._ended:
                self._run(smtp, session, early or b"")
            else:
                self._flush()
        except Exception:
            self._fail()

    def connection_lost(self, error: Exception | None) -> None:
        """Count the client out and forget its transaction."""
        self._transport = None
        self._server.dismiss(self)
        if self._pipe is not None and self._pipe.shaking_hands:
            self._handshake_ended(TlsFailure.BROKEN_OFF)
        if self._session is not None:
            self._session.closed(error)
            self._session.smtp = None
        self._smtp = None

    # ------------------------------------------------------------------ input

    def data_received(self, data: bytes) -> None:
        """Take octets from the socket."""
        try:
            pipe = self._pipe
            if pipe is not None:
                data = self._take_in_tls(pipe, data)
                if not data:
                    return
            elif not self._greeted:
                self._before_greeting(data)
                return
            smtp, session = self._smtp, self._session
            if smtp is None or session is None:
                return
            if session.hello is None and pipe is None and is_client_hello(data):
                self._met_tls_too_late()
            elif self._waiting or self._paused:
                smtp.receive_data(data)
                self._pause_reading()
            elif not self._run(smtp, session, data) and smtp.in_content:
                self.active = True  # a command counts when it is complete: its octets, one by one, buy no time
        except Exception:
            self._fail()

    def _take_in_tls(self, pipe: TlsPipe, data: bytes) -> bytes:
        """Return what the client said inside TLS; nothing when TLS itself had to be seen to."""
        was_established = pipe.established
        try:
            plain = pipe.receive(data)
        except TlsError as error:
            self._tls_failed(pipe, error)
            return b""
        if not was_established:
            self._handshake_progress(pipe)
            if self._smtp is None:
                return b""
        elif pipe.output.pending:
            self._answer_in_tls(pipe)
        if pipe.ended and not plain:
            self._close()
        return plain

    def _before_greeting(self, data: bytes) -> None:
        """Tell a ClientHello from a client that talks too early."""
        early = self._early = (self._early or b"") + data
        if self._tls is not None and is_client_hello(early):
            self._early = None
            self._server.met_tls_first(self.address)
            self._start_tls()
            self.data_received(early)
        elif len(early) > BUFFERED:
            self._abandon(replies.TOO_MUCH_TOO_EARLY)

    def _met_tls_too_late(self) -> None:
        """A client that speaks TLS at once was greeted in the clear: it is lost, but not the next time."""
        self._server.met_tls_first(self.address)
        self._server.tls_failed(self.address, self._session_id, TlsFailure.AT_ONCE)
        self._close()

    def _start_tls(self) -> None:
        assert self._tls is not None
        self._pipe = TlsPipe(self._tls)
        self._limit(HANDSHAKE_TIMEOUT)

    def _handshake_progress(self, pipe: TlsPipe) -> None:
        self._answer_in_tls(pipe)
        if not pipe.established:
            return
        self._greeted = True
        upgraded = self._upgrading
        self._upgrading = False
        smtp, _ = self._open_session(tls=True)
        self.active = True
        if not upgraded:
            smtp.greet()
            self._flush()

    def _answer_in_tls(self, pipe: TlsPipe) -> None:
        """Send what TLS itself has to say, such as the answer to a key update: kept, a client could pile it up."""
        outgoing = pipe.outgoing()
        if outgoing and self._transport is not None:
            self._transport.write(outgoing)

    def _tls_failed(self, pipe: TlsPipe, error: TlsError) -> None:
        alert = pipe.outgoing()
        transport = self._transport
        if transport is not None:
            if alert:
                transport.write(alert)
            transport.close()
        self._server.tls_failed(self.address, self._session_id, error.reason, error.problem)

    def _handshake_ended(self, reason: TlsFailure) -> None:
        """The connection ends: tell it when a handshake is under way."""
        pipe = self._pipe
        if pipe is not None and pipe.shaking_hands and not self._server.draining:
            pipe.shaking_hands = False
            self._server.tls_failed(self.address, self._session_id, reason)

    @property
    def _session_id(self) -> str | None:
        return self._session.id if self._session is not None else None

    def eof_received(self) -> bool:
        """Let a half-closed client still have the answers it waits for."""
        transport, smtp = self._transport, self._smtp
        if self._pipe is not None or transport is None or transport.is_closing():
            return False
        if smtp is None:
            self._ended = True
            return not self._greeted
        smtp.receive_eof()
        return self._waiting or self._paused

    # ------------------------------------------------------------------ the dialogue

    def _run(self, smtp: ServerConnection, session: Session, data: bytes = b"") -> bool:
        """Answer everything that can be answered now, then write all replies at once; tell whether there are any."""
        while (pending := run_dialogue(smtp, data, session.decide)) is not None:
            self._wait_for(cast("Pending", pending))
            if self._waiting:
                break
            data = b""
        if session.starting_tls:
            self._upgrade(session)
            return True
        return self._flush()

    def _wait_for(self, pending: Pending) -> None:
        future = pending.future
        if future.done():
            self._answer(pending)
            return
        self._waiting = True
        self.deadline = math.inf  # the wait is ours, not the client's
        future.add_done_callback(lambda _: self._resume(pending))

    def _resume(self, pending: Pending) -> None:
        self._waiting = False
        transport = self._transport
        try:
            if transport is None or transport.is_closing():
                pending.finish()
                return
            self._answer(pending)
            if self._reading_paused and not self._paused:
                self._reading_paused = False
                transport.resume_reading()
            self._go_on()
        except Exception:
            self._fail()

    def _go_on(self) -> None:
        """Take the commands that came while none could be taken."""
        smtp, session = self._smtp, self._session
        if smtp is None or session is None:
            return
        if self._paused:
            self._flush()
        else:
            self._run(smtp, session)

    def _answer(self, pending: Pending) -> None:
        smtp = self._smtp
        answer = pending.finish()
        if smtp is None:
            return
        if isinstance(answer, Reply):
            smtp.reply(answer)
        else:
            smtp.challenge(answer)

    def _upgrade(self, session: Session) -> None:
        session.starting_tls = False
        self._flush()
        self._upgrading = True
        self._smtp = None
        self._start_tls()

    # ------------------------------------------------------------------ output

    def _flush(self) -> bool:
        smtp, transport = self._smtp, self._transport
        if smtp is None or transport is None:
            return False
        octets = take_output(smtp)
        if octets:
            self.active = True
            pipe = self._pipe
            transport.write(octets if pipe is None else pipe.encrypt(octets))
        if smtp.closed:
            self._close()
        return octets != b""

    def _close(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._pipe is not None and not transport.is_closing():
            self._pipe.close()
            outgoing = self._pipe.outgoing()
            if outgoing:
                transport.write(outgoing)
        transport.close()
        self._limit(LINGER)

    def _fail(self) -> None:
        """In an exception handler: tell ourselves what went wrong, and the client that something did."""
        self._server.failed(self.address, self._session_id)
        self._abandon(replies.LOCAL_ERROR_CLOSING)

    def _abandon(self, reply: Reply) -> None:
        """Say *reply* if the dialogue is in a state to say anything, and close."""
        smtp, transport = self._smtp, self._transport
        if transport is None:
            return
        if smtp is not None and not smtp.closed and not self._waiting:
            smtp.close_with(reply)
            try:
                self._flush()
            except Exception:
                transport.abort()
        else:
            transport.close()

    def pause_writing(self) -> None:
        """Stop taking commands: the client does not read its replies."""
        self._paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Go on after the client has caught up."""
        self._paused = False
        if self._transport is not None and self._reading_paused and not self._waiting:
            self._reading_paused = False
            self._transport.resume_reading()
            try:
                self._go_on()
            except Exception:
                self._fail()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    # ------------------------------------------------------------------ time

    def _limit(self, seconds: float) -> None:
        self.active = False
        self.deadline = self._server.clock() + seconds

    def renew(self) -> None:
        """Give a connection that was active its time again; one that waits for us has all the time there is."""
        self.active = False
        if not self._waiting:
            server, session = self._server, self._session
            in_content = session is not None and session.in_content
            self._limit(server.data_timeout if in_content else server.idle_timeout)

    def expire(self) -> None:
        """Close a connection whose deadline has passed."""
        transport = self._transport
        if transport is None:
            return
        self._handshake_ended(TlsFailure.TIMEOUT)
        if transport.is_closing() or self._smtp is None or self._paused:
            transport.abort()
        else:
            self._abandon(replies.IDLE_TIMEOUT)
            self._limit(LINGER)

    def drain(self) -> None:
        """Close as soon as nothing is under way (the service is stopping)."""
        if self._waiting or (self._session is not None and self._session.in_transaction):
            return
        self._abandon(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        """Cut the connection off: the time to stop has come."""
        if self._transport is not None:
            self._transport.abort()
