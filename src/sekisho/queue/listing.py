"""What a spool holds, read without changing it: listings, one message with its history, totals.

Called by `Queue` on its reader thread and by `SpoolReader` in other processes. Listings go page by page in the order of
arrival; nothing here reads a whole spool into memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from sekisho.smtp import Body, Envelope, Mailbox, Recipient

from .ids import decode, encode
from .journal import RECIPIENT_BITS, RECIPIENT_MASK
from .model import STATE_CODES, STATES, Arrival, Destination, Event, Filter, Listed, Shown, ShownRecipient, Stats

__all__ = ["destinations", "list_messages", "show_message", "start_after", "total"]

MAILBOXES_LISTED = 5  # of one message in a listing
RECIPIENTS_SHOWN = 1000  # of one message shown in full
EVENTS_SHOWN = 200  # of one recipient, the latest


def list_messages(
    connection: sqlite3.Connection, spool: int, filter_: Filter, *, after: int, limit: int
) -> Iterator[Listed]:
    """Yield messages with numbers above *after* that match, oldest first, *limit* at most."""
    conditions, values = ["message.number > ?"], list[object]([after])
    codes = ", ".join(str(STATE_CODES[state]) for state in filter_.states)
    recipient = [
        "recipient.id BETWEEN message.number << 20 AND message.number << 20 | 1048575",
        f"recipient.state IN ({codes})",
    ]
    if all(not state.is_final for state in filter_.states):
        conditions.append("message.open > 0")  # the partial index open_message
    if filter_.account is not None:
        conditions.append("message.account = ? COLLATE NOCASE")
        values.append(filter_.account)
    if filter_.sender is not None:
        local_part, _, domain = filter_.sender.rpartition("@")
        conditions.append("message.sender_local = ? COLLATE NOCASE AND message.sender_domain = ? COLLATE NOCASE")
        values += [local_part, domain]
    if filter_.arrived_after is not None:
        conditions.append("message.arrived > ?")
        values.append(filter_.arrived_after)
    if filter_.arrived_before is not None:
        conditions.append("message.arrived < ?")
        values.append(filter_.arrived_before)
    if filter_.domain is not None:
        recipient.append("recipient.domain = ? COLLATE NOCASE")
        values.append(filter_.domain)
    conditions.append(f"EXISTS (SELECT 1 FROM recipient WHERE {' AND '.join(recipient)})")  # noqa: S608 - no text from outside
    rows = connection.execute(
        "SELECT number, arrived, expires, size, sender_local, sender_domain, account FROM message "  # noqa: S608 - no text from outside
        f"WHERE {' AND '.join(conditions)} ORDER BY number LIMIT ?",
        (*values, limit),
    )
    for number, arrived, expires, size, sender_local, sender_domain, account in rows:
        first = number << RECIPIENT_BITS
        span = (first, first | RECIPIENT_MASK)
        counts = connection.execute(
            "SELECT state, count(*), min(next_attempt) FROM recipient WHERE id BETWEEN ? AND ? GROUP BY state", span
        ).fetchall()
        shown = connection.execute(
            f"SELECT local_part, domain, reply FROM recipient WHERE id BETWEEN ? AND ? "  # noqa: S608 - numbers of our own
            f"ORDER BY state NOT IN ({codes}), id LIMIT ?",
            (*span, MAILBOXES_LISTED),
        ).fetchall()
        yield Listed(
            queue_id=encode(number, spool),
            arrived=arrived,
            expires=expires,
            size=size,
            reverse_path=_mailbox(sender_local, sender_domain),
            account=account,
            recipients={STATES[state]: count for state, count, _ in counts},
            mailboxes=tuple(Mailbox(local_part, domain) for local_part, domain, _ in shown),
            next_attempt=min((due for _, _, due in counts if due is not None), default=None),
            last_reply=next((reply for _, _, reply in shown if reply), None),
        )


def show_message(connection: sqlite3.Connection, spool: int, number: int) -> Shown | None:
    """Return everything known of message *number*; None when it is not (any more) in the spool."""
    row = connection.execute(
        "SELECT arrived, expires, recipients, sender_local, sender_domain, body, smtputf8, ret, envid, account, "
        "session, client, listener, size, EXISTS (SELECT 1 FROM content WHERE content.number = message.number) "
        "FROM message WHERE number = ?",
        (number,),
    ).fetchone()
    if row is None:
        return None
    (arrived, expires, count, sender_local, sender_domain, body, smtputf8, ret, envid) = row[:9]
    account, session, client, listener, size, content_kept = row[9:]
    first = number << RECIPIENT_BITS
    recipients = tuple(
        _shown_recipient(connection, recipient)
        for recipient in connection.execute(
            "SELECT id, state, next_attempt, attempts, local_part, domain, notify, orcpt, changed, next_hop, reply "
            "FROM recipient WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (first, first | RECIPIENT_MASK, RECIPIENTS_SHOWN),
        )
    )
    envelope = Envelope(
        _mailbox(sender_local, sender_domain),
        tuple(Recipient(r.mailbox, r.notify, r.orcpt) for r in recipients),
        Body(body),
        bool(smtputf8),
        ret,
        envid,
    )
    arrival = Arrival(envelope, account, session, client, listener, arrived)
    return Shown(encode(number, spool), arrival, expires, size, bool(content_kept), count, recipients)


def total(connection: sqlite3.Connection) -> Stats:
    """Count what is open. Takes a third of a second for a million recipients."""
    messages, octets, oldest = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0), min(arrived) FROM message WHERE open > 0"
    ).fetchone()
    counts = connection.execute(
        "SELECT state, count(*), min(next_attempt) FROM recipient WHERE state < 3 GROUP BY state"
    ).fetchall()
    return Stats(
        messages=messages,
        octets=octets,
        recipients={STATES[state]: count for state, count, _ in counts},
        oldest=oldest,
        next_attempt=min((due for _, _, due in counts if due is not None), default=None),
    )


def destinations(connection: sqlite3.Connection) -> dict[str, Destination]:
    """Sum up what is open by domain. Takes about a second for a million recipients."""
    replies = {
        domain: reply
        for domain, reply, _ in connection.execute(  # SQLite: reply is that of the row with the maximum
            "SELECT domain, reply, max(changed) FROM recipient WHERE state < 3 AND reply IS NOT NULL GROUP BY domain"
        )
    }
    found: dict[str, Destination] = {}
    rows = connection.execute(
        "SELECT domain, state, count(*), min(next_attempt) FROM recipient WHERE state < 3 GROUP BY domain, state"
    )
    for domain, state, count, due in rows:
        known = found.get(domain)
        states, earliest = ({}, None) if known is None else (known.recipients, known.next_attempt)
        earliest = min((each for each in (earliest, due) if each is not None), default=None)
        found[domain] = Destination(domain, {**states, STATES[state]: count}, earliest, replies.get(domain))
    return found


def start_after(after: str | None, spool: int) -> int:
    """Return the number after which a page of *spool* begins, when the page before ended with the id *after*."""
    if after is None:
        return -1
    decoded = decode(after)
    if decoded is None:
        raise ValueError(f"{after!r} is no queue id")
    number, last_spool = decoded
    return number if spool <= last_spool else number - 1


def _shown_recipient(connection: sqlite3.Connection, row: tuple[Any, ...]) -> ShownRecipient:
    id_, state, next_attempt, attempts, local_part, domain, notify, orcpt, changed, next_hop, reply = row
    events = [
        Event(at, STATES[code], hop, words)
        for at, code, hop, words in connection.execute(
            "SELECT at, state, next_hop, reply FROM history WHERE recipient = ? ORDER BY at DESC LIMIT ?",
            (id_, EVENTS_SHOWN),
        )
    ]
    if changed is not None:
        events.append(Event(changed, STATES[state], next_hop or "", reply or ""))
    events.sort(key=lambda event: event.at)
    return ShownRecipient(
        number=id_ & RECIPIENT_MASK,
        mailbox=Mailbox(local_part, domain),
        notify=notify,
        orcpt=orcpt,
        state=STATES[state],
        attempts=attempts,
        next_attempt=next_attempt,
        events=tuple(events),
    )


def _mailbox(local_part: str | None, domain: str | None) -> Mailbox | None:
    return None if local_part is None else Mailbox(local_part, domain or "")
