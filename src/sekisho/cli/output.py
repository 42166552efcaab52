"""What all subcommands share: where the configuration is, how results are shown, how a password is read."""

from __future__ import annotations

import argparse
import datetime
import getpass
import json
import os
import secrets
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from sekisho.supervise.sections import Places, Settings

Command: TypeAlias = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without characters that look alike in print: l 1 o 0
GENERATED = 5, 4  # groups and characters of a generated password: 20 characters of 32, 100 bits


class UsageError(Exception):
    """The command cannot be carried out as it was given; ``str()`` says what to change."""


def config_path(arguments: argparse.Namespace) -> Path:
    """Return the configuration to use: --config, $SEKISHO_CONFIG, ./sekisho.toml, /etc/sekisho/sekisho.toml."""
    if arguments.config:
        return Path(arguments.config)
    if named := os.environ.get("SEKISHO_CONFIG"):
        return Path(named)
    here = Path("sekisho.toml")
    return here if here.exists() else Path("/etc/sekisho/sekisho.toml")


def load_settings(arguments: argparse.Namespace) -> tuple[Settings, Places]:
    """Read the configuration, and where everything is."""
    from sekisho.supervise.sections import places
    from sekisho.supervise.serve import read_settings

    settings = read_settings(config_path(arguments), os.environ)
    return settings, places(settings)


def show_json(value: object) -> None:
    """Write *value* as one JSON document."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    print()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows in aligned columns; nothing but the header for an empty list."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(_columns(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print(
            "  ".join(cell + " " * (width - _columns(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _columns(text: str) -> int:
    """Return how wide *text* is on a terminal, where Japanese takes two columns a character."""
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def utc_time(epoch: float | None) -> str | None:
    """Return a time (UTC epoch, seconds) as text for programs and tables; None for none."""
    if epoch is None:
        return None
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).isoformat(timespec="seconds")


def local_time(epoch: float) -> str:
    """Return a time (UTC epoch, seconds) as the person at this terminal reads a clock."""
    return datetime.datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def printable(value: Any) -> str:
    """Return *value* for the terminal: text that came from the network must not carry control sequences."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def read_password(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Return a new password and whether it was generated here: by --generate, from standard input, or asked for twice.

    It is never an argument: other users of the machine can read those.
    """
    if arguments.generate:
        return generate_password(), True
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError("no password came on standard input; give one line, or use --generate")
        return password, False
    password = getpass.getpass("New password: ")
    if password != getpass.getpass("Once more: "):
        raise UsageError("the two passwords differ; nothing was changed")
    return password, False


def generate_password() -> str:
    """Return a password that can be typed from paper."""
    groups, size = GENERATED
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(size)) for _ in range(groups))
