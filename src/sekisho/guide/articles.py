"""Pages of prose: why port 25 is blocked, what it means for whom, a guide that fits every program.

The text stands in `articles.toml`, where its few marks are explained; here it becomes values for any renderer.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from .errors import GuideError
from .families import KINDS
from .model import Both
from .table import Table

__all__ = ["Article", "Block", "Inline", "Section", "articles", "fill", "read_articles", "write_out"]

_LINK = re.compile(r"\[([^\]]+)\]\((term|page|link):([^)\s]+)\)")
_PLACE = re.compile(r"\{([a-z0-9_.]+)\}")
_ENTRY = re.compile(r"(- |1\. )?(?:\{\?([a-z0-9_.]+)\})?(.+)")
_KINDS = {"- ": "list", "1. ": "steps", None: "text"}


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with text; with the drawing of the way, or the settings card, below it."""

    id: str
    title: Both
    text: Both
    picture: bool
    card: bool


@dataclass(frozen=True, slots=True)
class Article:
    """One page.

    Fields:
        requires: the fact about the operator without which it makes no sense.
        more: named on the first page, for whoever wants to know more.
        kinds: kinds of programs whose guides name it.
    """

    path: str
    title: Both
    lead: Both
    requires: str | None
    more: bool
    kinds: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Inline:
    """A piece of a line. *kind* is empty for plain words, or where *target* leads: "term", "page", "link"."""

    text: str
    kind: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Neighboring lines of one kind: "text" (one paragraph), "list" or "steps" (an entry each)."""

    kind: str
    lines: tuple[tuple[Inline, ...], ...]


@functools.cache
def articles() -> tuple[Article, ...]:
    """Return the articles that come with the program."""
    return read_articles(resources.files(__package__).joinpath("articles.toml").read_text("utf-8"))


def read_articles(text: str, where: str = "articles.toml") -> tuple[Article, ...]:
    """Read the articles. Raises GuideError: each complaint names file and key."""
    problems: list[str] = []
    try:
        document = Table(where, tomllib.loads(text), problems)
    except tomllib.TOMLDecodeError as error:
        raise GuideError([f"{where}: not valid TOML: {error}"]) from error
    found = tuple(_article(each) for each in document.tables("article"))
    document.finish()
    problems += [f"{where}, article {each.path}: stands twice" for each in found if found.count(each) > 1]
    if problems:
        raise GuideError(problems)
    return found


def _article(table: Table) -> Article:
    sections = tuple(_section(each) for each in table.tables("section"))
    article = Article(
        table.text("id"),
        table.both("title"),
        table.both("lead"),
        table.optional_text("requires"),
        table.flag("more"),
        table.texts("kinds", KINDS),
        sections,
    )
    table.finish()
    return article


def _section(table: Table) -> Section:
    section = Section(
        table.text("id"), table.both("title"), table.both("text"), table.flag("picture"), table.flag("card")
    )
    for language in ("ja", "en"):
        counts = [len(_LINK.findall(section.text.say(each))) for each in ("ja", language)]
        if counts[0] != counts[1]:
            table.complain("text: one language has links that the other lacks")
    table.finish()
    return section


def write_out(text: str, values: Mapping[str, str], where: str) -> tuple[Block, ...]:
    """Return *text* as blocks, filled in with *values*; lines whose condition has no value are left out.

    Raises:
        GuideError: nothing fills in a placeholder, or an address that a link needs is not set.
    """
    found: list[tuple[str, list[tuple[Inline, ...]]]] = []
    for line in text.strip().splitlines():
        match = _ENTRY.fullmatch(line.strip())
        if match is None or (match[2] and match[2] not in values):
            continue
        kind = _KINDS[match[1]]
        if kind == "text" or not found or found[-1][0] != kind:
            found.append((kind, []))
        found[-1][1].append(tuple(_inlines(match[3].strip(), values, where)))
    return tuple(Block(kind, tuple(lines)) for kind, lines in found)


def fill(text: str, values: Mapping[str, str], where: str) -> str:
    """Put *values* into the placeholders of *text*. Raises GuideError."""
    for name in _PLACE.findall(text):
        if name not in values:
            raise GuideError([f"articles.toml, {where}: nothing fills in {{{name}}}"])
    return _PLACE.sub(lambda found: values[found[1]], text)


def _inlines(line: str, values: Mapping[str, str], where: str) -> Iterator[Inline]:
    position = 0
    for match in _LINK.finditer(line):
        if before := line[position : match.start()]:
            yield Inline(fill(before, values, where))
        target = match[3]
        if match[2] == "link":
            if target not in values:
                raise GuideError([f"articles.toml, {where}: leads to {target}, which [guide] does not set"])
            target = values[target]
        yield Inline(fill(match[1], values, where), match[2], target)
        position = match.end()
    if rest := line[position:]:
        yield Inline(fill(rest, values, where))
