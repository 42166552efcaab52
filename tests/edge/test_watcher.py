"""Verdicts: who is called what, how soon, by what evidence, and how it goes again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.population import DAY, HOUR, MINUTE, NETWORK, START, bot, bots, crowd, destination, polled, six

from sekisho.edge.sightings import Kind, Sighting
from sekisho.edge.watcher import Measure, Verdict, VerdictKind, Watcher, WatcherSettings

QUIET, CLIENT = VerdictKind.QUIET, VerdictKind.MISCONFIGURED_CLIENT
SERVER, WORM = VerdictKind.MAIL_SERVER, VerdictKind.WORM_LIKE
LINE = "192.0.2.7"


def watcher(**chosen: object) -> Watcher:
    return Watcher(WatcherSettings(**chosen), key=b"k" * 16)  # type: ignore[arg-type]  # settings by name


def see(watching: Watcher, sightings: Iterable[Sighting], every: float = 5.0) -> tuple[list[Verdict], float]:
    """Show *sightings*, ask for changes as the service does, and return these and the time of the last one."""
    changes, asked, at = [], START, START
    for sighting in sightings:
        at = sighting.at
        if at - asked >= every:
            changes += watching.changes(at)
            asked = at
        watching.saw(sighting)
    return changes + watching.changes(at), at


def kind_of(watching: Watcher, now: float, line: str = LINE) -> VerdictKind:
    verdict = watching.verdict(line, now)
    assert verdict is not None
    return verdict.kind


def finding(verdict: Verdict | None, name: str) -> int | float | str | None:
    assert verdict is not None
    return next((one.value for one in verdict.evidence if one.name == name), None)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("every", [0.0, 10.0])
def test_all_infected_machines_are_found_within_a_minute_and_nobody_else_is(seed: int, every: float) -> None:
    days = 3
    sightings, servers = crowd(seed, days)
    infected = bots(START + days * DAY - 200, random.Random(seed))
    sightings = sorted([*sightings, *(one for line in infected.values() for one in line)], key=lambda one: one.at)
    watching = watcher()
    changes, now = see(watching, polled(sightings, every) if every else sightings)
    worms = {verdict.line: verdict for verdict in changes if verdict.kind is WORM}
    assert set(worms) == set(infected)
    began = START + days * DAY - 200
    assert all(verdict.since - began <= 60 for verdict in worms.values())
    assert all(finding(verdict, "attempts_per_minute") for verdict in worms.values())
    for line in servers:
        assert kind_of(watching, now, line) is SERVER
    for n in range(20):
        assert kind_of(watching, now, f"203.0.113.{n}") is CLIENT


def test_a_slow_infected_machine_is_found_within_the_hour() -> None:
    watching = watcher()
    changes, _ = see(watching, bot(LINE, random.Random(1), START, per_minute=6, seconds=HOUR))
    worm = [verdict for verdict in changes if verdict.kind is WORM]
    assert len(worm) == 1
    assert worm[0].since - START < HOUR


def test_one_server_tried_in_a_loop_is_no_worm() -> None:
    watching = watcher()
    sightings = [Sighting(LINE, NETWORK, destination(1), START + n * 0.1) for n in range(3000)]
    _, now = see(watching, sightings)
    assert kind_of(watching, now) is CLIENT


def test_one_attempt_a_day_becomes_a_client_once_it_is_a_habit() -> None:
    watching = watcher()
    for day in range(3):
        watching.saw(Sighting(LINE, NETWORK, destination(1), START + day * DAY))
        assert kind_of(watching, START + day * DAY + 1) is (CLIENT if day == 2 else QUIET)


def test_the_evidence_tells_attempts_from_repeated_packets_and_names_the_few_destinations() -> None:
    watching = watcher()
    for n in range(10):
        watching.saw(Sighting(LINE, NETWORK, destination(n % 2), START + n * HOUR, packets=7))
    verdict = watching.verdict(LINE, START + 9 * HOUR)
    assert finding(verdict, "retransmission_ratio") == pytest.approx(6 / 7, abs=0.01)
    assert finding(verdict, "active_hours") == 10
    assert finding(verdict, "same_destinations") == f"{destination(0)}, {destination(1)}"
    assert finding(verdict, "attempts_per_hour") == 1
    assert finding(verdict, "first_seen") == START


def test_retries_after_longer_and_longer_pauses_are_seen() -> None:
    watching = watcher()
    at = START
    for pause in (300, 600, 1200, 2400, 4000):
        watching.saw(Sighting(LINE, NETWORK, destination(1), at))
        watching.saw(Sighting(LINE, NETWORK, destination(1), at + 1, packets=3, attempts=0))
        at += pause
    assert finding(watching.verdict(LINE, at), "backing_off") == 3


def test_a_mailing_list_of_a_known_server_is_no_worm_and_the_same_from_a_new_line_is() -> None:
    burst = [Sighting(LINE, NETWORK, destination(500 + n), START + 2 * DAY + n * 0.5) for n in range(60)]
    steady = [Sighting(LINE, NETWORK, destination(n % 30), START + n * 900) for n in range(190)]
    known, unknown = watcher(), watcher()
    changes, _ = see(known, [*steady, *burst])
    assert [verdict.kind for verdict in changes] == [CLIENT, SERVER]
    changes, _ = see(unknown, burst)
    assert changes[-1].kind is WORM


def test_a_known_server_that_is_taken_over_is_found_all_the_same() -> None:
    steady = [Sighting(LINE, NETWORK, destination(n % 30), START + n * 900) for n in range(190)]
    watching = watcher()
    see(watching, steady)
    changes, _ = see(watching, bot(LINE, random.Random(1), START + 2 * DAY, per_minute=200))
    assert changes[-1].kind is WORM
    assert changes[-1].previous is SERVER


def test_a_worm_that_is_gone_is_quiet_after_the_decay_and_leaves_nothing_behind() -> None:
    watching = watcher()
    _, now = see(watching, bot(LINE, random.Random(1), START, per_minute=100))
    assert kind_of(watching, now + 29 * MINUTE) is WORM
    assert [verdict.kind for verdict in watching.changes(now + 31 * MINUTE)] == [QUIET]
    watching.saw(Sighting(LINE, NETWORK, destination(1), now + HOUR))
    assert kind_of(watching, now + HOUR) is QUIET


def test_a_client_that_was_set_right_is_quiet_after_two_days_and_forgotten_after_a_week() -> None:
    watching = watcher()
    for n in range(20):
        watching.saw(Sighting(LINE, NETWORK, destination(1), START + n * MINUTE))
    now = START + 19 * MINUTE
    assert kind_of(watching, now + DAY) is CLIENT
    assert [verdict.kind for verdict in watching.changes(now + DAY)] == [CLIENT]
    assert [verdict.kind for verdict in watching.changes(now + 2 * DAY + 1)] == [QUIET]
    watching.changes(now + 7 * DAY + 1)
    assert len(watching) == 0
    assert watching.verdict(LINE, now) is None


def test_who_looks_at_a_verdict_takes_no_change_away_from_who_is_told_of_changes() -> None:
    watching = watcher()
    for n in range(5):
        watching.saw(Sighting(LINE, NETWORK, destination(1), START + n * MINUTE))
    now = START + 4 * MINUTE
    assert kind_of(watching, now) is CLIENT
    after = watcher()
    after.restore(watching.snapshot())
    for one in (watching, after):
        one.counts(now)
        assert [(verdict.previous, verdict.kind) for verdict in one.changes(now)] == [(QUIET, CLIENT)]
        assert one.verdicts(now + 3 * DAY) == []
        assert [(verdict.previous, verdict.kind) for verdict in one.changes(now + 3 * DAY)] == [(CLIENT, QUIET)]
        assert one.changes(now + 3 * DAY) == []


def test_a_verdict_does_not_flicker_around_its_threshold() -> None:
    watching = watcher()
    for n in range(3):
        watching.saw(Sighting(LINE, NETWORK, destination(1), START + n * HOUR))
    changes = []
    for hour in range(2, 20):
        changes += watching.changes(START + hour * HOUR)
    assert [verdict.kind for verdict in changes] == []  # 2.9 attempts, as time counts them: never enough
    watching.saw(Sighting(LINE, NETWORK, destination(1), START + 20 * HOUR, attempts=2, packets=2))
    for hour in range(20, 40):
        changes += watching.changes(START + hour * HOUR)
    assert [verdict.kind for verdict in changes] == [CLIENT]


def test_what_several_sources_tell_of_one_attempt_counts_once() -> None:
    watching = watcher()
    for n in range(10):
        at = START + n * MINUTE
        for kind in (Kind.COUNTED, Kind.EXPLAINED, Kind.SAMPLED):
            watching.saw(Sighting(LINE, NETWORK, destination(1), at, kind=kind))
    assert finding(watching.verdict(LINE, START + 10 * MINUTE), "attempts_per_hour") == 10


def test_a_source_that_falls_silent_is_replaced_by_the_next_after_an_hour() -> None:
    watching = watcher()
    watching.saw(Sighting(LINE, NETWORK, destination(1), START))
    for n in range(1, 100):
        watching.saw(Sighting(LINE, NETWORK, destination(1), START + n * MINUTE, kind=Kind.EXPLAINED))
    verdict = watching.verdict(LINE, START + 99 * MINUTE)
    assert finding(verdict, "attempts_per_hour") == 39


def test_the_quarantine_is_proposed_for_lasting_worms_alone() -> None:
    watching = watcher(quarantine_measure=Measure.WALLED_GARDEN)
    lines = ("192.0.2.1", "2001:db8:0:500::/56", "203.0.113.9:4096-5119", "not an address")
    sightings = [one for line in lines for one in bot(line, random.Random(1), START, per_minute=60, seconds=900)]
    sightings.sort(key=lambda one: one.at)
    see(watching, [one for one in sightings if one.at < START + 300])
    assert watching.proposals(START + 300) == ()
    see(watching, [one for one in sightings if one.at >= START + 300])
    proposals = {one.line: one for one in watching.proposals(START + 900)}
    assert set(proposals) == set(lines[:3])
    assert proposals[lines[1]].source == ip_network("2001:db8:0:500::/56")
    assert proposals[lines[2]].source == ip_network("203.0.113.9")
    assert proposals[lines[2]].ports == (4096, 5119)
    assert proposals[lines[0]].ports is None
    assert proposals[lines[0]].measure is Measure.WALLED_GARDEN
    assert proposals[lines[0]].until > START + 900
    assert watching.proposals(START + 900 + HOUR) == ()


def test_no_more_is_proposed_than_the_set_may_hold() -> None:
    watching = watcher(quarantine_limit=2, quarantine_after=0.0)
    rates = {"192.0.2.1": 100, "192.0.2.2": 300, "192.0.2.3": 200}
    for line, rate in rates.items():
        see(watching, bot(line, random.Random(1), START, per_minute=rate))
    assert [one.line for one in watching.proposals(START + 120)] == ["192.0.2.2", "192.0.2.3"]


def test_a_restart_changes_no_verdict() -> None:
    sightings, _ = crowd(1, 3, quiet_lines=50)
    infected = [one for line in bots(START + 3 * DAY - 100, random.Random(1)).values() for one in line]
    before = watcher()
    _, now = see(before, sorted([*sightings, *infected], key=lambda one: one.at))
    after = Watcher(WatcherSettings())
    assert after.restore([f"{row}\n" for row in before.snapshot()]) == 0
    assert after.verdicts(now, quiet=True) == before.verdicts(now, quiet=True)
    assert len(after.verdicts(now)) == 28
    further = [
        *bot(LINE, random.Random(2), now, per_minute=30),
        *six(bot("192.0.2.1", random.Random(3), now, per_minute=5)),
    ]
    see(before, further)
    see(after, further)
    assert after.verdicts(now + 120) == before.verdicts(now + 120)


def test_damaged_rows_of_a_snapshot_are_left_out() -> None:
    before = watcher()
    for n in range(5):
        before.saw(Sighting(f"192.0.2.{n}", NETWORK, destination(1), START))
    head, *rows = before.snapshot()
    row = json.loads(rows[0])
    broken = [
        "",
        "nonsense",
        "[]",
        "[" * 5000,
        json.dumps({**row, "slots": ["-1", "zz", "0"]}),
        json.dumps({**row, "maps": ["zz", []]}),
        json.dumps({**row, "maps": [["1"], []]}),
        json.dumps({**row, "times": [float("nan")] * 7}),
        json.dumps({**row, "sums": [1e300, 0]}),
        json.dumps({**row, "favorites": ["AAAA", True]}),
        json.dumps({**row, "kind": "guilty"}),
        json.dumps({**row, "line": "x" * 300}),
    ]
    after = watcher()
    assert after.restore([head, *broken, *rows]) == len(broken)
    assert len(after) == 5
    assert watcher().restore([]) == 1
    assert watcher().restore(['{"watcher":2}', *rows]) == 0


def test_memory_is_bounded_in_lines_and_quiet_ones_give_way_first() -> None:
    watching = watcher(max_lines=100)
    worms = [f"192.0.2.{n}" for n in range(20)]
    for worm in worms:
        see(watching, bot(worm, random.Random(1), START, per_minute=60, seconds=40))
    for n in range(500):
        watching.saw(Sighting(f"100.64.{n >> 8}.{n & 255}", NETWORK, destination(1), START + 120 + n * 0.1))
    assert len(watching) == 100
    assert watching.forgotten == 420
    assert {kind_of(watching, START + 180, worm) for worm in worms} == {WORM}


def test_a_flood_of_forged_lines_that_all_look_bad_still_fits() -> None:
    watching = watcher(max_lines=100)
    for n in range(300):
        see(watching, bot(f"100.64.{n >> 8}.{n & 255}", random.Random(1), START, per_minute=60, seconds=40))
    assert len(watching) == 100


def test_totals_and_counts_have_a_closed_set_of_networks() -> None:
    watching = watcher()
    for n in range(400):
        watching.saw(Sighting(f"100.64.{n >> 8}.{n & 255}", f"net-{n}", destination(1), START, packets=2))
    assert len(watching.totals) == 257
    assert watching.totals["other"].packets == 2 * (400 - 256)
    assert watching.counts(START)["other", QUIET] == 400 - 256


SIGHTINGS = st.lists(
    st.builds(
        Sighting,
        line=st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::/56"]),
        network=st.sampled_from(["a", "b"]),
        destination=st.integers(0, 2**32 - 1).map(IPv4Address) | st.ip_addresses(v=6),
        at=st.floats(START, START + 30 * DAY),
        packets=st.integers(0, 2**40),
        attempts=st.integers(0, 2**40),
        kind=st.sampled_from(Kind),
    ),
    max_size=40,
)


@settings(max_examples=50)
@given(sightings=SIGHTINGS)
def test_whatever_comes_in_whatever_order_is_remembered_across_a_restart_and_clears(sightings: list[Sighting]) -> None:
    watching = watcher()
    for sighting in sightings:
        watching.saw(sighting)
        watching.changes(sighting.at)
    after = watcher()
    assert after.restore(watching.snapshot()) == 0
    end = START + 31 * DAY
    watching.changes(end)
    after.changes(end)
    assert after.verdicts(end, quiet=True) == watching.verdicts(end, quiet=True)
    for one in (watching, after):
        one.changes(end + 40 * DAY)
        assert one.verdicts(end + 40 * DAY) == []
        assert len(one) == 0
