"""The event log: one line an event, whole lines only, cheap, and never in the way of mail."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sekisho
from sekisho.telemetry import EVENTS, EventLog, LogSettings

NOW = 1_800_000_000.25  # 2027-01-15


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def written(directory: Path) -> list[dict[str, object]]:
    lines = []
    for path in sorted(directory.glob("events-*.jsonl")):
        lines += [json.loads(line) for line in path.read_text("ascii").splitlines()]
    return lines


def test_an_event_is_one_line_of_json_in_the_days_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "new" / "log", LogSettings(), 1, now=Clock())
    log.emit("message.accepted", queue_id="Q1", size=10, recipients=["a@b", "c@d"], tls=True, hello=None, delay=0.5)
    log.close()
    [line] = (tmp_path / "new" / "log" / "events-2027-01-15.jsonl").read_text().splitlines()
    assert line == (
        '{"t":1800000000.250,"event":"message.accepted","queue_id":"Q1","size":10,'
        '"recipients":["a@b","c@d"],"tls":true,"delay":0.5,"worker":1}'
    )


@given(value=st.text() | st.lists(st.text(), max_size=3) | st.integers() | st.booleans())
def test_no_value_can_begin_a_line_or_leave_its_own(
    tmp_path_factory: pytest.TempPathFactory, value: str | list[str] | int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = EventLog(directory, LogSettings(), 0, now=Clock())
    log.emit("command.refused", command=value, after="end")
    log.close()
    [entry] = written(directory)
    assert entry["command"] == value
    assert entry["after"] == "end"


def test_numbers_that_json_lacks_and_other_types_are_still_readable(tmp_path: Path) -> None:
    log = EventLog(tmp_path, LogSettings(), 0, now=Clock())
    log.emit("command.refused", bad=float("nan"), worse=float("inf"), path=Path("/x"), long="x" * 5000)
    log.close()
    [entry] = written(tmp_path)
    assert (entry["bad"], entry["worse"], entry["path"]) == (None, None, "/x")
    assert len(str(entry["long"])) == 2001


def test_events_below_the_level_are_left_out(tmp_path: Path) -> None:
    log = EventLog(tmp_path, LogSettings(level="notice"), 0, now=Clock())
    log.emit("message.accepted")
    log.emit("message.refused")
    log.reload(LogSettings(level="debug"))
    log.emit("session.opened")
    log.close()
    assert [entry["event"] for entry in written(tmp_path)] == ["message.refused", "session.opened"]


@pytest.mark.parametrize(
    ("how", "client", "shown"),
    [
        ("full", "192.0.2.77", "192.0.2.77"),
        ("network", "192.0.2.77", "192.0.2.0/24"),
        ("network", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("network", "fe80::1%eth0", "fe80::/48"),
        ("network", "socket", None),
        ("none", "192.0.2.77", None),
    ],
)
def test_addresses_are_written_as_the_operator_wants(tmp_path: Path, how: str, client: str, shown: str | None) -> None:
    assert how in ("full", "network", "none")
    log = EventLog(tmp_path, LogSettings(client_addresses=how), 0, now=Clock())  # type: ignore[arg-type]  # asserted
    log.emit("session.refused", client=client)
    log.close()
    assert written(tmp_path)[0].get("client") == shown


def test_a_new_day_has_a_new_file(tmp_path: Path) -> None:
    clock = Clock()
    log = EventLog(tmp_path, LogSettings(), 0, now=clock)
    log.emit("auth.accepted")
    log.flush()
    clock.now += 86400
    log.emit("auth.refused")
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["events-2027-01-15.jsonl", "events-2027-01-16.jsonl"]


def test_with_a_new_day_the_files_past_their_retention_go(tmp_path: Path) -> None:
    (tmp_path / "events-2026-12-31.jsonl").touch()
    (tmp_path / "events-2027-01-10.jsonl").touch()
    log = EventLog(tmp_path, LogSettings(retention_days=10), 0, now=Clock())
    log.emit("auth.accepted")
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["events-2027-01-10.jsonl", "events-2027-01-15.jsonl"]


def test_with_a_loop_events_are_written_within_a_moment(tmp_path: Path) -> None:
    async def emit() -> int:
        log = EventLog(tmp_path, LogSettings(), 0)
        log.emit("auth.accepted")
        before = len(written(tmp_path))
        await asyncio.sleep(0.15)
        assert len(written(tmp_path)) == 1
        log.close()
        return before

    assert asyncio.run(emit()) == 0


def test_many_events_do_not_wait_for_the_timer(tmp_path: Path) -> None:
    log = EventLog(tmp_path, LogSettings(), 0)
    for _ in range(2000):
        log.emit("auth.accepted", account="rin@example.jp")
    assert len(written(tmp_path)) > 500
    log.close()
    assert len(written(tmp_path)) == 2000


def test_a_disk_that_is_full_loses_events_not_mail_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, LogSettings(), 0)
    real_write = os.write
    is_full = True

    def write(fd: int, octets: bytes) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(fd, octets)

    monkeypatch.setattr(os, "write", write)
    for number in range(40_000):
        log.emit("command.refused", number=number, command="x" * 100)
        if number % 1000 == 0:
            log.flush()
    is_full = False
    log.flush()
    log.close()
    entries = written(tmp_path)
    assert entries[-1]["event"] == "log.dropped"
    assert entries[-1]["count"] == 40_000 - (len(entries) - 1)
    assert entries[-2]["number"] == 39_999


def test_a_torn_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, LogSettings(), 0, now=Clock())
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: real_write(fd, octets[: max(1, len(octets) // 2)]))
    log.emit("auth.accepted", account="torn")
    log.flush()
    monkeypatch.undo()
    log.emit("auth.accepted", account="whole")
    log.close()
    lines = (tmp_path / "events-2027-01-15.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert [json.loads(line).get("account") for line in lines[1:]] == ["whole", None]
    assert json.loads(lines[2])["event"] == "log.dropped"


def test_a_torn_line_is_ended_later_when_the_disk_has_no_room_even_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, LogSettings(), 0, now=Clock())
    real_write = os.write
    room = 40

    def write(fd: int, octets: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(fd, octets[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)
    log.emit("auth.accepted", account="torn")
    log.flush()
    monkeypatch.undo()
    log.emit("auth.accepted", account="whole")
    log.close()
    lines = (tmp_path / "events-2027-01-15.jsonl").read_text().splitlines()
    assert [json.loads(line).get("account") for line in lines[1:]] == ["whole", None]


def test_every_event_that_is_emitted_has_its_row() -> None:
    source = "\n".join(path.read_text() for path in Path(sekisho.__file__).parent.rglob("*.py"))
    emitted = set(re.findall(r'emit\(\s*"([^"]+)"', source))
    assert len(emitted) > 10
    assert emitted <= set(EVENTS)


def test_every_row_says_what_it_means() -> None:
    for name, row in EVENTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
        assert row.prose.endswith(".")
