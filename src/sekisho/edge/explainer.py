"""The explainer: answers connections to port 25 that the edge redirects to it, with words in place of mail service.

A state of few words: greet with 554, read at most one EHLO for a moment to learn the mail program's name, refuse
whatever else comes, close. No AUTH, no mail, no TLS, nothing kept of a connection but line, destination and that name.

The greeting is the place for the answer because it is the only text that every mail program waits for, and RFC 5321
§3.1 gives 554 there the meaning "no SMTP service here", with words for whoever looks into it. Its first lines are
English in ASCII, which is all that RFC 5321 §4.2 knows. Japanese follows in UTF-8 as further lines of the same reply: a
program that shows replies at all shows these readably or as a few odd characters, after a line that could be read in
any case; one that is strict takes its three digits and hangs up, which was wanted. `languages` leaves it out.

Cheap on purpose: a connection is one object, no task and no timer. A sweep each second ends those whose time is over,
which counts from the start, so nobody can hold one by sending slowly or by not reading. Connections are bounded in all
and for each line.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sekisho.config import Duration, Endpoint, between, setting
from sekisho.smtp import Reply
from sekisho.store import write_atomically
from sekisho.telemetry import EventLog
from sekisho.text import keys, say

from .codes import CodeBook, Codes, Explained, load_key
from .conversation import LINGER, Conversation
from .feed import SightingSender
from .original import Address, OriginalDestination, original_destination, plain_address
from .policy import Policy
from .sightings import Kind, Sighting

__all__ = [
    "Explainer",
    "ExplainerCounts",
    "ExplainerSettings",
    "OriginalDestination",
    "bind",
    "greeting",
    "identify_by",
    "original_destination",
    "run_explainer",
]

BACKLOG: Final = 4096
SWEEP_EVERY: Final = 1.0  # seconds
SAVE_EVERY: Final = 60.0  # seconds
SPARE_FILES: Final = 64
TOLD_LINES: Final = 100_000
UNKNOWN_NETWORK: Final = "unknown"
BOOK_FILE: Final = "explained.jsonl"


try:
    import uvloop

    NEW_LOOP: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:  # a platform without uvloop: more memory, and the same otherwise
    NEW_LOOP = asyncio.new_event_loop

log = logging.getLogger(__name__)


Identify = Callable[[Address, int], tuple[str, str]]
"""Line and network of a source address and port."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainerSettings:
    """The explainer: what lines in the explain phase reach on port 25."""

    addresses: tuple[Endpoint, ...] = setting(
        (), "Where it listens; empty: on the ports that the policy redirects to, on all addresses of this machine."
    )
    hostname: str = setting(prose="Its name in the greeting of connections.", example="mail.example.jp")
    link: str = setting(
        "",
        "Beginning of the personal link, to which the code is appended; empty: https://HOSTNAME/c/.",
        example="https://mail.example.jp/c/",
        check=lambda text: (
            None
            if text == "" or (text.isascii() and text.isprintable() and " " not in text and len(text) <= 100)
            else ("is no short address in ASCII", 'Write it as "https://mail.example.jp/c/".')
        ),
    )
    languages: tuple[Literal["en", "ja"], ...] = setting(
        ("en", "ja"),
        'Languages of the greeting. ("en",) keeps it to ASCII, as RFC 5321 has it; Japanese is sent as UTF-8 after the '
        "English lines.",
    )
    wait: Duration = setting(
        Duration(5.0),
        "A connection is over after this long, whatever its peer does; until then one EHLO is read.",
        check=between(1, 60),
    )
    max_connections: int = setting(
        20_000, "Connections held at once; further ones are closed unheard.", check=between(10, 1_000_000)
    )
    max_connections_per_line: int = setting(
        20, "Of these, connections of one line; further ones are told and closed at once.", check=between(1, 10_000)
    )
    feed: Path | None = setting(
        None, "Unix socket of the watcher that is to hear of each connection.", example="/run/sekisho/watcher.sock"
    )


@dataclass(slots=True)
class ExplainerCounts:
    """What happened since the start, for the metrics."""

    connections: int = 0
    crowded_line: int = 0
    crowded: int = 0
    names: int = 0
    cut: int = 0
    open: int = 0


def greeting(link: str, languages: Sequence[str], reasons: dict[str, str]) -> Reply:
    """Compose the reply that stands in the greeting's place.

    Args:
        link: personal link.
        languages: in the order of the lines.
        reasons: the policy's own words by language, each a further line.
    """
    lines = []
    for language in languages:
        lines.append(say("edge.greeting", language, link=link))
        reason = " ".join(reasons.get(language, "").split())
        if reason and (language != "en" or reason.isascii()):
            lines.append(reason)
    return Reply(554, "5.7.1", tuple(lines))


class Explainer:
    """All connections."""

    __slots__ = (
        "_book",
        "_changed",
        "_connections",
        "_emit",
        "_empty",
        "_full_told",
        "_held",
        "_identify",
        "_link",
        "_now",
        "_on_sighting",
        "_original",
        "_reasons",
        "_servers",
        "_settings",
        "_sweeper",
        "_told",
        "_told_until",
        "clock",
        "counts",
        "wait",
    )

    def __init__(
        self,
        settings: ExplainerSettings,
        *,
        identify: Identify,
        book: CodeBook,
        on_sighting: Callable[[Sighting], None],
        emit: Callable[..., None],
        reasons: dict[str, str],
        original: OriginalDestination = original_destination,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Answer with *reasons* whoever connects; tell *on_sighting* of each connection, *emit* of lines."""
        self._settings = settings
        self._book = book
        self._on_sighting = on_sighting
        self._emit = emit
        self._original = original
        self.clock = clock
        self._now = now
        self.wait = float(settings.wait)
        self._link = settings.link or f"https://{settings.hostname}/c/"
        self.counts = ExplainerCounts()
        self._connections: dict[Conversation, None] = {}
        self._held: dict[str, int] = {}  # connections by line
        self._told: set[str] = set()  # lines with an event in this minute
        self._told_until = 0.0
        self._full_told = float("-inf")
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None  # to be set once the last connection is gone
        self._changed = False
        self.reload(identify, reasons)

    def reload(self, identify: Identify, reasons: dict[str, str]) -> None:
        """Use another policy from the next connection on."""
        self._identify = identify
        self._reasons = dict(reasons)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve connections of these listening sockets."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            self._servers.append(await loop.create_server(lambda: Conversation(self), sock=listening, backlog=BACKLOG))
        self._sweeper = loop.call_later(SWEEP_EVERY, self._sweep)

    async def stop(self, grace: float = LINGER) -> None:
        """Take no more connections, and let those open come to their end for *grace* seconds at most."""
        for server in self._servers:
            server.close()
        if self._connections:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def save_rows(self) -> list[str] | None:
        """Return the code book's rows when something changed since the last call, else None."""
        if not self._changed:
            return None
        self._changed = False
        return list(self._book.rows(self._now()))

    # ------------------------------------------------------------------ for connections

    def admit(self, connection: Conversation, transport: asyncio.Transport) -> bytes | None:
        """Count a connection in, and return its greeting; None when there is no room for it at all."""
        counts = self.counts
        counts.connections += 1
        if len(self._connections) >= self._settings.max_connections:
            counts.crowded += 1
            self._tell_full()
            return None
        self._connections[connection] = None
        peer = transport.get_extra_info("peername")
        if not peer:
            return None  # gone already
        source = plain_address(peer[0])
        line, network = self._identify(source, peer[1])
        destination = self._original(transport.get_extra_info("socket"))
        sighting = Sighting(line, network, destination, self._now(), kind=Kind.EXPLAINED)
        entry = connection.entry = self._book.note(sighting)
        self._changed = True
        held = self._held.get(line, 0) + 1
        self._held[line] = held
        if held > self._settings.max_connections_per_line:
            counts.crowded_line += 1
            connection.crowded = True
        self._on_sighting(sighting)
        return greeting(self._link + entry.code, self._settings.languages, self._reasons).wire

    def dismiss(self, connection: Conversation) -> None:
        """Count a connection out."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        if self._empty is not None and not self._connections:
            self._empty.set()
        entry = connection.entry
        if entry is None:
            return
        held = self._held[entry.line] - 1
        if held:
            self._held[entry.line] = held
        else:
            del self._held[entry.line]
        self._tell(entry)

    def named(self, entry: Explained, name: str) -> None:
        """Note what the mail program calls itself."""
        self.counts.names += 1
        entry.name = name
        self._changed = True

    # ------------------------------------------------------------------ inside

    def _tell(self, entry: Explained) -> None:
        """One event for each line and minute: an infected machine connects hundreds of times in one."""
        now = self.clock()
        if now >= self._told_until:
            self._told.clear()
            self._told_until = now + 60
        if entry.line in self._told or len(self._told) >= TOLD_LINES:
            return
        self._told.add(entry.line)
        self._emit(
            "edge.explained",
            line=entry.line,
            network=entry.network,
            code=entry.code,
            destinations=entry.destinations,
            name=entry.name,
            connections=entry.connections,
        )

    def _tell_full(self) -> None:
        now = self.clock()
        if now - self._full_told >= 60:
            self._full_told = now
            self._emit("edge.crowded", connections=len(self._connections))

    def _sweep(self) -> None:
        now = self.clock()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.expire(now)
        self.counts.open = len(self._connections)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_EVERY, self._sweep)


def bind(endpoints: Sequence[Endpoint]) -> list[socket.socket]:
    """Open the listening sockets; an endpoint without host means all addresses of both families.

    Raises:
        OSError: one could not be opened; its `filename` names the endpoint, and none stays open.
    """
    sockets: list[socket.socket] = []
    for endpoint in endpoints:
        hosts = [endpoint.host] if endpoint.host else ["0.0.0.0", "::"]  # noqa: S104
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                listening = socket.socket(family, socket.SOCK_STREAM)
                sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((host, endpoint.port))
                listening.listen(BACKLOG)
                listening.setblocking(False)
            except OSError as error:
                if host == "::" and not endpoint.host and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    sockets.pop().close()  # a machine without IPv6
                    continue
                for opened in sockets:
                    opened.close()
                raise OSError(error.errno, error.strerror, str(endpoint)) from error
    return sockets


def identify_by(policy: Policy) -> Identify:
    """Return the function that finds line and network in *policy*."""

    def identify(source: Address, port: int) -> tuple[str, str]:
        network = policy.network_of(source)
        return (network.line_of(source, port), network.name) if network else (str(source), UNKNOWN_NETWORK)

    return identify


def run_explainer(
    settings: ExplainerSettings,
    *,
    load: Callable[[], Policy],
    directory: Path,
    events: EventLog,
    drop: Callable[[], None] = lambda: None,
) -> int:
    """Be the explainer until SIGTERM or SIGINT, in a process of its own. SIGHUP reads the policy again.

    Ports are bound and the key is read before *drop* gives up what root may; nothing after it needs a right.

    Args:
        load: reads the policy.
        directory: where ``explainer.key`` and ``explained.jsonl`` are kept.
        events: written to, flushed and closed.
        drop: becomes the service's user for good.

    Returns:
        The exit status of the process.

    Raises:
        OSError: a port could not be bound, or the key not be read or made.
        ValueError: the key's file holds no key, or there is nothing to listen on.
    """
    policy = load()
    endpoints = settings.addresses or tuple(
        Endpoint(endpoint.host or everywhere, endpoint.port)
        for endpoint, everywhere in ((policy.explainer.ipv4, "0.0.0.0"), (policy.explainer.ipv6, "::"))  # noqa: S104
        if endpoint is not None
    )
    if not endpoints:
        raise ValueError("neither the settings nor the policy say on which port the explainer listens")
    book = CodeBook(Codes(load_key(directory / "explainer.key")))
    sockets = bind(endpoints)
    _allow_files(settings.max_connections + SPARE_FILES)
    keys()  # the catalog is read while every file of the program may be
    drop()
    _take_up(book, directory / BOOK_FILE)
    with asyncio.Runner(loop_factory=NEW_LOOP) as runner:
        return runner.run(_serve(settings, policy, load, book, sockets, directory / BOOK_FILE, events))


async def _serve(
    settings: ExplainerSettings,
    policy: Policy,
    load: Callable[[], Policy],
    book: CodeBook,
    sockets: Sequence[socket.socket],
    path: Path,
    events: EventLog,
) -> int:
    sender = SightingSender(settings.feed) if settings.feed is not None else None
    explainer = Explainer(
        settings,
        identify=identify_by(policy),
        book=book,
        on_sighting=sender.send if sender is not None else lambda sighting: None,
        emit=events.emit,
        reasons=dict(policy.reasons),
    )
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def reload() -> None:
        try:
            policy = load()
        except Exception as error:  # whatever is wrong with the new one, the old one goes on
            events.emit("edge.policy_refused", reason=str(error))
            return
        explainer.reload(identify_by(policy), dict(policy.reasons))
        events.emit("service.reloaded", part="explainer")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await explainer.start(sockets)
    events.emit("service.started", part="explainer", addresses=[_where(listening) for listening in sockets])
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), SAVE_EVERY)
        await _save(explainer, path)
    events.emit("service.stopping", part="explainer")
    await explainer.stop()
    await _save(explainer, path)
    if sender is not None:
        sender.close()
    events.close()
    return 0


async def _save(explainer: Explainer, path: Path) -> None:
    rows = explainer.save_rows()
    if rows is None:
        return
    try:
        await asyncio.to_thread(write_atomically, path, "".join(f"{row}\n" for row in rows).encode(), mode=0o640)
    except OSError:
        log.exception("%s could not be written", path)


def _take_up(book: CodeBook, path: Path) -> None:
    try:
        with path.open(encoding="utf-8", errors="replace") as rows:
            damaged = book.restore(rows)
    except OSError:
        return  # the first start; or not to be read, and then the codes of before lead nowhere
    if damaged:
        log.warning("%s: %d rows could not be read", path, damaged)


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _where(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return str(Endpoint(host, port))
