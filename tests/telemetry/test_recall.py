"""What is at hand equals what a plain reading of the log says, and stays within its bounds."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.telemetry import Entry, Recall, failure_of
from sekisho.telemetry.recall import ENTRIES, line_key
from sekisho.telemetry.shelf import ACCOUNTS, USES, Facts, FactsShelf, LineShelf
from sekisho.telemetry.tallies import MAX_NAMES, OTHER

NOON = 1_800_014_400.0  # 15 January 2027, 12:00 UTC
TODAY = "events-2027-01-15.jsonl"
RIN, AOI = "rin@example.jp", "aoi@example.jp"

Story = Sequence[tuple[float, str, Mapping[str, object]]]

ACCEPTED: dict[str, object] = {
    "client": "192.0.2.7",
    "listener": "submission",
    "account": RIN,
    "tls": "TLSv1.3",
    "mechanism": "PLAIN",
}


def write(directory: Path, story: Story) -> None:
    with (directory / TODAY).open("a") as file:
        for at, event, fields in story:
            file.write(json.dumps({"t": NOON + at, "event": event, **fields}, separators=(",", ":")) + "\n")


def recalled(directory: Path, story: Story = (), *, now: float = NOON) -> Recall:
    write(directory, story)
    recall = Recall(directory, now=lambda: now)
    while recall.refresh():
        pass
    assert recall.is_caught_up
    assert recall.problem is None
    return recall


def times(entries: Sequence[Entry]) -> list[float]:
    return [entry.time - NOON for entry in entries]


def test_a_line_is_told_what_it_did_and_nothing_of_its_neighbor(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [
            (-9, "tls.failed", {"client": "192.0.2.7", "reason": "version"}),
            (-8, "auth.accepted", {"client": "192.0.2.7", "account": RIN}),
            (-7, "auth.refused", {"client": "192.0.2.70", "account": AOI, "reason": "bad-credentials"}),
            (-6, "message.accepted", ACCEPTED),
            (-5, "delivery.delivered", {"queue_id": "Q1"}),
        ],
    )
    assert times(recall.of_client("192.0.2.7")) == [-9, -8, -6]
    assert times(recall.of_client("::ffff:192.0.2.70")) == [-7]
    assert recall.of_client("192.0.2.8") == ()
    assert times(recall.of_account(" RIN@example.jp")) == [-8, -6]
    assert recall.since == NOON - 9


def test_a_line_of_ipv6_is_its_64(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [(n, "session.closed", {"client": f"2001:db8:0:{n}::{n}"}) for n in range(3)]
        + [(5, "session.closed", {"client": "2001:0db8:0:1:ffff::1"})],
    )
    assert times(recall.of_client("2001:db8:0:1::abcd")) == [1, 5]


@pytest.mark.parametrize("address", ["192.0.2.0/24", "2001:db8::/48", "", "x", "192.0.2.7" * 20])
def test_addresses_logged_by_network_or_not_at_all_tell_nobody_anything(tmp_path: Path, address: str) -> None:
    recall = recalled(tmp_path, [(0, "auth.accepted", {"client": address, "account": RIN})])
    assert recall.of_client(address) == ()
    assert recall.of_client("192.0.2.7") == ()
    assert recall.client_history("192.0.2.7") is None
    assert len(recall.of_account(RIN)) == 1


def test_successes_are_remembered_from_the_first_to_the_last(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [
            (-9, "auth.refused", {"client": "192.0.2.7", "account": RIN, "reason": "bad-credentials"}),
            (-8, "auth.accepted", ACCEPTED),
            (-7, "message.accepted", ACCEPTED | {"client": "192.0.2.8"}),
            (-6, "auth.accepted", ACCEPTED | {"account": AOI}),
            (-5, "auth.refused", {"client": "192.0.2.9", "account": RIN, "reason": "bad-credentials"}),
        ],
    )
    account, line = recall.account_history(RIN), recall.client_history("192.0.2.7")
    assert account is not None
    assert line is not None
    assert (account.first, account.last, account.partners) == (NOON - 8, NOON - 7, ("192.0.2.8", "192.0.2.7"))
    assert (line.first, line.last, line.partners) == (NOON - 8, NOON - 6, (AOI, RIN))
    assert recall.client_history("192.0.2.9") is None
    assert times(recall.of_account(RIN)) == [-9, -8, -7, -5]  # a refused claim from before the first success too


def test_a_flood_of_refused_claims_leaves_the_first_and_last_success(tmp_path: Path) -> None:
    flood: Story = [
        (n / 100, "auth.refused", {"client": "192.0.2.9", "account": RIN, "reason": "x"}) for n in range(500)
    ]
    recall = recalled(tmp_path, [(-8, "auth.accepted", ACCEPTED), *flood])
    assert len(recall.of_account(RIN)) == ENTRIES
    history = recall.account_history(RIN)
    assert history is not None
    assert history.last == NOON - 8
    assert times(recall.of_client("192.0.2.7")) == [-8]


def test_what_is_older_than_two_weeks_is_not_told(tmp_path: Path) -> None:
    write(tmp_path, [(0, "auth.accepted", ACCEPTED | {"name": "old.example.jp"})])
    later = NOON + 14.5 * 86400
    (tmp_path / TODAY).rename(tmp_path / "events-2027-01-17.jsonl")  # as if it had been written late
    recall = Recall(tmp_path, now=lambda: later)
    recall.refresh()
    assert recall.of_client("192.0.2.7") == ()
    assert recall.remaining("name") == ()


def test_the_hours_are_counted_in_groups(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [
            (-47 * 3600, "message.accepted", ACCEPTED),
            (-49 * 3600, "message.accepted", ACCEPTED),
            (-3600, "message.accepted", ACCEPTED | {"agent": "Becky!"}),
            (0, "message.accepted", {"client": "192.0.2.1", "listener": "mx"}),
            (1, "message.accepted", {"client": "192.0.2.1", "listener": "submission", "account": RIN}),
            (2, "auth.accepted", ACCEPTED),
            (3, "auth.refused", {"account": RIN, "reason": "throttled"}),
            (4, "tls.failed", {"client": "192.0.2.1", "reason": "version"}),
            (5, "message.refused", {"client": "192.0.2.1", "reply": "550 5.7.1 no", "reason": "relay-denied"}),
            (6, "message.refused", {"client": "192.0.2.1", "reply": "552 5.3.4 big"}),
            (7, "command.refused", {"client": "192.0.2.1", "reply": "500 5.5.1 Unknown command"}),
            (8, "delivery.deferred", {"queue_id": "Q1"}),
            (9, "queue.held", {"queue_id": "Q1"}),
        ],
    )
    tallies = recall.tallies()
    assert tallies.hours[-1] == NOON
    assert len(tallies.hours) == 48
    assert tallies.series["messages"]["accepted"] == (1, *[0] * 45, 1, 2)[-48:]
    assert tallies.totals("messages") == {"accepted": 4, "refused": 2}
    assert tallies.totals("logins") == {"accepted": 1, "refused": 1}
    assert tallies.totals("tls") == {"TLSv1.3": 2, "none": 1}
    assert tallies.totals("agent") == {"": 2, "Becky!": 1}
    assert tallies.totals("listener") == {"submission": 3, "mx": 1}
    assert tallies.totals("deliveries") == {"deferred": 1}
    assert tallies.totals("failures") == {
        "auth.throttled": 1,
        "message.5.3.4": 1,
        "message.relay-denied": 1,
        "tls.version": 1,
    }
    assert tallies.total("messages", "accepted") == 4
    assert tallies.total("messages", "nothing") == 0


def test_failures_are_listed_the_newest_first_and_filtered(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [
            (1, "auth.refused", {"client": "192.0.2.7", "account": RIN, "reason": "throttled"}),
            (2, "auth.refused", {"client": "2001:db8::1", "account": AOI, "reason": "bad-credentials"}),
            (3, "tls.failed", {"client": "192.0.2.7", "reason": "cipher"}),
            (4, "command.refused", {"client": "192.0.2.7", "reply": "500 5.5.1 Unknown"}),
            (5, "session.failed", {"client": "192.0.2.7", "reason": "accounts"}),
        ],
    )
    assert times(recall.failures()) == [5, 3, 2, 1]
    assert times(recall.failures(limit=2)) == [5, 3]
    assert times(recall.failures(reason="auth")) == [2, 1]
    assert times(recall.failures(reason="auth.throttled")) == [1]
    assert times(recall.failures(account=AOI.upper())) == times(recall.failures(account=AOI.partition("@")[0])) == [2]
    assert times(recall.failures(reason="session.accounts")) == [5]
    assert times(recall.failures(client="192.0.2.7", account=RIN)) == [1]
    assert times(recall.failures(client="2001:db8::ffff")) == [2]
    assert times(recall.failures(client="no address")) == []
    assert times(recall.failures(account="ao")) == []


def test_who_keeps_to_old_ways_is_listed_with_when_that_was_seen(tmp_path: Path) -> None:
    recall = recalled(
        tmp_path,
        [
            (-90, "auth.accepted", ACCEPTED | {"mechanism": "CRAM-MD5", "tls": None, "name": "old.example.jp"}),
            (-89, "message.accepted", ACCEPTED | {"mechanism": "CRAM-MD5", "tls": None, "agent": "Becky! ver. 1.26"}),
            (-80, "message.accepted", ACCEPTED | {"account": AOI, "client": "192.0.2.8", "agent": "Thunderbird"}),
            (-70, "session.closed", {"client": "192.0.2.7", "listener": "mx", "tried": "relay"}),
            (-60, "session.closed", {"client": "198.51.100.1", "listener": "mx", "tried": "auth"}),
            (-55, "session.closed", {"client": "192.0.2.8", "listener": "submission", "tried": "cleartext"}),
            (-50, "message.accepted", {"client": "192.0.2.30", "listener": "mx", "relayed": True, "hello": "scanner"}),
            (-40, "tls.failed", {"client": "192.0.2.8", "reason": "version"}),
        ],
    )

    def told(kind: str) -> list[tuple[str | None, str | None, str, float]]:
        return [(each.account, each.line, each.detail, each.last - NOON) for each in recall.remaining(kind)]

    assert told("mechanism") == [(AOI, "192.0.2.8", "PLAIN", -80), (RIN, "192.0.2.7", "CRAM-MD5", -89)]
    assert told("cleartext") == [(None, "192.0.2.8", "", -55), (RIN, "192.0.2.7", "CRAM-MD5", -89)]
    assert told("name") == [(RIN, "192.0.2.7", "old.example.jp", -90)]
    assert told("port25") == [(None, "198.51.100.1", "auth", -60), (None, "192.0.2.7", "relay", -70)]
    assert told("relay") == [(None, "192.0.2.30", "scanner", -50)]
    assert told("tls-version") == [(None, "192.0.2.8", "", -40)]
    (old,) = recall.remaining("agent", lambda agent: "Becky" in agent)
    assert (old.account, old.count, old.last_success) == (RIN, 1, NOON - 89)
    (_, on25) = recall.remaining("port25")
    assert on25.partners == (RIN,)
    assert on25.last_success == NOON - 89


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / TODAY).write_bytes(
        b'{"t":1,"event":"auth.ref\n\xff\n[]\n{"t":"x","event":"auth.refused"}\n{"t":1e400,"event":"auth.refused"}\n'
        b'{"t":1800014400,"event":"auth.refused","client":7,"account":["x"],"reason":{}}\n'
        b'{"t":1800014400,"event":"message.accepted","client":"192.0.2.7","account":"rin@example.jp","agent":7,"tls":[]}\n'
    )
    recall = recalled(tmp_path)
    assert len(recall.of_client("192.0.2.7")) == 1
    assert recall.tallies().totals("failures") == {"auth.other": 1}


def test_a_log_that_cannot_be_read_is_told_and_read_again_later(tmp_path: Path) -> None:
    (tmp_path / TODAY).mkdir()
    recall = Recall(tmp_path, now=lambda: NOON)
    assert recall.refresh() is False
    assert isinstance(recall.problem, str)
    (tmp_path / TODAY).rmdir()
    write(tmp_path, [(0, "auth.accepted", ACCEPTED)])
    recall.refresh()
    assert not recall.problem
    assert len(recall.of_account(RIN)) == 1


def test_a_background_thread_follows_until_it_is_stopped(tmp_path: Path) -> None:
    stop, recall = threading.Event(), Recall(tmp_path, now=lambda: NOON)
    thread = threading.Thread(target=recall.follow, args=(stop,), kwargs={"every": 0.001})
    thread.start()
    write(tmp_path, [(0, "auth.accepted", ACCEPTED)])
    for _ in range(2000):
        if recall.of_account(RIN):
            break
        stop.wait(0.005)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert len(recall.of_account(RIN)) == 1


# Properties

CLIENTS = st.sampled_from(["192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.0/24"])
NAMES = st.sampled_from([RIN, AOI, "ghost", None])
EVENTS = st.sampled_from(
    ["auth.accepted", "auth.refused", "message.accepted", "message.refused", "tls.failed", "session.closed"]
)
STORY = st.lists(
    st.tuples(EVENTS, CLIENTS, NAMES, st.sampled_from(["a", "b"])).map(
        lambda one: (one[0], {"client": one[1], "account": one[2], "reason": one[3]})
    ),
    max_size=60,
)


@given(story=STORY, cuts=st.lists(st.integers(0, 8000), max_size=6).map(sorted))
@settings(deadline=None)
def test_any_cut_of_the_file_tells_what_a_plain_reading_tells(
    story: list[tuple[str, dict[str, str | None]]], cuts: list[int]
) -> None:
    events = [
        (NOON - 1000 + n, event, {k: v for k, v in fields.items() if v}) for n, (event, fields) in enumerate(story)
    ]
    octets = b"".join(json.dumps({"t": at, "event": e, **fields}).encode() + b"\n" for at, e, fields in events)
    with tempfile.TemporaryDirectory() as name:
        directory, path = Path(name), Path(name) / TODAY
        recall = Recall(directory, now=lambda: NOON)
        for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
            with path.open("ab") as file:
                file.write(octets[start:end])
            while recall.refresh(100):
                pass
    for client in ("192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8:0:1::1"):
        own = [(at, event) for at, event, fields in events if line_key(fields["client"]) == line_key(client)]
        assert [(entry.time, entry.event) for entry in recall.of_client(client)] == own
    for account in (RIN, AOI, "ghost"):
        own = [(at, event) for at, event, fields in events if fields.get("account") == account]
        assert [(entry.time, entry.event) for entry in recall.of_account(account)] == own
        good = [at for at, event in own if event.endswith(".accepted")]
        history = recall.account_history(account)
        assert (history.first, history.last) == (good[0], good[-1]) if history else not good
    failures = Counter(failure_of(event, dict(fields)) for _, event, fields in events)
    del failures[None]
    assert recall.tallies().totals("failures") == dict(failures)


# Bounds


@given(
    puts=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 300)), max_size=200),
    octets=st.integers(0, 5000),
    lines=st.integers(1, 5),
)
def test_kept_lines_stay_within_their_octets_and_the_newest_stay(
    puts: list[tuple[str, int]], octets: int, lines: int
) -> None:
    shelf = LineShelf(octets, lines)
    for key, size in puts:
        shelf.put(key, b"x" * size)
    held = {key: list(kept) for key, kept in shelf._by_key.items()}
    assert shelf._size == sum(len(line) + 50 for kept in held.values() for line in kept) + 400 * len(held) <= octets
    newest = list(dict.fromkeys(key for key, _ in reversed(puts)))
    assert list(held) == newest[: len(held)][::-1]
    for key, kept in held.items():
        own = [b"x" * size for k, size in puts if k == key]
        assert shelf.get(key) == own[-lines:][-len(kept) :]


def test_a_flood_of_strangers_does_not_push_out_who_has_logged_in(tmp_path: Path) -> None:
    recall = recalled(tmp_path, [(-8, "auth.accepted", ACCEPTED), (-7, "message.accepted", ACCEPTED)])
    strangers = LineShelf(10_000, ENTRIES)
    recall._strangers = strangers
    write(
        tmp_path,
        [(n / 1000, "auth.refused", {"client": f"10.1.{n >> 8}.{n & 255}", "account": f"g{n}"}) for n in range(3000)],
    )
    while recall.refresh():
        pass
    assert times(recall.of_client("192.0.2.7")) == [-8, -7]
    assert times(recall.of_account(RIN)) == [-8, -7]
    assert len(strangers._by_key) < 25
    assert "g1" not in recall._facts["account"]


def test_facts_are_bounded_in_every_direction() -> None:
    facts = Facts()
    for n in range(50):
        facts.note(("agent", f"agent {n}"), n)
        facts.succeeded(n, f"line {n}")
    assert facts.uses is not None
    assert len(facts.uses) == USES
    assert ("agent", "agent 49") in facts.uses
    assert facts.partners == ("line 47", "line 48", "line 49")
    assert len(facts.partners) == ACCOUNTS
    shelf = FactsShelf(3)
    for key in "abcad":
        shelf.touch(key)
    assert [key for key, _ in shelf.items()] == ["c", "a", "d"]


def test_names_beyond_their_number_are_counted_together(tmp_path: Path) -> None:
    recall = recalled(tmp_path, [(1, "message.accepted", ACCEPTED | {"agent": f"a{n}"}) for n in range(MAX_NAMES + 7)])
    totals = recall.tallies().totals("agent")
    assert totals[OTHER] == 7
    assert len(totals) == MAX_NAMES + 1


def test_hours_beyond_their_number_are_forgotten_the_oldest_first(tmp_path: Path) -> None:
    recall = recalled(tmp_path, [(n * 3600, "auth.accepted", ACCEPTED) for n in range(-200, 1)])
    assert recall.tallies().series["logins"]["accepted"] == (1,) * 48
    assert len(recall._counts._by_hour) < 60
