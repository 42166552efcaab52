"""The one order of findings, what may be in them, and that every one of them has its words."""

from __future__ import annotations

import ast
import string
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sekisho.guide.findings as module
from sekisho.guide.findings import (
    MAX_TEXT,
    Certainty,
    Evidence,
    Finding,
    Kind,
    Link,
    Remedy,
    To,
    What,
    merged,
    ranked,
    say,
    texts,
)
from sekisho.guide.render.telling import USUAL

FINDINGS = st.builds(
    Finding,
    st.sampled_from(Kind),
    st.sampled_from(Certainty),
    st.lists(st.builds(Evidence, st.sampled_from(What), text=st.text(max_size=200)), max_size=3).map(tuple),
    st.lists(st.sampled_from(Remedy), max_size=3).map(tuple),
    st.just(()),
    st.none() | st.floats(0, 2e9),
)


def kinds(*findings: Finding) -> list[Kind]:
    return [each.kind for each in ranked(findings)]


def test_the_surest_stands_first_whatever_it_stops() -> None:
    assert kinds(Finding(Kind.SUSPENDED, Certainty.POSSIBLE), Finding(Kind.TOO_BIG, Certainty.SURE)) == [
        Kind.TOO_BIG,
        Kind.SUSPENDED,
    ]


def test_among_equals_what_stops_everything_stands_before_what_stops_one_message() -> None:
    found = [
        Finding(kind, Certainty.SURE, when=when)
        for kind, when in (
            (Kind.TOO_BIG, 9.0),
            (Kind.NO_AUTH, 5.0),
            (Kind.PORT_25_BLOCKED, 1.0),
            (Kind.SUSPENDED, None),
        )
    ]
    assert kinds(*found) == [Kind.SUSPENDED, Kind.PORT_25_BLOCKED, Kind.NO_AUTH, Kind.TOO_BIG]


def test_among_those_of_one_weight_the_latest_stands_first() -> None:
    older, newer = Finding(Kind.THROTTLED, Certainty.SURE, when=1.0), Finding(Kind.NO_AUTH, Certainty.SURE, when=2.0)
    assert kinds(older, newer) == [Kind.NO_AUTH, Kind.THROTTLED]


def test_that_all_is_well_is_not_said_beside_trouble() -> None:
    well = Finding(Kind.ALL_WELL, Certainty.SURE)
    assert kinds(well, Finding(Kind.TOO_BIG, Certainty.LIKELY)) == [Kind.TOO_BIG]
    assert kinds(well, Finding(Kind.TOO_BIG, Certainty.POSSIBLE)) == [Kind.ALL_WELL, Kind.TOO_BIG]
    assert kinds(well, Finding(Kind.CLIENT_RETIRED, Certainty.LIKELY)) == [Kind.ALL_WELL, Kind.CLIENT_RETIRED]


def test_two_of_a_kind_are_one_with_everything_that_speaks_for_it() -> None:
    one = Finding(Kind.SENDER, Certainty.LIKELY, (Evidence(What.SENDER_REFUSED),), (Remedy.RIGHT_SENDER,), (), 4.0)
    other = Finding(
        Kind.SENDER, Certainty.SURE, (Evidence(What.HEADER_REFUSED),), (Remedy.ASK_US,), (Link(To.GUIDE),), 2.0
    )
    assert ranked([one, other]) == (
        Finding(
            Kind.SENDER,
            Certainty.SURE,
            (*one.evidence, *other.evidence),
            (Remedy.RIGHT_SENDER, Remedy.ASK_US),
            (Link(To.GUIDE),),
            4.0,
        ),
    )
    with pytest.raises(ValueError, match="different kinds"):
        merged(one, Finding(Kind.TOO_BIG, Certainty.SURE))


@settings(max_examples=100)
@given(st.lists(FINDINGS, max_size=8), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_asking(findings: list[Finding], random: object) -> None:
    shuffled = list(findings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert kinds(*findings) == kinds(*shuffled)
    assert len(set(kinds(*findings))) == len(kinds(*findings))


@given(st.text(max_size=300))
def test_what_others_wrote_is_cut_and_printable(text: str) -> None:
    kept = Evidence(What.CALLED_ITSELF, text=text).text
    assert len(kept) <= MAX_TEXT
    assert kept.isprintable()


def test_every_row_has_its_words_in_both_languages_and_no_other_text_is_kept() -> None:
    wanted = {f"{area}.{kind}" for area in ("title", "cause") for kind in Kind}
    wanted |= {f"evidence.{what}" for what in What} | {f"remedy.{remedy}" for remedy in Remedy}
    wanted |= {f"certainty.{each}" for each in Certainty}
    assert set(texts()) == wanted
    for key, both in texts().items():
        names = [{name for _, name, _, _ in string.Formatter().parse(both[each]) if name} for each in ("ja", "en")]
        assert names[0] == names[1], key
        of_evidence = {"count", "first", "last", "number", "text"}
        assert names[0] <= (of_evidence if key.startswith("evidence.") else {*USUAL}), key
        assert all(both[each].strip() for each in ("ja", "en")), key


def test_a_text_is_filled_in() -> None:
    assert say("evidence.limit-used", "en", count=3, number=4, first="", last="", text="") == (
        "3 within the last hour; the limit is 4."
    )


def test_findings_need_the_standard_library_alone() -> None:
    """A program on the user's own machine is to carry them."""
    for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").partition(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.Import):
            assert all(alias.name.partition(".")[0] in sys.stdlib_module_names for alias in node.names)
