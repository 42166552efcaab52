"""A whole mail process without sockets: real accounts, ledger, queue and event log, with a clock turned by hand."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from tests.net.tls_client import HOST, identity
from tests.server.client import Client

from sekisho.accounts import AccountsSettings, AccountStore, Authenticator
from sekisho.config import KIB, Duration, Size
from sekisho.net.tls import server_context
from sekisho.policy import Acquaintances, AuthGuard, ConnectionCounter, Limits, PolicySettings
from sekisho.queue import Filter, Outcome, Queue, QueuedMessage, QueueSettings, State
from sekisho.server import Kind, ListenerSettings, MailServer, RelaySettings, Services
from sekisho.store.ledger import Ledger
from sekisho.telemetry import EventLog, LogSettings

T = TypeVar("T")

START = 1_800_000_000.0
PASSWORD = "plum rain 4711"
ACCOUNTS = AccountsSettings(
    argon2_passes=1,
    argon2_memory=Size(64 * KIB),
    scram_iterations=4096,
    allow_cleartext_passwords=True,  # most cases are not about TLS
)
TLS_ONLY = AccountsSettings(argon2_passes=1, argon2_memory=Size(64 * KIB), scram_iterations=4096)
QUEUE = QueueSettings(minimum_free=Size(0))
POLICY = PolicySettings(auth_delay=Duration(0), auth_max_delay=Duration(0))
LISTENER = ListenerSettings(greeting_wait=Duration(0))
WAIT = ListenerSettings(greeting_wait=Duration(0.2))

RIN = "rin@example.jp"

LETTER = (
    "From: Rin <rin@example.jp>\r\nTo: kei@example.net\r\nDate: Fri, 15 Jan 2027 08:00:00 +0900\r\n"
    "Message-ID: <1@rin.example>\r\nSubject: greetings\r\n\r\nHello.\r\n"
)


def letter(*fields: str, body: str = "Hello.\r\n") -> str:
    """A message with just these header fields."""
    return "".join(f"{field}\r\n" for field in fields) + f"\r\n{body}"


def of_rin(*fields: str) -> str:
    return letter("From: Rin <rin@example.jp>", *fields)


class Clock:
    """UTC, turned by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Timers:
    """The part of an event loop that listeners set timers on; time passes when it is turned."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[asyncio.TimerHandle] = []

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """Itself, as far as listeners are concerned."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self._now + delay, callback, args, self.as_loop())
        self._timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers.remove(handle)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise AssertionError("an exception left a timer") from context.get("exception")

    def turn(self, seconds: float) -> None:
        """Let *seconds* pass: every timer due meanwhile is called, in order."""
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.when() <= end]:
            timer = min(due, key=lambda one: one.when())
            self._timers.remove(timer)
            self._now = timer.when()
            timer._run()
        self._now = end


@dataclass(frozen=True, slots=True)
class Kept:
    """One message in the queue."""

    message: QueuedMessage
    content: bytes

    @property
    def recipients(self) -> list[str]:
        return [str(recipient.mailbox) for recipient in self.message.recipients]

    def fields(self, name: str) -> list[str]:
        """The values of the fields called *name*, unfolded."""
        header = self.content.partition(b"\r\n\r\n")[0].decode().replace("\r\n\t", " ").replace("\r\n ", " ")
        lines = [line.partition(":") for line in header.split("\r\n")]
        return [value.strip() for own, _, value in lines if own.lower() == name.lower()]


class Station:
    """What the listeners of one process share, and those listeners."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self.services = services
        self.clock = clock
        self.queue = services.queue
        self._entered: list[QueuedMessage] = []
        self._servers: list[MailServer] = []
        services.queue.listener = self._entered.append

    def server(
        self,
        kind: Kind = "submission",
        settings: ListenerSettings = LISTENER,
        *,
        tls: bool = True,
        timers: Timers | None = None,
    ) -> MailServer:
        """Make a listener; it accepts `Client`s."""
        its = server_context(identity().certificate, identity().key) if tls else None
        server = MailServer(self.services, settings, kind, its, loop=timers.as_loop() if timers is not None else None)
        self._servers.append(server)
        return server

    async def client(self, address: str = "192.0.2.7", server: MailServer | None = None) -> Client:
        """A client of a submission listener that has said EHLO."""
        return await Client(server or self.server(), address).greeted()

    async def sender(self, login: str = "rin@example.jp", server: MailServer | None = None) -> Client:
        """A client that has logged in."""
        client = await self.client(server=server)
        assert (await client.log_in(login)).code == 235
        return client

    async def kept(self, at_least: int = 0) -> list[Kept]:
        """Everything in the queue, in the order of arrival, as delivery and the disk see it."""
        async with asyncio.timeout(10):
            while True:
                on_disk = len(await self.queue.list(Filter(), limit=1000))
                if at_least <= on_disk <= len(self._entered):
                    break
                await asyncio.sleep(0.001)
        assert len(self._entered) == on_disk
        return [
            Kept(message, b"".join((await self.queue.content(message)).chunks())) for message in list(self._entered)
        ]

    async def only(self) -> Kept:
        """The one message that is in the queue, or will be in a moment."""
        (kept,) = await self.kept(1)
        return kept

    async def deliver_all(self) -> None:
        """Have everything delivered, so that the queue is empty."""
        for kept in await self.kept():
            message = kept.message
            outcomes = [Outcome(r.number, State.DELIVERED, "250 OK", "mx", self.clock.now) for r in message.recipients]
            self.queue.record(message, outcomes)
            self.queue.done_with(message)
        await self.queue._commits.drain(1)
        self._entered.clear()

    def commits_fail(self) -> None:
        """From now on nothing gets on the disk."""

        def fail(leg: str) -> None:
            raise OSError(5, "Input/output error")

        self.queue._commits.leg = fail

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events called *name* so far."""
        log = self.services.events
        log.flush()
        lines = [line for path in sorted(log.directory.glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """Commits begun inside do not end before the block does."""
        gate = threading.Event()

        def wait(leg: str) -> None:
            if leg == "committed":
                gate.wait(30)

        self.queue._commits.leg = wait
        try:
            yield
        finally:
            gate.set()
            self.queue._commits.leg = None


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    accounts: AccountsSettings = ACCOUNTS,
    queue: QueueSettings = QUEUE,
    policy: PolicySettings = POLICY,
    relay: RelaySettings | None = None,
    number: int = 0,
) -> AsyncIterator[Station]:
    """A station, closed at the end."""
    clock = Clock()
    store = AccountStore.open(directory / "accounts.sqlite", settings=accounts)
    store.add("rin@example.jp", PASSWORD, identities=["sales@example.jp"])
    store.add("ken@example.jp", PASSWORD, identities=["postmaster@mail.example.jp"])
    store.add("gate@example.jp", PASSWORD, identities=["@branch.example"], smarthost=True)
    ledger = Ledger(directory / "ledger", buckets=64)
    spool = Queue.open(directory / "queue", queue, number=number, now=clock)
    spool.start()
    authenticator = Authenticator(store, accounts, hostname=HOST)
    services = Services(
        hostname=HOST,
        authenticator=authenticator,
        accounts=store,
        queue=spool,
        limits=Limits(ledger, policy),
        auth_guard=AuthGuard(ledger, policy),
        connections=ConnectionCounter(),
        acquaintances=Acquaintances(),
        events=EventLog(directory / "log", LogSettings(), 0),
        local_domains=frozenset({"example.jp"}),
        relay=relay or RelaySettings(),
        now=clock,
    )
    station = Station(services, clock)
    try:
        yield station
    finally:
        for server in station._servers:
            await server.drain(0)
        await spool.close()
        await authenticator.close()
        services.events.close()
        ledger.close()
        store.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in a loop of its own, for a minute at most."""
    return asyncio.run(asyncio.wait_for(main, 60))


def tracebacks(records: Sequence[logging.LogRecord]) -> int:
    """How many of *records* carry a traceback."""
    return sum(record.exc_info is not None for record in records)


async def settled() -> None:
    """Let everything happen that needs no more from the client."""
    for _ in range(20):
        await asyncio.sleep(0)


class Slow:
    """Password checks that end when they are let."""

    def __init__(self, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        opens = authenticator.opens

        async def wait(entry: Any, password: str, *, name: str) -> bool:
            await self.go_on.wait()
            return await opens(entry, password, name=name)

        monkeypatch.setattr(authenticator, "opens", wait)
