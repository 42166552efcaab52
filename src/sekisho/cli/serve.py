"""`sekisho serve`: run the service in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from typing import TYPE_CHECKING

from .output import Commands, config_path

if TYPE_CHECKING:
    from sekisho.supervise.channel import Channel, Configuration
    from sekisho.supervise.parent import RunWorker, Seat


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("serve", parents=[common], help="run the service")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop."""
    from sekisho.supervise.serve import serve

    return serve(config_path(arguments), os.environ, _say, run_portal=_portal(secrets.token_bytes(32)))


def _portal(secret: bytes) -> RunWorker:
    """Return the portal's body. Its libraries are loaded in its own process, after the fork: mail has no use for them.

    Args:
        secret: what forms are signed with, made here so that a form outlives the death of that process.
    """

    def body(seat: Seat, configuration: Configuration, channel: Channel) -> int:
        from sekisho.portal import run as run_portal

        return run_portal(seat, configuration, channel, secret)

    return body


def _say(line: str) -> None:
    print(f"sekisho: {line}", file=sys.stderr, flush=True)
