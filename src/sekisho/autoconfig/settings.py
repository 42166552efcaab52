"""Settings of automatic configuration: where mailboxes are read, and what clients and other servers are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from sekisho.config import between, setting
from sekisho.smtp.address import is_domain

__all__ = ["AutoconfigSettings", "DmarcPolicy", "IncomingSettings", "IncomingTls", "StsMode", "UserName"]


class IncomingTls(StrEnum):
    """How a connection to the server of the mailboxes is protected."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"


class UserName(StrEnum):
    """What a person types as the user name."""

    ADDRESS = "address"
    LOCAL_PART = "local-part"


class DmarcPolicy(StrEnum):
    """What receivers are asked to do with mail that fails (RFC 7489 §6.3)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class StsMode(StrEnum):
    """How strictly senders are asked to take our MX certificates (RFC 8461 §3.2)."""

    OFF = "off"
    TESTING = "testing"
    ENFORCE = "enforce"


def is_host(value: Any) -> tuple[str, str] | None:
    """Refuse what no client takes for a host name: each name is read by strict parsers."""
    text = str(value)
    if text == text.lower() and "." in text and "_" not in text and is_domain(text):
        return None
    return f'"{text}" is not a full host name in lower case', "Give it as it stands in DNS, such as mail.example.jp."


def _are_hosts(values: Any) -> tuple[str, str] | None:
    return next((problem for value in values if (problem := is_host(value)) is not None), None)


def _is_https(value: Any) -> tuple[str, str] | None:
    if str(value).startswith("https://") and str(value).isascii() and " " not in str(value):
        return None
    return f'"{value}" is not an https address', "Such as https://www.example.jp/mail/."


def _is_label(value: Any) -> tuple[str, str] | None:
    text = str(value)
    if text.strip() and text.isprintable() and len(text) <= 60:  # draft-ietf-mailmaint-pacc: 60 characters
        return None
    return "is empty, too long or not printable", "Give up to 60 characters on one line."


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingSettings:
    """Incoming mail: the servers of the mailboxes, for instance Dovecot's. This service only tells clients of them."""

    imap: str | None = setting(
        None,
        "Host name of the IMAP server. Without IMAP, Android's Thunderbird cannot set itself up.",
        example="imap.example.jp",
        reload=True,
        check=is_host,
    )
    imap_port: int = setting(993, "Port of the IMAP server.", reload=True, check=between(1, 65535))
    imap_tls: IncomingTls = setting(
        IncomingTls.IMPLICIT, "Protection: implicit (TLS from the first octet, 993) or starttls (143).", reload=True
    )
    pop3: str | None = setting(
        None, "Host name of the POP3 server.", example="pop.example.jp", reload=True, check=is_host
    )
    pop3_port: int = setting(995, "Port of the POP3 server.", reload=True, check=between(1, 65535))
    pop3_tls: IncomingTls = setting(
        IncomingTls.IMPLICIT, "Protection: implicit (TLS from the first octet, 995) or starttls (110).", reload=True
    )
    user_name: UserName = setting(
        UserName.ADDRESS, "What the servers take as the user name: the whole address, or its local-part.", reload=True
    )
    preferred: Literal["imap", "pop3"] = setting(
        "imap", "Which of the two clients take first where both are given.", reload=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoconfigSettings:
    """Automatic configuration: what mail clients and other servers find by themselves."""

    domains: tuple[str, ...] = setting(
        (),
        "Domains of the addresses that are set up; empty means those of local.domains and accounts.default_domain.",
        example=["example.jp"],
        reload=True,
        check=_are_hosts,
    )
    name: str | None = setting(
        None,
        "Name of the provider that clients show; without it the domain.",
        example="Example Network",
        reload=True,
        check=_is_label,
    )
    short_name: str | None = setting(
        None, "The same in up to 20 characters or so.", example="Example", reload=True, check=_is_label
    )
    web_host: str | None = setting(
        None,
        "Web server that has the documents; autoconfig.DOMAIN and the like lead there. Without it, hostname.",
        example="www.example.jp",
        reload=True,
        check=is_host,
    )
    help_url: str | None = setting(
        None,
        "Page that explains the set-up to people.",
        example="https://www.example.jp/mail/",
        reload=True,
        check=_is_https,
    )
    mx: tuple[str, ...] = setting(
        (),
        "Servers that take the domains' mail, best first; empty means hostname.",
        example=["mx1.example.jp"],
        reload=True,
        check=_are_hosts,
    )
    report_address: str | None = setting(
        None,
        "Where other providers send their DMARC and TLS reports; without it postmaster of the domain.",
        example="reports@example.jp",
        reload=True,
    )
    dmarc: DmarcPolicy = setting(
        DmarcPolicy.NONE,
        "What receivers are asked to do with mail under our domains that SPF does not cover: none, quarantine, reject.",
        reload=True,
    )
    mta_sts: StsMode = setting(
        StsMode.TESTING,
        "How other servers are asked to take certificates of our MX (RFC 8461): off, testing or enforce.",
        reload=True,
    )
