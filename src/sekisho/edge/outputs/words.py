"""Verdicts and findings in words."""

from __future__ import annotations

import time

from sekisho.edge.watcher import Finding, Verdict
from sekisho.text import say

__all__ = ["explain", "finding_text", "name_of"]

_TIMES = ("first_seen", "last_seen")


def name_of(kind: str, language: str) -> str:
    """Return what a verdict is called."""
    return say(f"edge.{kind}.name", language)


def finding_text(finding: Finding, language: str) -> str:
    """Return one finding as a line of text. Times are UTC."""
    value = finding.value
    shown: object = value
    if finding.name in _TIMES and not isinstance(value, str):
        shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(value))
    elif isinstance(value, float):
        shown = f"{value:.0%}" if 0 <= value <= 1 else f"{value:g}"
    name = finding.name
    return say(f"edge.{name}.finding", language, value=shown)


def explain(verdict: Verdict, language: str) -> str:
    """Return a verdict with its evidence, a line each."""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(verdict.since))
    head = f"{verdict.line} ({verdict.network}): {name_of(verdict.kind, language)}, {since}"
    return "\n".join([head, *(f"  {finding_text(finding, language)}" for finding in verdict.evidence)])
