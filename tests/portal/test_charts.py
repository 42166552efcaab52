"""Charts are drawn as the kept files say; UPDATE_GOLDEN=1 writes them anew, to be looked at in a browser."""

from __future__ import annotations

import os
import re
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from sekisho.portal.charts import Bar, Columns, Series, _round_up, bars, columns
from sekisho.portal.clock import Clock
from sekisho.portal.counted import by_hour
from sekisho.telemetry import Tallies

GOLDEN = Path(__file__).parent / "golden"
NOON = 1_800_014_400


def chart(*series: Series, count: int = 8, unknown: int = 0, title: str = "Messages by hour") -> Columns:
    return Columns(
        id="c",
        title=title,
        summary="How many.",
        labels=[f"{hour}:00" for hour in range(count)],
        series=series,
        ticks={0: "0:00", 6: "6:00"},
        days={0: "01-15", count - 1: "01-16"},
        unknown=unknown,
        unknown_name="not known",
        table=("The numbers", "Hour"),
        none="None.",
    )


GOLDENS = {
    "columns": columns(
        chart(Series("taken", [0, 3, 5, 12, 8, 0, 1, 40]), Series("refused", [0, 0, 1, 2, 0, 0, 7, 0]), unknown=1)
    ),
    "columns-empty": columns(chart(Series("taken", [0] * 8))),
    "bars": bars(
        "Programs",
        ("Program", "Messages"),
        [Bar("Thunderbird", 1234, "/en/clients/x.html", "also on Linux"), Bar("Becky!", 1), Bar("nothing", 0)],
        "None.",
    ),
    "bars-empty": bars("Programs", ("Program", "Messages"), [], "None."),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_chart_is_drawn_as_kept(name: str) -> None:
    file = GOLDEN / f"{name}.html"
    drawn = re.sub(r"(</(?:g|text|tr|li|svg|figcaption|desc|defs)>)", r"\1\n", str(GOLDENS[name])) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(drawn)
    assert file.read_text() == drawn


HOSTILE = "<script>alert('x')</script>\"&"


def test_words_from_outside_are_only_words() -> None:
    drawn = columns(chart(Series(HOSTILE, [1] * 8), title=HOSTILE)) + bars(
        HOSTILE, (HOSTILE, "n"), [Bar(HOSTILE, 1, f"/x?{HOSTILE}", HOSTILE)], ""
    )
    assert "<script" not in drawn
    assert "style=" not in drawn


class Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def heights(drawn: Markup) -> list[float]:
    return [
        float(each) for each in re.findall(r'<rect class="s\d" [^>]*height="([0-9.]+)"/>', drawn.split("legend")[0])
    ]


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=8, max_size=8), min_size=1, max_size=6))
def test_every_number_is_drawn_within_the_picture_and_in_proportion(rows: list[list[int]]) -> None:
    drawn = columns(chart(*(Series(f"s{number}", numbers) for number, numbers in enumerate(rows))))
    balance = Balance()
    balance.feed(drawn)
    assert balance.open == []
    present = [number for column in zip(*rows, strict=True) for number in column if number]
    if not present:
        assert "None." in drawn
        return
    assert len(heights(drawn)) == len(present)
    for y, height in re.findall(r'y="(-?[0-9.]+)" width="[0-9.]+" height="([0-9.]+)"/>', drawn.split("legend")[0]):
        assert float(y) >= 9.8
        assert float(y) + float(height) <= 220 - 42 + 1.1
    for number in present:
        assert f"{number:,}" in drawn


@given(st.integers(0, 10**12))
def test_an_axis_ends_at_a_round_number_that_can_be_halved(number: int) -> None:
    top = _round_up(number)
    assert top >= number
    assert top % 2 == 0
    assert top <= max(2, 2 * number)
    assert len(str(top).strip("0")) == 1


def test_more_reasons_than_colors_are_drawn_together_and_none_is_lost() -> None:
    hours = tuple(range(NOON - 47 * 3600, NOON + 1, 3600))
    series = {f"r{number}": (0,) * 47 + (number,) for number in range(1, 10)}
    tallies = Tallies(hours, {"failures": series}, NOON - 20 * 3600 + 10)
    made = by_hour(
        tallies, Clock(UTC), id="f", title="Failures", language="en", series=series, name=lambda each: each.upper()
    )
    assert [part.name for part in made.series] == ["R9", "R8", "R7", "R6", "R5", "4 other reasons"]
    assert made.series[-1].numbers[-1] == 1 + 2 + 3 + 4
    assert made.unknown == 27
    assert "45 in 48 hours" in made.summary


def test_without_a_log_nothing_is_known_of_any_hour() -> None:
    hours = tuple(range(NOON - 47 * 3600, NOON + 1, 3600))
    made = by_hour(
        Tallies(hours, {"failures": {}}, None),
        Clock(UTC),
        id="f",
        title="t",
        language="ja",
        series={},
        name=lambda each: each,
    )
    assert made.unknown == 48
    assert "まだ何も記録されていません" in columns(made)
