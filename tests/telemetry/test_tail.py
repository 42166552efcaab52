"""Each whole line of the log once, whoever writes, whatever happens to the files."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sekisho.telemetry.tail import MAX_LINE, Tail

NOON = 1_800_014_400.0  # 15 January 2027, 12:00 UTC
DAY = 86400.0
TODAY, YESTERDAY = "events-2027-01-15.jsonl", "events-2027-01-14.jsonl"
TOMORROW = "events-2027-01-16.jsonl"


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def tail(directory: Path, clock: Clock | None = None, *, read_back: int = 1 << 20, days: int = 14) -> Tail:
    return Tail(directory, read_back=read_back, days=days, now=clock or Clock())


def everything(reading: Tail, octets: int = 1 << 20) -> list[bytes]:
    lines, more = reading.read(octets)
    while more:
        following, more = reading.read(octets)
        lines += following
    return lines


def append(path: Path, octets: bytes) -> None:
    with path.open("ab") as file:
        file.write(octets)


LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=30)


@given(lines=LINES, cuts=st.lists(st.integers(0, 900), max_size=15).map(sorted), octets=st.integers(1, 50))
def test_the_lines_are_the_same_however_the_file_grows_and_however_it_is_read(
    lines: list[bytes], cuts: list[int], octets: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        written = b"".join(line + b"\n" for line in lines)
        reading, heard = tail(directory), list[bytes]()
        for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
            append(directory / TODAY, written[start:end])
            heard += everything(reading, octets)
        assert heard == lines


def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    reading = tail(tmp_path)
    append(tmp_path / TODAY, b"one\ntw")
    assert everything(reading) == [b"one"]
    append(tmp_path / TODAY, b"o\n")
    assert everything(reading) == [b"two"]
    assert everything(reading) == []


def test_midnight_is_passed_and_late_lines_of_the_old_day_are_read(tmp_path: Path) -> None:
    clock = Clock()
    reading = tail(tmp_path, clock)
    append(tmp_path / TODAY, b"before\n")
    assert everything(reading) == [b"before"]
    clock.now += DAY / 2
    append(tmp_path / TOMORROW, b"after\n")
    append(tmp_path / TODAY, b"late\n")
    assert everything(reading) == [b"late", b"after"]
    clock.now += 2 * DAY
    append(tmp_path / "events-2027-01-18.jsonl", b"later\n")
    assert everything(reading) == [b"later"]


def test_what_was_written_before_a_pause_of_days_is_read_first(tmp_path: Path) -> None:
    for day in (YESTERDAY, TODAY, "events-2027-01-02.jsonl"):
        append(tmp_path / day, day[7:17].encode() + b"\n")
    append(tmp_path / "events-2027-01-01.jsonl", b"too old\n")
    (tmp_path / "events-2027-01-13.jsonl.gz").write_bytes(gzip.compress(b"compressed\n"))
    assert everything(tail(tmp_path)) == [b"2027-01-02", b"2027-01-14", b"2027-01-15"]


def test_the_reading_back_is_bounded_and_begins_with_a_whole_line(tmp_path: Path) -> None:
    append(tmp_path / YESTERDAY, b"".join(b"old %03d\n" % n for n in range(100)))
    append(tmp_path / TODAY, b"new\n")
    assert everything(tail(tmp_path, read_back=30)) == [b"old 097", b"old 098", b"old 099", b"new"]
    reading = tail(tmp_path, read_back=3)
    assert everything(reading) == []
    append(tmp_path / YESTERDAY, b"late in a file that was left out\n")
    append(tmp_path / TODAY, b"newer\n")
    assert everything(reading) == [b"newer"]


def test_a_file_put_in_place_of_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    reading = tail(tmp_path)
    append(tmp_path / TODAY, b"one\nhalf")
    assert everything(reading) == [b"one"]
    (tmp_path / "new").write_bytes(b"two two two\n")
    (tmp_path / "new").rename(tmp_path / TODAY)
    assert everything(reading) == [b"two two two"]
    (tmp_path / TODAY).write_bytes(b"3\n")  # cut short
    assert everything(reading) == [b"3"]


def test_a_file_may_vanish_and_the_directory_be_missing(tmp_path: Path) -> None:
    reading = tail(tmp_path / "none")
    assert everything(reading) == []
    reading = tail(tmp_path)
    append(tmp_path / TODAY, b"one\n")
    assert everything(reading) == [b"one"]
    (tmp_path / TODAY).unlink()
    assert everything(reading) == []


def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    reading = tail(tmp_path)
    append(tmp_path / TODAY, b"x" * (3 * MAX_LINE))
    assert everything(reading, 1000) == []
    assert all(len(place.rest) <= MAX_LINE for place in (reading._places or {}).values())
    append(tmp_path / TODAY, b"x\nnext\n" + b"y" * (MAX_LINE + 1) + b"\nlast\n")
    assert everything(reading) == [b"next", b"last"]
