"""Which client program a message came from, and whether that version can still send here.

A client calls itself something in User-Agent or X-Mailer; `agents.toml` tells what that is among the facts. Pure, and
never certain: whoever writes a message can write anything there.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Final

from .card import Card
from .choose import choose
from .errors import CatalogError
from .facts import catalog
from .model import Catalog, Family, Version
from .table import Table

__all__ = ["Agents", "Prospect", "Recognized", "known_agents", "prospect", "read_agents"]

REMEMBERED: Final = 4096
MAX_LENGTH: Final = 200  # characters that are looked at

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Recognized:
    """A client program.

    Fields:
        versions: the one that it is; several where it does not tell which, none where it is older than any known.
        sure: how it calls itself was seen somewhere, not only remembered.
    """

    family: Family
    versions: tuple[Version, ...]
    sure: bool


class Prospect(StrEnum):
    """Whether a client can go on sending here."""

    FINE = "fine"  # it can, or at least one of the versions that it may be
    RETIRED = "retired"  # no way that is open here is one for it: move to another
    OLDER = "older"  # older than any version that the facts know
    UNKNOWN = "unknown"  # it is not among the facts, or does not say what it is


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: re.Pattern[str]
    family: Family
    versions: tuple[tuple[tuple[int, ...] | None, tuple[Version, ...]], ...]
    sure: bool


class Agents:
    """Knows clients by what they call themselves."""

    def __init__(self, rows: Collection[_Row]) -> None:
        self._rows = tuple(rows)
        self.recognize = functools.lru_cache(maxsize=REMEMBERED)(self._recognize)

    def _recognize(self, agent: str) -> Recognized | None:
        """Return the client that calls itself *agent*; None when it is not known."""
        agent = agent[:MAX_LENGTH]
        for row in self._rows:
            if (match := row.pattern.search(agent)) is not None:
                return Recognized(row.family, _versions(row, match), row.sure)
        return None


def _versions(row: _Row, match: re.Match[str]) -> tuple[Version, ...]:
    number = _parsed(match[1]) if row.pattern.groups and match[1] else None
    for below, versions in row.versions:
        if below is None or (number is not None and number < below):
            return versions
    return ()


def _parsed(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _NUMBER.findall(number))


def prospect(recognized: Recognized | None, facts: Catalog, card: Card) -> Prospect:
    """Tell whether the client can send where *card* holds."""
    if recognized is None:
        return Prospect.UNKNOWN
    if not recognized.versions:
        return Prospect.OLDER
    can = any(choose(facts, card, version).way is not None for version in recognized.versions)
    return Prospect.FINE if can else Prospect.RETIRED


@functools.cache
def known_agents() -> Agents:
    """Return what `agents.toml` knows of the families that come with the program.

    Raises:
        CatalogError: rows break the rules; all complaints at once.
    """
    text = resources.files(__package__).joinpath("agents.toml").read_text("utf-8")
    return read_agents(tomllib.loads(text), catalog())


def read_agents(data: dict[str, object], facts: Catalog) -> Agents:
    """Read and check rows; see `known_agents`."""
    problems: list[str] = []
    table = Table("agents.toml", data, problems)
    if table.number("schema") != 1:
        table.complain("schema: is not 1")
    families = {family.id: family for family in facts.families}
    rows: list[_Row] = []
    examples: list[tuple[Table, str, tuple[str, ...]]] = []
    for each in table.tables("agent"):
        row = _row(each, families)
        examples.append((each, each.text("example"), each.texts("example_is", optional=False)))
        each.finish()
        if row is not None:
            rows.append(row)
    table.finish()
    agents = Agents(rows)
    for each, example, expected in examples:
        found = agents.recognize(example)
        names = tuple(version.id for version in found.versions) if found else None
        if names != expected:
            each.complain(f'example: "{example}" is read as {names}')
    if problems:
        raise CatalogError(problems)
    return agents


def _row(table: Table, families: dict[str, Family]) -> _Row | None:
    name = table.one_of("family", families)
    text = table.text("pattern")
    sure = table.source()
    try:
        pattern = re.compile(text)
    except re.error as error:
        table.complain(f"pattern: {error}")
        return None
    family = families.get(name)
    if family is None:
        return None
    own = {version.id: version for version in family.versions}
    versions: list[tuple[tuple[int, ...] | None, tuple[Version, ...]]] = []
    for each in table.tables("versions"):
        below = each.optional_text("below")
        ids = each.texts("is", own, optional=False)
        versions.append((_parsed(below) if below else None, tuple(own[each] for each in ids if each in own)))
        each.finish()
    bounds = [below for below, _ in versions if below is not None]
    if bounds != sorted(bounds) or len(bounds) != len(versions) - 1 or versions[-1][0] is not None:
        table.complain("versions: need rising values of below, and a last one without")
    if bounds and not pattern.groups:
        table.complain("pattern: finds no version")
    return _Row(pattern, family, tuple(versions), sure)
