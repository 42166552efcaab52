"""Entry point of the program: reads the arguments, runs one subcommand, turns every failure into words and a status.

Exit status: 0 done; 1 it could not be done, the reason is on standard error; 2 the command line is wrong; 70 a mistake
of ours, its traceback is in the file that the message names.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

from .output import Command

INTERNAL = 70  # EX_SOFTWARE of sysexits.h

COMMANDS = (
    *("serve", "init", "check", "demo", "account", "queue", "trace", "edge", "lab", "autoconfig", "dns", "guide"),
    *("config", "version"),
)
"""The subcommands in the order of the help; each has the module of its name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Never raises but for SystemExit of a wrong command line."""
    words = sys.argv[1:] if argv is None else argv
    named = COMMANDS if not words or words[0] not in COMMANDS else (words[0],)
    arguments = build_parser(named).parse_args(words)
    run = cast("Command", arguments.run)
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read our output has seen enough (`| head`); Python must not flush into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return explain(error, debug=arguments.debug)


def build_parser(named: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the subcommands *named*: the service runs on from here, and need not carry the others."""
    parser = argparse.ArgumentParser(
        prog="sekisho",
        description="Mail submission for networks that block port 25: the gate, the way through, the guide.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        help="configuration (default: $SEKISHO_CONFIG, ./sekisho.toml, /etc/sekisho/sekisho.toml)",
    )
    common.add_argument("--debug", action="store_true", help="show the traceback of a mistake in the program itself")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in named:
        importlib.import_module(f".{name}", __package__).declare(commands, common)
    return parser


def explain(error: Exception, *, debug: bool) -> int:
    """Say what went wrong in one line for each reason, and return the exit status."""
    if debug:
        traceback.print_exception(error)
    if type(error).__module__.startswith("sekisho."):
        for line in str(error).splitlines():
            print(f"sekisho: {line}", file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.filename is not None:
        print(f"sekisho: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    in_journal = "JOURNAL_STREAM" in os.environ  # set by systemd, which gives the service a /tmp that nobody sees
    if in_journal and not debug:
        traceback.print_exception(error)
    where = "shown above" if debug or in_journal else f"in {_keep_traceback(error)}"
    print(
        f"sekisho: internal error ({type(error).__name__}); please report it, the details are {where}", file=sys.stderr
    )
    return INTERNAL


def _keep_traceback(error: Exception) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="sekisho-error-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
        return file.name
