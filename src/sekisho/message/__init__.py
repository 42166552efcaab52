"""Messages as RFC 5322 sees them: header fields, the repairs a submission server makes, the trace it leaves, reports.

Octets in, octets out; no clock and no I/O. Content is never parsed beyond its header.
"""

from .fields import FieldError, Header, parse_mailboxes
from .fixup import fixup
from .trace import count_received, date_time, protocol_name, received

__all__ = [
    "FieldError",
    "Header",
    "count_received",
    "date_time",
    "fixup",
    "parse_mailboxes",
    "protocol_name",
    "received",
]
