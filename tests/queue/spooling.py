"""What the queue's tests share: a hand-turned clock, letters, a listener that keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sekisho.config import Size
from sekisho.queue import Arrival, Outcome, Queue, QueuedMessage, QueueId, QueueSettings, State
from sekisho.smtp import Envelope, Mailbox, Recipient

T = TypeVar("T")
START = 1_800_000_000.0
SETTINGS = QueueSettings(minimum_free=Size(0))
LETTER = b"Subject: greetings\r\n\r\nHello.\r\n"


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Listener:
    """Stands for delivery: keeps the messages it was handed."""

    def __init__(self) -> None:
        self.messages: list[QueuedMessage] = []

    def __call__(self, message: QueuedMessage) -> None:
        self.messages.append(message)

    async def take(self, count: int = 1) -> list[QueuedMessage]:
        """Wait for *count* messages and take them."""
        await eventually(lambda: len(self.messages) >= count)
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until *condition* holds; fail after *seconds*."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.002)


async def settle(queue: Queue) -> None:
    """Wait until everything recorded is on disk."""
    assert await queue._commits.drain(attempts=1)


def arrival(*domains: str, clock: Clock | None = None, hold: bool = False, account: str = "rin@example.jp") -> Arrival:
    """An arrival with one recipient for each of *domains*."""
    recipients = tuple(
        Recipient(Mailbox(f"r{n}", domain), "FAILURE,DELAY", f"rfc822;r{n}@{domain}")
        for n, domain in enumerate(domains or ("example.net",))
    )
    envelope = Envelope(Mailbox("rin", "example.jp"), recipients, ret="HDRS", envid="e+2B1")
    return Arrival(envelope, account, "s-1", "192.0.2.7", "submission", clock.now if clock else START, hold)


async def accept(queue: Queue, arrived: Arrival | None = None, octets: bytes = LETTER) -> QueueId:
    """Commit a message and wait until it is acknowledged."""
    writer = queue.new_content()
    for at in range(0, len(octets), 50_000):
        writer.write(octets[at : at + 50_000])
    return await queue.commit(arrived or arrival(), writer)


def outcomes(
    message: QueuedMessage, state: State, at: float = START, *, reply: str = "", next_attempt: float | None = None
) -> list[Outcome]:
    """The same outcome for every recipient that is due."""
    return [Outcome(r.number, state, reply, "mx.example.net", at, next_attempt) for r in message.recipients]


def finish(queue: Queue, message: QueuedMessage, state: State = State.DELIVERED, **more: Any) -> None:
    """Record one outcome for every recipient and let the message go."""
    queue.record(message, outcomes(message, state, **more))
    queue.done_with(message)


async def read(queue: Queue, message: QueuedMessage) -> bytes:
    """The whole content."""
    return b"".join((await queue.content(message)).chunks())


@asynccontextmanager
async def opened(
    directory: Path,
    clock: Clock | None = None,
    *,
    settings: QueueSettings = SETTINGS,
    listener: Callable[[QueuedMessage], None] | None = None,
    number: int = 0,
) -> AsyncIterator[Queue]:
    """A queue that works, closed at the end."""
    queue = Queue.open(directory, settings, number=number, now=clock or Clock())
    queue.listener = listener
    queue.start()
    try:
        yield queue
    finally:
        await queue.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in a loop of its own, for a minute at most."""
    return asyncio.run(asyncio.wait_for(main, 60))


def addresses(message: QueuedMessage) -> Sequence[str]:
    """The due recipients as text."""
    return [str(recipient.mailbox) for recipient in message.recipients]
