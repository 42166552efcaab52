"""Findings in words: for a page, a terminal or a letter. Nothing is escaped here: who shows it does that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sekisho.guide.card import Card
from sekisho.guide.findings import Certainty, Evidence, Finding, Remedy, say
from sekisho.guide.model import Catalog

__all__ = ["Told", "report_line", "tell"]

USUAL = {"starttls_587": 587, "tls_465": 465}  # where the card does not offer the way

When = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in one language."""

    finding: Finding
    title: str
    certainty: str
    cause: str
    evidence: tuple[str, ...]
    remedies: tuple[tuple[Remedy, str], ...]


def tell(finding: Finding, language: str, when: When, catalog: Catalog, card: Card) -> Told:
    """Put *finding* into words.

    Args:
        when: writes a moment.
        catalog: names the clients.
        card: tells the ports.
    """
    ports = {name: way.port if (way := card.way(name)) else usual for name, usual in USUAL.items()}
    return Told(
        finding,
        say(f"title.{finding.kind}", language),
        say(f"certainty.{finding.certainty}", language),
        say(f"cause.{finding.kind}", language, **ports),
        tuple(_seen(each, language, when, catalog) for each in finding.evidence),
        tuple((each, say(f"remedy.{each}", language, **ports)) for each in finding.remedies),
    )


def _seen(evidence: Evidence, language: str, when: When, catalog: Catalog) -> str:
    version = catalog.versions.get(evidence.text)
    return say(
        f"evidence.{evidence.what}",
        language,
        count=evidence.count,
        first=when(evidence.first) if evidence.first is not None else "",
        last=when(evidence.last) if evidence.last is not None else "",
        number=evidence.number if evidence.number is not None else "",
        text=version.names.say(language) if version is not None else evidence.text,
    )


def report_line(finding: Finding, when: When) -> str:
    """Write *finding* for whoever is asked for help: its codes and times, in ASCII."""
    sure = {Certainty.SURE: "!", Certainty.LIKELY: "+", Certainty.POSSIBLE: "?"}[finding.certainty]
    evidence = " ".join(
        f"{each.what}={each.count}" + (f"@{when(each.last)}" if each.last is not None else "")
        for each in finding.evidence
    )
    return f"{sure} {finding.kind} {evidence}".rstrip()
