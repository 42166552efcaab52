"""The trace header this server puts before every message it accepts, and how many a message already has.

RFC 5321 §4.4 (Received), RFC 3848 and RFC 6531 §4.3 (protocol names), RFC 5322 §3.3 (dates).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from sekisho.smtp import Mailbox, is_domain

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LITERAL = re.compile(r"\[[0-9A-Za-z:.]{1,60}\]")
_NOT_IN_COMMENT = re.compile(r"[^A-Za-z0-9._-]")


def date_time(now: float) -> str:
    """Return *now* (seconds since 1970, UTC) as RFC 5322 writes it: ``Wed, 25 Nov 2026 03:14:15 +0000``."""
    return _date_time(int(now))


@lru_cache(maxsize=4)
def _date_time(second: int) -> str:
    at = datetime.fromtimestamp(second, UTC)
    return f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} +0000"


def protocol_name(*, extended: bool, tls: bool, authenticated: bool, smtputf8: bool = False) -> str:
    """Return the word behind ``with`` (RFC 3848; RFC 6531 §4.3 for SMTPUTF8)."""
    if not extended:
        return "SMTP"
    return ("UTF8SMTP" if smtputf8 else "ESMTP") + ("S" if tls else "") + ("A" if authenticated else "")


def received(
    *,
    helo: str,
    hostname: str,
    protocol: str,
    queue_id: str,
    now: float,
    client_address: str | None = None,
    tls: tuple[str, str] | None = None,
    recipients: Sequence[Mailbox] = (),
    software: str = "Sekisho",
) -> bytes:
    """Build the Received field for one accepted message, folded, with its CRLF.

    Args:
        helo: what the client called itself; whatever is no host name is not repeated.
        protocol: from `protocol_name`.
        now: seconds since 1970, UTC.
        client_address: IP address to tell the recipients; None keeps where a person writes from to ourselves.
        tls: protocol version and cipher.
        recipients: all of the message; with more than one, none is told (RFC 5321 §4.4, §7.6).
    """
    told = ""
    if len(recipients) == 1 and (recipients[0].is_ascii or protocol.startswith("UTF8")):
        told = f"\r\n\tfor <{recipients[0]}>"
    origin = _origin(helo, client_address, tls, hostname, software, protocol)
    return f"{origin} id {queue_id}{told};\r\n\t{date_time(now)}\r\n".encode()


@lru_cache(maxsize=1024)
def _origin(
    helo: str, client_address: str | None, tls: tuple[str, str] | None, hostname: str, software: str, protocol: str
) -> str:
    """The part that stays the same as long as a client does."""
    parts = [f"Received: from {_host(helo, client_address is not None)}"]
    if client_address is not None:
        parts.append(f" ([{'IPv6:' if ':' in client_address else ''}{client_address}])")
    if tls is not None:
        version, cipher = (_NOT_IN_COMMENT.sub("", word) for word in tls)
        parts.append(f"\r\n\t(using {version} with cipher {cipher})")
    return "".join([*parts, f"\r\n\tby {hostname} ({software}) with {protocol}"])


def _host(helo: str, address_may_be_told: bool) -> str:
    if is_domain(helo) or (address_may_be_told and _LITERAL.fullmatch(helo) is not None):
        return helo
    return "unknown"


def count_received(octets: bytes) -> int:
    """Count the Received fields in the header at the front of *octets*: the hops so far (RFC 5321 §6.3)."""
    end = octets.find(b"\r\n\r\n")
    header = octets[:end] if end >= 0 else octets
    lines = header.lower()
    return lines.count(b"\r\nreceived:") + lines.startswith(b"received:")
