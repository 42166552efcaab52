"""The state directory: what survives, what is refused, who waits for whom."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sekisho.edge.state import Busy, Current, Pending, StateDamaged, StateDirectory, Version, digest


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "edge")
    made.prepare()
    return made


def test_what_was_written_is_read_again(state: StateDirectory) -> None:
    current = Current("b", ("a",), 12.5, 7, "boot")
    pending = Pending.begin("c", "b", within=60, who="rin", back=True)
    state.set_current(current)
    state.set_pending(pending)
    again = StateDirectory(state.path)
    assert again.current() == current
    assert again.pending() == pending
    again.clear_pending()
    assert again.pending() is None


def test_directories_are_made_so_that_the_explainer_passes_by_and_the_group_of_the_gate_reads(tmp_path: Path) -> None:
    before = os.umask(0o077)  # as in the helper
    try:
        StateDirectory(tmp_path / "sekisho-edge" / "gate").prepare()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "sekisho-edge" / name).stat().st_mode) for name in (".", "gate", "gate/versions")]
    assert modes == [0o711, 0o700, 0o750]


def test_an_empty_directory_says_that_nothing_holds(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.current() == Current()
    assert state.pending() is None
    assert state.history() == []


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever can put a file there could choose the rules that a rollback loads."""
    directory = tmp_path / "edge"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(StateDamaged, match="chmod 700"):
        StateDirectory(directory).prepare()


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b'{"id": 1, "unknown": 2}', b"\xff\xfe"])
def test_a_damaged_file_is_told_with_its_remedy(state: StateDirectory, octets: bytes) -> None:
    (state.path / "current.json").write_bytes(octets)
    with pytest.raises(StateDamaged, match=r"Remedy: move .* away"):
        state.current()


def test_rules_are_kept_under_their_digest_and_checked_by_it(state: StateDirectory) -> None:
    text = "add table inet sekisho_edge\n"
    version = Version(digest(text), "test", 1, 1.0, "rin", "2027-01-01")
    state.keep(version, text)
    assert state.text(version.id) == text
    assert state.version(version.id) == version
    path = state.path / "versions" / f"{version.id}.nft"
    path.write_text("flush ruleset\n")
    with pytest.raises(StateDamaged, match="was changed"):
        state.text(version.id)
    path.unlink()
    with pytest.raises(StateDamaged):
        state.text(version.id)


def test_the_empty_version_means_no_rules(state: StateDirectory) -> None:
    assert state.text("") == ""
    assert state.version("").id == ""


def test_only_wanted_versions_stay(state: StateDirectory) -> None:
    names = []
    for number in range(3):
        text = f"# {number}\n"
        names.append(digest(text))
        state.keep(Version(names[-1], "test", 1, 1.0, "rin", ""), text)
    state.forget_others({names[1]})
    assert sorted(path.stem for path in (state.path / "versions").iterdir()) == [names[1]] * 2


def test_the_history_tells_the_newest_first_and_leaves_out_torn_lines(state: StateDirectory) -> None:
    for number in range(30):
        state.record("edge.applied", version=str(number))
    with (state.path / "history.jsonl").open("a") as file:
        file.write('{"t": 1, "wha')
    assert [row["version"] for row in state.history(5)] == ["29", "28", "27", "26"]


def test_a_history_line_cannot_be_forged_by_a_name(state: StateDirectory) -> None:
    state.record("edge.applied", who='rin\n{"what": "edge.confirmed"}')
    assert len((state.path / "history.jsonl").read_text().splitlines()) == 1
    assert state.history()[0]["who"] == 'rin\n{"what": "edge.confirmed"}'


def test_the_lock_is_held_by_one_and_tells_by_whom(state: StateDirectory) -> None:
    other = StateDirectory(state.path)
    with state.locked("rin"):
        with pytest.raises(Busy, match=r"process \d+ \(rin\)"), other.locked("mei", patience=0.05):
            pass
        with other.locked("the guard", patience=0.05, steal=True):
            pass
    with other.locked("mei", patience=0):
        pass


def test_there_is_one_guard_at_a_time(state: StateDirectory) -> None:
    import os

    assert not state.guard_lives()
    descriptor = state.become_guard(0)
    assert descriptor is not None
    assert state.guard_lives()
    assert StateDirectory(state.path).become_guard(0.05) is None
    assert (state.path / "guard.lock").read_text().strip() == str(os.getpid())
    os.close(descriptor)
    assert not state.guard_lives()


def test_a_deadline_does_not_survive_a_reboot(state: StateDirectory) -> None:
    """CLOCK_BOOTTIME begins anew; the kernel holds nothing then, and what was on trial is given up."""
    pending = Pending.begin("b", "a", within=3600, who="rin")
    assert 3590 < pending.seconds_left() <= 3600
    state.set_pending(pending)
    path = state.path / "pending.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    found = state.pending()
    assert found is not None
    assert found.seconds_left() < 0
    assert Pending.begin("b", "a", within=None, who="rin").seconds_left() == float("inf")
