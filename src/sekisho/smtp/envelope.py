"""The envelope: from whom, to whom, under which terms. Content is never part of it.

RFC 5321 §2.3.1; RFC 3461 §4 (DSN terms); RFC 6152 (8BITMIME); RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .address import Mailbox


class Body(StrEnum):
    """What the client declared about the content (RFC 6152 §3). BINARYMIME is not offered."""

    SEVENBIT = "7BIT"
    EIGHTBIT = "8BITMIME"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path with its DSN terms.

    Fields:
        notify: ``NEVER``, or some of ``SUCCESS,FAILURE,DELAY``; None when the client named none (RFC 3461 §4.1).
        orcpt: the original recipient as sent, type and xtext, e.g. ``rfc822;rin@example.jp`` (RFC 3461 §4.2).
    """

    mailbox: Mailbox
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one transaction asked for.

    Fields:
        reverse_path: mailbox to notify; None is the null reverse-path (RFC 5321 §4.5.5).
        smtputf8: the message needs a next hop that offers SMTPUTF8 (RFC 6531 §3.4).
        ret: ``FULL`` or ``HDRS``, how much a DSN returns (RFC 3461 §4.3); None when the client left it open.
        envid: the client's envelope id as sent, xtext (RFC 3461 §4.4).
    """

    reverse_path: Mailbox | None
    recipients: tuple[Recipient, ...]
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
