"""What the queue speaks of: arrivals, messages, recipients and their states, outcomes; and its exceptions.

QueueError
├── SpoolLocked      another process works on this spool
├── SpoolError       the spool cannot be opened, or an operation failed: answer 451
│   └── SpoolFull    no room, or too many files: answer 452; nothing was kept
└── ContentDamaged   content on disk is not what was accepted: hold the message, tell the operator
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sekisho.smtp import Body, Envelope, Mailbox

from .ids import QueueId

__all__ = [
    "Arrival",
    "ContentDamaged",
    "Event",
    "Filter",
    "Listed",
    "Outcome",
    "QueueError",
    "QueuedMessage",
    "QueuedRecipient",
    "Shown",
    "ShownRecipient",
    "SpoolError",
    "SpoolFull",
    "SpoolLocked",
    "State",
    "Stats",
]


class QueueError(Exception):
    """Root of the queue's exceptions."""


class SpoolError(QueueError):
    """The spool did not do what was asked; nothing was acknowledged."""


class SpoolFull(SpoolError):
    """No room on the disk, or too many files on it; nothing was kept. Reply 452 4.3.1."""


class SpoolLocked(QueueError):
    """Another process works on this spool."""


class ContentDamaged(QueueError):
    """The content on disk is missing, short, or not what was accepted. Hold the message; never send such content."""


class State(StrEnum):
    """What became of one recipient."""

    QUEUED = "queued"  # not tried yet, or returned untried; due at once
    DEFERRED = "deferred"  # tried in vain; due again at its next attempt
    HELD = "held"  # waits for the operator
    DELIVERED = "delivered"  # the next hop has taken it over
    FAILED = "failed"  # refused for good
    EXPIRED = "expired"  # lifetime over
    DELETED = "deleted"  # removed by the operator

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be tried for the recipient."""
        return STATE_CODES[self] > LAST_OPEN_CODE


# Numbers as stored; never renumbered. The partial indexes of the schema rely on the open ones being 0 to 2.
STATE_CODES = {
    State.QUEUED: 0,
    State.DEFERRED: 1,
    State.HELD: 2,
    State.DELIVERED: 3,
    State.FAILED: 4,
    State.EXPIRED: 5,
    State.DELETED: 6,
}
STATES = tuple(STATE_CODES)
LAST_OPEN_CODE = 2


@dataclass(slots=True)
class Arrival:
    """An accepted envelope on its way into the queue.

    Fields:
        account: canonical login of the sender; None for mail from outside and for DSNs.
        session, client, listener: where it came from, for tracing.
        arrived: UTC epoch seconds.
        hold: keep it from delivery until the operator releases it.
    """

    envelope: Envelope
    account: str | None
    session: str
    client: str
    listener: str
    arrived: float
    hold: bool = False


@dataclass(slots=True)
class QueuedRecipient:
    """One recipient that is due. *attempts* and *last_reply* tell what went before."""

    number: int
    mailbox: Mailbox
    notify: str | None
    orcpt: str | None
    attempts: int
    last_reply: str | None


@dataclass(slots=True)
class QueuedMessage:
    """A message in the window, with recipients that are due: not always all, and never all of a very long list.

    Two objects may stand for one message at the same time, with different recipients.

    Fields:
        number: of the message in its spool.
        arrived, expires: UTC epoch seconds.
        size: octets of content.
    """

    number: int
    queue_id: QueueId
    reverse_path: Mailbox | None
    body: Body
    smtputf8: bool
    ret: str | None
    envid: str | None
    account: str | None
    session: str
    arrived: float
    expires: float
    size: int
    recipients: list[QueuedRecipient]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt brought for one recipient.

    Fields:
        recipient: its number in the message.
        reply: the next hop's words, or ours.
        next_hop: who spoke, as text; empty when nobody was reached.
        at: UTC epoch seconds.
        next_attempt: for `State.DEFERRED`, UTC epoch seconds.
    """

    recipient: int
    state: State
    reply: str
    next_hop: str
    at: float
    next_attempt: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages to list; a message matches when one of its recipients does.

    Fields:
        states: of recipients; the open ones without.
        account, sender, domain: exact, without case; domain is the recipient's.
        arrived_before, arrived_after: UTC epoch seconds.
    """

    states: Sequence[State] = (State.QUEUED, State.DEFERRED, State.HELD)
    account: str | None = None
    sender: str | None = None
    domain: str | None = None
    arrived_before: float | None = None
    arrived_after: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing: *recipients* by state, the first few *mailboxes*, the earliest *next_attempt*."""

    queue_id: QueueId
    arrived: float
    expires: float
    size: int
    reverse_path: Mailbox | None
    account: str | None
    recipients: dict[State, int]
    mailboxes: tuple[Mailbox, ...]
    next_attempt: float | None
    last_reply: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a recipient."""

    at: float
    state: State
    next_hop: str
    reply: str


@dataclass(frozen=True, slots=True)
class ShownRecipient:
    """One recipient with all that happened to it, oldest first."""

    number: int
    mailbox: Mailbox
    notify: str | None
    orcpt: str | None
    state: State
    attempts: int
    next_attempt: float | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything the queue knows of one message. *recipients* is cut off after a bound; *recipient_count* is not."""

    queue_id: QueueId
    arrival: Arrival
    expires: float
    size: int
    content_kept: bool
    recipient_count: int
    recipients: tuple[ShownRecipient, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """What waits for one domain: open recipients by state, the earliest *next_attempt*, the latest *last_reply*."""

    domain: str
    recipients: dict[State, int]
    next_attempt: float | None
    last_reply: str | None

    @property
    def count(self) -> int:
        """Open recipients altogether."""
        return sum(self.recipients.values())


@dataclass(frozen=True, slots=True)
class Stats:
    """How much is queued: open messages, their octets, open recipients by state, arrival time of the oldest."""

    messages: int
    octets: int
    recipients: dict[State, int]
    oldest: float | None
    next_attempt: float | None
