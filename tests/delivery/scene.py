"""A courier with everything around it: a queue in memory, a fixed resolver, next hops on loopback ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tests.delivery.doubles import NOW, Events, FixedLookup, MemoryQueue, Peer, Stage, listening

from sekisho.config import Duration, Secret
from sekisho.delivery import Courier, DeliverySettings, LocalSettings, RouteSettings, TlsMode
from sekisho.delivery.local import LocalAccount
from sekisho.smtp import Mailbox

T = TypeVar("T")

SETTINGS: dict[str, Any] = {"idle_timeout": Duration(60.0), "tls": TlsMode.OPPORTUNISTIC}
MX = {"x.example": [(10, "mx1.example"), (20, "mx2.example")], "y.example": [(10, "mx1.example")]}
HOSTS = {"mx1.example": ["127.0.0.1"], "mx2.example": ["127.0.0.2"]}


class Scene:
    """A courier with everything around it."""

    def __init__(
        self,
        peer: Peer | None = None,
        *,
        queue: MemoryQueue | None = None,
        lookup: FixedLookup | None = None,
        routes: tuple[RouteSettings, ...] = (),
        local: LocalSettings | None = None,
        accounts: Callable[[Mailbox], LocalAccount | None] | None = None,
        **settings: Any,
    ) -> None:
        self.queue = queue or MemoryQueue()
        self.events = Events()
        self.now = NOW
        self.lookup = lookup or FixedLookup(dict(MX), dict(HOSTS))
        if peer is not None:
            settings.setdefault("mx_port", peer.port)
        self.settings = DeliverySettings(**{**SETTINGS, **settings})
        self.local = local or LocalSettings()
        self.courier = Courier(
            [self.queue],
            self.settings,
            routes,
            self.local,
            self.lookup,
            accounts,
            self.events,
            "mail.example.jp",
            "en",
            now=lambda: self.now,
            chance=lambda: 0.5,
        )

    async def deliver(self, *messages: Any) -> None:
        before = len(self.queue.done)
        for message in messages:
            assert self.queue.listener is not None
            self.queue.listener(message)
        await self.queue.all_done(before + len(messages))


def play(body: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        failed: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        result = await body()
        assert not failed, failed
        return result

    return Stage.run(run())


def scene(body: Callable[[Scene, Peer], Coroutine[Any, Any, None]], peer: Peer | None = None, **kwargs: Any) -> None:
    """Run *body* with a courier whose MX hosts are *peer* (mx1) and nobody (mx2)."""

    async def run() -> None:
        async with listening(peer or Peer()) as there:
            made = Scene(there, **{name: value() if name == "queue" else value for name, value in kwargs.items()})
            made.courier.start()
            try:
                await body(made, there)
            finally:
                await made.courier.drain(1.0)

    play(run)


def route(peer: Peer, **settings: Any) -> RouteSettings:
    defaults: dict[str, Any] = {"tls": TlsMode.NONE, "username": "rin", "password": Secret("pencil")}
    return RouteSettings(name="isp", host="127.0.0.1", port=peer.port, **{**defaults, **settings})
