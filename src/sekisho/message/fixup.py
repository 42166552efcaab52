"""What a submission server may repair in a message, and nothing else.

RFC 6409 §8: a missing Date (§8.2) and a missing Message-ID (§8.3) are added. Bcc, Resent-Bcc and Return-Path are
taken out: the first two tell recipients what the author hid from them (RFC 5322 §3.6.3), the last belongs to the
final delivery (RFC 5321 §4.4). Every other field and the body pass untouched, so that signatures stay whole.
"""

from __future__ import annotations

from .fields import Header
from .trace import date_time

DROPPED = frozenset({"bcc", "resent-bcc", "return-path"})


def fixup(header: Header, *, now: float, hostname: str, message_id_token: str) -> tuple[bytes, frozenset[str]]:
    """Return the fields to put before *header*, and the names of those to take out with `Header.without`.

    Args:
        now: seconds since 1970, UTC.
        message_id_token: unique text for the left side of a Message-ID: letters, digits, dots, hyphens.
    """
    present = header.names
    missing = b""
    if "date" not in present:
        missing += f"Date: {date_time(now)}\r\n".encode("ascii")
    if "message-id" not in present:
        missing += f"Message-ID: <{message_id_token}@{hostname}>\r\n".encode("ascii")
    return missing, DROPPED.intersection(present)
