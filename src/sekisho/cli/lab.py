"""`sekisho lab`: rehearse a blocking day in a provider made of network namespaces on this machine. Needs root."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, printable, show_json, table

if TYPE_CHECKING:
    from sekisho.lab.lab import Lab
    from sekisho.lab.scorecard import Line


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser(
        "lab", parents=[common], help="rehearse a blocking day in a provider made of namespaces"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--name", default="lab", help="name of the lab, part of all that it makes (default: lab)")
    place.add_argument("--directory", metavar="DIR", help="its files (default: /run/sekisho-lab-NAME)")

    up = verbs.add_parser(
        "up", parents=[common, place], help="build it: subscribers, servers, edge, the rest of the world"
    )
    up.set_defaults(run=run_up)

    play = verbs.add_parser("play", parents=[common, place], help="act out the blocking day and print the scorecard")
    play.add_argument("--json", action="store_true", help="print the scorecard as JSON")
    play.add_argument("--keep", action="store_true", help="leave the lab up when it was built for this play")
    play.set_defaults(run=run_play)

    down = verbs.add_parser("down", parents=[common, place], help="remove everything, also what a crash left")
    down.set_defaults(run=run_down)

    status = verbs.add_parser("status", parents=[common, place], help="show who is there and what runs")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=run_status)


def run_up(arguments: argparse.Namespace) -> int:
    """Build the lab."""
    from sekisho.lab.lab import up

    lab = _lab(arguments)
    up(lab)
    print(f"lab {lab.name} is up: {len(lab.namespaces.existing())} namespaces, files in {lab.directory}")
    print(f"look around: ip netns exec {lab.namespaces.name('aoi')} bash; then: sekisho lab play, sekisho lab down")
    return 0


def run_play(arguments: argparse.Namespace) -> int:
    """Act out the day; exit status 0 only when every line of the scorecard passed."""
    from sekisho.lab.lab import down, up
    from sekisho.lab.play import Play
    from sekisho.lab.scenario import DAY

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way what was started is ended, too
    lab = _lab(arguments)
    built = not lab.is_up
    if built:
        _note("building the lab ...")
        up(lab)
    try:
        scorecard = Play(lab, _tell).run(DAY)
    finally:
        if built and not arguments.keep:
            down(lab)
    if arguments.json:
        show_json(scorecard.document())
    else:
        print(scorecard.text())
    return 0 if scorecard.passed else 1


def run_down(arguments: argparse.Namespace) -> int:
    """Remove the lab."""
    from sekisho.lab.lab import down

    lab = _lab(arguments)
    gone = down(lab)
    print(f"lab {lab.name} is down; {len(gone)} namespaces removed")
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    """Show the lab; exit status 1 when it is not up."""
    from sekisho.lab.lab import status

    lab = _lab(arguments)
    state = status(lab)
    if arguments.json:
        show_json({"up": state.is_up, "namespaces": state.namespaces, "programs": state.programs})
    elif not state.namespaces:
        print(f"lab {lab.name} is down")
    else:
        print(f"lab {lab.name} is {'up' if state.is_up else 'not whole; run: sekisho lab down'}\n")
        table(("NAMESPACE", "ADDRESSES", "WHO"), state.rows)
        print()
        table(("PROGRAM", "PROCESS"), [(name, pid or "ended") for name, pid in state.programs.items()])
    return 0 if state.is_up else 1


def _lab(arguments: argparse.Namespace) -> Lab:
    from sekisho.lab.lab import Lab

    return Lab.named(arguments.name, Path(arguments.directory).absolute() if arguments.directory else None)


def _tell(line: Line) -> None:
    _note(f"{'pass' if line.passed else 'FAIL'}  {line.words}")


def _note(words: str) -> None:
    print(printable(words), file=sys.stderr, flush=True)
