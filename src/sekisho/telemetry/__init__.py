"""What happened: typed events, the log they are written to, and the timeline told from it."""

from __future__ import annotations

from .events import EVENTS, EventLog, Level, Row
from .recall import History, Recall, Remaining, failure_of
from .redact import redact_address
from .settings import LogSettings
from .tallies import Tallies
from .trace import Entry, log_files, purge, render, timeline

__all__ = [
    "EVENTS",
    "Entry",
    "EventLog",
    "History",
    "Level",
    "LogSettings",
    "Recall",
    "Remaining",
    "Row",
    "Tallies",
    "failure_of",
    "log_files",
    "purge",
    "redact_address",
    "render",
    "timeline",
]
