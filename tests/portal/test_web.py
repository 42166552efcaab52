"""The web server's shell over loopback: what takes too long or is too much is ended, and the rest is served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from sekisho.net.tls import server_context
from sekisho.portal import web
from sekisho.portal.web import Bounds, Swap, WebServer
from sekisho.supervise.certificate import make_self_signed

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run in the loop of the service, and in the one of a platform without it."""
    loops = {"asyncio": asyncio.new_event_loop}
    with contextlib.suppress(ImportError):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    if request.param not in loops:
        pytest.skip("uvloop is not installed")

    def go(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loops[request.param]) as runner:
            runner.run(work)

    return go


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what the body said, or waits when asked to."""
    request = Request(scope, receive)
    body = await request.body()
    if request.url.path == "/slow":
        await asyncio.sleep(0.3)
    answer: Response = PlainTextResponse(b"hello " + body)
    if request.url.path == "/large":
        answer = PlainTextResponse(b"x" * 20_000_000)
    await answer(scope, receive, send)


class Serving:
    """A server under test, and what it said."""

    def __init__(self, **bounds: int) -> None:
        self.crowded = 0
        self.swap = Swap(hello)
        limits = Bounds(
            bounds.get("total", 100), bounds.get("per_address", 50), lambda peer: bounds.get("proxy", 0) > 0
        )
        self.server = WebServer(self.swap, limits, crowded=self._note)
        self.port = 0

    def _note(self) -> None:
        self.crowded += 1

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Connect]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.server.start([(listening, tls)])
        opened: list[asyncio.StreamWriter] = []

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            opened.append(writer)
            return reader, writer

        try:
            yield connect
        finally:
            await self.server.stop(1.0)
            for writer in opened:
                writer.close()
            await asyncio.sleep(0)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the patience of the server short enough for a test."""
    for name, value in {"REQUEST": 0.2, "BODY": 0.2, "ANSWER": 0.4, "SWEEP": 0.05, "HANDSHAKE": 0.3}.items():
        monkeypatch.setattr(web, name, value)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what still came until the server closed."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 5)
    return b""


def test_requests_are_answered_one_after_another_without_naming_the_program(run: Run) -> None:
    async def go() -> None:
        async with Serving().running() as connect:
            reader, writer = await connect()
            for _ in range(2):
                writer.write(GET)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
                assert b"server:" not in head.lower()
                assert await reader.readexactly(6) == b"hello "

    run(go())


def test_head_has_no_body(run: Run) -> None:
    async def go() -> None:
        async with Serving().running() as connect:
            reader, writer = await connect()
            writer.write(GET.replace(b"GET", b"HEAD").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = await ended(reader)
            assert b"content-length: 6\r\n" in answer
            assert answer.endswith(b"\r\n\r\n")

    run(go())


@pytest.mark.parametrize(
    "octets",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: x\r\n X: folded\r\nbad header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 90_000 + b"\r\n\r\n",
        b"".join([b"GET / HTTP/1.1\r\nHost: x\r\n", *(b"X%d: y\r\n" % number for number in range(12_000)), b"\r\n"]),
    ],
)
def test_what_is_no_http_is_turned_away(run: Run, octets: bytes) -> None:
    async def go() -> None:
        async with Serving().running() as connect:
            reader, writer = await connect()
            for start in range(0, len(octets), 8192):  # as a network would: no piece is a whole header
                if writer.is_closing():
                    break
                writer.write(octets[start : start + 8192])
                await asyncio.sleep(0.005)
            answer = await ended(reader)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
            assert b"Traceback" not in answer

    run(go())


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        GET + b"GET / HTTP/1.1\r\nHo",
    ],
    ids=["nothing", "half a header", "half a body", "half a second request"],
)
def test_a_request_that_does_not_arrive_is_not_waited_for(run: Run, octets: bytes) -> None:
    async def go() -> None:
        async with Serving().running() as connect:
            reader, writer = await connect()
            writer.write(octets)
            await ended(reader)

    run(go())


@pytest.mark.usefixtures("hurried")
def test_octets_that_trickle_do_not_buy_time(run: Run) -> None:
    async def go() -> None:
        async with Serving().running() as connect:
            reader, writer = await connect()
            begun = asyncio.get_running_loop().time()

            async def trickle() -> None:
                while not writer.is_closing():
                    writer.write(b"X")
                    await asyncio.sleep(0.02)

            slowly = asyncio.create_task(trickle())
            await ended(reader)
            slowly.cancel()
            assert asyncio.get_running_loop().time() - begun < 2

    run(go())


@pytest.mark.usefixtures("hurried")
def test_an_answer_that_nobody_takes_is_not_kept(run: Run) -> None:
    async def go() -> None:
        serving = Serving()
        async with serving.running() as connect:
            _, writer = await connect()
            writer.write(GET.replace(b"/", b"/large", 1))
            for _ in range(100):
                await asyncio.sleep(0.05)
                if not serving.server.connections:
                    break
            assert serving.server.connections == 0

    run(go())


@pytest.mark.usefixtures("hurried")
def test_a_handshake_that_does_not_come_is_not_waited_for(run: Run, tmp_path: Path) -> None:
    async def go() -> None:
        async with Serving(per_address=2).running(context_in(tmp_path)) as connect:
            readers = [(await connect())[0] for _ in range(2)]
            refused, _ = await connect()
            assert await ended(refused) == b"", "handshakes count before they are done"
            for reader in readers:
                await ended(reader)

    run(go())


def context_in(directory: Path) -> ssl.SSLContext:
    import datetime

    certificate, key = directory / "c.pem", directory / "k.pem"
    make_self_signed(certificate, key, ["localhost"], datetime.datetime.now(datetime.UTC))
    return server_context(certificate.read_bytes(), key.read_bytes()).context


def test_tls_and_a_new_certificate_for_the_next_connection(run: Run, tmp_path: Path) -> None:
    async def go() -> None:
        serving = Serving()
        seen = []
        async with serving.running(context_in(tmp_path)):
            for directory in (tmp_path, tmp_path / "new"):
                serving.server.use_tls(context_in(directory))
                trusting = ssl.create_default_context(cafile=str(directory / "c.pem"))
                reader, writer = await asyncio.open_connection("localhost", serving.port, ssl=trusting)
                writer.write(GET)
                assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
                seen.append(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
                writer.close()
                await writer.wait_closed()
        assert seen[0] != seen[1]

    run(go())


@pytest.mark.parametrize(
    ("bounds", "served"), [({"per_address": 3}, 3), ({"per_address": 3, "proxy": 1}, 6), ({"total": 4}, 4)]
)
def test_one_address_cannot_hold_every_connection_unless_it_is_a_proxy(
    run: Run, bounds: dict[str, int], served: int
) -> None:
    async def go() -> None:
        serving = Serving(**bounds)
        async with serving.running() as connect:
            pairs = [await connect() for _ in range(6)]
            for _, writer in pairs:
                with contextlib.suppress(ConnectionError):
                    writer.write(GET)
            answers = [await asyncio.wait_for(first_line(reader), 5) for reader, _ in pairs]
            assert answers.count(b"HTTP/1.1 200 OK\r\n") == served
            assert serving.crowded == (1 if served < 6 else 0), "told once, not for each"
            assert serving.server.connections == served

    run(go())


async def first_line(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await reader.readline()
    return b""


def test_stopping_finishes_what_is_under_way_and_takes_nothing_more(run: Run) -> None:
    async def go() -> None:
        serving = Serving()
        async with serving.running() as connect:
            idle, _ = await connect()
            reader, writer = await connect()
            writer.write(GET.replace(b"/", b"/slow", 1))
            await asyncio.sleep(0.1)
            begun = asyncio.get_running_loop().time()
            await serving.server.stop(5.0)
            assert asyncio.get_running_loop().time() - begun < 2
            assert (await ended(reader)).endswith(b"hello ")
            assert await ended(idle) == b""
            with pytest.raises(OSError):
                await connect()

    run(go())


def test_stopping_in_the_instant_of_a_new_connection(run: Run, tmp_path: Path) -> None:
    context = context_in(tmp_path)

    async def go() -> None:
        for tls in (None, context):
            for turns in range(4):
                serving = Serving()
                async with serving.running(tls):
                    with socket.create_connection(("127.0.0.1", serving.port)):
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        await serving.server.stop(0.5)

    run(go())


def test_stopping_does_not_wait_longer_than_it_was_told(run: Run) -> None:
    async def go() -> None:
        serving = Serving()
        async with serving.running() as connect:
            _, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            begun = asyncio.get_running_loop().time()
            await serving.server.stop(0.2)
            assert 0.1 < asyncio.get_running_loop().time() - begun < 2

    run(go())


def test_another_application_takes_over_between_two_requests(run: Run) -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("another")(scope, receive, send)

    async def go() -> None:
        serving = Serving()
        async with serving.running() as connect:
            reader, writer = await connect()
            writer.write(GET)
            await reader.readuntil(b"hello ")
            serving.swap.app = other
            writer.write(GET)
            await reader.readuntil(b"another")

    run(go())
