"""From one id, address or host to the whole story, in order, and to nobody else's."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path

import pytest

from sekisho.telemetry import Entry, log_files, purge, render, timeline

NOW = 1_800_000_000.0
STORY: tuple[tuple[float, str, dict[str, object]], ...] = (
    (1, "auth.accepted", {"session": "s1", "client": "192.0.2.1", "account": "rin@example.jp"}),
    (2, "message.accepted", {"session": "s1", "queue_id": "Q1", "client": "192.0.2.1", "account": "rin@example.jp",
                             "sender": "rin@example.jp", "recipients": ["aoi@example.net", "Kai@Example.org"]}),
    (3, "message.accepted", {"session": "s1", "queue_id": "Q2", "client": "192.0.2.1", "account": "rin@example.jp",
                             "sender": "rin@example.jp", "recipients": ["other@example.net"]}),
    (4, "delivery.delivered", {"queue_id": "Q1", "recipient": "aoi@example.net"}),
    (5, "delivery.failed", {"queue_id": "Q1", "recipient": "Kai@Example.org", "reply": "550 5.1.1 no such user"}),
    (6, "delivery.delivered", {"queue_id": "Q2", "recipient": "other@example.net"}),
    (7, "dsn.queued", {"queue_id": "Q1", "dsn_queue_id": "Q3", "recipient": "rin@example.jp"}),
    (8, "delivery.delivered", {"queue_id": "Q3", "recipient": "rin@example.jp"}),
    (9, "auth.refused", {"session": "s2", "client": "192.0.2.1", "account": "someone"}),
    (10, "auth.refused", {"session": "s3", "client": "192.0.2.11", "account": "someone"}),
    (11, "session.closed", {"session": "s4", "client": "2001:db8::1", "note": "Q1 is only mentioned here"}),
)  # fmt: skip


def write(directory: Path, story: Iterable[tuple[float, str, dict[str, object]]], day: str = "2027-01-15") -> None:
    lines = [json.dumps({"t": NOW + at, "event": event, **fields}) for at, event, fields in story]
    (directory / f"events-{day}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def times(directory: Path, needle: str) -> list[int]:
    return [int(entry.time - NOW) for entry in timeline(directory, needle)]


@pytest.mark.parametrize(
    ("needle", "expected"),
    [
        ("Q1", [1, 2, 4, 5, 7, 8]),  # its session and its DSN, not the session's other message
        ("Q2", [1, 3, 6]),
        ("Q3", [1, 2, 4, 5, 7, 8]),  # a DSN leads to the message it reports on
        ("s2", [9]),
        ("aoi@example.net", [1, 2, 4, 5, 7, 8]),
        ("<KAI@example.org>", [1, 2, 4, 5, 7, 8]),
        ("rin@example.jp", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("192.0.2.1", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("192.0.2.11", [10]),
        ("2001:0db8::0001", [11]),
        ("nobody@example.jp", []),
        ("192.0.2.2", []),
    ],
)
def test_a_needle_leads_to_its_whole_story(tmp_path: Path, needle: str, expected: list[int]) -> None:
    write(tmp_path, STORY)
    assert times(tmp_path, needle) == expected


def test_a_story_goes_on_over_days_some_of_them_compressed(tmp_path: Path) -> None:
    write(tmp_path, STORY[:4], "2027-01-14")
    write(tmp_path, STORY[4:])
    old = tmp_path / "events-2027-01-14.jsonl"
    (tmp_path / "events-2027-01-14.jsonl.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    assert times(tmp_path, "Q1") == [1, 2, 4, 5, 7, 8]


def test_only_the_newest_days_are_read(tmp_path: Path) -> None:
    write(tmp_path, STORY[:4], "2027-01-14")
    write(tmp_path, STORY[4:])
    assert [int(entry.time - NOW) for entry in timeline(tmp_path, "Q1", days=1)] == [5, 7, 8]


def test_what_is_returned_is_bounded(tmp_path: Path) -> None:
    write(tmp_path, [(n, "auth.refused", {"session": f"s{n}", "client": "192.0.2.1"}) for n in range(500)])
    assert len(timeline(tmp_path, "192.0.2.1", limit=100)) == 100


def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, STORY)
    with (tmp_path / "events-2027-01-15.jsonl").open("ab") as file:
        file.write(b'{"t":1,"event":"auth.ref\n[1,"Q1"]\n{"t":"x","event":"Q1"}\n\xff Q1\n"Q1"\n')
    (tmp_path / "events-2027-01-10.jsonl.gz").write_bytes(gzip.compress(b'{"queue_id":"Q1"}\n' * 100)[:-20])
    (tmp_path / "events-2027-01-11.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "events-2027-99-99.jsonl").write_bytes(b"no day")
    assert times(tmp_path, "Q1") == [1, 2, 4, 5, 7, 8]


def test_clients_logged_by_network_are_found_by_address(tmp_path: Path) -> None:
    write(tmp_path, [(1, "session.refused", {"client": "192.0.2.0/24"}), (2, "session.refused", {"client": "x"})])
    assert times(tmp_path, "192.0.2.200") == [1]


def test_international_addresses_are_found(tmp_path: Path) -> None:
    write(tmp_path, [(1, "message.refused", {"sender": "関所@例え.jp"}), (2, "message.refused", {"sender": "x"})])
    assert times(tmp_path, "関所@例え.jp") == [1]


def test_no_log_is_an_empty_story(tmp_path: Path) -> None:
    assert timeline(tmp_path / "none", "Q1") == []


def test_an_entry_reads_as_one_line_without_control_characters() -> None:
    entry = Entry(
        NOW + 0.5,
        "delivery.deferred",
        {
            "reply": "450 try\x1b[31m later\n",
            "queue_id": "Q1",
            "recipients": [f"r{n}@example.jp" for n in range(8)],
            "next_attempt": NOW,
            "tls": True,
            "size": 3,
            "worker": 1,
        },
    )
    assert render(entry, UTC).startswith(
        "2027-01-15 08:00:00.500+0000  delivery.deferred   queue_id=Q1 "
        "recipients=r0@example.jp,r1@example.jp,r2@example.jp,r3@example.jp,r4@example.jp,+3 "
        'reply="450 try?[31m later?" next_attempt=2027-01-15T'
    )
    assert render(entry).endswith("tls=yes size=3")


def test_old_files_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("events-2026-10-01.jsonl", "events-2026-10-02.jsonl.gz", "events-2027-01-14.jsonl", "other.jsonl"):
        (tmp_path / name).touch()
    assert purge(tmp_path, 0, NOW) == []
    assert len(purge(tmp_path, 90, NOW)) == 2
    assert sorted(os.listdir(tmp_path)) == ["events-2027-01-14.jsonl", "other.jsonl"]
    assert [day.isoformat() for day, _ in log_files(tmp_path)] == ["2027-01-14"]
