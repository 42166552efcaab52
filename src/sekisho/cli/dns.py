"""`sekisho dns`: every record to publish, and whether it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from .output import Commands, load_settings, printable, show_json, table

if TYPE_CHECKING:
    from sekisho.autoconfig.provider import Provider
    from sekisho.autoconfig.records import Record
    from sekisho.supervise.sections import Settings

MARKS = {"right": "right      ", "missing": "MISSING    ", "different": "DIFFERENT  ", "unreachable": "UNREACHABLE"}


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("dns", parents=[common], help="the DNS records to publish, and whether they are")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    show = verbs.add_parser("show", parents=[common], help="print every record to publish")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--zone", action="store_true", help="as lines for a zone file")
    form.add_argument("--json", action="store_true")
    show.set_defaults(run=run_show)

    verify = verbs.add_parser("verify", parents=[common], help="compare with live DNS; status 1 unless all are right")
    verify.add_argument("--json", action="store_true")
    verify.set_defaults(run=run_verify)


def _records(arguments: argparse.Namespace) -> tuple[Settings, Provider, list[Record]]:
    from sekisho.autoconfig.records import records
    from sekisho.supervise.provider import provider

    settings, _ = load_settings(arguments)
    told = provider(settings)
    return settings, told, records(told)


def run_show(arguments: argparse.Namespace) -> int:
    """Print the records."""
    from sekisho.autoconfig.errors import NotOffered
    from sekisho.autoconfig.records import NOT_SIGNED, sts_policy, zone

    _, told, found = _records(arguments)
    try:
        policy = sts_policy(told).decode()
    except NotOffered:
        policy = None
    if arguments.json:
        show_json({"records": [_plain(record) for record in found], "mta_sts_policy": policy, "notes": [NOT_SIGNED]})
        return 0
    if arguments.zone:
        print(zone(found), end="")
        return 0
    rows = [(record.name, record.kind, record.value or "(you know them)", record.why) for record in found]
    table(("name", "type", "value", "for"), rows)
    print(f"\n{NOT_SIGNED}.")
    if policy is not None:
        where = ", ".join(f"https://mta-sts.{domain}/.well-known/mta-sts.txt" for domain in told.domains)
        print(f"\nMTA-STS policy, to be served at {where}:\n")
        print("".join(f"    {line}\n" for line in policy.splitlines()), end="")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Ask for each record."""
    import asyncio

    from sekisho.autoconfig.lookup import Lookup
    from sekisho.autoconfig.records import NOT_SIGNED
    from sekisho.autoconfig.verify import State, verify

    settings, _, found = _records(arguments)
    verdicts = asyncio.run(verify(found, Lookup(settings.dns)))
    if arguments.json:
        rows = [
            {**_plain(v.record), "state": v.state.value, "found": list(v.found), "words": v.words} for v in verdicts
        ]
        show_json({"verdicts": rows, "notes": [NOT_SIGNED]})
    else:
        for verdict in verdicts:
            record = verdict.record
            print(f"{MARKS[verdict.state]} {record.name} {record.kind}: {verdict.words}")
            if verdict.state in (State.MISSING, State.DIFFERENT) and record.value:
                print(f"            publish: {record.value}")
            if verdict.state is State.DIFFERENT:
                for value in verdict.found:
                    print(f"            found:   {printable(value)}")
        counts = [f"{sum(v.state is state for v in verdicts)} {state}" for state in State]
        print(f"{', '.join(counts)}. {NOT_SIGNED}.")
    return 0 if all(verdict.state is State.RIGHT for verdict in verdicts) else 1


def _plain(record: Record) -> dict[str, str]:
    fields = asdict(record)
    del fields["tag"]
    return {name: str(value) for name, value in fields.items()}
