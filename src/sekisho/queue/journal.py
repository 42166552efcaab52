"""The SQL that changes a spool: arrivals, outcomes, the operator's verbs, purging. One writer, one transaction.

Called by `Queue` alone, in the event loop thread; it never commits by itself and never waits for the disk: between
`begin` and the COMMIT, which the queue runs on a thread, everything happens in SQLite's page cache.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .content import FileContent
from .ids import QueueId
from .model import LAST_OPEN_CODE, STATE_CODES, Arrival, Outcome, State

__all__ = ["RECIPIENT_BITS", "RECIPIENT_MASK", "Intake", "Journal", "Settlement", "Verb"]

RECIPIENT_BITS = 20
RECIPIENT_MASK = (1 << RECIPIENT_BITS) - 1

VERB_BATCH = 1000  # recipients changed in one transaction by an operator's verb: a few milliseconds
PURGE_BATCH = 300

_QUEUED, _HELD = STATE_CODES[State.QUEUED], STATE_CODES[State.HELD]
_ATTEMPTED = frozenset({State.DEFERRED, State.DELIVERED, State.FAILED})


@dataclass(slots=True, eq=False)
class Intake:
    """An arrival ready to be written: its number, and its content as octets or as a synced file."""

    number: int
    queue_id: QueueId
    arrival: Arrival
    size: int
    octets: bytes | None
    checksum: int
    file: FileContent | None
    held: bool


@dataclass(slots=True, eq=False)
class Settlement:
    """Outcomes of one message ready to be written. *total* counts all its recipients, *size* its octets."""

    number: int
    total: int
    size: int
    outcomes: Sequence[Outcome]
    first: bool  # no recipient among them has an earlier outcome
    dsn: Intake | None


class Verb:
    """An operator's verb over messages: bounded steps, one per transaction. `changed` counts recipients by message."""

    __slots__ = ("_after", "at", "changed", "finished", "name", "numbers", "touched")

    def __init__(self, name: str, numbers: Sequence[int], at: float) -> None:
        self.name = name
        self.numbers = list(numbers)
        self.changed: dict[int, int] = dict.fromkeys(numbers, 0)
        self.finished: list[int] = []  # messages whose last open recipient was deleted in the latest step
        self.touched: list[int] = []  # recipient ids changed in the latest step
        self._after = -1
        self.at = at

    @property
    def is_done(self) -> bool:
        """Whether nothing remains to be changed."""
        return not self.numbers

    def checkpoint(self) -> tuple[list[int], int, dict[int, int]]:
        """Return what `restore` needs to repeat the step that follows."""
        return list(self.numbers), self._after, dict(self.changed)

    def restore(self, saved: tuple[list[int], int, dict[int, int]]) -> None:
        """Go back to *saved*: the transaction of the step was rolled back."""
        self.numbers, self._after, self.changed = saved

    def step(self, connection: sqlite3.Connection, busy: set[int]) -> list[int]:
        """Change at most `VERB_BATCH` recipients; return the ids of those in *busy*, which are left as they are."""
        self.finished, self.touched = [], []
        skipped: list[int] = []
        budget = VERB_BATCH
        while budget > 0 and self.numbers:
            number = self.numbers[0]
            first = number << RECIPIENT_BITS
            ids = [
                row[0]
                for row in connection.execute(
                    "SELECT id FROM recipient WHERE id > ? AND id <= ? AND state BETWEEN ? AND ? ORDER BY id LIMIT ?",
                    (max(self._after, first - 1), first | RECIPIENT_MASK, *_ELIGIBLE[self.name], budget),
                )
            ]
            free = [id_ for id_ in ids if id_ not in busy]
            if len(free) < len(ids):
                skipped += [id_ for id_ in ids if id_ in busy]
            self._change(connection, number, free)
            self.touched += free
            self.changed[number] += len(ids)
            if len(ids) < budget:
                self.numbers.pop(0)
                self._after = -1
            else:
                self._after = ids[-1]
            budget -= len(ids) or 1
        return skipped

    def _change(self, connection: sqlite3.Connection, number: int, ids: list[int]) -> None:
        if not ids:
            return
        at = self.at
        connection.executemany(
            "INSERT OR IGNORE INTO history VALUES (?, ?, ?, '', ?)",
            [(id_, at, *_HISTORY[self.name]) for id_ in ids if self.name != "delete"],
        )
        match self.name:
            case "hold":
                connection.executemany(
                    "UPDATE recipient SET state = 2, next_attempt = NULL WHERE id = ?", [(id_,) for id_ in ids]
                )
            case "release":
                connection.executemany(
                    "UPDATE recipient SET state = attempts > 0, next_attempt = ? WHERE id = ?",
                    [(at, id_) for id_ in ids],
                )
            case "retry":
                connection.executemany("UPDATE recipient SET next_attempt = ? WHERE id = ?", [(at, id_) for id_ in ids])
            case "delete":
                connection.executemany(_KEEP_EARLIER, [(id_,) for id_ in ids])
                connection.executemany(
                    "UPDATE recipient SET state = 6, next_attempt = NULL, changed = ?, next_hop = '', "
                    "reply = 'deleted by the operator' WHERE id = ?",
                    [(at, id_) for id_ in ids],
                )
                if _close(connection, number, len(ids)):
                    self.finished.append(number)


_ELIGIBLE = {"hold": (0, 1), "release": (2, 2), "retry": (0, 1), "delete": (0, 2)}  # codes of states, first and last
_HISTORY = {
    "hold": (STATE_CODES[State.HELD], "held by the operator"),
    "release": (STATE_CODES[State.QUEUED], "released by the operator"),
    "retry": (STATE_CODES[State.QUEUED], "attempt asked for by the operator"),
    "delete": (STATE_CODES[State.DELETED], "deleted by the operator"),
}

_INSERT_MESSAGE = """
    INSERT INTO message (number, arrived, expires, recipients, open, sender_local, sender_domain, body, smtputf8,
                         ret, envid, account, session, client, listener, size)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_CONTENT = "INSERT INTO content VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_RECIPIENT = """
    INSERT INTO recipient (id, state, next_attempt, local_part, domain, notify, orcpt) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_KEEP_EARLIER = """
    INSERT OR IGNORE INTO history
    SELECT id, changed, state, coalesce(next_hop, ''), coalesce(reply, '') FROM recipient
    WHERE id = ? AND changed IS NOT NULL
"""
_SETTLE = """
    UPDATE recipient SET state = ?, next_attempt = ?, attempts = attempts + ?, changed = ?, next_hop = ?, reply = ?
    WHERE id = ?
"""


def _close(connection: sqlite3.Connection, number: int, count: int) -> bool:
    """Note that *count* more recipients of the message are final; drop its content, and say so, when that were all."""
    row = connection.execute(
        "UPDATE message SET open = open - ? WHERE number = ? RETURNING open", (count, number)
    ).fetchone()
    if row is None or row[0] > 0:
        return False
    connection.execute("DELETE FROM content WHERE number = ?", (number,))
    return True


class Journal:
    """Writes to one spool's database."""

    def __init__(self, connection: sqlite3.Connection, *, lifetime: float) -> None:
        self.connection = connection
        self.lifetime = lifetime

    def begin(self) -> None:
        """Open the transaction of a group."""
        self.connection.execute("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """Undo the group; harmless when SQLite has done so already."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def add(self, intakes: Sequence[Intake]) -> None:
        """Write new messages: envelope, content (or where its file is) and every recipient."""
        execute_many = self.connection.executemany
        execute_many(_INSERT_MESSAGE, [self._message_row(intake) for intake in intakes])
        execute_many(_INSERT_CONTENT, [_content_row(intake) for intake in intakes])
        execute_many(_INSERT_RECIPIENT, _recipient_rows(intakes))

    def settle(self, settlements: Sequence[Settlement]) -> list[int]:
        """Write outcomes and the DSNs that go with them; return the numbers of messages that are finished by them.

        A message is finished when no recipient is open any more; its content goes in the same transaction.
        """
        rows: list[tuple[object, ...]] = []
        earlier: list[tuple[int]] = []
        finished: list[int] = []
        partly: list[tuple[int, int]] = []
        for settlement in settlements:
            base = settlement.number << RECIPIENT_BITS
            final = 0
            for outcome in settlement.outcomes:
                state = outcome.state
                code = STATE_CODES[state]
                final += code > LAST_OPEN_CODE
                rows.append(
                    (
                        code,
                        outcome.next_attempt if code < STATE_CODES[State.HELD] else None,
                        state in _ATTEMPTED,
                        outcome.at,
                        outcome.next_hop,
                        outcome.reply,
                        base | outcome.recipient,
                    )
                )
            if not settlement.first:
                earlier += [(base | outcome.recipient,) for outcome in settlement.outcomes]
            if final and settlement.total == 1:
                finished.append(settlement.number)
            elif final:
                partly.append((settlement.number, final))
        connection = self.connection
        if earlier:
            connection.executemany(_KEEP_EARLIER, earlier)
        connection.executemany(_SETTLE, rows)
        if finished:
            numbers = [(number,) for number in finished]
            connection.executemany("UPDATE message SET open = 0 WHERE number = ?", numbers)
            connection.executemany("DELETE FROM content WHERE number = ?", numbers)
        finished += [number for number, final in partly if _close(connection, number, final)]
        if dsns := [settlement.dsn for settlement in settlements if settlement.dsn is not None]:
            self.add(dsns)
        return finished

    def purge(self, before: int) -> bool:
        """Delete history of finished messages with numbers below *before*, a bounded part; return whether more is left.

        The newest message stays, so that the numbers go on from it even when the clock was set back.
        """
        connection = self.connection
        numbers = connection.execute(
            "SELECT number FROM message WHERE open = 0 AND number < ? AND number < (SELECT max(number) FROM message) "
            "ORDER BY number LIMIT ?",
            (before, PURGE_BATCH),
        ).fetchall()
        budget = PURGE_BATCH
        for (number,) in numbers:
            first = number << RECIPIENT_BITS
            ids = connection.execute(
                "SELECT id FROM recipient WHERE id >= ? AND id <= ? LIMIT ?", (first, first | RECIPIENT_MASK, budget)
            ).fetchall()
            connection.executemany("DELETE FROM history WHERE recipient = ?", ids)
            connection.executemany("DELETE FROM recipient WHERE id = ?", ids)
            budget -= len(ids)
            if budget <= 0:
                break
            connection.execute("DELETE FROM message WHERE number = ?", (number,))
        return bool(numbers)

    def _message_row(self, intake: Intake) -> tuple[object, ...]:
        arrival = intake.arrival
        envelope = arrival.envelope
        sender = envelope.reverse_path
        count = len(envelope.recipients)
        return (
            intake.number,
            arrival.arrived,
            arrival.arrived + self.lifetime,
            count,
            count,
            None if sender is None else sender.local_part,
            None if sender is None else sender.domain,
            envelope.body.value,
            envelope.smtputf8,
            envelope.ret,
            envelope.envid,
            arrival.account,
            arrival.session,
            arrival.client,
            arrival.listener,
            intake.size,
        )


def _content_row(intake: Intake) -> tuple[object, ...]:
    if (file := intake.file) is None:
        return (intake.number, intake.checksum, None, None, None, intake.octets)
    return (intake.number, file.head_checksum, file.start, file.head_size, file.tail_checksum, None)


def _recipient_rows(intakes: Sequence[Intake]) -> Iterator[tuple[object, ...]]:
    """Yield the rows one by one: a list of 1,000,000 would be too much."""
    for intake in intakes:
        state, due = (_HELD, None) if intake.held else (_QUEUED, intake.arrival.arrived)
        id_ = intake.number << RECIPIENT_BITS
        for recipient in intake.arrival.envelope.recipients:
            mailbox = recipient.mailbox
            yield id_, state, due, mailbox.local_part, mailbox.domain, recipient.notify, recipient.orcpt
            id_ += 1
