"""What a page learns of a line: from files alone, folded as the gate folds, with one error for whatever is missing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.edge.codes import CodeBook, Codes
from sekisho.edge.document import encode
from sekisho.edge.load import load_policy
from sekisho.edge.lookups import EdgeUnavailable, LineRecord, Lookups
from sekisho.edge.policy import Action, Phase, Policy
from sekisho.edge.quarantine import Held
from sekisho.edge.sightings import Kind, Sighting
from sekisho.edge.state import Current, Pending, StateDirectory, Version
from sekisho.edge.verdicts import VerdictKind
from sekisho.edge.watcher import Watcher, WatcherSettings
from sekisho.telemetry import EventLog, LogSettings

HERE = Path(__file__).parent
TODAY = date(2026, 12, 1)
NOW = datetime(2026, 12, 1, 3, 0, tzinfo=UTC).timestamp()
HOME = "198.51.100.7"
HOME6 = "2001:db8:100:700::/56"
SHARED = "100.64.0.9:4112-4127"


class Gate:
    """A state directory with the explainer's beside it, written as the programs write them."""

    def __init__(self, directory: Path, policy: Policy, name: str = "edge") -> None:
        self.path = directory / name
        self.explainer = directory / "explainer"
        self.state = StateDirectory(self.path)
        self.state.prepare()
        self.explainer.mkdir()
        self.book = CodeBook(Codes(bytes(32)))
        self.keep("a" * 16, policy)
        self.state.set_current(Current("a" * 16, (), NOW - 60))

    def keep(self, name: str, policy: Policy, day: date = TODAY) -> None:
        version = Version(name, policy.name, policy.version, NOW, "rin", day.isoformat())
        self.state.keep(version, "", encode(policy))

    def explained(self, line: str, network: str, at: float = NOW, name: str | None = None) -> str:
        entry = self.book.note(Sighting(line, network, ip_address("203.0.113.25"), at, kind=Kind.EXPLAINED))
        entry.name = name
        rows = "".join(f"{row}\n" for row in self.book.rows(NOW))
        (self.explainer / "explained.jsonl").write_text(rows)
        return entry.code

    def lookups(self) -> Lookups:
        return Lookups(self.path, lambda: NOW)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(HERE / "example.toml", today=TODAY)


@pytest.fixture
def gate(tmp_path: Path, policy: Policy) -> Gate:
    return Gate(tmp_path, policy)


def test_a_line_is_told_with_its_network_phase_and_next_wave(gate: Gate, policy: Policy) -> None:
    found = gate.lookups().line(HOME)
    assert (found.line, found.network, found.product) == (HOME, "home", "Example Hikari")
    assert (found.phase, found.action, found.fixed) == (policy.phase_of("home", TODAY), Action.DROP, False)
    assert found.next_change == next(iter(policy.changes_of("home")))
    assert found.reasons == policy.reasons
    assert (found.version, found.applied, found.day, found.on_trial) == ("a" * 16, NOW - 60, TODAY, False)
    assert found.unknown == frozenset()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("2001:db8:100:712::1", HOME6),
        (HOME6, HOME6),
        ("2001:db8:400:1:2::3", "2001:db8:400:1::/64"),
        ("::ffff:198.51.100.7", HOME),
        (SHARED, SHARED),
        ("192.0.2.241", "192.0.2.241"),
    ],
)
def test_addresses_fold_to_lines_as_the_gate_folds_them(gate: Gate, address: str, line: str) -> None:
    assert gate.lookups().line(address).line == line


def test_a_shared_address_needs_the_port(gate: Gate) -> None:
    gate.explained(SHARED, "shared")
    lookups = gate.lookups()
    alone = lookups.line("100.64.0.9")
    assert (alone.line, alone.shared, len(alone.explained)) == ("100.64.0.9", True, 1)
    assert lookups.line("100.64.0.9", 4113).line == SHARED
    assert lookups.line("100.64.0.9", 4113).explained == alone.explained
    assert lookups.line("100.64.0.9", 9000).explained == ()


def test_a_line_is_closed_only_where_the_rules_close_it(gate: Gate) -> None:
    lookups = gate.lookups()
    assert lookups.line("203.0.113.9").closed
    assert lookups.line("203.0.113.9").action is Action.REJECT
    assert not lookups.line(HOME).closed
    fixed = lookups.line("198.51.100.140")
    assert (fixed.phase, fixed.fixed, fixed.closed) == (Phase.ENFORCE, True, False)


def test_an_exemption_is_told_with_its_last_day(gate: Gate, policy: Policy) -> None:
    found = gate.lookups().line("198.51.100.17").exemption
    assert found is not None
    assert (found.owner, found.expires) == ("Example Trading, contract 4711", date(2027, 3, 31))
    gate.keep("b" * 16, policy, date(2027, 4, 1))
    gate.state.set_current(Current("b" * 16, ("a" * 16,), NOW))
    assert gate.lookups().line("198.51.100.17").exemption is None


def test_every_exemption_of_a_policy_is_found_from_both_its_ends_and_no_other_address(
    gate: Gate, policy: Policy
) -> None:
    lookups = gate.lookups()
    assert policy.exemptions
    for exemption in policy.exemptions:
        for number in (exemption.prefix.first, exemption.prefix.last):
            address = ip_address(number)
            assert lookups.line(address).exemption == exemption
            assert lookups.line(str(exemption.prefix)).exemption == exemption
    assert lookups.line(HOME).exemption is None


def test_a_change_on_trial_is_what_holds_until_its_deadline(gate: Gate, policy: Policy) -> None:
    lookups = gate.lookups()
    assert lookups.line(HOME).phase is not Phase.ENFORCE
    networks = tuple(replace(n, phase=Phase.ENFORCE) for n in policy.networks)
    gate.keep("b" * 16, replace(policy, networks=networks, waves=()))
    gate.state.set_pending(Pending.begin("b" * 16, "a" * 16, within=300, who="rin"))
    found = lookups.line(HOME)
    assert (found.phase, found.on_trial, found.version) == (Phase.ENFORCE, True, "b" * 16)
    gate.state.clear_pending()
    assert lookups.line(HOME).phase is not Phase.ENFORCE


def test_quarantine_is_told_until_its_time_is_over(gate: Gate) -> None:
    rows = [Held(HOME, "home", NOW - 5, NOW + 60, "watch", "follow"), Held(HOME6, "home", NOW - 5, NOW, "watch", "f")]
    body = {"action": "limit", "boot": "", "held": [asdict(row) for row in rows], "spared": {}}
    (gate.path / "quarantine.json").write_text(json.dumps(body))
    lookups = gate.lookups()
    assert lookups.line(HOME).held == rows[0]
    assert lookups.line(HOME6).held is None
    (gate.path / "quarantine.json").write_text(json.dumps({**body, "held": []}))
    assert lookups.line(HOME).held is None


def test_what_the_explainer_recorded_is_told_the_newest_first(gate: Gate) -> None:
    gate.explained(HOME, "home", NOW - 86400, "old-pc")
    code = gate.explained(HOME, "home", NOW, "[127.0.0.1]")
    gate.explained("198.51.100.8", "home")
    newest, older = gate.lookups().line(HOME).explained
    assert (newest.code, newest.name, newest.last) == (code, "[127.0.0.1]", NOW)
    assert newest.destinations == ("203.0.113.25",)
    assert older.name == "old-pc"


def test_a_code_leads_to_its_line_however_it_is_typed(gate: Gate) -> None:
    old = gate.explained(HOME, "home", NOW - 86400)
    gate.explained(HOME, "home", NOW)
    found = gate.lookups().code(old.lower().replace("-", " "))
    assert found is not None
    assert (found.line, found.network, found.explained[0].code, len(found.explained)) == (HOME, "home", old, 2)


@pytest.mark.parametrize("text", ["", "0000-0000", "no code", "é" * 8, "0" * 5000])
def test_an_unknown_code_leads_nowhere(gate: Gate, text: str) -> None:
    assert gate.lookups().code(text) is None


def test_a_code_is_known_before_the_book_is_saved(gate: Gate) -> None:
    """The book is written each minute; the subscriber follows the link at once."""
    (gate.explainer / "log").mkdir()
    log = EventLog(gate.explainer / "log", LogSettings(), 0, now=lambda: NOW)
    log.emit(
        "edge.explained",
        line=HOME6,
        network="home",
        code="7F3K-Q2XM",
        destinations=("2001:db8::25",),
        name="my pc",
        connections=1,
    )
    log.close()
    found = gate.lookups().code("7f3kq2xm")
    assert found is not None
    assert (found.line, found.explained[0].name, found.explained[0].last) == (HOME6, "my pc", NOW)


def test_the_verdict_comes_with_its_evidence(gate: Gate) -> None:
    watcher = Watcher(WatcherSettings())
    for number in range(200):
        for line in ("198.51.100.77", HOME):
            if line == HOME and number % 50:
                continue
            destination = ip_address(f"203.0.113.{number}" if line != HOME else "192.0.2.99")
            watcher.saw(Sighting(line, "home", destination, NOW - 100 + number * 0.2))
    rows = "".join(f"{row}\n" for row in watcher.snapshot())
    (gate.path / "watcher.jsonl").write_text(rows)
    lookups = gate.lookups()
    worm, client = lookups.line("198.51.100.77").verdict, lookups.line(HOME).verdict
    assert worm == watcher.verdict("198.51.100.77", NOW)
    assert worm is not None
    assert worm.kind is VerdictKind.WORM_LIKE
    assert any(finding.name == "destinations_per_hour" for finding in worm.evidence)
    assert client is not None
    assert client.kind is VerdictKind.MISCONFIGURED_CLIENT
    assert lookups.line("198.51.100.78").verdict is None


def test_the_last_recorded_sightings_are_told(gate: Gate) -> None:
    directory = gate.path.parent / "sightings"
    directory.mkdir()
    seen = [Sighting(HOME, "home", ip_address("203.0.113.1"), NOW - 30 + n) for n in range(30)]
    other = Sighting("198.51.100.70", "home", ip_address("203.0.113.1"), NOW)
    rows = "".join(f"{one.to_json()}\n" for one in (*seen, other))
    (directory / "sightings-2026-12-01.jsonl").write_text(rows + '{"line":"198.51.100.7"')
    assert gate.lookups().line(HOME).sightings == tuple(seen[:9:-1])


def test_a_row_is_found_wherever_the_chunks_of_a_large_file_part_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [gate.explained(f"198.51.100.{n}", "home") for n in range(1, 30)]
    for size in (256, 301, 1000):
        monkeypatch.setattr("sekisho.edge.lookups.CHUNK", size)
        lookups = gate.lookups()
        assert all((record := lookups.code(code)) and record.explained[0].code == code for code in codes)


def test_only_the_end_of_a_large_file_is_read(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_, last = [gate.explained(f"198.51.100.{n}", "home") for n in range(1, 30)]
    monkeypatch.setattr("sekisho.edge.lookups.SEARCHED", 1000)
    assert gate.lookups().code(last) is not None
    assert gate.lookups().code(first) is None


def test_the_directory_above_the_gates_will_do(tmp_path: Path, policy: Policy) -> None:
    gate = Gate(tmp_path / "lib", policy, "gate")
    gate.explained(HOME, "home")
    found = Lookups(tmp_path / "lib", lambda: NOW).line(HOME)
    assert (found.network, len(found.explained)) == ("home", 1)


def test_a_policy_is_read_once_as_long_as_it_is_in_force(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = gate.lookups()
    lookups.line(HOME)
    monkeypatch.setattr("sekisho.edge.lookups.policy_of", None)
    gate.state.set_current(Current("a" * 16, (), NOW - 60, generation=9))
    assert lookups.line(HOME).network == "home"


def test_nothing_there_is_one_error_with_words(tmp_path: Path, gate: Gate) -> None:
    with pytest.raises(EdgeUnavailable, match="no policy is in force"):
        Lookups(tmp_path / "nowhere").line(HOME)
    assert Lookups(tmp_path / "nowhere").code("7F3K-Q2XM") is None
    with pytest.raises(EdgeUnavailable, match="is no address"):
        gate.lookups().line("198.51.100")
    (gate.path / "versions" / f"{'a' * 16}.policy").unlink()
    with pytest.raises(EdgeUnavailable, match=r"a{16}\.policy is missing"):
        gate.lookups().line(HOME)


@pytest.mark.parametrize("name", ["current.json", "pending.json", f"versions/{'a' * 16}.json"])
@pytest.mark.parametrize("octets", [b"", b"[]", b'{"id": 3}', b"\xff"])
def test_a_damaged_state_is_the_same_error(gate: Gate, name: str, octets: bytes) -> None:
    (gate.path / name).write_bytes(octets)
    with pytest.raises(EdgeUnavailable):
        gate.lookups().line(HOME)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(octets=st.binary(max_size=80) | st.just(b'{"held": [{}]}') | st.just(b'{"line":"198.51.100.7"}\n'))
def test_whatever_stands_in_the_other_files_is_left_out_or_named(gate: Gate, octets: bytes) -> None:
    for path in (gate.path / "quarantine.json", gate.path / "watcher.jsonl", gate.explainer / "explained.jsonl"):
        path.write_bytes(octets)
    found = gate.lookups().line(HOME)
    assert isinstance(found, LineRecord)
    assert (found.held, found.explained, found.verdict) == (None, (), None)


@pytest.mark.parametrize(
    ("name", "field"), [("quarantine.json", "held"), ("watcher.jsonl", "verdict"), ("../explainer/log", "explained")]
)
def test_a_file_that_cannot_be_read_is_named(gate: Gate, name: str, field: str) -> None:
    path = gate.path / name
    if field == "explained":
        path = gate.explainer / "explained.jsonl"
    path.mkdir()  # reading a directory fails for root as well
    assert gate.lookups().line(HOME).unknown == {field}


def test_the_group_of_the_directory_reads_what_pages_show_and_no_more(gate: Gate) -> None:
    gate.state.set_pending(Pending.begin("", "", within=1, who=""))
    gate.state.record("edge.applied")
    readable = {p.name for p in gate.path.rglob("*") if p.is_file() and os.stat(p).st_mode & 0o040}
    assert readable == {"current.json", "pending.json", f"{'a' * 16}.json", f"{'a' * 16}.policy"}
    assert not [p for p in gate.path.rglob("*") if os.stat(p).st_mode & 0o027 and p.is_file()]
