"""The catalog: all facts about clients, read and checked once."""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from importlib import resources
from importlib.resources.abc import Traversable

from .errors import CatalogError
from .families import read_family
from .model import Catalog, Family
from .selfcheck import read_glossary, read_selfcheck
from .table import Table

__all__ = ["catalog", "load_catalog"]

SPECIAL = ("selfcheck.toml", "glossary.toml")


@functools.cache
def catalog() -> Catalog:
    """Return the facts that come with the program."""
    return load_catalog(resources.files(__package__).joinpath("catalog"))


def load_catalog(directory: Traversable) -> Catalog:
    """Read every file of *directory*.

    Raises:
        CatalogError: some facts break the rules; all complaints at once, each with file and key.
    """
    problems: list[str] = []
    tables = _tables(directory, problems)
    for name in SPECIAL:
        if name not in tables and not any(each.startswith(f"{name}:") for each in problems):
            problems.append(f"{name}: is missing")
    families = tuple(
        read_family(table, name.removesuffix(".toml")) for name, table in tables.items() if name not in SPECIAL
    )
    _check_versions(families, problems)
    selfcheck = read_selfcheck(tables.get("selfcheck.toml", Table("selfcheck.toml", {}, [])))
    terms = read_glossary(tables.get("glossary.toml", Table("glossary.toml", {}, [])))
    if problems:
        raise CatalogError(problems)
    return Catalog(
        families=families,
        selfcheck=selfcheck,
        terms=terms,
        versions={version.id: version for family in families for version in family.versions},
        family_of={version.id: family for family in families for version in family.versions},
    )


def _tables(directory: Traversable, problems: list[str]) -> dict[str, Table]:
    found = {}
    for file in sorted(directory.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            found[file.name] = Table(file.name, tomllib.loads(file.read_text("utf-8")), problems)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(f"{file.name}: not valid TOML: {error}")
    return found


def _check_versions(families: tuple[Family, ...], problems: list[str]) -> None:
    count = Counter(version.id for family in families for version in family.versions)
    problems += [f"version {name}: stands {times} times" for name, times in count.items() if times > 1]
    for family in families:
        for version in family.versions:
            for name in version.replace_by:
                if name not in count:
                    problems.append(f"{family.id}.toml, version {version.id}, replace_by: there is no version {name}")
