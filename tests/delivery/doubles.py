"""Doubles for delivery: a queue in memory, a fixed resolver, a next hop on a loopback port that does as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
import uvloop

from sekisho.net.resolver import Addresses, MailExchangers, NoSuchDomain, ResolverTemporary
from sekisho.queue import Arrival, Outcome, QueuedMessage, QueuedRecipient, QueueId, State
from sekisho.smtp import Body, Mailbox

T = TypeVar("T")
NOW = 1_700_000_000.0
CONTENT = b"From: rin@example.jp\r\nSubject: hello\r\n\r\nfirst line\r\n.second line\r\n"


class FixedLookup:
    """A resolver that knows a few names. "?" as the only entry means that the servers do not answer."""

    def __init__(
        self,
        mx: dict[str, list[tuple[int, str]]] | None = None,
        hosts: dict[str, list[str]] | None = None,
    ) -> None:
        self.mx = mx or {}
        self.hosts = hosts or {}
        self.asked: list[str] = []

    async def mail_exchangers(self, domain: str) -> MailExchangers:
        self.asked.append(domain)
        if domain not in self.mx:
            if domain in self.hosts:
                return MailExchangers((), False)
            raise NoSuchDomain(domain, "no such domain")
        if self.mx[domain] == [(0, "?")]:
            raise ResolverTemporary(domain, "no answer in time")
        return MailExchangers(tuple(self.mx[domain]), False)

    async def addresses(self, host: str) -> Addresses:
        if host not in self.hosts:
            raise NoSuchDomain(host, "no such domain")
        if self.hosts[host] == ["?"]:
            raise ResolverTemporary(host, "no answer in time")
        return Addresses(tuple(self.hosts[host]), False)


@dataclass
class MemoryContent:
    """Content in memory, or, when *large*, only in chunks."""

    whole: bytes
    large: bool = False

    @property
    def octets(self) -> bytes | None:
        return None if self.large else self.whole

    def chunks(self, length: int, /) -> Iterator[bytes]:
        for at in range(0, len(self.whole), length):
            yield self.whole[at : at + length]

    def pieces(self, length: int, /) -> Iterator[bytes | None]:
        for chunk in self.chunks(length):
            yield None
            yield chunk


class MemoryQueue:
    """Hands out messages and remembers what became of them."""

    def __init__(self, content: bytes = CONTENT, *, large: bool = False) -> None:
        self.listener: Callable[[QueuedMessage], None] | None = None
        self.stored: MemoryContent | Exception = MemoryContent(content, large)
        self.recorded: list[tuple[QueuedMessage, Outcome]] = []
        self.reports: list[tuple[Arrival, bytes]] = []
        self.done: list[QueuedMessage] = []
        self._changed = asyncio.Event()

    async def content(self, message: QueuedMessage) -> MemoryContent:
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored

    def record(
        self, message: QueuedMessage, outcomes: Sequence[Outcome], *, dsn: tuple[Arrival, bytes] | None = None
    ) -> None:
        assert message not in self.done, "an outcome after the message left the window"
        self.recorded += [(message, outcome) for outcome in outcomes]
        if dsn is not None:
            self.reports.append(dsn)

    def done_with(self, message: QueuedMessage) -> None:
        assert message not in self.done, "the message left the window twice"
        self.done.append(message)
        self._changed.set()

    async def all_done(self, count: int, seconds: float = 5.0) -> None:
        """Wait until *count* messages left the window; each with exactly one outcome for each recipient."""
        async with asyncio.timeout(seconds):
            while len(self.done) < count:
                self._changed.clear()
                await self._changed.wait()
        for message in self.done:
            outcomes = sorted(outcome.recipient for owner, outcome in self.recorded if owner is message)
            assert outcomes == sorted(recipient.number for recipient in message.recipients)

    def states(self) -> list[State]:
        return [outcome.state for _, outcome in sorted(self.recorded, key=lambda entry: entry[1].recipient)]

    def outcomes(self) -> list[Outcome]:
        return [outcome for _, outcome in sorted(self.recorded, key=lambda entry: entry[1].recipient)]


class Events:
    """Remembers what was emitted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def emit(self, event: str, /, **fields: object) -> None:
        self.seen.append((event, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


class Stage:
    """Runs a coroutine on the loop under test; uvloop serves mail, asyncio where uvloop does not exist."""

    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

    @classmethod
    def run(cls, body: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=cls.new_loop) as runner:
            return runner.run(body)


_numbers = iter(range(1, 1_000_000))


def message_to(
    *recipients: str,
    sender: str | None = "rin@example.jp",
    account: str | None = None,
    notify: str | None = None,
    size: int = len(CONTENT),
    attempts: int = 0,
    expires: float = NOW + 432_000,
    body: Body = Body.SEVENBIT,
    smtputf8: bool = False,
    ret: str | None = None,
) -> QueuedMessage:
    number = next(_numbers)
    return QueuedMessage(
        number=number,
        queue_id=QueueId(f"{number:010}"),
        reverse_path=Mailbox.parse(sender, utf8=True) if sender is not None else None,
        body=body,
        smtputf8=smtputf8,
        ret=ret,
        envid=None,
        account=account,
        session="s",
        arrived=NOW - 10,
        expires=expires,
        size=size,
        recipients=[
            QueuedRecipient(at, Mailbox.parse(text, utf8=True), notify, None, attempts, None)
            for at, text in enumerate(recipients)
        ],
    )


Answer = bytes | None | Callable[["Session", bytes], bytes | None]
"""Octets to send; None closes the connection; a function decides."""


@dataclass
class Peer:
    """What a next hop offers and how it answers.

    Fields:
        answers: by the beginning of a command, upper case; the longest match wins. "" answers the connection, "." the
            final dot.
        tls: for STARTTLS.
    """

    offers: tuple[str, ...] = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 1000000")
    answers: dict[str, Answer] = field(default_factory=dict)
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    sessions: list[Session] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def transactions(self) -> list[tuple[list[str], bytes]]:
        """The recipients and the content of each message taken, over all connections."""
        return [taken for session in self.sessions for taken in session.taken]

    def commands(self) -> list[str]:
        return [command for session in self.sessions for command in session.commands]

    async def heard(self, verb: str) -> None:
        """Wait until a command begins with *verb*."""
        async with asyncio.timeout(5.0):
            while not any(command.startswith(verb) for command in self.commands()):
                self.news.clear()
                await self.news.wait()


class Session(asyncio.Protocol):
    """One connection to a `Peer`."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.commands: list[str] = []
        self.packets: list[bytes] = []
        self.taken: list[tuple[list[str], bytes]] = []
        self.recipients: list[str] = []
        self.protected = False
        self._upgrading = False
        self._buffer = b""
        self._content: bytes | None = None
        peer.sessions.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one, but says it is not
        self._send(self._choose("", b"220 mx.example ESMTP\r\n", b""))

    def data_received(self, data: bytes) -> None:
        self.packets.append(data)
        self._buffer += data
        if not self._upgrading:
            self._work()

    def _work(self) -> None:
        while not self.transport.is_closing():
            if self._content is not None:
                if not self._take_content():
                    return
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return
            self._buffer = rest
            self._command(line)

    def _command(self, line: bytes) -> None:
        text = line.decode()
        self.commands.append(text)
        self.peer.news.set()
        verb = text[:4].upper()
        default: bytes | None = b"250 2.0.0 Ok\r\n"
        if verb in ("EHLO", "LHLO"):
            offers = [word for word in self.peer.offers if not (self.protected and word == "STARTTLS")]
            lines = ["mx.example", *offers]
            default = b"".join(
                f"250{'-' if at < len(lines) - 1 else ' '}{word}\r\n".encode() for at, word in enumerate(lines)
            )
        elif verb == "MAIL":
            self.recipients = []
        elif verb == "STAR":
            default = b"220 2.0.0 go\r\n"
        elif verb == "DATA":
            default = b"354 go\r\n" if self.recipients else b"554 5.5.1 no valid recipients\r\n"
        elif verb == "QUIT":
            default = b"221 2.0.0 Bye\r\n"
        answer = self._choose(text.upper(), default, line)
        if verb == "RCPT" and answer is not None and answer.startswith(b"25"):
            self.recipients.append(text)
        if verb == "DATA" and answer is not None and answer.startswith(b"354"):
            self._content = b""
        self._send(answer)
        if verb == "QUIT":
            self.transport.close()
        if verb == "STAR" and answer is not None and answer.startswith(b"220") and self.peer.tls is not None:
            self._upgrading = True
            self._upgrade = asyncio.get_running_loop().create_task(self._start_tls(self.peer.tls))

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        try:
            transport = await asyncio.get_running_loop().start_tls(self.transport, self, context, server_side=True)
        except OSError:
            return
        assert transport is not None
        self.transport = transport
        self.protected = True
        self._upgrading = False
        self._work()

    def _take_content(self) -> bool:
        end = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n")
        if end < 0:
            return False
        content, self._buffer = self._buffer[: end + 2 if end else 0], self._buffer[end + (5 if end else 3) :]
        self._content = None
        lines = content.split(b"\r\n")
        content = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        default = b"250 2.0.0 queued\r\n" * (len(self.recipients) if self.peer.lmtp else 1)
        answer = self._choose(".", default, content)
        if answer is not None and answer.startswith(b"2"):
            self.taken.append((self.recipients, content))
        self._send(answer)
        return True

    def _choose(self, text: str, default: bytes | None, octets: bytes) -> bytes | None:
        if text in ("", "."):
            keys = [text] if text in self.peer.answers else []
        else:
            keys = [key for key in self.peer.answers if key not in ("", ".") and text.startswith(key)]
        if not keys:
            return default
        answer = self.peer.answers[max(keys, key=len)]
        return answer(self, octets) if callable(answer) else answer

    def _send(self, answer: bytes | None) -> None:
        if answer is None:
            self.transport.close()
        elif answer:
            self.transport.write(answer)


@asynccontextmanager
async def listening(peer: Peer, path: str | None = None, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Run *peer* on a loopback port (kept in ``peer.port``) or on a Unix socket."""
    loop = asyncio.get_running_loop()
    if path is not None:
        server = await loop.create_unix_server(lambda: Session(peer), path)
    else:
        server = await loop.create_server(lambda: Session(peer), host, peer.port)
        peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for session in peer.sessions:
            session.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)
