"""Delivery status notifications: what tells a sender that mail did, or did not, arrive.

Octets only; `sekisho.delivery.dsn` chooses the words and the recipients, sends the report with a null reverse-path, and
makes none for a message that had one itself (RFC 5321 §6.1).
RFC 3461 (when, and what is returned), RFC 3462/6522 (multipart/report), RFC 3464 (message/delivery-status),
RFC 6533 (internationalized addresses).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from .trace import date_time

__all__ = ["RecipientReport", "Report", "header_block"]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """What became of one recipient (RFC 3464 §2.3).

    Fields:
        address: the recipient we tried, as text.
        orcpt: what the sender gave as ORCPT, still xtext (RFC 3461 §4.2), or None.
        action: "failed", "delivered" or "relayed" (RFC 3464 §2.3.3).
        status: enhanced status code.
        diagnostic: the reply of the next hop ("550 5.1.1 …"), None when the decision was ours.
        remote: name of the next hop, None when there was none.
        last_attempt: seconds since 1970, UTC.
    """

    address: str
    orcpt: str | None
    action: str
    status: str
    diagnostic: str | None
    remote: str | None
    last_attempt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole report, ready to be composed.

    Fields:
        hostname: our name, as Reporting-MTA and as the domain of the author.
        recipient: to whom it goes: the reverse-path of the message, as text.
        author, subject, text: what the person reads; text with line feeds, composed for *language*.
        language: "ja" or "en", for Content-Language (RFC 3282).
        message_id, boundary: unique tokens without "@" or "<"; the boundary must not occur in the content.
        envid: ENVID of the message, still xtext (RFC 3461 §4.4), or None.
        arrived, now: seconds since 1970, UTC.
        queue_id: of the message reported on, for the operator.
        recipients: at least one.
        content: what is returned: the header block alone, or all of it when *full*.
    """

    hostname: str
    recipient: str
    author: str
    subject: str
    text: str
    language: str
    message_id: str
    boundary: str
    envid: str | None
    arrived: float
    now: float
    queue_id: str
    recipients: Sequence[RecipientReport]
    content: bytes
    full: bool

    def render(self) -> bytes:
        """Return the report as octets with CRLF, header first."""
        international = not (self.recipient.isascii() and all(r.address.isascii() for r in self.recipients))
        kind = "global-delivery-status" if international else "delivery-status"
        boundary = f"--{self.boundary}\r\n".encode("ascii")
        return b"".join(
            (
                self._header(kind),
                boundary,
                _text_part(self.text, self.language),
                boundary,
                f"Content-Type: message/{kind}\r\n".encode("ascii"),
                b"" if not international else b"Content-Transfer-Encoding: 8bit\r\n",
                b"\r\n",
                self._status(international),
                b"\r\n",
                boundary,
                _returned_part(self.content, self.full, international),
                f"--{self.boundary}--\r\n".encode("ascii"),
            )
        )

    def _header(self, kind: str) -> bytes:
        lines = (
            f"From: {_phrase(self.author)} <MAILER-DAEMON@{self.hostname}>",
            f"To: <{_clean(self.recipient)}>",
            f"Subject: {_unstructured(self.subject)}",
            f"Date: {date_time(self.now)}",
            f"Message-ID: <{self.message_id}@{self.hostname}>",
            "Auto-Submitted: auto-replied",  # RFC 3834 §5
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{self.boundary}"',
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    def _status(self, international: bool) -> bytes:
        """RFC 3464 §2.2, §2.3: per-message fields, then one block for each recipient."""
        lines = [f"Reporting-MTA: dns; {self.hostname}"]
        if self.envid:
            lines.append(f"Original-Envelope-Id: {_clean(_from_xtext(self.envid))}")
        lines += [f"X-Sekisho-Queue-Id: {_clean(self.queue_id)}", f"Arrival-Date: {date_time(self.arrived)}"]
        kind = "utf-8" if international else "rfc822"
        for recipient in self.recipients:
            lines.append("")
            if recipient.orcpt:
                address_type, _, address = recipient.orcpt.partition(";")
                lines.append(f"Original-Recipient: {_clean(address_type)};{_clean(_from_xtext(address))}")
            lines += [
                f"Final-Recipient: {kind};{_clean(recipient.address)}",
                f"Action: {recipient.action}",
                f"Status: {recipient.status}",
            ]
            if recipient.remote:
                lines.append(f"Remote-MTA: dns; {_clean(recipient.remote)}")
            if recipient.diagnostic:
                lines.append(_folded(f"Diagnostic-Code: smtp; {_ascii(recipient.diagnostic, international)}"))
            lines.append(f"Last-Attempt-Date: {date_time(recipient.last_attempt)}")
        lines.append("")
        return "\r\n".join(lines).encode()


def header_block(content: bytes) -> bytes:
    """Return the header of *content* with the CRLF of its last line, without the empty line."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n")
    return content if end < 0 else content[: end + 2]


def _text_part(text: str, language: str) -> bytes:
    octets = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    encoding, body = ("7bit", octets) if text.isascii() else ("base64", _base64(octets))  # a next hop may be 7-bit
    charset = "us-ascii" if text.isascii() else "utf-8"
    head = (
        f"Content-Type: text/plain; charset={charset}\r\nContent-Language: {language}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("ascii") + body + b"\r\n"


def _returned_part(content: bytes, full: bool, international: bool) -> bytes:
    if full:
        kind = "message/global" if international else "message/rfc822"
        encoding, body = ("7bit" if content.isascii() else "8bit"), content
    else:
        # RFC 6533 §6.3 names the header part of its own; base64 keeps raw 8-bit headers through any next hop.
        kind = "message/global-headers" if international else "text/rfc822-headers"
        encoding, body = ("7bit", content) if content.isascii() else ("base64", _base64(content))
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode("ascii") + body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b"\r\n"


def _base64(octets: bytes) -> bytes:
    encoded = b64encode(octets)
    return b"".join(encoded[at : at + 76] + b"\r\n" for at in range(0, len(encoded), 76))


def _unstructured(text: str) -> str:
    """Encode header text as RFC 2047 words of at most 75 characters, cut between characters."""
    text = _clean(text)
    if text.isascii():
        return text
    words: list[str] = []
    chunk = ""
    for character in text:
        if len((chunk + character).encode()) > 42:  # 42 octets make 56 of base64: 68 with "=?utf-8?b?" and "?="
            words.append(chunk)
            chunk = ""
        chunk += character
    words.append(chunk)
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word.encode()).decode('ascii')}?=" for word in words)


def _phrase(text: str) -> str:
    text = _clean(text)
    if not text.isascii():
        return _unstructured(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _clean(text: str) -> str:
    """Take out what could begin a new line; lines stay below 998 octets (RFC 5322 §2.1.1)."""
    return _UNSAFE.sub(" ", text)[:300]


def _ascii(text: str, international: bool) -> str:
    text = _UNSAFE.sub(" ", text)
    return text if international else text.encode("ascii", "replace").decode("ascii")


def _folded(line: str) -> str:
    """Fold a long field at spaces (RFC 5322 §2.2.3); a word longer than a line is cut."""
    lines: list[str] = []
    current = ""
    for word in line[:4000].split(" "):
        word = word[:200]
        if current and len(current) + 1 + len(word) > 76:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    lines.append(current)
    return "\r\n ".join(part for part in lines if part)


def _from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4); what is not printable ASCII stays encoded."""
    return _XTEXT.sub(lambda m: chr(int(m[1], 16)) if 32 <= int(m[1], 16) < 127 else m[0], text)
