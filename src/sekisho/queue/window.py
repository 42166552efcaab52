"""The window: the bounded part of the queue that is in memory because its turn has come.

The queue may hold millions of recipients; delivery sees those in the window. Theory:

* A recipient id in `busy` is in the window. It leaves when its outcome is on disk, not before: until then the database
still
  calls it due, and a scan would hand it out twice.
* A scan walks the index of due recipients in the order of (next attempt, id) from a cursor on. Whatever lies before the
  cursor has been considered; what becomes due behind it (a full window, an operator's retry) moves the cursor back.
* A message with very many recipients enters in slices. The first slice of a kind (same message, same next attempt)
*parks*
  the rest: the cursor jumps over them, and scans take the next slice from the parked place. A giant message thus fills
  neither the window nor the way of others.

`Window` is memory and rules only; `scan` reads the database on a thread and changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sekisho.smtp import Body, Mailbox

from .ids import encode
from .journal import RECIPIENT_BITS, RECIPIENT_MASK
from .model import QueuedMessage, QueuedRecipient, State

__all__ = ["Entry", "Found", "Parked", "Plan", "Position", "Window", "scan"]

RECIPIENTS_PER_MESSAGE = 4  # of the window: room for this many recipients per message, on average
SLICE = 1000  # recipients of one message that enter together
SLICES_AT_ONCE = 4  # of one message

Position = tuple[float, int]  # (next attempt, recipient id): a place in the index of due recipients
START: Position = (0.0, -1)
Parked = dict[tuple[int, float], int]  # (message, next attempt) → last recipient id taken


@dataclass(slots=True, eq=False)
class Entry:
    """What is kept of a message while some of its recipients are in the window.

    Fields:
        total: all its recipients.
        slices: `QueuedMessage` objects that are out with delivery.
        unsettled: recipients whose outcomes wait for their transaction.
        fresh: came in while this process ran, so that its content file needs no verification.
        octets: the content, when it is kept in memory.
        verdict: what the operator decided meanwhile for recipients that are deferred again.
    """

    total: int
    slices: int = 0
    unsettled: int = 0
    fresh: bool = False
    octets: bytes | None = None
    verdict: State | None = None


@dataclass(slots=True)
class Plan:
    """What a scan shall look for: a snapshot of the window's wants, plus the live set *busy* to skip."""

    spool: int
    cursor: Position
    now: float
    recipients: int
    messages: int
    slice: int
    parked: Parked
    resume: list[tuple[int, float]]
    busy: set[int]


@dataclass(slots=True)
class Found:
    """What a scan found: messages with due recipients, how many recipients each has in all, and where to go on.

    Fields:
        parked, unparked: places to go on from next time, and places where nothing is left.
        exhausted: everything due was considered.
        next_due: earliest next attempt after *now*; None without.
    """

    messages: list[tuple[QueuedMessage, int]] = field(default_factory=list)
    parked: Parked = field(default_factory=dict)
    unparked: list[tuple[int, float]] = field(default_factory=list)
    cursor: Position = START
    exhausted: bool = True
    next_due: float | None = None


class Window:
    """Which messages and recipients are in memory, and where the next scan goes on."""

    def __init__(self, *, messages: int, hot_octets: int) -> None:
        self.capacity = messages
        self.recipient_capacity = messages * RECIPIENTS_PER_MESSAGE
        self.slice = max(1, min(SLICE, self.recipient_capacity // 4))
        self.entries: dict[int, Entry] = {}
        self.busy: set[int] = set()
        self.settled: set[int] = set()  # of busy: outcome taken, not yet on disk
        self.slices = 0
        self.parked: Parked = {}
        self.cursor: Position = START
        self.hot_octets = 0
        self._hot_capacity = hot_octets
        self._left_during_scan: set[int] | None = None
        self._rewound: Position | None = None

    # ---------------------------------------------------------------- entering and leaving

    def has_room_for_fresh(self) -> bool:
        """Whether a message just accepted may enter at once. Scans leave a quarter of the room to these."""
        return self.slices < self.capacity and len(self.busy) < self.recipient_capacity

    def enter(self, message: QueuedMessage, total: int) -> Entry:
        """Take *message* in. Its recipients are busy from now on."""
        entry = self.entries.get(message.number)
        if entry is None:
            entry = self.entries[message.number] = Entry(total)
        entry.slices += 1
        self.slices += 1
        base = message.number << RECIPIENT_BITS
        recipients = message.recipients
        if len(recipients) == 1:
            self.busy.add(base | recipients[0].number)
        else:
            self.busy.update([base | recipient.number for recipient in recipients])
        return entry

    def heat(self, entry: Entry, octets: bytes) -> None:
        """Keep *octets* of the message in memory if the budget allows."""
        if entry.octets is None and self.hot_octets + len(octets) <= self._hot_capacity:
            entry.octets = octets
            self.hot_octets += len(octets)

    def leave(self, ids: Sequence[int]) -> None:
        """The outcomes of these recipients are on disk (or they go back untried): they may be found again."""
        self.busy.difference_update(ids)
        self.settled.difference_update(ids)
        if self._left_during_scan is not None:
            self._left_during_scan.update(ids)

    def drop_if_idle(self, number: int) -> None:
        """Forget the message when neither delivery nor a transaction holds it."""
        entry = self.entries.get(number)
        if entry is not None and entry.slices == 0 and entry.unsettled == 0:
            del self.entries[number]
            if entry.octets is not None:
                self.hot_octets -= len(entry.octets)

    # ---------------------------------------------------------------- scanning

    def rewind(self, at: float) -> None:
        """Recipients with next attempts from *at* on want to be considered (again)."""
        position = (at, -1)
        if position < self.cursor:
            self.cursor = position
        if self._left_during_scan is not None and (self._rewound is None or position < self._rewound):
            self._rewound = position

    def plan(self, spool: int, now: float) -> Plan | None:
        """Return what to scan for; None while the window is well filled. `admit` must follow."""
        recipients = self.recipient_capacity * 3 // 4 - len(self.busy)
        messages = self.capacity * 3 // 4 - self.slices
        if recipients < self.recipient_capacity // 4 or messages < max(self.capacity // 4, 1):
            return None
        self._left_during_scan = set()
        self._rewound = None
        resume = [key for key in self.parked if self._slices_of(key[0]) < SLICES_AT_ONCE]
        return Plan(
            spool, self.cursor, now, recipients, messages, self.slice, dict(self.parked), resume[:messages], self.busy
        )

    def admit(self, found: Found) -> list[tuple[QueuedMessage, int]]:
        """Take over the result of the scan; return the messages that entered, without recipients that are busy.

        What left the window while the scan ran may have been read in its old state: it is passed over, for its new
        state is not due, or has moved the cursor back.
        """
        left = self._left_during_scan or set()
        self._left_during_scan = None
        self.cursor = found.cursor
        if self._rewound is not None and self._rewound < self.cursor:
            self.cursor = self._rewound
        self.parked.update(found.parked)
        for key in found.unparked:
            self.parked.pop(key, None)
        entered = []
        for message, total in found.messages:
            base = message.number << RECIPIENT_BITS
            message.recipients = [
                recipient
                for recipient in message.recipients
                if (id_ := base | recipient.number) not in self.busy and id_ not in left
            ]
            if message.recipients:
                self.enter(message, total)
                entered.append((message, total))
        return entered

    def abandon_scan(self) -> None:
        """The scan failed; the cursor stays where it was."""
        self._left_during_scan = None

    def _slices_of(self, number: int) -> int:
        entry = self.entries.get(number)
        return entry.slices if entry is not None else 0


# ------------------------------------------------------------------------ reading the database

_DUE = (
    "SELECT id, next_attempt, local_part, domain, notify, orcpt, attempts, reply FROM recipient INDEXED BY due "
    "WHERE state < 3 AND "
)
_TIES = _DUE + "next_attempt = ? AND id > ? ORDER BY id"
_LATER = _DUE + "next_attempt > ? AND next_attempt <= ? ORDER BY next_attempt, id"
_PARKED = _DUE + "next_attempt = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
_NEXT_DUE = "SELECT min(next_attempt) FROM recipient INDEXED BY due WHERE state < 3 AND next_attempt > ?"
_MESSAGE = (
    "SELECT sender_local, sender_domain, body, smtputf8, ret, envid, account, session, arrived, expires, size, "
    "recipients FROM message WHERE number = ?"
)


def scan(connection: sqlite3.Connection, plan: Plan) -> Found:
    """Find due recipients as *plan* says, parked places first, then from the cursor on. Runs on a thread.

    Rows are read in one transaction, so that they agree with one another.
    """
    connection.execute("BEGIN")
    try:
        found = Found(cursor=plan.cursor)
        _Scan(connection, plan, found).run()
        row = connection.execute(_NEXT_DUE, (plan.now,)).fetchone()
        found.next_due = row[0]
        return found
    finally:
        connection.execute("COMMIT")


class _Scan:
    def __init__(self, connection: sqlite3.Connection, plan: Plan, found: Found) -> None:
        self._connection = connection
        self._plan = plan
        self._found = found
        self._recipients = plan.recipients
        self._messages = plan.messages

    def run(self) -> None:
        for number, at in self._plan.resume:
            if self._is_full():
                break
            self._resume(number, at)
        while self._walk():
            pass

    def _is_full(self) -> bool:
        return self._recipients <= 0 or self._messages <= 0

    def _resume(self, number: int, at: float) -> None:
        plan = self._plan
        last = number << RECIPIENT_BITS | RECIPIENT_MASK
        rows = self._connection.execute(_PARKED, (at, plan.parked[number, at], last, plan.slice)).fetchall()
        if len(rows) < plan.slice:
            self._found.unparked.append((number, at))
        else:
            self._found.parked[number, at] = rows[-1][0]
        self._take(number, [_recipient(row) for row in rows if row[0] not in plan.busy])

    def _walk(self) -> bool:
        """Follow the index from the cursor; return whether to go on after a jump over a parked place."""
        plan, found = self._plan, self._found
        number, group = -1, list[QueuedRecipient]()
        for row in self._rows(found.cursor):
            id_, at = row[0], row[1]
            if id_ >> RECIPIENT_BITS != number:
                self._take(number, group)
                number, group = id_ >> RECIPIENT_BITS, []
                if self._is_full():
                    found.exhausted = False
                    return False
            end = number << RECIPIENT_BITS | RECIPIENT_MASK
            if (number, at) in plan.parked or (number, at) in found.parked:
                self._take(number, group)
                found.cursor = (at, end)
                return True
            found.cursor = (at, id_)
            if id_ in plan.busy:
                continue
            group.append(_recipient(row))
            if len(group) >= plan.slice:
                self._take(number, group)
                found.parked[number, at] = id_
                found.cursor = (at, end)
                return True
        self._take(number, group)
        return False

    def _rows(self, cursor: Position) -> Iterator[tuple[int, float, str, str, str | None, str | None, int, str | None]]:
        at, id_ = cursor
        yield from self._connection.execute(_TIES, (at, id_))
        yield from self._connection.execute(_LATER, (at, self._plan.now))

    def _take(self, number: int, recipients: list[QueuedRecipient]) -> None:
        if not recipients:
            return
        row = self._connection.execute(_MESSAGE, (number,)).fetchone()
        sender_local, sender_domain, body, smtputf8, ret, envid, account, session, arrived, expires, size, total = row
        message = QueuedMessage(
            number,
            encode(number, self._plan.spool),
            None if sender_local is None else Mailbox(sender_local, sender_domain),
            Body(body),
            bool(smtputf8),
            ret,
            envid,
            account,
            session,
            arrived,
            expires,
            size,
            recipients,
        )
        self._found.messages.append((message, total))
        self._recipients -= len(recipients)
        self._messages -= 1


def _recipient(row: tuple[int, float, str, str, str | None, str | None, int, str | None]) -> QueuedRecipient:
    id_, _, local_part, domain, notify, orcpt, attempts, reply = row
    return QueuedRecipient(id_ & RECIPIENT_MASK, Mailbox(local_part, domain), notify, orcpt, attempts, reply)
