"""The letter to the customer of a line: what was seen, and what to do, without a word that only an engineer knows."""

from __future__ import annotations

from dataclasses import dataclass

from sekisho.edge.watcher import Verdict, VerdictKind
from sekisho.text import say

from .words import finding_text

__all__ = ["Letter", "letter"]

TOLD = (
    "attempts_per_hour",
    "destinations_per_hour",
    "networks_per_day",
    "same_destinations",
    "first_seen",
    "last_seen",
)


@dataclass(frozen=True, slots=True)
class Letter:
    """Plain text; whoever sends it adds address and salutation."""

    subject: str
    text: str


def letter(verdict: Verdict, language: str, *, operator: str, link: str) -> Letter | None:
    """Write the letter for *verdict* in *language*; None for a quiet line, whose customer is left alone.

    Args:
        operator: the name the customer knows the provider by.
        link: personal page of the line, or the general page.
    """
    if verdict.kind is VerdictKind.QUIET:
        return None
    kind = verdict.kind.value
    operator = " ".join(operator.split())
    text = say(f"edge.{kind}.text", language, operator=operator, line=verdict.line, link=link)
    findings = [finding_text(finding, language) for finding in verdict.evidence if finding.name in TOLD]
    if findings:
        text += "\n\n" + "\n".join([say("edge.letter.evidence", language), *(f"- {line}" for line in findings)])
    return Letter(say(f"edge.{kind}.subject", language, operator=operator), text + "\n")
