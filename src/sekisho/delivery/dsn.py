"""Which DSN is due, to whom, and in which words. `sekisho.message.report` gives it its form."""

from __future__ import annotations

from collections.abc import Sequence

from sekisho.message.report import RecipientReport, Report, header_block
from sekisho.queue import Arrival, Outcome, QueuedMessage, QueuedRecipient, State
from sekisho.smtp import Body, Envelope, Recipient
from sekisho.text import say

__all__ = ["compose", "wants_failure", "wants_success"]

MAX_RETURNED = 1_048_576  # octets of a message returned whole; RFC 3461 §6.2 lets us return the header alone
REPORT_ON = "report-on-"  # begins the session of a DSN's arrival; the queue id that it reports on follows
MAX_HEADER = 65_536
MAX_NAMED = 50  # recipients named in the text for the person; the machine-readable part has all

_ACTIONS = {State.FAILED: "failed", State.EXPIRED: "failed", State.DELIVERED: "delivered"}


def wants_failure(message: QueuedMessage, recipient: QueuedRecipient) -> bool:
    """Tell whether the sender is to hear that *recipient* failed (RFC 3461 §4.1: without NOTIFY, yes).

    Never for the null reverse-path: no DSN answers a DSN (RFC 5321 §4.5.5).
    """
    if message.reverse_path is None:
        return False
    return not recipient.notify or "FAILURE" in recipient.notify.upper().split(",")


def wants_success(message: QueuedMessage, recipient: QueuedRecipient) -> bool:
    """Tell whether the sender asked to hear that *recipient* was reached."""
    return message.reverse_path is not None and bool(
        recipient.notify and "SUCCESS" in recipient.notify.upper().split(",")
    )


def compose(
    message: QueuedMessage,
    told: Sequence[tuple[QueuedRecipient, Outcome]],
    content: bytes,
    *,
    hostname: str,
    language: str,
    now: float,
    token: str,
    relayed: bool = False,
) -> tuple[Arrival, bytes]:
    """Make one DSN about *told*, which are all of one kind: failed, or reached.

    Args:
        content: of the message; the beginning of it will do, when it is long.
        now: seconds since 1970, UTC.
        token: random, unique; for Message-ID and boundary.
        relayed: reached means handed to a server that does not promise DSNs of its own (RFC 3464 §2.3.3).
    """
    assert message.reverse_path is not None
    full = (message.ret or "").upper() == "FULL" and message.size <= min(MAX_RETURNED, len(content))
    failed = told[0][1].state is not State.DELIVERED
    report = Report(
        hostname=hostname,
        recipient=str(message.reverse_path),
        author=say("dsn.author", language),
        subject=_subject(failed, relayed, language),
        text=_text(told, language, hostname=hostname, queue_id=message.queue_id, failed=failed, relayed=relayed),
        language=language,
        message_id=f"dsn.{token}",
        boundary=f"=_{token}",
        envid=message.envid,
        arrived=message.arrived,
        now=now,
        queue_id=message.queue_id,
        recipients=[_recipient_report(recipient, outcome, relayed) for recipient, outcome in told],
        content=content if full else header_block(content)[:MAX_HEADER],
        full=full,
    )
    octets = report.render()
    envelope = Envelope(
        reverse_path=None,
        recipients=(Recipient(message.reverse_path),),
        body=Body.SEVENBIT if octets.isascii() else Body.EIGHTBIT,
        smtputf8=not message.reverse_path.is_ascii,
    )
    return Arrival(
        envelope=envelope,
        account=None,
        session=f"{REPORT_ON}{message.queue_id}",
        client="",
        listener="dsn",
        arrived=now,
    ), octets


def _recipient_report(recipient: QueuedRecipient, outcome: Outcome, relayed: bool) -> RecipientReport:
    action = "relayed" if relayed else _ACTIONS[outcome.state]
    code, _, rest = outcome.reply.partition(" ")
    status = rest.partition(" ")[0]
    if status[:2] not in ("2.", "4.", "5.") or status.count(".") != 2:
        status = f"{code[:1]}.0.0" if code[:1] in "245" else "5.0.0"
    if outcome.state is State.FAILED and status[0] == "4":
        status = f"5{status[1:]}"
    return RecipientReport(
        address=str(recipient.mailbox),
        orcpt=recipient.orcpt,
        action=action,
        status=status,
        diagnostic=outcome.reply if outcome.next_hop else None,
        remote=outcome.next_hop.partition("[")[0] or None,
        last_attempt=outcome.at,
    )


def _subject(failed: bool, relayed: bool, language: str) -> str:
    return say(
        "dsn.failed.subject" if failed else "dsn.relayed.subject" if relayed else "dsn.delivered.subject", language
    )


def _text(
    told: Sequence[tuple[QueuedRecipient, Outcome]],
    language: str,
    *,
    hostname: str,
    queue_id: str,
    failed: bool,
    relayed: bool,
) -> str:
    kind = "failed" if failed else "relayed" if relayed else "delivered"
    lines = [say(f"dsn.{kind}.text", language, hostname=hostname), ""]
    for recipient, outcome in told[:MAX_NAMED]:
        lines.append(f"  {recipient.mailbox}")
        if outcome.state is State.EXPIRED:
            lines.append(f"    {say('dsn.expired', language)}")
        lines.append(f"    {outcome.reply}")
    if len(told) > MAX_NAMED:
        lines.append(f"  {say('dsn.more', language, count=len(told) - MAX_NAMED)}")
    lines += ["", say("dsn.footer", language, hostname=hostname, queue_id=queue_id), ""]
    return "\n".join(lines)
