"""Decisions: may this account send this, now, this often; may this address try another password.

Each answers with a value, most often a `Reply` or None. Nothing here sends, sleeps or reads a clock: *now* is UTC
seconds since the epoch, and what must outlive a process is counted in the ledger.
"""

from __future__ import annotations

from .abuse import AuthGuard, SessionFailures
from .connections import Acquaintances, ConnectionCounter
from .limits import Limits
from .sender import check_envelope, check_from
from .settings import PolicySettings

__all__ = [
    "Acquaintances",
    "AuthGuard",
    "ConnectionCounter",
    "Limits",
    "PolicySettings",
    "SessionFailures",
    "check_envelope",
    "check_from",
]
