"""A queue on an append-only log: a yardstick for the queue's store, not a store.

`LogQueue` stands in for `sekisho.queue.Queue` in a measurement of the whole server (see `serve_log.py`). It keeps the
promises that cost time: no 250 before the group is written and synced, every record with its checksum, outcomes written
within 10 ms and synced within a second. What a log of real use needs besides is missing, and would cost more: recovery,
compaction (one deferred message keeps its segment and all after it), history, listing and the operator's verbs, a bound
on memory (the index holds every open message), slices for messages with very many recipients, going on after a write
that failed.

Groups are formed as in `sekisho.queue.commits`, so that the measurement compares stores and not schedules.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segments import (
    ARRIVAL,
    ARRIVAL_WITH_FILE,
    OUTCOMES,
    SEGMENT,
    Segment,
    create_segment,
    encode_record,
    read_content,
    write_group,
)

from sekisho.queue import (
    Arrival,
    ContentHandle,
    ContentWriter,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueId,
    QueueSettings,
    SpoolError,
    SpoolFull,
    State,
    Stats,
    encode,
)
from sekisho.queue.content import FileContent, Memory
from sekisho.queue.ids import number_at
from sekisho.queue.threads import Worker
from sekisho.store import fsync_directory, make_directory_durably

OUTCOME_DELAY = 0.01  # seconds outcomes wait for an arrival to share its write
SYNC_WITHIN = 0.8  # seconds until an outcome is synced
RETURNED_AFTER = 5.0  # seconds until recipients that delivery returned untried are offered again
ROOM_CHECK_INTERVAL = 1.0
GROUP_OCTETS = 8 * 1024 * 1024
RECIPIENT_BITS = 20


@dataclass(slots=True, eq=False)
class Kept:
    """An open message in the index: where its record is, its content while hot, how many recipients are open."""

    number: int
    queue_id: QueueId
    arrival: Arrival
    size: int
    file: FileContent | None
    octets: bytes | None
    open: int
    segment: Segment | None = None
    at: int = 0
    length: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """An arrival's record on its way to the log; nobody waits for that of a DSN."""

    record: bytes
    kept: Kept
    future: asyncio.Future[QueueId] | None


class LogQueue:
    """One mail process's spool. What is not explained here is as in `sekisho.queue.Queue`."""

    def __init__(self, directory: Path, settings: QueueSettings, number: int, now: Callable[[], float]) -> None:
        self.problem: Callable[[str], None] = lambda text: None
        self.settings = settings
        self.number = number
        self._directory = directory
        self._now = now
        self._segments = deque([create_segment(directory / "0.log")])
        self._spare: Segment | None = None
        self._making_spare = False
        self._made = 1
        self._memory = Memory()
        self._last_number = number_at(now())
        self._sequence = 0
        self._listener: Callable[[QueuedMessage], None] | None = None
        self._paused = self._closing = self._broken = False
        self._index: dict[int, Kept] = {}
        self._busy: set[int] = set()  # recipients that are out with delivery
        self._messages_out = 0
        self._hot = 0
        self._due: deque[tuple[Kept, list[QueuedRecipient]]] = deque()  # the window was full
        self._later: list[tuple[float, int, Kept, list[QueuedRecipient]]] = []
        self._later_timer: asyncio.TimerHandle | None = None
        self._waiting: deque[Waiting | bytes] = deque()
        self._arrivals_waiting = 0
        self._writing = self._scheduled = False
        self._outcome_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._free = 0
        self._room_checked = 0.0

    @classmethod
    def open(cls, directory: Path, settings: QueueSettings, *, number: int, now: Callable[[], float]) -> LogQueue:
        spool = directory / str(number)
        make_directory_durably(spool / "content")
        if any(spool.glob("*.log")):
            raise SpoolError(f"{spool}: the yardstick begins with an empty spool; it has no recovery")
        return cls(spool, settings, number, now)

    @property
    def listener(self) -> Callable[[QueuedMessage], None] | None:
        return self._listener

    @listener.setter
    def listener(self, listener: Callable[[QueuedMessage], None] | None) -> None:
        self._listener = listener

    def start(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._writer = Worker(loop, f"log-{self.number}-write")
        self._reader = Worker(loop, f"log-{self.number}-read")
        self._keeper = Worker(loop, f"log-{self.number}-keep")

    async def close(self) -> None:
        self._closing = self._paused = True
        while (self._waiting or self._writing) and not self._broken:
            self._schedule()
            self._idle = self._loop.create_future()
            await self._idle
        for timer in (self._outcome_timer, self._sync_timer, self._later_timer):
            if timer is not None:
                timer.cancel()
        await self._writer.run(partial(os.fdatasync, self._segments[-1].descriptor))
        for worker in (self._writer, self._reader, self._keeper):
            worker.stop()
        for segment in self._segments:
            os.close(segment.descriptor)

    # ---------------------------------------------------------------- mail comes in

    def has_room(self, octets: int = 0) -> bool:
        now = time.monotonic()
        if now - self._room_checked >= ROOM_CHECK_INTERVAL:
            self._room_checked = now
            status = os.statvfs(self._directory)
            self._free = status.f_bavail * status.f_frsize
        return self._free - octets >= int(self.settings.minimum_free)

    def new_content(self) -> ContentWriter:
        return ContentWriter(
            inline_limit=int(self.settings.inline_limit),
            memory=self._memory,
            take_number=self._take_number,
            path_for=self._content_path,
        )

    def commit(self, arrival: Arrival, content: ContentWriter) -> asyncio.Future[QueueId]:
        result: asyncio.Future[QueueId] = self._loop.create_future()
        try:
            if self._closing or self._broken:
                raise SpoolError("the log is closed, or could not be written")
            if content.failure is not None:
                raise content.failure
            if not self.has_room(content.size):
                raise SpoolFull(f"{self._directory}: no room")
            if content.path is None:
                self._add(arrival, content.take_octets(), result)
            else:
                self._add_file(arrival, content, result)
        except SpoolError as error:
            content.discard()
            result.set_exception(error)
        return result

    def _add(self, arrival: Arrival, octets: bytes, result: asyncio.Future[QueueId] | None) -> None:
        number = self._take_number()
        kept = self._keep(number, arrival, len(octets), None, octets)
        self._append_arrival(ARRIVAL, kept, _envelope(arrival), result)

    def _add_file(self, arrival: Arrival, content: ContentWriter, result: asyncio.Future[QueueId]) -> None:
        described = content.finish_file()
        assert content.number is not None
        kept = self._keep(content.number, arrival, content.size, described, None)

        def sync() -> None:
            content.sync_file()
            fsync_directory(self._directory / "content")

        def synced(_: object, error: BaseException | None) -> None:
            if error is None:
                place = f"{described.start} {described.head_size} {described.head_checksum} {described.tail_checksum}\0"
                self._append_arrival(ARRIVAL_WITH_FILE, kept, place.encode() + _envelope(arrival), result)
            else:
                content.discard()
                result.set_exception(SpoolError(str(error)))

        self._keeper.submit(sync, synced)

    def _keep(self, number: int, arrival: Arrival, size: int, file: FileContent | None, octets: bytes | None) -> Kept:
        return Kept(number, encode(number, self.number), arrival, size, file, octets, len(arrival.envelope.recipients))

    def _append_arrival(self, kind: int, kept: Kept, text: bytes, result: asyncio.Future[QueueId] | None) -> None:
        record = encode_record(kind, kept.number, self._next_sequence(), text, kept.octets or b"")
        self._waiting.append(Waiting(record, kept, result))
        self._arrivals_waiting += 1
        self._schedule()

    # ---------------------------------------------------------------- one group

    def _schedule(self) -> None:
        if not self._writing and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._start_group)

    def _start_group(self) -> None:
        self._scheduled = False
        if self._outcome_timer is not None:
            self._outcome_timer.cancel()
            self._outcome_timer = None
        if self._writing or not self._waiting:
            return
        waiting = self._waiting
        group: list[Waiting] = []
        parts: list[bytes] = []
        length = 0
        while waiting and length < GROUP_OCTETS:
            item = waiting.popleft()
            if isinstance(item, Waiting):
                kept = item.kept
                kept.at = length
                kept.length = len(item.record)
                parts.append(item.record)
                if kept.octets is not None:
                    parts.append(kept.octets)
                    kept.length += len(kept.octets)
                length += kept.length
                group.append(item)
            else:
                parts.append(item)
                length += len(item)
        before, segment = self._room_for(length)
        at, segment.end = segment.end, segment.end + length
        segment.open += len(group)
        for item in group:
            item.kept.segment = segment
            item.kept.at += at
        self._arrivals_waiting -= len(group)
        self._writing = True
        self._writer.submit(
            partial(write_group, before, segment, parts, at, bool(group)), partial(self._written, group)
        )

    def _room_for(self, length: int) -> tuple[Segment | None, Segment]:
        """Return the segment that was left for it, if any, and the one that *length* more octets go to."""
        segment = self._segments[-1]
        if segment.end + length <= SEGMENT:
            if self._spare is None and not self._making_spare and segment.end > SEGMENT // 2:
                self._make_spare()
            return None, segment
        following, self._spare = self._spare, None
        if following is None:
            following = create_segment(self._next_path())
        self._segments.append(following)
        return segment, following

    def _make_spare(self) -> None:
        """Use the oldest segment again if nothing in it is open, else make one."""
        oldest = self._segments[0]
        if oldest.open == 0 and len(self._segments) > 1:
            self._segments.popleft()
            oldest.end = 0
            self._spare = oldest
            return

        def made(spare: Segment | None, error: BaseException | None) -> None:
            self._making_spare = False
            self._spare = spare
            if error is not None:
                self.problem(str(error))

        self._making_spare = True
        self._keeper.submit(partial(create_segment, self._next_path()), made)

    def _next_path(self) -> Path:
        path = self._directory / f"{self._made}.log"
        self._made += 1
        return path

    def _written(self, group: list[Waiting], _: object, error: BaseException | None) -> None:
        self._writing = False
        if error is not None:
            self._break(group, error)
            return
        for item in group:
            self._index[item.kept.number] = item.kept
            if item.future is not None and not item.future.done():
                item.future.set_result(item.kept.queue_id)
        if not group:
            if self._sync_timer is None:
                self._sync_timer = self._loop.call_later(SYNC_WITHIN, self._sync)
        elif self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None
        if self._arrivals_waiting:
            self._schedule()
        elif self._waiting and self._outcome_timer is None:
            self._outcome_timer = self._loop.call_later(OUTCOME_DELAY, self._start_group)
        for item in group:
            self._added(item.kept)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _break(self, group: list[Waiting], error: BaseException) -> None:
        """Accept nothing any more: what the log holds from here on is unknown."""
        self._broken = True
        self.problem(str(error))
        group += [item for item in self._waiting if isinstance(item, Waiting)]
        self._waiting.clear()
        for item in group:
            if item.future is not None and not item.future.done():
                item.future.set_exception(SpoolError(str(error)))
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _sync(self) -> None:
        self._sync_timer = None
        self._writer.submit(partial(os.fdatasync, self._segments[-1].descriptor), self._reported)

    def _reported(self, _: object, error: BaseException | None) -> None:
        if error is not None:
            self.problem(str(error))

    # ---------------------------------------------------------------- mail goes out

    def _added(self, kept: Kept) -> None:
        if kept.octets is not None:
            if kept.arrival.hold or self.settings.hold_new or self._hot + kept.size > self.settings.hot_content:
                kept.octets = None
            else:
                self._hot += kept.size
        if not (kept.arrival.hold or self.settings.hold_new):
            recipients = [
                QueuedRecipient(index, r.mailbox, r.notify, r.orcpt, 0, None)
                for index, r in enumerate(kept.arrival.envelope.recipients)
            ]
            self._offer(kept, recipients)

    def _offer(self, kept: Kept, recipients: list[QueuedRecipient]) -> None:
        if self._listener is None or self._paused or self._messages_out >= self.settings.window:
            self._due.append((kept, recipients))
            return
        self._messages_out += 1
        base = kept.number << RECIPIENT_BITS
        if len(recipients) == 1:
            self._busy.add(base | recipients[0].number)
        else:
            self._busy.update([base | recipient.number for recipient in recipients])
        arrival = kept.arrival
        envelope = arrival.envelope
        message = QueuedMessage(
            kept.number,
            kept.queue_id,
            envelope.reverse_path,
            envelope.body,
            envelope.smtputf8,
            envelope.ret,
            envelope.envid,
            arrival.account,
            arrival.session,
            arrival.arrived,
            arrival.arrived + self.settings.lifetime,
            kept.size,
            recipients,
        )
        self._loop.call_soon(self._listener, message)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._offer_waiting()

    def _offer_waiting(self) -> None:
        while self._due and not self._paused and self._messages_out < self.settings.window:
            self._offer(*self._due.popleft())

    async def content(self, message: QueuedMessage) -> ContentHandle:
        kept = self._index[message.number]
        if kept.octets is not None:
            return ContentHandle(kept.size, kept.octets)
        if kept.file is not None:
            return ContentHandle(kept.size, None, self._content_path(kept.number), kept.file.start)
        assert kept.segment is not None
        octets = await self._reader.run(partial(read_content, kept.segment, kept.at, kept.length))
        return ContentHandle(kept.size, octets)

    def record(
        self, message: QueuedMessage, outcomes: Sequence[Outcome], *, dsn: tuple[Arrival, bytes] | None = None
    ) -> None:
        kept = self._index[message.number]
        self._waiting.append(
            encode_record(OUTCOMES, message.number, self._next_sequence(), _outcomes_text(outcomes), b"")
        )
        if self._outcome_timer is None and not self._writing and not self._scheduled:
            self._outcome_timer = self._loop.call_later(OUTCOME_DELAY, self._start_group)
        if dsn is not None:
            self._add(dsn[0], dsn[1], None)
        base = message.number << RECIPIENT_BITS
        for outcome in outcomes:
            self._busy.discard(base | outcome.recipient)
            if outcome.state.is_final:
                kept.open -= 1
            elif outcome.state is not State.HELD:
                self._again(kept, message, outcome)

    def _again(self, kept: Kept, message: QueuedMessage, outcome: Outcome) -> None:
        recipient = next(r for r in message.recipients if r.number == outcome.recipient)
        recipient.attempts += outcome.state is State.DEFERRED
        recipient.last_reply = outcome.reply
        at = outcome.next_attempt or outcome.at
        heapq.heappush(self._later, (at, kept.number << RECIPIENT_BITS | recipient.number, kept, [recipient]))
        self._wait_for_later()

    def _wait_for_later(self) -> None:
        if self._later_timer is None and self._later:
            self._later_timer = self._loop.call_later(max(self._later[0][0] - self._now(), 1.0), self._take_later)

    def _take_later(self) -> None:
        self._later_timer = None
        while self._later and self._later[0][0] <= self._now():
            _, _, kept, recipients = heapq.heappop(self._later)
            self._offer(kept, recipients)
        self._wait_for_later()

    def done_with(self, message: QueuedMessage) -> None:
        kept = self._index[message.number]
        base = message.number << RECIPIENT_BITS
        untried = [r for r in message.recipients if base | r.number in self._busy]
        if untried:
            self._busy.difference_update([base | r.number for r in untried])
            self._loop.call_later(RETURNED_AFTER, self._offer, kept, untried)
        self._messages_out -= 1
        if kept.open == 0:
            self._finish(kept)
        if self._due:
            self._offer_waiting()

    def _finish(self, kept: Kept) -> None:
        del self._index[kept.number]
        assert kept.segment is not None
        kept.segment.open -= 1
        if kept.octets is not None:
            self._hot -= kept.size
        if kept.file is not None:
            self._keeper.submit(partial(self._content_path(kept.number).unlink, missing_ok=True), self._reported)

    async def stats(self) -> Stats:
        """Count what is open; states are not told apart."""
        messages = self._index.values()
        recipients = {State.QUEUED: sum(kept.open for kept in messages)}
        oldest = min((kept.arrival.arrived for kept in messages), default=None)
        return Stats(len(self._index), sum(kept.size for kept in messages), recipients, oldest, None)

    # ---------------------------------------------------------------- the rest

    def _take_number(self) -> int:
        self._last_number = number = max(self._last_number + 1, number_at(self._now()))
        return number

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _content_path(self, number: int) -> Path:
        return self._directory / "content" / encode(number, self.number)


def _envelope(arrival: Arrival) -> bytes:
    envelope = arrival.envelope
    sender = envelope.reverse_path
    fields = [
        "" if sender is None else sender.local_part,
        "" if sender is None else sender.domain,
        envelope.body.value,
        "1" if envelope.smtputf8 else "",
        envelope.ret or "",
        envelope.envid or "",
        arrival.account or "",
        arrival.session,
        arrival.client,
        arrival.listener,
        repr(arrival.arrived),
        "1" if arrival.hold else "",
    ]
    for recipient in envelope.recipients:
        mailbox = recipient.mailbox
        fields += (mailbox.local_part, mailbox.domain, recipient.notify or "", recipient.orcpt or "")
    return "\0".join(fields).encode("utf-8", "replace")


def _outcomes_text(outcomes: Sequence[Outcome]) -> bytes:
    fields: list[str] = []
    for outcome in outcomes:
        fields += (
            str(outcome.recipient),
            outcome.state.value,
            repr(outcome.at),
            repr(outcome.next_attempt),
            outcome.next_hop,
            outcome.reply,
        )
    return "\0".join(fields).encode("utf-8", "replace")
