"""`sekisho trace` finds a line's events in the gate's logs, whatever of the line's addresses is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.edge.traces import log_directories, traced
from sekisho.telemetry import EventLog, LogSettings

NOW = 1_764_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    times = iter(range(100))
    for directory in (tmp_path / "edge" / "log", tmp_path / "explainer" / "log"):
        directory.mkdir(parents=True)
        log = EventLog(directory, LogSettings(), 0, now=lambda: NOW + next(times))
        for line in ("198.51.100.7", "2001:db8:0:100::/56", "203.0.113.9:4096-5119", "no line"):
            log.emit("edge.released", line=line, network="home", reason="time over", who="rin")
        log.emit("edge.applied", who="rin", version="abc")
        log.close()
    log = EventLog(tmp_path / "explainer" / "log", LogSettings(), 0, now=lambda: NOW + 200)
    log.emit("edge.explained", line="198.51.100.8", code="7F3K-Q2XM", destinations=("192.0.2.99",))
    log.close()
    return tmp_path / "edge"


@pytest.mark.parametrize(
    ("needle", "lines"),
    [
        ("198.51.100.7", ["198.51.100.7"]),
        ("2001:db8:0:1ff::1", ["2001:db8:0:100::/56"]),
        ("2001:db8:0:200::1", []),
        ("203.0.113.9", ["203.0.113.9:4096-5119"]),
        ("203.0.113.9:4096-5119", ["203.0.113.9:4096-5119"]),
        ("2001:db8:0:100::/56", ["2001:db8:0:100::/56"]),
        ("198.51.100.70", []),
        ("abc", [None]),
    ],
)
def test_an_address_leads_to_its_line(state: Path, needle: str, lines: list[str | None]) -> None:
    for directory in log_directories(state):
        found = traced(directory, needle, days=30, limit=100)
        assert [entry.fields.get("line") for entry in found] == lines


def test_a_code_and_a_destination_lead_to_the_explainers_word(state: Path) -> None:
    gate, explainer = log_directories(state)
    for needle in ("7F3K-Q2XM", "192.0.2.99"):
        assert [entry.event for entry in traced(explainer, needle, days=30, limit=9)] == ["edge.explained"]
        assert traced(gate, needle, days=30, limit=9) == []


def test_the_newest_are_kept_and_told_in_order(state: Path) -> None:
    log = EventLog(state / "log", LogSettings(), 0, now=lambda: NOW + 300)
    log.emit("edge.verdict", line="198.51.100.7")
    log.close()
    (entry,) = traced(state / "log", "198.51.100.7", days=30, limit=1)
    assert entry.event == "edge.verdict"


def test_logs_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert log_directories(tmp_path / "nowhere") == []
