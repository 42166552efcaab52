"""`sekisho init`: write a configuration, keys and a first account; say what to publish in DNS."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, UsageError, printable, read_password

if TYPE_CHECKING:
    from sekisho.supervise.init import Written


BEHIND_A_WEB_SERVER = {  # what most machines have on port 443 already; see docs/operate/portal.md
    "portal.addresses": '["127.0.0.1:8080"]',
    "portal.trusted_proxies": '["127.0.0.1/32", "::1/128"]',
}


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("init", parents=[common], help="write a configuration, keys and a first account")
    parser.add_argument("--directory", metavar="DIR", help="keep everything below DIR (default: /etc and /var/lib)")
    parser.add_argument("--hostname", metavar="NAME", help="name that mail clients connect to")
    parser.add_argument("--domain", metavar="DOMAIN", help="domain of the addresses")
    parser.add_argument("--user", metavar="USER", help="user that the service becomes")
    parser.add_argument("--account", metavar="ADDRESS", help="first account; its password is asked for")
    parser.add_argument("--generate", action="store_true", help="make up the password and print it")
    parser.add_argument("--no-account", action="store_true", help="do not make an account")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask what is missing, write, and say what comes next."""
    from sekisho.supervise.errors import PrivilegeError
    from sekisho.supervise.init import Answers, initialize
    from sekisho.supervise.privileges import look_up

    hostname = arguments.hostname or _ask("Host name that mail clients connect to", _own_name())
    domain = arguments.domain or _ask("Domain of the addresses", hostname.partition(".")[2])
    try:
        identity = look_up(arguments.user, None)
    except PrivilegeError as error:
        raise UsageError(f"{error} (or give --user)") from error
    base = Path(arguments.directory) if arguments.directory else None
    changes = dict(BEHIND_A_WEB_SERVER)
    if identity is not None:
        changes["service.user"] = f'"{identity.name}"'
    if arguments.account and "@" in arguments.account:
        changes["local.postmaster"] = json.dumps(arguments.account)
    answers = Answers(
        config=Path(arguments.config or (base or Path("/etc/sekisho")) / "sekisho.toml"),
        hostname=hostname.lower(),
        domain=domain.lower(),
        data="data" if base is not None else "/var/lib/sekisho",
        changes=changes,
    )
    written = initialize(answers, identity)
    for path in written.made:
        print(f"wrote {path}")
    if not written.made:
        print("everything was there already; nothing was changed")
    if not arguments.no_account:
        _first_account(arguments, written, domain)
    _what_next(answers.config, written)
    return 0


def _ask(question: str, default: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{question}? Give --hostname and --domain when there is nobody to ask")
    return input(f"{question} [{default}]: ").strip() or default


def _own_name() -> str:
    return socket.getfqdn()


def _first_account(arguments: argparse.Namespace, written: Written, domain: str) -> None:
    from .account import add_account

    login = arguments.account or _ask("Address of the first account", f"{os.environ.get('USER', 'me')}@{domain}")
    password, generated = read_password(arguments)
    add_account(written.settings, written.where, login, password)
    print(f"account {printable(login)} made" + (f", password: {password}" if generated else ""))


def _what_next(config: Path, written: Written) -> None:
    from sekisho.supervise.init import dns_records

    if found := dns_records(written.settings):
        print("\nPublish in DNS, to begin with:\n")
        for line in found.splitlines():
            print(f"    {line}")
    print(
        f"\nThen:\n\n    sekisho check --config {config}\n    sekisho serve --config {config}\n"
        f"    sekisho dns show --config {config}    # every record: also DMARC, MTA-STS, automatic configuration\n"
    )
