"""Metrics in Prometheus' text format."""

from __future__ import annotations

import re

from tests.edge.population import START, destination

from sekisho.edge.explainer import ExplainerCounts
from sekisho.edge.outputs import metrics
from sekisho.edge.sightings import Sighting
from sekisho.edge.watcher import Watcher, WatcherSettings

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? \d+')


def test_everything_is_counted_by_network_and_verdict_and_no_line_is_named() -> None:
    watching = Watcher(WatcherSettings())
    for n in range(4):
        watching.saw(Sighting("192.0.2.7", "ftth", destination(1), START + n, packets=3))
    watching.saw(Sighting("192.0.2.8", 'odd"\\\nname', destination(1), START))
    text = metrics(watching, ExplainerCounts(connections=7, cut=2, open=1), START + 5)
    assert 'sekisho_edge_packets_total{network="ftth"} 12' in text
    assert 'sekisho_edge_lines{network="ftth",verdict="misconfigured-client"} 1' in text
    assert 'sekisho_edge_explainer_refused_total{reason="no-smtp"} 2' in text
    assert "192.0.2" not in text
    rows = text.splitlines()
    samples = [row for row in rows if not row.startswith("#")]
    assert all(SAMPLE.fullmatch(row) for row in samples)
    assert {row.partition("{")[0].partition(" ")[0] for row in samples} == {
        row.split()[2] for row in rows if row.startswith("# TYPE")
    }


def test_what_does_not_run_is_not_counted() -> None:
    assert metrics(None, None, START) == ""
