"""`sekisho version`: what this is, and what it runs on."""

from __future__ import annotations

import argparse
import sys

from .output import Commands, show_json


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("version", parents=[common], help="show the version")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the version."""
    import ssl
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("sekisho")
    except PackageNotFoundError:
        own = "from a source tree"
    facts = {"sekisho": own, "python": sys.version.split()[0], "openssl": ssl.OPENSSL_VERSION.split()[1]}
    if arguments.json:
        show_json(facts)
    else:
        print(f"sekisho {own} (Python {facts['python']}, OpenSSL {facts['openssl']})")
    return 0
