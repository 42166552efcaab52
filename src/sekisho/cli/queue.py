"""`sekisho queue`: what waits, why, and what to do about it. Reading never disturbs the running service."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .output import Commands, UsageError, load_settings, printable, show_json, table

if TYPE_CHECKING:
    from sekisho.queue import Filter, Listed, Shown, SpoolReader, State

DONE = {"hold": "held", "release": "released", "retry": "to be tried at once", "delete": "deleted"}
MOST = 1_000_000  # messages that --all changes in one command


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("queue", parents=[common], help="list, show, hold, release, retry, delete queued mail")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    listing = verbs.add_parser("list", parents=[common], help="list messages that are not done")
    _declare_filter(listing)
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="most lines (default: 100)")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)

    show = verbs.add_parser("show", parents=[common], help="everything known about one message, done ones included")
    show.add_argument("id", metavar="QUEUE-ID")
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=run_show)

    stats = verbs.add_parser("stats", parents=[common], help="how much waits")
    stats.add_argument("--json", action="store_true")
    stats.set_defaults(run=run_stats)

    for name, words in (
        ("hold", "keep messages from delivery until they are released"),
        ("release", "let held messages go"),
        ("retry", "try at once what waits for its next attempt"),
        ("delete", "remove messages; nobody is notified"),
    ):
        verb = verbs.add_parser(name, parents=[common], help=words)
        verb.add_argument("ids", metavar="QUEUE-ID", nargs="*")
        verb.add_argument("--all", action="store_true", help="all messages that the filter lets through")
        _declare_filter(verb)
        verb.add_argument("--json", action="store_true")
        verb.set_defaults(run=run_change, verb=name)


def _declare_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", action="append", metavar="STATE", help="queued, deferred, held, delivered, failed ..."
    )
    parser.add_argument("--account", metavar="LOGIN", help="submitted by this account")
    parser.add_argument("--sender", metavar="ADDRESS", help="with this reverse-path")
    parser.add_argument("--domain", metavar="DOMAIN", help="with a recipient in this domain")


def _filter(arguments: argparse.Namespace) -> Filter:
    from sekisho.queue import Filter

    common = {"account": arguments.account, "sender": arguments.sender, "domain": arguments.domain}
    if not arguments.state:
        return Filter(**common)
    return Filter(states=tuple(_state(name) for name in arguments.state), **common)


def _state(name: str) -> State:
    from sekisho.queue import State

    try:
        return State(name.lower())
    except ValueError:
        raise UsageError(f"{name!r} is not a state; there are {', '.join(State)}") from None


@contextlib.contextmanager
def _reader(arguments: argparse.Namespace) -> Iterator[SpoolReader]:
    from sekisho.queue import SpoolReader

    _, where = load_settings(arguments)
    with SpoolReader(where.queue) as reader:
        yield reader


def run_list(arguments: argparse.Namespace) -> int:
    """List messages, the oldest first."""
    with _reader(arguments) as reader:
        found = reader.list(_filter(arguments), limit=arguments.limit + 1)
    shown = found[: arguments.limit]
    if arguments.json:
        show_json([_plain(message) for message in shown])
        return 0
    table(("QUEUE ID", "ARRIVED", "OCTETS", "FROM", "TO", "STATE", "NEXT ATTEMPT", "LAST REPLY"), map(_row, shown))
    if len(found) > len(shown):
        print("sekisho: there are more; --limit shows them, or `sekisho queue stats` counts them", file=sys.stderr)
    return 0


def _row(message: Listed) -> tuple[object, ...]:
    count = sum(message.recipients.values())
    to = ", ".join(str(mailbox) for mailbox in message.mailboxes[:2]) + (f" and {count - 2} more" if count > 2 else "")
    states = ", ".join(f"{state} {number}" if count > 1 else state for state, number in message.recipients.items())
    return (
        message.queue_id,
        when(message.arrived),
        message.size,
        f"<{message.reverse_path or ''}>",
        to,
        states,
        when(message.next_attempt),
        message.last_reply,
    )


def _plain(message: Listed) -> dict[str, object]:
    return {
        "queue_id": message.queue_id,
        "arrived": message.arrived,
        "expires": message.expires,
        "size": message.size,
        "reverse_path": str(message.reverse_path or ""),
        "account": message.account,
        "recipients": {str(state): number for state, number in message.recipients.items()},
        "mailboxes": [str(mailbox) for mailbox in message.mailboxes],
        "next_attempt": message.next_attempt,
        "last_reply": message.last_reply,
    }


def run_show(arguments: argparse.Namespace) -> int:
    """Show one message; exit status 1 when it is not known."""
    with _reader(arguments) as reader:
        message = reader.show(arguments.id)
    if message is None:
        raise UsageError(
            f"no message {arguments.id} in the queue or its history; `sekisho trace` looks into the events"
        )
    if arguments.json:
        show_json(_plain_shown(message))
        return 0
    arrival = message.arrival
    print(f"queue id      {message.queue_id}")
    print(f"arrived       {when(arrival.arrived)} through {arrival.listener}, session {printable(arrival.session)}")
    print(f"account       {printable(arrival.account or '-')}")
    print(f"reverse-path  <{printable(arrival.envelope.reverse_path or '')}>")
    print(f"octets        {message.size}{'' if message.content_kept else ' (content no longer kept)'}")
    print(f"expires       {when(message.expires)}")
    for recipient in message.recipients:
        due = f", next attempt {when(recipient.next_attempt)}" if recipient.next_attempt else ""
        print(f"\n<{printable(recipient.mailbox)}>: {recipient.state} after {recipient.attempts} attempts{due}")
        for event in recipient.events:
            print(f"    {when(event.at)}  {event.state}  {printable(event.next_hop)}  {printable(event.reply)}")
    if message.recipient_count > len(message.recipients):
        print(f"\nand {message.recipient_count - len(message.recipients)} further recipients")
    return 0


def _plain_shown(message: Shown) -> dict[str, object]:
    arrival = message.arrival
    return {
        "queue_id": message.queue_id,
        "arrived": arrival.arrived,
        "listener": arrival.listener,
        "session": arrival.session,
        "client": arrival.client,
        "account": arrival.account,
        "reverse_path": str(arrival.envelope.reverse_path or ""),
        "size": message.size,
        "content_kept": message.content_kept,
        "expires": message.expires,
        "recipient_count": message.recipient_count,
        "recipients": [
            {
                "mailbox": str(recipient.mailbox),
                "state": str(recipient.state),
                "attempts": recipient.attempts,
                "next_attempt": recipient.next_attempt,
                "events": [
                    {"at": event.at, "state": str(event.state), "next_hop": event.next_hop, "reply": event.reply}
                    for event in recipient.events
                ],
            }
            for recipient in message.recipients
        ],
    }


def run_stats(arguments: argparse.Namespace) -> int:
    """Count what waits."""
    with _reader(arguments) as reader:
        stats = reader.stats()
    if arguments.json:
        show_json(
            {
                "messages": stats.messages,
                "octets": stats.octets,
                "recipients": {str(state): number for state, number in stats.recipients.items()},
                "oldest": stats.oldest,
                "next_attempt": stats.next_attempt,
            }
        )
        return 0
    print(f"messages      {stats.messages} ({stats.octets} octets)")
    for state, number in stats.recipients.items():
        print(f"{state:12}  {number} recipients")
    print(f"oldest        {when(stats.oldest) or '-'}")
    print(f"next attempt  {when(stats.next_attempt) or '-'}")
    return 0


def run_change(arguments: argparse.Namespace) -> int:
    """Hold, release, retry or delete; exit status 1 when nothing was changed."""
    from sekisho.supervise.queues import change

    settings, where = load_settings(arguments)
    ids = list(arguments.ids)
    if arguments.all == bool(ids):
        raise UsageError("name queue ids, or give --all with or without a filter")
    if arguments.all:
        with _reader(arguments) as reader:
            ids = [str(message.queue_id) for message in reader.list(_filter(arguments), limit=MOST)]
    changed = change(settings, where, arguments.verb, ids)
    if arguments.json:
        show_json({"asked": len(ids), "changed": changed})
    else:
        print(f"{len(changed)} of {len(ids)} messages {DONE[arguments.verb]}")
    return 0 if changed or not ids else 1


def when(epoch: float | None) -> str:
    """Return a moment in local time; empty for none."""
    if epoch is None:
        return ""
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
