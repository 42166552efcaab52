"""A DSN as its reader's program takes it apart (RFC 3462, RFC 3464)."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage, Message

from .maildir import parse

__all__ = ["Report", "read_report"]


@dataclass(frozen=True, slots=True)
class Report:
    """One DSN.

    Fields:
        message: the whole of it.
        text: the part for the person.
        recipients: the fields for each recipient, by name in lower case.
        original: header (and perhaps content) of the message it is about.
    """

    message: EmailMessage
    text: str
    recipients: dict[str, dict[str, str]]
    original: str


def read_report(octets: bytes) -> Report:
    """Take a DSN apart; what is not built as RFC 3464 §2 says fails."""
    message = parse(octets)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    parts = [part for part in message.iter_parts() if isinstance(part, EmailMessage)]
    assert [part.get_content_type() for part in parts[:2]] == ["text/plain", "message/delivery-status"]
    assert parts[2].get_content_type() in ("text/rfc822-headers", "message/rfc822", "message/rfc822-headers")
    text = parts[0].get_content()
    assert isinstance(text, str)
    status = parts[1].get_payload()
    assert isinstance(status, list)
    blocks = [block for block in status if isinstance(block, Message)]
    assert str(blocks[0]["Reporting-MTA"]).startswith("dns;")
    recipients = {}
    for block in blocks[1:]:
        fields = {name.lower(): str(value) for name, value in block.items()}
        kind, _, address = fields["final-recipient"].partition(";")
        assert kind.strip() == "rfc822"
        recipients[address.strip()] = fields
    return Report(message, text, recipients, parts[2].as_string())
