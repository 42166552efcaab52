"""`sekisho guide`: what users have to set in their mail programs, for the terminal and for a web server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, UsageError, load_settings, show_json, table

if TYPE_CHECKING:
    from sekisho.guide.model import Catalog, Version

CAPABILITIES = ("starttls_587", "tls_465", "crammd5_587", "plain_587")


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("guide", parents=[common], help="set-up guides for mail programs")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    listing = verbs.add_parser("list", parents=[common], help="list the programs, and the way each can send here")
    listing.add_argument("words", nargs="*", metavar="WORD", help="only those whose name has all of these")
    listing.add_argument("--language", choices=("ja", "en"), help="language of names (default: that of the service)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)

    show = verbs.add_parser("show", parents=[common], help="print the guide for one program")
    show.add_argument("client", metavar="CLIENT", help="as `sekisho guide list` calls it")
    show.add_argument("--language", choices=("ja", "en"), help="default: that of the service")
    show.add_argument("--capability", choices=CAPABILITIES, help="this way, not the best one", metavar="WAY")
    show.add_argument("--address", metavar="ADDRESS", help="for the person with this address")
    show.set_defaults(run=run_show)

    build = verbs.add_parser("build", parents=[common], help="write the whole guide as a site for a web server")
    build.add_argument("directory", type=Path, metavar="DIR", help="a directory of its own; made when missing")
    build.set_defaults(run=run_build)


def run_list(arguments: argparse.Namespace) -> int:
    """List versions with the way chosen for each."""
    from sekisho.guide.choose import choose
    from sekisho.guide.facts import catalog
    from sekisho.supervise.card import guide_card

    settings, _ = load_settings(arguments)
    card, language = guide_card(settings), arguments.language or settings.language
    rows = []
    for version in catalog().versions.values():
        names = f"{version.id} {version.names.ja} {version.names.en}".lower()
        if all(word.lower() in names for word in arguments.words):
            rows.append((version, choose(catalog(), card, version)))
    if arguments.json:
        show_json(
            [
                {
                    "client": version.id,
                    "name": version.names.say(language),
                    "way": choice.way.capability if choice.way else None,
                    "port": choice.way.port if choice.way else None,
                    "move_to": [each.id for each in choice.replace_by],
                }
                for version, choice in rows
            ]
        )
        return 0
    table(
        ("CLIENT", "WAY", "NAME"),
        (
            (
                version.id,
                choice.way.capability
                if choice.way
                else f"- (move to {choice.replace_by[0].id})"
                if choice.replace_by
                else "-",
                version.names.say(language),
            )
            for version, choice in rows
        ),
    )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one guide."""
    from sekisho.guide.choose import choose
    from sekisho.guide.facts import catalog
    from sekisho.guide.render.terminal import render_text
    from sekisho.supervise.card import guide_card

    settings, _ = load_settings(arguments)
    card = guide_card(settings)
    choice = choose(catalog(), card, _find(catalog(), arguments.client), arguments.capability)
    person = None
    if arguments.address:
        person = card.for_person(arguments.address)
    print(render_text(catalog(), card, choice, arguments.language or settings.language, person=person))
    return 0


def _find(facts: Catalog, name: str) -> Version:
    """Return the version *name*; a family stands for its newest version."""
    if version := facts.versions.get(name):
        return version
    for family in facts.families:
        if family.id == name:
            return next((each for each in reversed(family.versions) if each.status == "current"), family.versions[-1])
    near = sorted(each for each in facts.versions if name.lower() in each)
    hint = f"perhaps {', '.join(near[:5])}" if near else "`sekisho guide list` shows all"
    raise UsageError(f"there is no guide for {name}; {hint}")


def run_build(arguments: argparse.Namespace) -> int:
    """Write the site."""
    from sekisho.guide.facts import catalog
    from sekisho.guide.publish import publish
    from sekisho.guide.render.site import build_site
    from sekisho.supervise.card import guide_card

    settings, _ = load_settings(arguments)
    done = publish(build_site(catalog(), guide_card(settings)), arguments.directory)
    print(f"{arguments.directory}: {len(done.written)} files written, {len(done.removed)} removed")
    return 0
