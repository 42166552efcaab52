"""What was seen is held against what was wanted."""

from __future__ import annotations

import pytest

from sekisho.lab.scorecard import Line, Observation, Scorecard, Wanted, judge


def line(wanted: Wanted, seen: Observation) -> Line:
    return judge("step", "words", wanted, seen)


def test_the_wanted_outcome_passes() -> None:
    assert line(Wanted(outcomes=("dropped", "rejected")), Observation("rejected", "no route", 0.1)).passed


@pytest.mark.parametrize(
    ("wanted", "seen", "reason"),
    [
        (Wanted(outcomes=("dropped",)), Observation("works", "220", 0.1), "wanted dropped, was works"),
        (Wanted(contains=("https://",)), Observation("works", "554 no", 0.1), "lacks 'https://'"),
        (Wanted(arrives="mx"), Observation("works", "took it", 0.1), "did not arrive at mx"),
        (Wanted(within=1.0), Observation("works", "back", 1.2), "took longer than 1 s"),
    ],
)
def test_each_way_of_failing_says_why_before_the_evidence(wanted: Wanted, seen: Observation, reason: str) -> None:
    failed = line(wanted, seen)
    assert not failed.passed
    assert failed.evidence == f"{reason}: {seen.evidence}"


def test_an_arrival_is_part_of_the_evidence() -> None:
    arrived = line(Wanted(arrives="mx"), Observation("works", "took it", 0.1, arrived=0.52))
    assert arrived.passed
    assert arrived.evidence == "took it; at mx after 0.5 s"


def test_a_card_passes_only_as_a_whole_and_not_when_it_is_empty() -> None:
    good, bad = Line("s", "w", True, "works", "e", 0.1), Line("s", "w", False, "works", "e", 0.1)
    assert Scorecard((good, good), 1.0).passed
    assert not Scorecard((good, bad), 1.0).passed
    assert not Scorecard((), 1.0).passed


def test_the_text_names_each_step_once_and_counts_failures() -> None:
    lines = (
        Line("1. off", "aoi", True, "works", "220", 0.1),
        Line("1. off", "ken", False, "dropped", "none", 3.0),
    )
    text = Scorecard(lines, 5.2).text()
    assert text.count("1. off") == 1
    assert "FAIL  ken" in text
    assert text.endswith("2 checks, 1 FAILED, 5 s")


def test_control_characters_of_a_greeting_do_not_reach_the_terminal() -> None:
    text = Scorecard((Line("s", "w", True, "works", "220 \x1b[2J", 0.1),), 1.0).text()
    assert "\x1b" not in text


def test_the_document_has_every_line() -> None:
    document = Scorecard((Line("s", "w", True, "works", "e", 0.1),), 1.0).document()
    assert document["passed"] is True
    assert document["lines"] == [
        {"step": "s", "words": "w", "passed": True, "outcome": "works", "evidence": "e", "seconds": 0.1}
    ]
