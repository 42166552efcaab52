"""`sekisho trace`: what happened to a message, an address, an account or a host, as a timeline.

The gate has logs of its own; on the same machine they are read along, where they may be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, load_settings, printable, show_json

if TYPE_CHECKING:
    from sekisho.telemetry import Entry

EDGE_STATE = Path("/var/lib/sekisho-edge/gate")


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("trace", parents=[common], help="what happened to a queue id, address or IP")
    parser.add_argument(
        "needle", metavar="NEEDLE", help="queue id, session id, mail address, login, IP address or line"
    )
    parser.add_argument("--days", type=int, default=30, metavar="N", help="how many days back (default: 30)")
    parser.add_argument("--limit", type=int, default=5000, metavar="N", help="most events (default: 5000)")
    parser.add_argument(
        "--edge", type=Path, metavar="DIR", help=f"state directory of the gate (default: {EDGE_STATE}, if readable)"
    )
    parser.add_argument("--json", action="store_true", help="print the events as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the timeline; exit status 1 when nothing is known."""
    from sekisho.telemetry import render, timeline

    _, where = load_settings(arguments)
    entries = timeline(where.log, arguments.needle, days=arguments.days, limit=arguments.limit)
    entries = sorted([*entries, *_of_the_gate(arguments)], key=lambda entry: entry.time)[-arguments.limit :]
    if arguments.json:
        show_json([{"t": entry.time, "event": entry.event, **entry.fields} for entry in entries])
    else:
        for entry in entries:
            print(printable(render(entry)))
    if not entries:
        days = f"{arguments.days} days"
        print(f"sekisho: nothing about {printable(arguments.needle)} in the events of {days}", file=sys.stderr)
        return 1
    return 0


def _of_the_gate(arguments: argparse.Namespace) -> list[Entry]:
    """Events of the gate's own logs, as far as there are any that this user may read."""
    from sekisho.edge.traces import log_directories, traced

    found: list[Entry] = []
    for directory in log_directories(arguments.edge or EDGE_STATE):
        try:
            found += traced(directory, arguments.needle, days=arguments.days, limit=arguments.limit)
        except OSError as error:
            print(f"sekisho: left out: {error.filename}: {error.strerror}", file=sys.stderr)
    return found
