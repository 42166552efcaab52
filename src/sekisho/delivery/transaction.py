"""From a job to the commands of one transaction: what this peer can carry, and how it is said to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from sekisho.message import count_received
from sekisho.message.report import header_block
from sekisho.smtp import Body, Mailbox, Reply, to_a_labels
from sekisho.smtp.client import Capabilities, ClientTransaction, mail_command, rcpt_command, stuffed

from .connection import Connection
from .pool import Content, Job, Pending

__all__ = ["begin", "beginning", "hops_of", "in_parts", "refusal"]

PART = 98_304  # octets of a large message in memory at a time
MAX_HEADER = 65_536

TOO_BIG = Reply(552, "5.3.4", ("The message is larger than the next server accepts",))
EIGHT_BIT_REFUSED = Reply(554, "5.6.3", ("The message has 8-bit text, which the next server does not accept",))
UTF8_REFUSED = Reply(553, "5.6.7", ("The next server does not accept international mail addresses",))  # RFC 6531 §3.5


async def refusal(pending: Pending, mailboxes: Sequence[Mailbox], offered: Capabilities) -> Reply | None:
    """Return why a peer that offers only this can never take the message; None when it can."""
    message = pending.message
    if offered.size and message.size > offered.size:  # RFC 1870 §6.1 point 5
        return TOO_BIG
    if not offered.smtputf8 and await _needs_utf8(pending, mailboxes):
        return UTF8_REFUSED
    if not offered.eight_bit and await _has_eight_bit(pending):
        return EIGHT_BIT_REFUSED
    return None


def begin(job: Job, connection: Connection) -> ClientTransaction:
    """Return the transaction that carries *job* over *connection*. The content is in memory, or it will be streamed."""
    offered = connection.capabilities
    pending = job.pending
    message = pending.message
    content = pending.content
    assert content is not None
    octets = content.octets
    if octets is not None and pending.stuffed is None:
        pending.stuffed = stuffed(octets)
    mail = mail_command(
        _spelled(message.reverse_path, offered) if message.reverse_path is not None else None,
        offered,
        size=message.size,
        eight_bit=message.body is Body.EIGHTBIT or octets is None or not octets.isascii(),
        smtputf8=message.smtputf8,
        ret=message.ret,
        envid=message.envid,
    )
    rcpts = [
        rcpt_command(_spelled(mailbox, offered), offered, notify=recipient.notify, orcpt=recipient.orcpt)
        for recipient, mailbox in zip(job.recipients, job.mailboxes, strict=True)
    ]
    return ClientTransaction(
        mail,
        rcpts,
        content=pending.stuffed,
        pipelining=offered.pipelining,
        lmtp=connection.target.lmtp,
        reset=connection.needs_reset,
    )


def _spelled(mailbox: Mailbox, offered: Capabilities) -> Mailbox:
    """A domain has an ASCII form for servers without SMTPUTF8; a local-part has none (RFC 6531 §3.2)."""
    if offered.smtputf8 or mailbox.domain.isascii():
        return mailbox
    return Mailbox(mailbox.local_part, to_a_labels(mailbox.domain))


async def _needs_utf8(pending: Pending, mailboxes: Sequence[Mailbox]) -> bool:
    message = pending.message
    if any(not mailbox.local_part.isascii() for mailbox in mailboxes):
        return True
    if message.reverse_path is not None and not message.reverse_path.local_part.isascii():
        return True
    # A client may say SMTPUTF8 for a message that turns out to be plain: then any server will do.
    return message.smtputf8 and not header_block(await beginning(pending.content, MAX_HEADER)).isascii()


async def _has_eight_bit(pending: Pending) -> bool:
    """Look at the content itself: declarations are wrong in both directions."""
    content = pending.content
    if content is None:
        return False
    if content.octets is not None:
        return not content.octets.isascii()
    async for part in in_parts(content):
        if not part.isascii():
            return True
    return False


async def beginning(content: Content | None, octets: int) -> bytes:
    """Return the first *octets* of the content, or all of it when it is shorter."""
    if content is None:
        return b""
    if content.octets is not None:
        return content.octets
    return await asyncio.get_running_loop().run_in_executor(None, next, content.chunks(octets), b"")


async def in_parts(content: Content) -> AsyncIterator[bytes]:
    """Read large content piece by piece, off the event loop where that may wait for the disk."""
    loop = asyncio.get_running_loop()
    pieces = content.pieces(PART)
    while True:
        part = next(pieces, b"")
        if part is None:
            part = await loop.run_in_executor(None, next, pieces, b"")
        if not part:
            return
        yield part


async def hops_of(content: Content) -> int:
    """Count the servers the message came through, to find mail that goes in circles (RFC 5321 §6.3)."""
    return count_received(await beginning(content, MAX_HEADER))
