"""Group commit: many sessions and deliveries share one sync, and none skips it.

Everything that became ready while one group is being synced goes into the next; a single message waits for nobody.
Where messages come in company, the event loop turns a few times before a group begins, as long as that brings more: who
has just been answered may have the next message at hand. A group costs a sync, a change of threads and its pages once,
however large it is. The loop turns in microseconds when it has no other work.

The event loop applies a group to SQLite's page cache inside BEGIN IMMEDIATE, which is cheap, and hands only the COMMIT,
which writes and syncs the WAL, to one thread: one change of threads per group, none per statement.

Outcomes that come without an arrival are committed a few milliseconds later without a sync, so that a killed process
repeats hardly any delivery, and synced within `SYNC_WITHIN`, so that a power cut repeats few.

Checkpoints (moving the WAL into the database) run on another thread beside the commits; what those added meanwhile is
moved by a second, short pass between two commits, after which SQLite starts the WAL anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sekisho.store import fsync_directory

from .content import FULL_ERRORS, ContentWriter
from .ids import QueueId
from .journal import RECIPIENT_BITS, Intake, Journal, Settlement, Verb
from .model import SpoolError, SpoolFull
from .opening import OpenSpool
from .threads import Worker

__all__ = ["LEGS", "Commits", "Hooks"]

T = TypeVar("T")

QUIET_TURNS = 5  # of the event loop, without a further arrival, after which a group begins
MOST_TURNS = 12  # of the event loop for one group
LONGEST_GATHERING = 0.003  # seconds; in a loop that is late already, turns are long
OUTCOME_DELAY = 0.01  # seconds outcomes wait for an arrival to share its commit
SYNC_WITHIN = 0.8  # seconds until an outcome is synced
RETRY_AFTER = 1.0  # seconds until outcomes that could not be written are tried again
SETTLEMENTS_AT_ONCE = 1000
INTAKES_AT_ONCE = 500
CHECKPOINT_OCTETS = 16 * 1024 * 1024  # estimated growth of the WAL between checkpoints
STALL_OCTETS = 128 * 1024 * 1024  # growth at which commits wait for the checkpoint: it cannot keep up beside them
GROUP_OVERHEAD = 24 * 1024  # octets of changed pages in a group, beside content

LEGS = ("content-synced", "applied", "committed", "resolved")
"""Where crash tests stop the process; see `Commits.leg`."""


@dataclass(slots=True, eq=False)
class Hooks:
    """What the queue does when a group is on disk."""

    added: Callable[[Sequence[Intake]], None]
    settled: Callable[[Sequence[Settlement], Sequence[int]], None]
    stepped: Callable[[Verb, Sequence[int]], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """An intake, who waits for it, and its file if it has one."""

    intake: Intake
    future: asyncio.Future[QueueId]
    content: ContentWriter | None


@dataclass(slots=True, eq=False)
class _Command:
    verb: Verb
    future: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Group:
    waiting: list[_Waiting] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    command: _Command | None = None
    purge_before: int | None = None
    synced: bool = True
    alone: bool = False
    finished: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)
    purge_again: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.settlements or self.command or self.purge_before is not None)


class Commits:
    """Runs the transactions of one spool."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spool: OpenSpool, journal: Journal, hooks: Hooks, busy: set[int]
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._journal = journal
        self._hooks = hooks
        self._busy = busy
        self._committer = Worker(loop, f"spool-{spool.number}-commit")
        self._keeper = Worker(loop, f"spool-{spool.number}-keep")
        self._syncer = Worker(loop, f"spool-{spool.number}-sync")
        self._waiting: deque[_Waiting] = deque()
        self._settlements: deque[Settlement] = deque()
        self._alone: deque[_Waiting | Settlement] = deque()  # from a group that failed for no reason of the disk
        self._commands: deque[_Command] = deque()
        self._purge_before: int | None = None
        self._group: _Group | None = None
        self._scheduled = False
        self._in_company = False  # the last group had more than one arrival
        self._outcome_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._full_sync = True
        self._grown = spool.wal.stat().st_size if spool.wal.exists() else 0
        self._checkpointing = False
        self._finish_checkpoint = False
        self._syncing_content = 0
        self._failures = 0
        self._idle: asyncio.Future[None] | None = None
        self.problem: Callable[[str], None] = lambda text: None
        self.leg: Callable[[str], None] | None = None

    # ---------------------------------------------------------------- what the queue asks

    def add(self, intake: Intake, future: asyncio.Future[QueueId], content: ContentWriter | None = None) -> None:
        """Write *intake* with the next group; *future* gets its queue id once it is durable, or a `SpoolError`.

        Its file, *content*, is discarded when it is not kept.
        """
        self._waiting.append(_Waiting(intake, future, content))
        self._schedule()

    def sync_content(self, sync: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run *sync* and sync the content directory, then *done(error)*: before this no row may name the file."""
        self._syncing_content += 1

        def call() -> None:
            sync()
            fsync_directory(self._spool.content_directory)
            if self.leg is not None:
                self.leg("content-synced")

        def after(_: object, error: BaseException | None) -> None:
            self._syncing_content -= 1
            done(error)
            self._note_idle()

        self._syncer.submit(call, after)

    def settle(self, settlement: Settlement) -> None:
        """Write *settlement* with the next group, at the latest in `OUTCOME_DELAY`."""
        self._settlements.append(settlement)
        if self._outcome_timer is None and self._group is None and not self._scheduled:
            self._outcome_timer = self._loop.call_later(OUTCOME_DELAY, self._start)
        if len(self._settlements) >= SETTLEMENTS_AT_ONCE:
            self._schedule()

    def execute(self, verb: Verb) -> asyncio.Future[None]:
        """Carry out *verb*, one bounded step per group; the future is done when all are on disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._commands.append(_Command(verb, future))
        self._schedule()
        return future

    def purge(self, before: int) -> None:
        """Delete history of finished messages with numbers below *before*, in small steps when little else is to do."""
        self._purge_before = before
        self._schedule()

    def keep(self, call: Callable[[], object]) -> None:
        """Run *call*, which needs nobody's attention (deleting files), on the keeper thread."""
        self._keeper.submit(call, _ignore)

    def checkpoint_if_idle(self) -> None:
        """Move the WAL into the database while there is little to do."""
        if self._grown and self._group is None and not self._checkpointing and not self._waiting:
            self._checkpoint()

    async def drain(self, attempts: int) -> bool:
        """Write all that waits; give up on outcomes after *attempts* failures. Returns whether nothing is left."""
        self._failures = 0
        while self._is_working():
            if self._failures >= attempts:
                return False
            if self._is_working(content=False):
                self._schedule()
            self._idle = self._loop.create_future()
            await self._idle
        return True

    async def stop(self) -> None:
        """End the threads; a last checkpoint leaves an empty WAL."""
        for timer in (self._outcome_timer, self._sync_timer):
            if timer is not None:
                timer.cancel()
        await self._syncer.run(_nothing)
        await self._keeper.run(_nothing)
        await self._committer.run(self._last_checkpoint)
        for worker in (self._syncer, self._keeper, self._committer):
            worker.stop()

    # ---------------------------------------------------------------- one group

    def _schedule(self) -> None:
        """Start a group when the callbacks that are ready now have run: they may have more for it."""
        if self._group is None and not self._scheduled:
            self._scheduled = True
            quiet = QUIET_TURNS if self._in_company else 1
            end = self._loop.time() + LONGEST_GATHERING
            self._loop.call_soon(self._gather, end, MOST_TURNS, quiet, len(self._waiting))

    def _gather(self, end: float, turns: int, quiet: int, before: int) -> None:
        """Start the group, or turn once more when another message has come or may come."""
        waiting = len(self._waiting)
        if waiting > max(before, 1):
            quiet = QUIET_TURNS
        if turns <= 1 or quiet <= 1 or not waiting or self._loop.time() >= end:
            self._start()
        else:
            self._loop.call_soon(self._gather, end, turns - 1, quiet - 1, waiting)

    def _start(self) -> None:
        self._scheduled = False
        if self._group is not None:
            return
        if self._outcome_timer is not None:
            self._outcome_timer.cancel()
            self._outcome_timer = None
        group = self._take_group()
        if group.is_empty:
            self._note_idle()
            return
        saved = group.command.verb.checkpoint() if group.command is not None else None
        try:
            self._apply(group)
        except Exception as error:  # whatever it is, these messages are not accepted, and the queue goes on
            self._journal.roll_back()
            if group.command is not None and saved is not None:
                group.command.verb.restore(saved)
            self._fail(group, error)
            return
        self._group = group
        self._committer.submit(self._commit_call(), self._committed)

    def _take_group(self) -> _Group:
        group = _Group()
        if self._alone:
            item = self._alone.popleft()
            group.alone = True
            if isinstance(item, _Waiting):
                group.waiting.append(item)
            else:
                group.settlements.append(item)
            return group
        group.waiting = _take(self._waiting, INTAKES_AT_ONCE)
        self._in_company = len(group.waiting) > 1
        group.settlements = _take(self._settlements, SETTLEMENTS_AT_ONCE if not self._commands else 1 << 30)
        if self._commands:  # outcomes come first, all of them: the verb must see the states they bring
            group.command = self._commands.popleft()
        elif not group.waiting:
            group.purge_before, self._purge_before = self._purge_before, None
        group.synced = bool(group.waiting) or group.command is not None or any(s.dsn for s in group.settlements)
        return group

    def _apply(self, group: _Group) -> None:
        journal = self._journal
        if group.synced is not self._full_sync:
            journal.connection.execute("PRAGMA synchronous = FULL" if group.synced else "PRAGMA synchronous = NORMAL")
            self._full_sync = group.synced
        journal.begin()
        if group.waiting:
            journal.add([waiting.intake for waiting in group.waiting])
        if group.settlements:
            group.finished = journal.settle(group.settlements)
        if group.command is not None:
            settled = {
                s.number << RECIPIENT_BITS | outcome.recipient for s in group.settlements for outcome in s.outcomes
            }
            verb = group.command.verb
            group.skipped = verb.step(journal.connection, self._busy - settled)
            # A scan that read these recipients before must not hand them out: they are busy until this is on disk.
            group.touched = [id_ for id_ in verb.touched if id_ not in self._busy]
            self._busy.update(group.touched)
        if group.purge_before is not None:
            group.purge_again = journal.purge(group.purge_before)
        if self.leg is not None:
            self.leg("applied")
        self._grown += GROUP_OVERHEAD
        for waiting in group.waiting:
            self._grown += waiting.intake.size if waiting.intake.octets is not None else 0

    def _commit_call(self) -> Callable[[], None]:
        connection, keeper, leg = self._spool.writer, self._spool.keeper, self.leg
        finish_checkpoint, self._finish_checkpoint = self._finish_checkpoint, False
        finish_checkpoint = finish_checkpoint or self._grown > STALL_OCTETS
        if finish_checkpoint:
            self._grown = 0

        def commit() -> None:
            try:
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if leg is not None:
                leg("committed")
            if finish_checkpoint:
                _try_checkpoint(keeper)

        return commit

    def _committed(self, _: object, error: BaseException | None) -> None:
        group, self._group = self._group, None
        assert group is not None
        if error is not None:
            self._fail(group, error)
            return
        self._failures = 0
        for waiting in group.waiting:
            if not waiting.future.done():
                waiting.future.set_result(waiting.intake.queue_id)
        if self.leg is not None:
            self.leg("resolved")
        if not group.synced:
            self._sync_later()
        elif self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None
        self._resolve_command(group)
        self._go_on()
        self._tell(group)
        if self._grown > CHECKPOINT_OCTETS and not self._checkpointing:
            self._checkpoint()
        self._note_idle()

    def _go_on(self) -> None:
        """Start the next group at once if there is reason to; outcomes alone wait for company."""
        if self._waiting or self._commands or self._alone or len(self._settlements) >= SETTLEMENTS_AT_ONCE:
            self._schedule()
        elif (self._settlements and self._outcome_timer is None) or self._purge_before is not None:
            self._outcome_timer = self._loop.call_later(OUTCOME_DELAY, self._start)

    def _tell(self, group: _Group) -> None:
        if group.waiting:
            self._hooks.added([waiting.intake for waiting in group.waiting])
        if group.settlements:
            self._hooks.settled(group.settlements, group.finished)
            if dsns := [settlement.dsn for settlement in group.settlements if settlement.dsn is not None]:
                self._hooks.added(dsns)

    def _resolve_command(self, group: _Group) -> None:
        if group.command is not None:
            self._hooks.stepped(group.command.verb, group.skipped)
            if group.command.verb.is_done:
                if not group.command.future.done():
                    group.command.future.set_result(None)
            else:
                self._commands.append(group.command)
        if group.purge_before is not None and group.purge_again and self._purge_before is None:
            self._purge_before = group.purge_before

    def _fail(self, group: _Group, error: BaseException) -> None:
        """Undo a group: arrivals are told, outcomes wait for a better time."""
        failure = self._explain(error)
        disk = isinstance(error, sqlite3.Error) and _primary_code(error) in _DISK_CODES
        self._failures += 1
        self.problem(str(failure))
        if disk and not self._checkpointing:
            self._checkpoint()  # a WAL that is in the database gives its room to what comes next
        if not disk and not group.alone and len(group.waiting) + len(group.settlements) > 1:
            self._alone.extend(group.waiting)  # one of them is to blame; the others shall not pay for it
            self._alone.extend(group.settlements)
            group.waiting, group.settlements = [], []
        for waiting in group.waiting:
            if waiting.content is not None:
                waiting.content.discard()
            if not waiting.future.done():
                waiting.future.set_exception(failure)
        self._busy.difference_update(group.touched)
        if group.command is not None and not group.command.future.done():
            group.command.future.set_exception(failure)
        if group.settlements:
            self._settlements.extendleft(reversed(group.settlements))
            if self._outcome_timer is None:
                self._outcome_timer = self._loop.call_later(RETRY_AFTER, self._start)
        if self._waiting or self._commands or self._alone:
            self._schedule()
        self._note_idle()

    def _explain(self, error: BaseException) -> SpoolError:
        path = self._spool.directory
        full = isinstance(error, sqlite3.Error) and _primary_code(error) == sqlite3.SQLITE_FULL
        if not full and isinstance(error, sqlite3.Error) and _primary_code(error) == sqlite3.SQLITE_IOERR:
            full = _is_full(path)  # SQLite reports an exceeded quota or file size limit as an I/O error
        failure = SpoolFull(f"{path}: no room left") if full else SpoolError(f"{path}: {error}")
        failure.__cause__ = error
        return failure

    # ---------------------------------------------------------------- syncs and checkpoints beside the groups

    def _sync_later(self) -> None:
        if self._sync_timer is None:
            self._sync_timer = self._loop.call_later(SYNC_WITHIN, self._sync_wal)

    def _sync_wal(self) -> None:
        self._sync_timer = None
        path = self._spool.wal
        self._committer.submit(lambda: _fdatasync(path), self._reported)

    def _checkpoint(self) -> None:
        self._checkpointing = True
        self._grown = 0
        keeper = self._spool.keeper
        self._keeper.submit(lambda: _try_checkpoint(keeper), self._checkpointed)

    def _checkpointed(self, _: object, error: BaseException | None) -> None:
        self._checkpointing = False
        if error is not None:
            self._reported(None, error)
        elif self._group is None and not self._waiting:
            keeper = self._spool.keeper
            self._committer.submit(lambda: _try_checkpoint(keeper), self._reported)
        else:
            self._finish_checkpoint = True

    def _last_checkpoint(self) -> None:
        with suppress(sqlite3.Error):  # a full disk: the WAL stays, with all that is in it, for the next start
            self._spool.keeper.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _reported(self, _: object, error: BaseException | None) -> None:
        if error is not None:
            self.problem(f"{self._spool.directory}: {error}")

    # ---------------------------------------------------------------- the end

    def _is_working(self, *, content: bool = True) -> bool:
        return bool(
            self._group
            or self._waiting
            or self._settlements
            or self._alone
            or self._commands
            or (content and self._syncing_content)
        )

    def _note_idle(self) -> None:
        if self._idle is not None and not self._idle.done() and self._group is None and not self._scheduled:
            self._idle.set_result(None)


_DISK_CODES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
    }
)


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def _take(items: deque[T], count: int) -> list[T]:
    if len(items) <= count:
        taken = list(items)
        items.clear()
        return taken
    return [items.popleft() for _ in range(count)]


def _nothing() -> None:
    return None


def _ignore(_: object, error: BaseException | None) -> None:
    return None


def _fdatasync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a checkpoint has moved it all into the database, which it synced
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _try_checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _is_full(directory: Path) -> bool:
    """Whether a small file cannot be written for want of room."""
    probe = directory / ".probe"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"\0" * 65536)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError as error:
        return error.errno in FULL_ERRORS
    return False
