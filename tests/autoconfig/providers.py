"""Providers for the tests."""

from __future__ import annotations

from typing import Any

from sekisho.autoconfig.provider import Protocol, Provider, Security, Server

IMAP = Server(Protocol.IMAP, "imap.example.jp", 993, Security.TLS)
POP3 = Server(Protocol.POP3, "pop.example.jp", 995, Security.TLS)
SUBMISSIONS = Server(Protocol.SMTP, "mail.example.jp", 465, Security.TLS)
SUBMISSION = Server(Protocol.SMTP, "mail.example.jp", 587, Security.STARTTLS)


def provider(**changes: Any) -> Provider:
    """A provider with everything; *changes* replace fields."""
    fields: dict[str, Any] = {
        "hostname": "mail.example.jp",
        "domains": ("example.jp", "example.net"),
        "name": "例のネット <&>",
        "short_name": "例",
        "incoming": (IMAP, POP3),
        "outgoing": (SUBMISSIONS, SUBMISSION),
        "web_host": "www.example.jp",
        "help_url": "https://www.example.jp/mail/?a=1&b=2",
        "mx": ("mail.example.jp",),
    }
    return Provider(**{**fields, **changes})
