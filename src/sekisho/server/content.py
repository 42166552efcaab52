"""What happens to content between its last octet and the queue: the header is checked, repaired and signed for.

The body is not looked at. For a large message only the head is in memory; the rest lies in its file already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sekisho.accounts import Account
from sekisho.message import FieldError, Header, count_received, fixup, protocol_name, received
from sekisho.policy import check_from
from sekisho.queue import ContentWriter
from sekisho.smtp import Recipient, Reply, replies

__all__ = ["Handling", "dress"]

MAX_AGENT = 100  # characters of a client program's name
MAX_HOPS = 100  # Received fields; more means that the message goes in circles (RFC 5321 §6.3: at least 100)


@dataclass(slots=True, kw_only=True)
class Handling:
    """How one message came, and therefore how its header is treated.

    Fields:
        account: who submitted it; None on the mx listener, where From is nobody's business.
        repair: add what is missing and drop what tells too much (RFC 6409 §8); not for mail that only passes through.
        client_address: to be written into Received; None keeps it private.
        tls: protocol version and cipher.
        transaction_id: names this transaction in Received and in a Message-ID of ours.
    """

    account: Account | None
    null_reverse_path: bool
    repair: bool
    hostname: str
    hello: str
    extended: bool
    smtputf8: bool
    client_address: str | None
    tls: tuple[str, str] | None
    transaction_id: str
    now: float


def dress(content: ContentWriter, handling: Handling, recipients: Sequence[Recipient]) -> Reply | str:
    """Check the header of *content* and put our trace on top of it.

    Returns:
        Why the message is refused; or, when it is not, the client program that wrote it, as it calls itself: "" when it
        does not say, or when it is nobody's we know.
    """
    head = content.head()
    try:
        header = Header.parse(head)
    except FieldError as error:
        if handling.account is not None:
            return Reply(554, "5.6.0", (f"The message cannot be sent as it is: {error.problem}",))
        if count_received(head) > MAX_HOPS:
            return replies.ROUTING_LOOP
        content.prepend(_trace(handling, recipients))
        return ""
    if handling.account is not None:
        refusal = check_from(handling.account, header, null_reverse_path=handling.null_reverse_path)
        if refusal is not None:
            return refusal
    if header.names.count("received") > MAX_HOPS:
        return replies.ROUTING_LOOP
    on_top = _trace(handling, recipients)
    if handling.repair:
        missing, unwanted = fixup(
            header,
            now=handling.now,
            hostname=handling.hostname,
            message_id_token=handling.transaction_id,
        )
        on_top += missing
        if unwanted:
            content.replace(header.end, on_top + header.without(unwanted))
            return _agent(header)
    content.prepend(on_top)
    return _agent(header) if handling.repair else ""


def _agent(header: Header) -> str:
    fields = dict(header.fields)
    value = fields.get("user-agent") or fields.get("x-mailer")
    return _program(value[: 4 * MAX_AGENT]) if value is not None else ""


@lru_cache(maxsize=512)
def _program(value: bytes) -> str:
    """Return the name of a client program on one line, without what cannot be printed."""
    words = "".join(each if each.isprintable() else " " for each in value.decode(errors="replace")).split()
    return " ".join(words)[:MAX_AGENT].rstrip()


def _trace(handling: Handling, recipients: Sequence[Recipient]) -> bytes:
    return received(
        helo=handling.hello,
        hostname=handling.hostname,
        protocol=protocol_name(
            extended=handling.extended,
            tls=handling.tls is not None,
            authenticated=handling.account is not None,
            smtputf8=handling.smtputf8,
        ),
        queue_id=handling.transaction_id,
        now=handling.now,
        client_address=handling.client_address,
        tls=handling.tls,
        recipients=[recipients[0].mailbox] if len(recipients) == 1 else (),
    )
