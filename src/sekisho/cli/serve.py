"""`sekisho serve`: run the service in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys

from .output import Commands, config_path


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("serve", parents=[common], help="run the service")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop."""
    from sekisho.supervise.serve import serve

    return serve(config_path(arguments), os.environ, _say)


def _say(line: str) -> None:
    print(f"sekisho: {line}", file=sys.stderr, flush=True)
