"""The queue of one mail process: what it accepted and has not yet handed over.

Sessions bring mail with `new_content` and `commit`; delivery takes it from `listener`, reads it with `content`, and
answers with `record` and `done_with`; the operator has `hold`, `release`, `retry`, `delete`, `list`, `show` and
`stats`. The queue knows neither SMTP nor DNS, and decides nothing about when or where to deliver: a deferral names its
next attempt.

All methods belong to the event loop that `start` was called in. Where the parts are: transactions in `commits`, their
SQL in `journal`, the bounded part in memory in `window`, files in `content` and `opening`, reading for people in
`listing`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from .commits import Commits, Hooks
from .content import HEAD, ContentHandle, ContentWriter, FileContent, Memory, verify_file
from .ids import QueueId, decode, encode, number_at
from .journal import RECIPIENT_BITS, RECIPIENT_MASK, Intake, Journal, Settlement, Verb
from .listing import list_messages, show_message, start_after, total
from .model import (
    Arrival,
    ContentDamaged,
    Filter,
    Listed,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    Shown,
    SpoolError,
    SpoolFull,
    State,
    Stats,
)
from .opening import OpenSpool, content_files, open_spool, remove_orphans
from .settings import QueueSettings
from .threads import Worker
from .window import Found, Window, scan

__all__ = ["Queue"]

T = TypeVar("T")

ROOM_CHECK_INTERVAL = 1.0  # seconds between looks at the free space
MINIMUM_INODES = 128  # SQLite's files, probes and some large messages
RETURNED_AFTER = 5.0  # seconds until recipients that delivery returned untried are offered again
SMALLEST_FILE = HEAD // 2  # octets; content below this has no file (a head may shrink a little before the commit)
SCAN_RETRY = 5.0  # seconds after a scan that failed
LONGEST_WAIT = 600.0  # seconds between scans, should the clock be set
KEEPING_INTERVAL = 10.0  # seconds between looks at checkpoints
PURGE_INTERVAL = 3600.0
DAY = 86400.0


class Queue:
    """One spool, owned by this process until `close`."""

    def __init__(self, spool: OpenSpool, settings: QueueSettings, now: Callable[[], float]) -> None:
        self._listener: Callable[[QueuedMessage], None] | None = None
        self.problem: Callable[[str], None] = lambda text: None
        self.settings = settings
        self._spool = spool
        self._now = now
        self._window = Window(messages=settings.window, hot_octets=int(settings.hot_content))
        self._memory = Memory()
        last: int = spool.writer.execute("SELECT coalesce(max(number), 0) FROM message").fetchone()[0]
        self._found_files = content_files(spool.content_directory)
        self._last_number = max(last, number_at(now()), *self._found_files, 0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._paused = False
        self._scanning = False
        self._backlog = True  # something due may be on disk that no scan has considered
        self._scan_timer: asyncio.TimerHandle | None = None
        self._scan_at = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._room = -1  # octets that may still be taken in, as seen at the last look
        self._room_until = 0.0  # when to look again, on the steady clock

    @classmethod
    def open(cls, directory: Path, settings: QueueSettings, *, number: int, now: Callable[[], float]) -> Queue:
        """Lock and open spool *number* in *directory*, with whatever a crash left in it; `start` comes next.

        Takes no longer for a long queue: nothing is read beyond SQLite's own recovery.

        Raises:
            SpoolLocked: another process works on it.
            SpoolError, SpoolFull: it cannot be created or opened.
        """
        return cls(open_spool(directory, number), settings, now)

    @property
    def number(self) -> int:
        """The spool's number."""
        return self._spool.number

    @property
    def listener(self) -> Callable[[QueuedMessage], None] | None:
        """Who is called in the loop with each message that enters the window; without it mail only comes in."""
        return self._listener

    @listener.setter
    def listener(self, listener: Callable[[QueuedMessage], None] | None) -> None:
        self._listener = listener
        if listener is not None and self._loop is not None:
            self._scan_after(0)

    def start(self) -> None:
        """Begin to work in the running event loop: scans, timers, and the removal of orphaned content files."""
        self._loop = loop = asyncio.get_running_loop()
        spool = self._spool
        journal = Journal(spool.writer, lifetime=self.settings.lifetime)
        hooks = Hooks(self._added, self._settled, self._stepped)
        self._commits = Commits(loop, spool, journal, hooks, self._window.busy)
        self._commits.problem = self._report
        self._reader = Worker(loop, f"spool-{spool.number}-read")
        found, self._found_files = self._found_files, []
        self._commits.keep(lambda: remove_orphans(spool, found))
        self._timers["keep"] = loop.call_later(KEEPING_INTERVAL, self._keep)
        self._timers["purge"] = loop.call_later(KEEPING_INTERVAL, self._purge)
        self._scan_after(0)

    async def close(self) -> None:
        """Write everything that waits, end the threads, give up the spool. Messages in the window stay due."""
        if self._loop is None:
            self._spool.close()
            return
        if self._closing:
            return
        self._closing = self._paused = True
        for timer in self._timers.values():
            timer.cancel()
        if self._scan_timer is not None:
            self._scan_timer.cancel()
        if not await self._commits.drain(attempts=3):
            self._report(f"{self._spool.directory}: some outcomes could not be written; that mail will be sent again")
        await self._reader.run(lambda: None)
        self._reader.stop()
        await self._commits.stop()
        self._spool.close()

    # ---------------------------------------------------------------- mail comes in

    def has_room(self, octets: int = 0) -> bool:
        """Whether *octets* more would be accepted now; answer 452 4.3.1 when not. Looks at the disk once a second."""
        now = time.monotonic()
        if now >= self._room_until:
            self._room_until = now + ROOM_CHECK_INTERVAL
            self._room = self._look_for_room()
        return octets <= self._room

    def _look_for_room(self) -> int:
        status = os.statvfs(self._spool.directory)
        if status.f_files and status.f_favail < MINIMUM_INODES:
            return -1
        return status.f_bavail * status.f_frsize - int(self.settings.minimum_free)

    def new_content(self) -> ContentWriter:
        """Return a writer for the content of one message."""
        return ContentWriter(
            inline_limit=int(self.settings.inline_limit),
            memory=self._memory,
            take_number=self._take_number,
            path_for=self._content_path,
        )

    def commit(self, arrival: Arrival, content: ContentWriter) -> asyncio.Future[QueueId]:
        """Make an accepted message survive a crash; the future gives its queue id when it does, and never before.

        Each leg is durable before the next begins:
            1. large content only: its file is synced, then its directory;
            2. one transaction names the message, every recipient and the content (or holds it), and is synced;
            3. the future is resolved; only now may 250 be sent (RFC 5321 §6.1: the message is now ours to keep).
        A crash before 2 leaves an orphaned file, which start-up removes. A crash between 2 and 3 leaves a message the
        client will send again: a duplicate is possible, a loss is not (RFC 1047). A client that goes away meanwhile
        changes nothing: the message is kept.

        The future raises:
            SpoolFull: no room, or too many files; nothing was kept. Reply 452 4.3.1.
            SpoolError: the disk failed, or the queue is closing; nothing was kept. Reply 451 4.3.0.
        """
        result: asyncio.Future[QueueId] = self._running().create_future()
        try:
            self._check(arrival, content)
            held = arrival.hold or self.settings.hold_new
            if content.path is None:
                self._commits.add(self._intake(arrival, content.take_octets(), held=held), result)
            else:
                self._commit_file(arrival, content, result, held=held)
        except SpoolError as error:
            content.discard()
            result.set_exception(error)
        return result

    def _check(self, arrival: Arrival, content: ContentWriter) -> None:
        if self._closing:
            raise SpoolError("the queue is closing")
        if content.failure is not None:
            raise content.failure
        if not self.has_room(content.size):
            raise SpoolFull(f"{self._spool.directory}: less than {self.settings.minimum_free} octets are free")
        if not 0 < len(arrival.envelope.recipients) <= RECIPIENT_MASK:
            raise SpoolError("a message needs a recipient, and has at most 1,048,575")

    def _intake(self, arrival: Arrival, octets: bytes, *, held: bool) -> Intake:
        number = self._take_number()
        return Intake(
            number, encode(number, self._spool.number), arrival, len(octets), octets, zlib.crc32(octets), None, held
        )

    def _commit_file(
        self, arrival: Arrival, content: ContentWriter, result: asyncio.Future[QueueId], *, held: bool
    ) -> None:
        described = content.finish_file()
        number = content.number
        assert number is not None
        queue_id = encode(number, self._spool.number)
        intake = Intake(number, queue_id, arrival, content.size, None, 0, described, held)

        def synced(error: BaseException | None) -> None:
            if error is None:
                self._commits.add(intake, result, content)
                return
            content.discard()
            if not result.done():
                result.set_exception(error if isinstance(error, SpoolError) else SpoolError(str(error)))

        self._commits.sync_content(content.sync_file, synced)

    # ---------------------------------------------------------------- mail goes out

    def pause(self) -> None:
        """Hand no more messages to `listener`; those already there go on. For a drain."""
        self._paused = True

    def resume(self) -> None:
        """Hand out messages again."""
        self._paused = False
        self._scan_after(0)

    async def content(self, message: QueuedMessage) -> ContentHandle:
        """Return the content of a message in the window, from memory if it is there, verified if it is read from disk.

        Raises:
            ContentDamaged: it is not what was accepted: hold the message, never send it.
            SpoolError, OSError: it cannot be read now.
        """
        entry = self._window.entries.get(message.number)
        if entry is not None and entry.octets is not None:
            return ContentHandle(message.size, entry.octets)
        verify = entry is None or not entry.fresh
        try:
            handle = await self._reader.run(lambda: self._read_content(message.number, message.size, verify=verify))
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise ContentDamaged(f"{message.queue_id}: {error}") from error
            raise SpoolError(f"{message.queue_id}: {error}") from error
        if entry is not None:
            entry.fresh = True  # its file has been verified
            if handle.octets is not None and self._window.entries.get(message.number) is entry:
                self._window.heat(entry, handle.octets)
        return handle

    def record(
        self, message: QueuedMessage, outcomes: Sequence[Outcome], *, dsn: tuple[Arrival, bytes] | None = None
    ) -> None:
        """Take down what an attempt brought. With *dsn*, the DSN's message enters the queue in the same transaction.

        It is written with the next group, within milliseconds, so that a killed process repeats hardly any delivery,
        and synced within a second. While the disk refuses, outcomes wait in memory, their recipients are not offered
        again, and the window fills up: delivery pauses rather than forgets. When all recipients of a message are
        final, its content is deleted in the same transaction. `done_with` comes next.

        Raises:
            RuntimeError: a recipient is not in the window, or has its outcome already.
        """
        window, number = self._window, message.number
        base = number << RECIPIENT_BITS
        for outcome in outcomes:
            id_ = base | outcome.recipient
            if id_ not in window.busy or id_ in window.settled:
                raise RuntimeError(f"{message.queue_id}: recipient {outcome.recipient} awaits no outcome")
            window.settled.add(id_)
        entry = window.entries[number]
        entry.unsettled += 1
        written = [self._judged(outcome, entry.verdict) for outcome in outcomes]
        first = all(recipient.attempts == 0 and recipient.last_reply is None for recipient in message.recipients)
        intake = None if dsn is None else self._intake(dsn[0], dsn[1], held=dsn[0].hold or self.settings.hold_new)
        self._commits.settle(Settlement(number, entry.total, message.size, written, first, intake))

    def _read_content(self, number: int, size: int, *, verify: bool) -> ContentHandle:
        row = self._spool.reader.execute(
            "SELECT checksum, start, head_size, tail_checksum, octets FROM content WHERE number = ?", (number,)
        ).fetchone()
        queue_id = encode(number, self._spool.number)
        if row is None:
            raise ContentDamaged(f"{queue_id}: the content is gone")
        checksum, start, head_size, tail_checksum, octets = row
        if octets is not None:
            if len(octets) != size or zlib.crc32(octets) != checksum:
                raise ContentDamaged(f"{queue_id}: the content is not what was accepted")
            return ContentHandle(size, octets)
        path = self._content_path(number)
        if verify:
            verify_file(path, size, FileContent(start, head_size, checksum, tail_checksum))
        return ContentHandle(size, None, path, start)

    def _judged(self, outcome: Outcome, verdict: State | None) -> Outcome:
        """Return *outcome* fit to be stored: the operator's verdict, no next attempt missing, clean text."""
        state, next_attempt = outcome.state, outcome.next_attempt
        if state.is_final and outcome.reply.isascii() and outcome.next_hop.isascii():
            return outcome
        if verdict is not None and not state.is_final:
            state = verdict
        if next_attempt is None and state in _DUE:
            next_attempt = outcome.at
        return Outcome(
            outcome.recipient, state, _clean(outcome.reply), _clean(outcome.next_hop), outcome.at, next_attempt
        )

    def done_with(self, message: QueuedMessage) -> None:
        """Let *message* leave the window. Recipients without an outcome are offered again a few seconds later."""
        window, number = self._window, message.number
        entry = window.entries[number]
        base = number << RECIPIENT_BITS
        untried = [
            recipient
            for recipient in message.recipients
            if (id_ := base | recipient.number) in window.busy and id_ not in window.settled
        ]
        if untried and entry.verdict is not None:
            at = self._now()
            self.record(message, [Outcome(r.number, entry.verdict, "decided by the operator", "", at) for r in untried])
        elif untried:
            window.leave([base | recipient.number for recipient in untried])
            self._running().call_later(RETURNED_AFTER, self._look_again, 0.0)
        entry.slices -= 1
        window.slices -= 1
        window.drop_if_idle(number)
        if self._backlog or (window.parked and any(key[0] == number for key in window.parked)):
            self._scan_after(0)

    # ---------------------------------------------------------------- the operator's verbs

    async def hold(self, ids: Iterable[str]) -> dict[QueueId, int]:
        """Keep open recipients from delivery until `release`; return how many recipients of each message were changed.

        Those under delivery at this moment are held if they are deferred. Unknown ids are missing in the answer.
        """
        return await self._execute("hold", ids)

    async def release(self, ids: Iterable[str]) -> dict[QueueId, int]:
        """Make held recipients due at once; return how many recipients of each message were changed."""
        return await self._execute("release", ids)

    async def retry(self, ids: Iterable[str]) -> dict[QueueId, int]:
        """Make deferred recipients due at once; return how many recipients of each message were changed."""
        return await self._execute("retry", ids)

    async def delete(self, ids: Iterable[str]) -> dict[QueueId, int]:
        """Drop open recipients, without a DSN; return how many recipients of each message were changed.

        Those under delivery at this moment are dropped if they are deferred. History stays.
        """
        return await self._execute("delete", ids)

    async def list(
        self, filter_: Filter | None = None, *, limit: int = 100, after: str | None = None
    ) -> Sequence[Listed]:
        """Return messages that match, oldest first; *after* the last id of the page before."""
        spool = self._spool
        start = start_after(after, spool.number)
        wanted = filter_ or Filter()
        return await self._read(
            lambda: list(list_messages(spool.reader, spool.number, wanted, after=start, limit=limit))
        )

    async def show(self, queue_id: str) -> Shown | None:
        """Return everything known of one message; None when it is not in this spool."""
        number = self._number_of(queue_id)
        if number is None:
            return None
        return await self._read(lambda: show_message(self._spool.reader, self._spool.number, number))

    async def stats(self) -> Stats:
        """Count what is open."""
        return await self._read(lambda: total(self._spool.reader))

    async def _execute(self, name: str, ids: Iterable[str]) -> dict[QueueId, int]:
        wanted = {number for text in ids if (number := self._number_of(text)) is not None}
        known = await self._read(lambda: _known(self._spool.reader, sorted(wanted)))
        verb = Verb(name, known, self._now())
        if known:
            await self._commits.execute(verb)
        return {encode(number, self._spool.number): count for number, count in verb.changed.items()}

    def _number_of(self, queue_id: str) -> int | None:
        decoded = decode(queue_id)
        return decoded[0] if decoded is not None and decoded[1] == self._spool.number else None

    async def _read(self, call: Callable[[], T]) -> T:
        try:
            return await self._reader.run(call)
        except sqlite3.Error as error:
            raise SpoolError(f"{self._spool.directory}: {error}") from error

    # ---------------------------------------------------------------- after each group

    def _added(self, intakes: Sequence[Intake]) -> None:
        for intake in intakes:
            if intake.held or intake.number in self._window.entries:
                continue  # a scan, on its own thread, may see the rows before this is called, and take the message in
            if self._can_feed() and intake.arrival.arrived <= self._now() and self._window.has_room_for_fresh():
                self._enter_fresh(intake)
            else:
                self._backlog = True
                self._window.rewind(intake.arrival.arrived)
                self._scan_after(max(intake.arrival.arrived - self._now(), 1.0))

    def _enter_fresh(self, intake: Intake) -> None:
        window, arrival, number = self._window, intake.arrival, intake.number
        envelope = arrival.envelope
        recipients = [
            QueuedRecipient(index, r.mailbox, r.notify, r.orcpt, 0, None)
            for index, r in enumerate(envelope.recipients[: window.slice])
        ]
        message = QueuedMessage(
            number,
            intake.queue_id,
            envelope.reverse_path,
            envelope.body,
            envelope.smtputf8,
            envelope.ret,
            envelope.envid,
            arrival.account,
            arrival.session,
            arrival.arrived,
            arrival.arrived + self.settings.lifetime,
            intake.size,
            recipients,
        )
        entry = window.enter(message, len(envelope.recipients))
        entry.fresh = True
        if intake.octets is not None:
            window.heat(entry, intake.octets)
        if len(envelope.recipients) > len(recipients):
            window.parked[number, arrival.arrived] = number << RECIPIENT_BITS | len(recipients) - 1
            self._scan_after(0)
        self._hand_out(message)

    def _settled(self, settlements: Sequence[Settlement], finished: Sequence[int]) -> None:
        window = self._window
        next_due: float | None = None
        for settlement in settlements:
            base = settlement.number << RECIPIENT_BITS
            window.leave([base | outcome.recipient for outcome in settlement.outcomes])
            for outcome in settlement.outcomes:
                if outcome.state in _DUE and outcome.next_attempt is not None:
                    window.rewind(outcome.next_attempt)
                    if next_due is None or outcome.next_attempt < next_due:
                        next_due = outcome.next_attempt
            entry = window.entries.get(settlement.number)
            if entry is not None:
                entry.unsettled -= 1
                window.drop_if_idle(settlement.number)
        if finished and (large := {s.number for s in settlements if s.size > SMALLEST_FILE}):
            self._remove_files([number for number in finished if number in large])
        if next_due is not None:
            self._scan_after(max(next_due - self._now(), 0))
        elif self._backlog:
            self._scan_after(0)

    def _stepped(self, verb: Verb, skipped: Sequence[int]) -> None:
        self._window.leave(verb.touched)
        verdict = {"hold": State.HELD, "delete": State.DELETED}.get(verb.name)
        concerned = verb.changed if verb.name == "release" else {id_ >> RECIPIENT_BITS for id_ in skipped}
        if verb.name != "retry":
            for number in concerned:
                if (entry := self._window.entries.get(number)) is not None:
                    entry.verdict = verdict
        self._remove_files(verb.finished)
        if verb.name in ("release", "retry"):
            self._look_again(verb.at)

    def _remove_files(self, numbers: Sequence[int]) -> None:
        """Delete the content files that *numbers* may have; without rows they are orphans already."""
        paths = [self._content_path(number) for number in numbers]
        if paths:
            self._commits.keep(lambda: _unlink(paths))

    # ---------------------------------------------------------------- scanning for what is due

    def _can_feed(self) -> bool:
        return self._listener is not None and not self._paused

    def _hand_out(self, message: QueuedMessage) -> None:
        assert self._listener is not None
        self._running().call_soon(self._listener, message)

    def _look_again(self, at: float) -> None:
        self._window.rewind(at)
        self._backlog = True
        self._scan_after(0)

    def _scan_after(self, seconds: float) -> None:
        """Scan in *seconds*, or earlier if that is planned already."""
        if self._closing:
            return
        loop = self._running()
        at = loop.time() + min(seconds, LONGEST_WAIT)
        if self._scanning:
            self._scan_at = min(self._scan_at, at)
            return
        if self._scan_timer is not None:
            if self._scan_at <= at + 0.05:
                return
            self._scan_timer.cancel()
        self._scan_at = at
        self._scan_timer = loop.call_at(at, self._scan)

    def _scan(self) -> None:
        self._scan_timer = None
        if self._scanning or self._closing or not self._can_feed():
            return
        plan = self._window.plan(self._spool.number, self._now())
        if plan is None:
            self._backlog = True
            return
        self._scanning = True
        self._scan_at = float("inf")
        self._reader.submit(lambda: scan(self._spool.reader, plan), self._scanned)

    def _scanned(self, found: Found, error: BaseException | None) -> None:
        self._scanning = False
        if error is not None:
            self._window.abandon_scan()
            self._report(f"{self._spool.directory}: {error}")
            self._scan_after(SCAN_RETRY)
            return
        entered = self._window.admit(found)
        self._backlog = not found.exhausted
        waits = [LONGEST_WAIT, self._scan_at - self._running().time()]
        if found.next_due is not None:
            waits.append(found.next_due - self._now())
        self._scan_after(max(min(waits), 0))
        for message, _ in entered:
            self._hand_out(message)

    # ---------------------------------------------------------------- the rest

    def _keep(self) -> None:
        self._commits.checkpoint_if_idle()
        self._timers["keep"] = self._running().call_later(KEEPING_INTERVAL, self._keep)

    def _purge(self) -> None:
        self._commits.purge(number_at(self._now() - self.settings.history_days * DAY))
        self._timers["purge"] = self._running().call_later(PURGE_INTERVAL, self._purge)

    def _take_number(self) -> int:
        self._last_number = number = max(self._last_number + 1, number_at(self._now()))
        return number

    def _content_path(self, number: int) -> Path:
        return self._spool.content_directory / encode(number, self._spool.number)

    def _report(self, text: str) -> None:
        self.problem(text)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the queue is not started")
        return self._loop


_DUE = frozenset({State.QUEUED, State.DEFERRED})


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _clean(text: str) -> str:
    """Return *text* without what a database cannot store (lone surrogates of undecodable octets)."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _known(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    return [n for n in numbers if connection.execute("SELECT 1 FROM message WHERE number = ?", (n,)).fetchone()]
