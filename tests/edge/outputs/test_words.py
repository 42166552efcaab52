"""Every finding and verdict has its words."""

from __future__ import annotations

import random

import pytest
from tests.edge.population import NETWORK, START, bot, destination

from sekisho.edge.outputs.words import explain, finding_text, name_of
from sekisho.edge.sightings import Sighting
from sekisho.edge.watcher import Finding, Verdict, VerdictKind, Watcher, WatcherSettings


def worm() -> Verdict:
    watching = Watcher(WatcherSettings(), key=b"k" * 16)
    for sighting in bot("192.0.2.7", random.Random(1), START, per_minute=200):
        watching.saw(sighting)
    verdict = watching.verdict("192.0.2.7", START + 120)
    assert verdict is not None
    return verdict


def client() -> Verdict:
    watching = Watcher(WatcherSettings(), key=b"k" * 16)
    for n in range(9):
        watching.saw(Sighting("192.0.2.7", NETWORK, destination(1), START + n * 300 * (1 + n), packets=7))
    verdict = watching.verdict("192.0.2.7", START + 9 * 3000)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("verdict", [worm(), client()], ids=["worm", "client"])
def test_a_verdict_is_explained_with_all_its_evidence(verdict: Verdict, language: str) -> None:
    lines = explain(verdict, language).splitlines()
    assert len(lines) == len(verdict.evidence) + 1
    assert "192.0.2.7 (ftth)" in lines[0]
    assert name_of(verdict.kind, language) in lines[0]


def test_numbers_shares_and_times_are_readable() -> None:
    assert finding_text(Finding("retransmission_ratio", 0.857), "en") == "share of repeated packets: 86%"
    assert finding_text(Finding("first_seen", 1_767_225_600), "en") == "first seen: 2026-01-01 00:00 UTC"
    assert finding_text(Finding("same_destinations", "192.0.2.25"), "ja") == "いつも同じ宛先: 192.0.2.25"


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_verdict_has_a_name(kind: VerdictKind) -> None:
    assert name_of(kind, "ja") != name_of(kind, "en")
