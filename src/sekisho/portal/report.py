"""The report for the help desk: what the self-check found, as text to copy, and as a letter for a mail program to open.

The person cannot send mail, or not from there: so the text comes first, to be read out, printed or sent from elsewhere.
Its codes and times are ASCII, so that it survives every way that it may take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from sekisho.guide.findings import Finding
from sekisho.guide.render.telling import report_line
from sekisho.guide.situation import LineFacts

from .clock import Clock
from .parts import Parts
from .visitor import Visitor

__all__ = ["MAX_FIELD", "compose_report", "mail_link"]

MAX_FIELD = 500  # characters of what a person writes
MAX_LINK = 1800  # characters; some mail programs take no longer link
_ADDRESS = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)


def compose_report(
    clock: Clock,
    asked: Mapping[str, str],
    visitor: Visitor,
    line: LineFacts,
    findings: Sequence[Finding],
    *,
    login: str | None,
) -> str:
    """Return the report.

    Args:
        asked: what the person wrote: ``program``, ``message``, ``page``.
        login: of the account that the visitor is logged in to.
    """

    def when(at: float) -> str:
        return clock.at(at).isoformat(timespec="minutes")

    lines = [
        f"time: {when(line.now)}",
        f"from: {visitor.address} ({line.place})",
        *((f"account: {login}",) if login is not None else ()),
        *(f"{name}: {' '.join(text.split())}" for name, text in asked.items() if text.strip()),
        *(report_line(each, when) for each in findings),
    ]
    return "\n".join("".join(each if each.isprintable() else "?" for each in one) for one in lines) + "\n"


def mail_link(parts: Parts, subject: str, text: str) -> str:
    """Return a link that opens a letter to the operator in the visitor's mail program."""
    contact = parts.card.contact
    found = _ADDRESS.search(f"{contact.en} {contact.ja}") if contact is not None else None
    local = parts.settings.local.postmaster or f"postmaster@{parts.card.audiences[0].domain}"
    address = found[0] if found is not None else str(local)
    start = f"mailto:{quote(address, safe='@+')}?subject={quote(subject)}&body="
    kept, body = len(text), _body(text)
    while kept and len(start) + len(body) > MAX_LINK:
        kept = kept * 3 // 4
        body = _body(f"{text[:kept]}\n...")
    return start + body


def _body(text: str) -> str:
    return quote(text.replace("\n", "\r\n"))  # RFC 6068 §5
