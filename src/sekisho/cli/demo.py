"""`sekisho demo`: a real instance on unprivileged ports sends itself two messages, shows them, and stays up."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, generate_password, printable

if TYPE_CHECKING:
    from sekisho.supervise.demo import Arrived, Instance

SHOWN_LINES = 14


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("demo", parents=[common], help="run a throw-away instance and send mail through it")
    parser.add_argument("--directory", metavar="DIR", help="keep the instance in DIR (default: a temporary directory)")
    parser.add_argument("--once", action="store_true", help="stop after the messages were shown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start, send, show, and wait for Ctrl-C."""
    from sekisho.supervise.card import settings_card
    from sekisho.supervise.demo import RECIPIENT, SENDER, WAYS, running, send, wait_for

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # either way the instance is stopped, too
    directory = Path(arguments.directory) if arguments.directory else None
    print("starting ...", flush=True)
    with running(directory, generate_password) as instance:
        ports = ", ".join(f"{instance.port(kind)} ({kind})" for kind in ("submission", "submissions", "mx"))
        print(f"listening on 127.0.0.1, ports {ports}; configuration {instance.config}\n")
        for kind, (words, _) in WAYS.items():
            message_id = send(instance, kind)
            print(f"port {instance.port(kind)}, {words}: {SENDER} to {RECIPIENT}: accepted", flush=True)
            show(wait_for(instance, message_id))
        if arguments.once:
            print("both messages arrived")
            return 0
        print(settings_card(instance.settings, SENDER, host="localhost", password=instance.passwords[SENDER]))
        if instance.portal is not None:
            print(f"\nWeb pages: {instance.portal}\n")
        stay(instance)
    return 0


def show(arrived: Arrived) -> None:
    """Print where a message is, and how it begins."""
    print(f"arrived: {arrived.path} ({arrived.size} octets)\n")
    lines = arrived.header.splitlines()
    for line in itertools.islice(lines, SHOWN_LINES):
        print(f"    {printable(line.expandtabs(4))}")
    if len(lines) > SHOWN_LINES:
        print("    ...")
    print(flush=True)


def stay(instance: Instance) -> None:
    """Wait until the reader presses Ctrl-C, or the service ends."""
    from sekisho.supervise.demo import RECIPIENT

    own = Path(sys.executable).with_name("sekisho")  # in an environment that is not on the PATH
    program = "sekisho" if shutil.which("sekisho") or not own.exists() else os.path.relpath(own)
    print("The service stays up; Ctrl-C stops it. What happened to a message, in another terminal:\n")
    print(f"    {program} trace {RECIPIENT} --config {os.path.relpath(instance.config)}", flush=True)
    try:
        instance.process.wait()
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
