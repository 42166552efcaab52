"""What leaves the gate for others: verdicts as words, letters, X-ARF, webhooks and metrics.

Each renders for one medium and escapes for it; nothing here judges.
"""

from __future__ import annotations

from .letter import Letter, letter
from .metrics import metrics
from .webhook import WebhookSender, WebhookSettings, payload
from .words import explain
from .xarf import Contact, xarf

__all__ = [
    "Contact",
    "Letter",
    "WebhookSender",
    "WebhookSettings",
    "explain",
    "letter",
    "metrics",
    "payload",
    "xarf",
]
