"""The queue: what was accepted and is owed, kept through crashes, recipient by recipient.

`Queue` is one mail process's own; `SpoolReader` lets other processes look at all of them.
"""

from .content import ContentHandle, ContentWriter
from .ids import QueueId, decode, encode
from .model import (
    Arrival,
    ContentDamaged,
    Destination,
    Event,
    Filter,
    Listed,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueError,
    Shown,
    ShownRecipient,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    State,
    Stats,
)
from .opening import spool_numbers, spools_of
from .reader import SpoolReader
from .settings import QueueSettings
from .spool import Queue

__all__ = [
    "Arrival",
    "ContentDamaged",
    "ContentHandle",
    "ContentWriter",
    "Destination",
    "Event",
    "Filter",
    "Listed",
    "Outcome",
    "Queue",
    "QueueError",
    "QueueId",
    "QueueSettings",
    "QueuedMessage",
    "QueuedRecipient",
    "Shown",
    "ShownRecipient",
    "SpoolError",
    "SpoolFull",
    "SpoolLocked",
    "SpoolReader",
    "State",
    "Stats",
    "decode",
    "encode",
    "spool_numbers",
    "spools_of",
]
