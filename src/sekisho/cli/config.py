"""`sekisho config`: the settings reference, an example file, and what the configuration in use comes to."""

from __future__ import annotations

import argparse
import dataclasses
import enum

from .output import Commands, load_settings, show_json


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("config", parents=[common], help="show the settings: reference, example, in use")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, function, words in (
        ("reference", reference, "every setting with its meaning and default (Markdown)"),
        ("example", example, "a commented configuration file (TOML)"),
        ("show", show, "the values in use, defaults and environment included (JSON; secrets hidden)"),
    ):
        verb = verbs.add_parser(name, parents=[common], help=words)
        verb.set_defaults(run=function)


def reference(arguments: argparse.Namespace) -> int:
    """Print the reference."""
    from sekisho.config import reference as write_reference
    from sekisho.supervise.sections import Settings

    print(write_reference(Settings), end="")
    return 0


def example(arguments: argparse.Namespace) -> int:
    """Print an example file."""
    from sekisho.config import example as write_example
    from sekisho.supervise.sections import Settings

    print(write_example(Settings), end="")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print the values in use."""
    settings, _ = load_settings(arguments)
    show_json(plain(settings))
    return 0


def plain(value: object) -> object:
    """Return settings as what JSON knows; a secret becomes its hidden form."""
    if (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and value.__class__.__name__.endswith("Settings")
    ):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {str(key): plain(element) for key, element in value.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value)
