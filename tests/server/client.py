"""A mail client on a scripted stream: no socket, no clock, and it can refuse to read."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from tests.net.tls_client import TlsClient

from sekisho import sasl
from sekisho.server import MailServer
from sekisho.server.listener import Conversation
from sekisho.smtp import Reply

HIGH_WATER = 65536  # octets the client has not taken after which the transport complains
SEGMENT = 262_144  # octets an event loop reads at once at most
PATIENCE = 10.0


class Transport(asyncio.Transport):
    """The server's end of the stream, as an event loop would behave."""

    def __init__(self, client: Client, address: str) -> None:
        super().__init__({"peername": (address, 50000)})
        self._client = client
        self.writes: list[bytes] = []
        self.reading = True
        self.lost = False
        self.aborted = False
        self._closing = False

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self.writes.append(bytes(data))
        self._client.take(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        if not self._client.stuck:
            self.lose(None)

    def abort(self) -> None:
        self.aborted = self._closing = True
        self.lose(None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        asyncio.get_running_loop().call_soon(self._client.pump)

    def lose(self, error: Exception | None) -> None:
        """The connection is gone; the protocol hears of it a little later."""
        if not self.lost:
            self.lost = self._closing = True
            asyncio.get_running_loop().call_soon(self._client.conversation.connection_lost, error)


class Client:
    """The client's end, which connects when it is made.

    Fields:
        stuck: it takes nothing of what the server writes; see `take_all`.
        raw: what the server wrote, TLS records and all.
    """

    def __init__(self, server: MailServer, address: str = "192.0.2.7") -> None:
        self.stuck = False
        self.tls: TlsClient | None = None
        self.raw = b""
        self.transport = Transport(self, address)
        self.conversation = Conversation(server)
        self._plain = b""
        self._replies: list[Reply] = []
        self._to_server = b""
        self._untaken: list[bytes] = []
        self._pumping = False
        self.conversation.connection_made(self.transport)

    # Octets

    def send(self, text: str | bytes) -> None:
        """Send at once, over TLS when it is on."""
        octets = text.encode() if isinstance(text, str) else text
        if self.tls is not None:
            self.tls.send(octets)
            octets = self.tls.outgoing()
        self.send_raw(octets)

    def send_raw(self, octets: bytes) -> None:
        """Send *octets* as they are."""
        self._to_server += octets
        self.pump()

    @property
    def unsent(self) -> int:
        """Octets that the server does not want to read yet."""
        return len(self._to_server)

    def pump(self) -> None:
        """Carry to the server what it is willing to read."""
        if self._pumping:
            return
        self._pumping = True
        while self._to_server and self.transport.reading and not self.transport.is_closing():
            octets, self._to_server = self._to_server[:SEGMENT], self._to_server[SEGMENT:]
            self.conversation.data_received(octets)
        self._pumping = False

    def take(self, octets: bytes) -> None:
        """Take what the server writes, or leave it in the way."""
        if self.stuck:
            self._untaken.append(octets)
            if sum(map(len, self._untaken)) > HIGH_WATER:
                self.conversation.pause_writing()
            return
        self.raw += octets
        if self.tls is None:
            self._plain += octets
        else:
            self._plain += self.tls.receive(octets)
            self.send_raw(self.tls.outgoing())

    def take_all(self) -> None:
        """Read on after having been stuck."""
        self.stuck = False
        untaken, self._untaken = self._untaken, []
        for octets in untaken:
            self.take(octets)
        if self.transport.is_closing():
            self.transport.lose(None)
        elif sum(map(len, untaken)) > HIGH_WATER:
            self.conversation.resume_writing()

    def start_tls(self, tls: TlsClient | None = None) -> None:
        """Shake hands."""
        self.tls = tls or TlsClient()
        self.send_raw(self.tls.hello())

    def end(self) -> bool:
        """Send nothing more (a half-closed connection). Returns whether the server keeps its side open."""
        keeps = bool(self.conversation.eof_received())
        if not keeps:
            self.transport.close()
        return keeps

    def leave(self, error: Exception | None = None) -> None:
        """Be gone."""
        self.transport.lose(error)

    async def gone(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            while not self.transport.lost:  # noqa: ASYNC110 - a transport has nothing to wait for
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    # Replies

    @property
    def heard(self) -> list[Reply]:
        """All replies so far that were not taken yet."""
        while (reply := self._take_reply()) is not None:
            self._replies.append(reply)
        return self._replies

    def _take_reply(self) -> Reply | None:
        at = 0
        while (end := self._plain.find(b"\r\n", at)) >= 0:
            if self._plain[at + 3 : at + 4] != b"-":
                reply = Reply.parse(self._plain[: end + 2])
                self._plain = self._plain[end + 2 :]
                return reply
            at = end + 2
        return None

    async def replies(self, count: int) -> list[Reply]:
        """Wait for *count* replies and take them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < count:
                assert not self.transport.lost, f"closed after {self.heard}"
                await asyncio.sleep(0.001)
        taken, self._replies = self._replies[:count], self._replies[count:]
        return taken

    async def say(self, line: str | bytes) -> Reply:
        """Send one command, return its reply."""
        octets = line.encode() if isinstance(line, str) else line
        self.send(octets + b"\r\n")
        return (await self.replies(1))[0]

    async def say_all(self, *lines: str) -> list[int]:
        """Send commands one after the other, each after the reply to the one before; return the codes."""
        return [(await self.say(line)).code for line in lines]

    # Usual turns of a dialogue

    async def greeted(self) -> Client:
        """Take the greeting and say EHLO."""
        assert (await self.replies(1))[0].code == 220
        assert (await self.say("EHLO client.example")).code == 250
        return self

    async def log_in(self, name: str = "rin@example.jp", password: str = "plum rain 4711") -> Reply:
        """AUTH PLAIN."""
        return await self.say(f"AUTH PLAIN {plain(name, password)}")

    async def log_in_by(self, mechanism: str, name: str = "rin@example.jp", password: str = "plum rain 4711") -> Reply:
        """AUTH with any mechanism, step by step."""
        exchange = sasl.client(mechanism, name, password, nonce="fixed")
        first = exchange.initial
        reply = await self.say(f"AUTH {mechanism}" if first is None else f"AUTH {mechanism} {encoded(first)}")
        while reply.code == 334:
            answer = exchange.respond(base64.b64decode(reply.text))
            reply = await self.say(base64.b64encode(answer))
        return reply

    async def submit(
        self, content: str | bytes, *recipients: str, sender: str = "rin@example.jp", parameters: str = ""
    ) -> Reply:
        """Send one message and return the last reply, which is the first refusal if there is one."""
        for line in (
            f"MAIL FROM:<{sender}>{parameters}",
            *(f"RCPT TO:<{recipient}>" for recipient in recipients or ("kei@example.net",)),
            "DATA",
        ):
            reply = await self.say(line)
            if reply.code >= 400:
                return reply
        self.send(stuffed(content))
        return (await self.replies(1))[0]


def encoded(octets: bytes | None) -> str:
    """Base64 for one SASL line."""
    return base64.b64encode(octets or b"").decode() or "="


def plain(name: str, password: str) -> str:
    """The initial response of PLAIN (RFC 4616)."""
    return encoded(f"\0{name}\0{password}".encode())


def stuffed(content: str | bytes) -> bytes:
    """*content* as DATA wants it, with its end (RFC 5321 §4.5.2)."""
    octets = content.encode() if isinstance(content, str) else content
    if octets.startswith(b"."):
        octets = b"." + octets
    return octets.replace(b"\r\n.", b"\r\n..") + (b"" if octets.endswith(b"\r\n") else b"\r\n") + b".\r\n"
