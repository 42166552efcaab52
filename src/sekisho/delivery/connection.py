"""The shell of the SMTP client: one socket, its TLS, its deadline. What to say is `sekisho.smtp.client`'s decision.

`open_session` brings a connection to the point where MAIL may be sent; `Connection.transact` then carries one
transaction after another. Within a transaction the callbacks of asyncio feed the core directly, so that a small message
wakes the waiting task once, at its end. There is no timer per command: the courier calls `tick` each second.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from sekisho import sasl
from sekisho.smtp import RemoteProtocolError, Reply, TemporaryFailure
from sekisho.smtp.client import (
    QUIT,
    STARTTLS,
    Capabilities,
    ClientTransaction,
    DotStuffer,
    ReplyParser,
    auth_command,
    auth_response,
    challenge_of,
    hello_command,
)

from .route import Security
from .settings import TlsMode

__all__ = ["AuthRefused", "Connection", "Credentials", "Target", "Timeouts", "TlsFailed", "open_session"]

QUIT_TIMEOUT = 5.0  # seconds; the reply to QUIT changes nothing any more
BLOCK_TIMEOUT = 180.0  # RFC 5321 §4.5.3.2.5: each block of content taken within 3 minutes
TLS_TIMEOUT = 60.0
MAX_CHALLENGES = 10  # no mechanism of ours needs more than three
NEVER = float("inf")


class AuthRefused(TemporaryFailure):
    """The smarthost did not take our credentials. Mail waits; the operator must act."""


class TlsFailed(TemporaryFailure):
    """STARTTLS was offered and did not work; opportunistic delivery may go on in clear."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait: for an address to answer, for the reply to a command, for the reply to the final dot."""

    connect: float
    command: float
    content: float


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a smarthost wants to hear; *mechanisms* limits the choice when not empty."""

    username: str
    password: str
    mechanisms: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one host, and how to speak to it.

    Fields:
        name: the host, as TLS and the log know it.
        address: IP address, or the path of a Unix socket when *port* is None.
        hello: our own name.
    """

    name: str
    address: str
    port: int | None
    hello: str
    security: Security
    credentials: Credentials | None = None
    lmtp: bool = False

    def __str__(self) -> str:
        if self.port is None:
            return self.address
        return (
            f"{self.name}[{self.address}]:{self.port}" if self.name != self.address else f"[{self.address}]:{self.port}"
        )


class Connection(asyncio.Protocol):
    """One connection to a next hop.

    Fields:
        deadline: loop time at which `tick` gives the connection up.
        transactions: begun on this connection.
        usable: nothing happened that forbids another transaction.
        ready: MAIL may be sent; from here on the peer speaks only when it is asked.
        capabilities: what the last EHLO offered.
    """

    def __init__(self, target: Target, timeouts: Timeouts, clock: Callable[[], float]) -> None:
        self.target = target
        self.next_hop = str(target)
        self.capabilities = Capabilities()
        self.deadline = NEVER
        self.transactions = 0
        self.usable = True
        self.ready = False
        self.protected = False
        self._timeouts = timeouts
        self._clock = clock
        self._parser = ReplyParser()
        self._transport: asyncio.Transport | None = None
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._transaction: ClientTransaction | None = None
        self._needs_reset = False
        self._writable: asyncio.Future[None] | None = None
        self._failure: TemporaryFailure | None = None
        self._on_lost: Callable[[], None] | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what uvloop and its TLS give is one, but says it is not

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        try:
            replies = self._parser.receive(data)
            if self._transaction is not None:
                self._advance(self._transaction, replies)
            elif not self.ready:
                self._replies.extend(replies)
                if replies:
                    self._wake()
            elif replies or self._parser.pending:
                self.usable = False  # words nobody asked for: most often "421 idle too long"
                self._close()
        except RemoteProtocolError as error:
            self._fail(f"{self.next_hop} does not speak SMTP: {error}", "5.5.0", 451)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection to {self.next_hop} lost: {exc or 'closed by the peer'}", "4.4.2")
        self.deadline = NEVER
        if self._on_lost is not None:
            self._on_lost()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the courier calls

    async def transact(self, transaction: ClientTransaction, parts: AsyncIterator[bytes] | None = None) -> None:
        """Carry out *transaction*; afterwards its replies are complete.

        Args:
            parts: the content in chunks, when the transaction does not hold it.

        Raises:
            TemporaryFailure: the connection broke or timed out; the transaction tells how far it came.
        """
        if self._failure is not None:
            raise self._failure
        transport = self._connected()
        self.transactions += 1
        self._transaction = transaction
        self.deadline = self._clock() + self._timeouts.command
        try:
            transport.write(transaction.start())
            await self._wait()
            if parts is not None and transaction.content_due:
                await self._stream(transaction, parts)
                if not transaction.finished:
                    await self._wait()
        except BaseException:
            self.usable = False
            raise
        finally:
            self._transaction = None
            self.deadline = NEVER
        self._needs_reset = transaction.needs_reset
        if transaction.must_close:
            self.usable = False

    @property
    def needs_reset(self) -> bool:
        """True when the next transaction must begin with RSET."""
        return self._needs_reset

    async def command(self, octets: bytes) -> Reply:
        """Send one command and return its reply; *octets* empty just waits, for the greeting.

        Raises:
            TemporaryFailure: the connection broke or timed out.
        """
        self.deadline = self._clock() + self._timeouts.command
        if octets:
            self._connected().write(octets)
        while not self._replies:
            await self._wait()
        self.deadline = NEVER
        return self._replies.popleft()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Hand the connection over to TLS, after the peer's 220.

        Raises:
            TlsFailed: the handshake did not succeed; the connection is closed.
        """
        if self._parser.pending or self._replies:
            # RFC 3207 §6: octets that came in clear must not be taken for protected ones.
            self._fail("octets behind the reply to STARTTLS", "4.7.0")
            raise TlsFailed(_reply("4.7.0", "TLS failed"), f"{self.next_hop}: octets behind the reply to STARTTLS")
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._connected(),
                self,
                context,
                server_hostname=self.target.name.strip("[]"),
                ssl_handshake_timeout=TLS_TIMEOUT,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, a name unfit for SNI a ValueError
            self.abort()
            raise TlsFailed(_reply("4.7.5", "TLS failed"), f"{self.next_hop}: TLS failed: {_words(error)}") from error
        if transport is None:
            raise TlsFailed(_reply("4.7.5", "TLS failed"), f"{self.next_hop}: connection lost during TLS")
        self._transport = transport
        self.protected = True

    def tick(self, now: float) -> None:
        """Give up when the deadline has passed."""
        if now >= self.deadline:
            self.deadline = NEVER
            self._fail(f"{self.next_hop} did not answer in time", "4.4.2")
            self.abort()

    def quit(self) -> None:
        """Take leave; the connection closes by itself, at the latest after a few seconds."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.usable or self._failure is not None:
            transport.close()
            return
        self.usable = False
        self.deadline = self._clock() + QUIT_TIMEOUT
        transport.write(QUIT)

    def abort(self) -> None:
        """Close at once, without a word."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Have *tell* called once the socket is closed."""
        self._on_lost = tell

    # Within

    def _advance(self, transaction: ClientTransaction, replies: list[Reply]) -> None:
        for reply in replies:
            if transaction.finished:
                self.usable = False
                break
            octets = transaction.receive(reply)
            if octets:
                self._connected().write(octets)
        if transaction.finished or transaction.content_due:
            self._wake()
        if replies:
            timeouts = self._timeouts
            self.deadline = self._clock() + (timeouts.content if transaction.ending else timeouts.command)

    async def _stream(self, transaction: ClientTransaction, parts: AsyncIterator[bytes]) -> None:
        transport = self._connected()
        stuffer = DotStuffer()
        async for part in parts:
            if transaction.finished:
                return
            if self._failure is not None:
                raise self._failure
            self.deadline = self._clock() + BLOCK_TIMEOUT
            transport.write(stuffer.chunk(part))
            if self._writable is not None:
                await self._writable
        if transaction.finished:
            return
        transport.write(stuffer.end())
        transaction.content_sent()
        self.deadline = self._clock() + self._timeouts.content

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, detail: str, status: str, code: int = 451) -> None:
        """Note why the connection is of no more use; the first reason stands."""
        self.usable = False
        if self._failure is None:
            status = f"4{status[1:]}"
            self._failure = TemporaryFailure(Reply(code, status, (_line(detail),)), detail)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(self._failure)
        self.resume_writing()
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _connected(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("not connected")
        return self._transport


async def open_session(
    target: Target,
    timeouts: Timeouts,
    contexts: Callable[[bool], ssl.SSLContext],
    *,
    clock: Callable[[], float],
    watch: Callable[[Connection], None],
) -> Connection:
    """Connect, greet, protect and log in; the connection returned is ready for MAIL.

    A 5yz before MAIL says something about the host and not about the message, so every failure here is temporary: the
    next host may be better (as Postfix does it).

    Args:
        contexts: makes (or remembers) the TLS context, with or without verification.
        clock: loop time, against which `Connection.deadline` is set.
        watch: told of the connection as soon as it exists; it must call `Connection.tick` about each second.

    Raises:
        TlsFailed: opportunistic TLS broke; try again in clear.
        AuthRefused: the credentials were not taken.
        TemporaryFailure: anything else.
    """
    connection = await _connect(target, timeouts, contexts, clock)
    watch(connection)
    try:
        await _prepare(connection, contexts)
    except BaseException:
        connection.abort()
        raise
    connection.ready = True
    return connection


async def _connect(
    target: Target, timeouts: Timeouts, contexts: Callable[[bool], ssl.SSLContext], clock: Callable[[], float]
) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(target, timeouts, clock)
    security = target.security
    implicit = security.tls is TlsMode.IMPLICIT
    context = contexts(security.verify) if implicit else None
    server_name = target.name.strip("[]") if implicit else None
    try:
        async with asyncio.timeout(timeouts.connect):
            if target.port is None:
                await loop.create_unix_connection(lambda: connection, target.address)
            else:
                await loop.create_connection(
                    lambda: connection, target.address, target.port, ssl=context, server_hostname=server_name
                )
    except TimeoutError as error:
        raise TemporaryFailure(
            _reply("4.4.1", f"{target} did not answer within {timeouts.connect:g} s"), f"{target}: connect timed out"
        ) from error
    except (OSError, ValueError) as error:
        status = "4.7.5" if isinstance(error, ssl.SSLError) else "4.4.1"
        detail = f"cannot connect to {target}: {_words(error)}"
        raise TemporaryFailure(_reply(status, detail), detail) from error
    connection.protected = implicit
    return connection


async def _prepare(connection: Connection, contexts: Callable[[bool], ssl.SSLContext]) -> None:
    target = connection.target
    greeting = await connection.command(b"")
    if greeting.code != 220:
        raise _refused(connection, "the connection", greeting)
    await _hello(connection)
    tls = target.security.tls
    if not connection.protected and tls in (TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED):
        if connection.capabilities.starttls:
            await _start_tls(connection, contexts)
        elif target.security.is_required:
            detail = f"{connection.next_hop} does not offer STARTTLS, and TLS is required"
            raise TemporaryFailure(_reply("4.7.4", detail), detail)
    if target.credentials is not None:
        await _authenticate(connection, target.credentials)


async def _hello(connection: Connection) -> None:
    target = connection.target
    reply = await connection.command(hello_command(target.hello, "LHLO" if target.lmtp else "EHLO"))
    if reply.code == 250:
        connection.capabilities = Capabilities.parse(reply)
        return
    if reply.code >= 500 and not target.lmtp:  # RFC 5321 §3.2: a server without extensions
        reply = await connection.command(hello_command(target.hello, "HELO"))
        if reply.code == 250:
            connection.capabilities = Capabilities()
            return
    raise _refused(connection, "our greeting", reply)


async def _start_tls(connection: Connection, contexts: Callable[[bool], ssl.SSLContext]) -> None:
    security = connection.target.security
    reply = await connection.command(STARTTLS)
    if reply.code == 220:
        await connection.start_tls(contexts(security.verify))
        await _hello(connection)  # RFC 3207 §4.2: what was offered in clear is forgotten
    elif security.is_required:
        raise _refused(connection, "STARTTLS", reply)


async def _authenticate(connection: Connection, credentials: Credentials) -> None:
    offered = connection.capabilities.auth
    mechanism = sasl.choose(offered, credentials.mechanisms, connection.protected)
    if mechanism is None:
        detail = f"{connection.next_hop} offers no fit way to log in (it offers: {' '.join(offered) or 'none'})"
        raise AuthRefused(_reply("4.7.0", detail), detail)
    try:
        exchange = sasl.client(mechanism, credentials.username, credentials.password, os.urandom(18).hex())
        reply = await connection.command(auth_command(mechanism, exchange.initial))
        for _ in range(MAX_CHALLENGES):
            if reply.code != 334:
                break
            reply = await connection.command(auth_response(exchange.respond(challenge_of(reply))))
    except (RemoteProtocolError, sasl.SaslError) as error:
        detail = f"{connection.next_hop} broke the {mechanism} exchange: {error}"
        raise AuthRefused(_reply("4.7.0", detail), detail) from error
    if reply.code != 235:
        failure = _refused(connection, "the login", reply)
        raise AuthRefused(failure.reply, failure.detail)
    if not exchange.done:
        detail = f"{connection.next_hop} took the login without proving itself"
        raise AuthRefused(_reply("4.7.0", detail), detail)


def _refused(connection: Connection, what: str, reply: Reply) -> TemporaryFailure:
    detail = f"{connection.next_hop} refused {what}: {reply.code} {reply.status or ''} {' '.join(reply.lines)}"
    subject = reply.status[1:] if reply.status else ".4.2"
    return TemporaryFailure(_reply(f"4{subject}", detail), detail)


def _reply(status: str, text: str) -> Reply:
    return Reply(451, status, (_line(text),))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:500]


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS error"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
