"""The identity rule: an account sends under its own addresses, in the envelope and in the header, and under no other.

Replies name the account's own addresses and the refused one, nothing else. They are ASCII, whatever the address is.
"""

from __future__ import annotations

from typing import Final

from sekisho.accounts import Account
from sekisho.message import FieldError, Header, parse_mailboxes
from sekisho.smtp import Mailbox, Reply

__all__ = ["check_envelope", "check_from"]

MAX_LISTED: Final = 5  # own addresses named in a reply
MAX_SHOWN: Final = 80  # characters of an address in a reply
BOUNCE_AUTHORS: Final = frozenset({"mailer-daemon", "postmaster"})

NO_FROM = Reply(550, "5.6.0", ("The message has no From field; your mail program must say who wrote it",))
TWO_FROMS = Reply(550, "5.6.0", ("The message has more than one From field; exactly one is allowed",))  # RFC 5322 §3.6
EMPTY_FROM = Reply(550, "5.6.0", ("The From field names no address; set your address in your mail program",))
NULL_REVERSE_PATH = Reply(
    550,
    "5.7.1",
    ("This account must send under its own address, not without one (MAIL FROM:<>); set it in your mail program",),
)


def check_envelope(account: Account, reverse_path: Mailbox | None) -> Reply | None:
    """At MAIL: the reverse-path must belong to *account*. Returns the refusal, or None.

    The null reverse-path (RFC 5321 §4.5.5) is for the reports of servers, so only a smarthost account may use it:
    Postfix and Exim send their own bounces through the account that all their mail takes.
    """
    if reverse_path is None:
        return None if account.smarthost else NULL_REVERSE_PATH
    return None if account.owns(reverse_path) else _not_yours(account, reverse_path, "send as")


def check_from(account: Account, header: Header, *, null_reverse_path: bool = False) -> Reply | None:
    """At the end of the content: one From field, and every mailbox in it *account*'s. Returns the refusal, or None.

    Args:
        null_reverse_path: a smarthost client's bounce; its author may also be MAILER-DAEMON or postmaster at a host
            of a domain that the account owns as a whole.
    """
    count = header.names.count("from")
    if count != 1:
        return TWO_FROMS if count else NO_FROM
    try:
        mailboxes = parse_mailboxes(header.fields[header.names.index("from")][1])
    except FieldError as error:
        return Reply(550, "5.6.0", (f"The From field cannot be read: {_shown(error.problem)}",))
    if not mailboxes:
        return EMPTY_FROM
    for mailbox in mailboxes:
        if not account.owns(mailbox) and not (null_reverse_path and _may_bounce_as(account, mailbox)):
            return _not_yours(account, mailbox, "put into From")
    return None


def _may_bounce_as(account: Account, mailbox: Mailbox) -> bool:
    if not account.smarthost or mailbox.local_part.casefold() not in BOUNCE_AUTHORS:
        return False
    domain = mailbox.key.rpartition("@")[2]
    owned = [identity[1:] for identity in account.identities if identity.startswith("@")]
    return any(domain == own or domain.endswith(f".{own}") for own in owned)


def _not_yours(account: Account, mailbox: Mailbox, verb: str) -> Reply:
    own = [account.login, *account.identities]
    named = [_shown(f"any address at {one[1:]}" if one.startswith("@") else one) for one in own[:MAX_LISTED]]
    more = f" and {len(own) - MAX_LISTED} more" if len(own) > MAX_LISTED else ""
    return Reply(
        550,
        "5.7.1",
        (
            f"You may not {verb} {_shown(str(mailbox))}: it does not belong to the account you logged in to",
            f"This account may use: {', '.join(named)}{more}",
        ),
    )


def _shown(text: str) -> str:
    """Return *text* in printable ASCII, cut to a length a dialog box can show."""
    ascii_text = text.encode("ascii", "backslashreplace").decode("ascii")
    printable = "".join(character if character.isprintable() else "?" for character in ascii_text)
    return printable if len(printable) <= MAX_SHOWN else f"{printable[:MAX_SHOWN]}..."
