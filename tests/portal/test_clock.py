"""Times are those of the reader's zone, and each page with times says which that is."""

from __future__ import annotations

import datetime
import re

import pytest
from tests.portal.conftest import MakeParts, get

from sekisho.portal.clock import Clock

AT = datetime.datetime(2026, 11, 25, 1, 48, tzinfo=datetime.UTC).timestamp()
LATER = datetime.datetime(2027, 1, 2, tzinfo=datetime.UTC).timestamp()


def clock(zone: str | None, now: float = AT) -> Clock:
    return Clock.of(zone, lambda: now)


def test_a_moment_is_written_as_readers_write_it_in_their_zone() -> None:
    tokyo = clock("Asia/Tokyo")
    assert tokyo.moment(AT, "ja") == "11月25日 10:48"
    assert tokyo.moment(AT, "en") == "November 25, 10:48"
    assert tokyo.figures(AT) == "2026-11-25 10:48"
    assert tokyo.column(AT) == ("11-25", "2026-11-25 10:00", 10)
    assert clock("UTC").moment(AT, "ja") == "11月25日 01:48"
    assert tokyo.moment(None, "ja") == tokyo.figures(None) == ""


def test_the_year_stands_there_when_it_is_another_one() -> None:
    assert clock("Asia/Tokyo", LATER).moment(AT, "ja") == "2026年11月25日 10:48"
    assert clock("Asia/Tokyo", LATER).moment(AT, "en") == "November 25, 2026, 10:48"


@pytest.mark.parametrize(
    ("zone", "ja", "en"),
    [
        ("Asia/Tokyo", "日本時間", "Japan time (UTC+9)"),
        ("UTC", "UTC", "UTC"),
        ("Europe/Berlin", "CET UTC+1", "CET (UTC+1)"),
        ("America/St_Johns", "NST UTC-3:30", "NST (UTC-3:30)"),
        ("Asia/Kathmandu", "UTC+5:45", "UTC+5:45"),
    ],
)
def test_a_zone_has_a_name(zone: str, ja: str, en: str) -> None:
    assert (clock(zone).named("ja"), clock(zone).named("en")) == (ja, en)


def test_the_self_check_and_its_report_tell_the_time_there(make_parts: MakeParts) -> None:
    parts = make_parts(lambda: AT, guide__time_zone="Asia/Tokyo")
    for language, shown in (("ja", "11月25日 10:48(日本時間)"), ("en", "November 25, 10:48, Japan time (UTC+9)")):
        text = get(parts, f"/{language}/check/line").text
        assert text.count(shown) == 1
        assert "UTC" not in text.replace(shown, "")
    assert re.search(r"time: 2026-11-25T10:48\+09:00", get(parts, "/en/check/report").text)
