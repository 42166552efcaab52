"""The backend against the kernel: one transaction, drift, trial, rollback, comparison, rules of others."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sekisho.edge.listing import names
from sekisho.edge.netlink import present
from sekisho.edge.nft import KernelLacks, NftError
from sekisho.edge.nftables import TABLES, Backend, Drifted, NothingToDo, OnTrial
from sekisho.edge.state import Busy, StateDamaged, StateDirectory

from .namespaces import run
from .rules import candidate

pytestmark = pytest.mark.usefixtures("alone")


def has_queue_rules() -> bool:
    """Whether the kernel knows the one statement that small kernels lack."""
    rules = "add table ip sektest\nadd chain ip sektest c\nadd rule ip sektest c queue num 0\n"
    done = subprocess.run(["nft", "-c", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    return "Could not process rule" not in done.stderr


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "state")


def apply(backend: Backend, *exempt: str, within: float | None = None, **more: object) -> str:
    made = candidate(*exempt, **more)  # type: ignore[arg-type]  # the test names what it wants
    return backend.apply(made, who="rin", confirm_within=within).id


def guard_of(backend: Backend) -> int:
    return int((backend.state.path / "guard.lock").read_text())


def ruleset() -> str:
    return run("nft", "-s", "list", "ruleset")


def test_an_apply_puts_the_rules_into_the_kernel_which_says_which_version_it_holds(backend: Backend) -> None:
    made = apply(backend, "192.0.2.1", "198.51.100.0/24")
    assert backend.held() == made
    assert backend.verify(candidate("192.0.2.1", "198.51.100.0/24")).ok
    status = backend.status()
    assert status.current.id == made
    assert status.current.who == "rin"
    assert status.history[0]["what"] == "edge.applied"
    assert not status.changed_since


def test_the_kernel_tells_the_same_names_as_nft(backend: Backend) -> None:
    """Asked by netlink, since nft reads every element for them."""
    assert present(TABLES) == {}
    apply(backend, "192.0.2.1", "198.51.100.0/24")
    run("nft", "add table inet another")
    run("nft", "add set inet another exempt4 { type ipv4_addr; }")
    run("nft", "add table ip sekisho_edge")
    listed = {table: names(run("nft", "-j", "list", "table", *table.split())) for table in TABLES}
    assert listed[TABLES[0]]["chain"]
    assert listed[TABLES[1]]["set"]
    assert present(TABLES) == listed


def test_applying_the_same_policy_again_changes_nothing(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    before = ruleset()
    assert not backend.apply(candidate("192.0.2.1"), who="rin", confirm_within=None).changed
    assert ruleset() == before


def test_tables_of_others_are_left_alone(backend: Backend) -> None:
    run("nft", "add table inet sekisho_other; add table ip filter; add chain ip filter mine")
    apply(backend, "192.0.2.1")
    apply(backend, "192.0.2.2")
    backend.rollback(who="rin")
    backend.rollback(who="rin")
    assert run("nft", "list", "tables").split("\n")[:2] == ["table inet sekisho_other", "table ip filter"]
    assert "chain mine" in ruleset()


def test_a_refused_ruleset_leaves_the_running_rules_untouched(backend: Backend) -> None:
    made = apply(backend, "192.0.2.1")
    before = ruleset()
    with pytest.raises(NftError, match="are as they were"):
        apply(backend, "192.0.2.2", more="\tchain odd {\n\t\ttcp dport 25 jump edge_nowhere\n\t}\n")
    assert ruleset() == before
    assert backend.held() == made
    assert backend.state.pending() is None


@pytest.mark.skipif(has_queue_rules(), reason="this kernel has nft_queue")
def test_a_missing_kernel_module_is_named_with_its_remedy(backend: Backend) -> None:
    made = apply(backend, "192.0.2.1")
    with pytest.raises(KernelLacks, match=r"(?s)queue num 0.*modprobe nft_queue"):
        apply(backend, verdict="queue num 0")
    assert backend.held() == made


def test_rules_and_sets_of_the_earlier_version_do_not_stay_behind(backend: Backend) -> None:
    more = (
        "\tset extra {\n\t\ttype inet_service\n\t\telements = {\n\t\t\t25,\n\t\t}\n\t}\n"
        "\tchain edge_nat {\n\t\ttype filter hook prerouting priority -110; policy accept;\n"
        "\t\ttcp dport @extra counter\n\t}\n"
    )
    apply(backend, more=more)
    assert "edge_nat" in ruleset()
    apply(backend, "192.0.2.1")
    assert "edge_nat" not in ruleset()
    assert "extra" not in ruleset()
    assert backend.verify().ok
    backend.rollback(who="rin")
    assert "edge_nat" in ruleset()


def test_counters_survive_a_change(backend: Backend) -> None:
    apply(backend)
    run("nft", "add element inet sekisho_count seen4 { 192.0.2.1 . 203.0.113.5 }")
    backend.apply(candidate("192.0.2.9"), who="rin", confirm_within=None, force_drift=True)
    assert "192.0.2.1 . 203.0.113.5" in ruleset()
    backend.rollback(who="rin")
    assert "192.0.2.1 . 203.0.113.5" in ruleset()


def test_a_set_that_changes_its_kind_is_made_anew_in_the_same_transaction(backend: Backend) -> None:
    apply(backend)
    changed = candidate()
    other = type(changed)(changed.text.replace("ipv4_addr . ipv4_addr;", "ipv4_addr . inet_service;")
                          .replace("ip saddr . ip daddr", "ip saddr . tcp sport"), "test", 1, "2027-01-01")  # fmt: skip
    backend.apply(other, who="rin", confirm_within=None)
    assert "ip saddr . tcp sport" in ruleset()
    assert backend.verify().ok


def test_rules_changed_by_hand_are_drift_which_apply_refuses_to_overwrite(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    run("nft", "insert rule inet sekisho_edge edge_forward tcp dport 25 accept")
    before = ruleset()
    with pytest.raises(Drifted, match=r"(?s)edge_forward: has 2 rules instead of 1.*--force-drift"):
        apply(backend, "192.0.2.2")
    assert ruleset() == before
    notes = backend.apply(candidate("192.0.2.1"), who="rin", confirm_within=None, force_drift=True).notes
    assert any("overwritten" in note for note in notes)
    assert backend.verify().ok


def test_an_exemption_added_by_hand_is_found_and_named(backend: Backend) -> None:
    apply(backend, "192.0.2.0/25", "198.51.100.7")
    name = f"exempt4_{backend.status().current.id[:8]}a"
    run("nft", f"add element inet sekisho_edge {name} {{ 203.0.113.0/30 }}")
    run("nft", f"delete element inet sekisho_edge {name} {{ 198.51.100.7 }}")
    found = backend.verify()
    assert not found.ok
    assert any("has besides 203.0.113.0-203.0.113.3" in line for line in found.differences)
    assert any("lacks 198.51.100.7" in line for line in found.differences)
    with pytest.raises(Drifted):
        apply(backend, "192.0.2.2")


def test_merged_elements_are_no_difference(backend: Backend) -> None:
    apply(backend, "192.0.2.0/26", "192.0.2.64/26", "192.0.2.128/25", "198.51.100.1", "198.51.100.2")
    assert backend.verify().ok


def test_changes_of_others_elsewhere_are_no_drift(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    run("nft", "add table ip somebody; add chain ip somebody input { type filter hook input priority 0; }")
    assert backend.status().changed_since
    apply(backend, "192.0.2.2")


def test_tables_that_are_gone_are_put_back(backend: Backend) -> None:
    made = apply(backend, "192.0.2.1")
    run("nft", "flush", "ruleset")
    assert not backend.verify().ok
    assert backend.restore(who="boot").id == made
    assert backend.verify().ok
    run("nft", "flush", "ruleset")
    assert backend.apply(candidate("192.0.2.2"), who="rin", confirm_within=None).notes


def test_tables_of_our_name_made_by_somebody_else_are_not_taken_over_unseen(backend: Backend) -> None:
    run("nft", "add table inet sekisho_edge; add chain inet sekisho_edge theirs")
    with pytest.raises(Drifted, match="not made from a version known here"):
        apply(backend, "192.0.2.1")


def test_rollback_walks_back_version_by_version_and_in_the_end_removes_our_tables(backend: Backend) -> None:
    first, second = apply(backend, "192.0.2.1"), apply(backend, "192.0.2.2")
    apply(backend, "192.0.2.3")
    assert backend.rollback(who="rin").id == second
    assert backend.rollback(who="rin").id == first
    assert backend.held() == first
    assert backend.verify(candidate("192.0.2.1")).ok
    assert backend.rollback(who="rin").id == ""
    assert ruleset() == ""
    with pytest.raises(NothingToDo):
        backend.rollback(who="rin")


def test_a_change_on_trial_holds_once_it_is_confirmed(backend: Backend) -> None:
    old = apply(backend, "192.0.2.1")
    new = apply(backend, "192.0.2.2", within=60)
    assert backend.status().guard
    assert backend.status().current.id == old
    with pytest.raises(OnTrial, match="confirm"):
        apply(backend, "192.0.2.3")
    assert backend.confirm(who="rin").id == new
    assert backend.status().current.id == new
    assert wait_until(lambda: not backend.state.guard_lives())
    with pytest.raises(NothingToDo):
        backend.confirm(who="rin")


def test_a_change_on_trial_is_undone_at_its_deadline(backend: Backend) -> None:
    old = apply(backend, "192.0.2.1")
    new = apply(backend, "192.0.2.2", within=1)
    assert backend.held() == new
    assert wait_until(lambda: backend.held() == old)
    assert wait_until(lambda: backend.state.pending() is None)
    assert backend.status().history[0]["what"] == "edge.expired"
    assert backend.verify(candidate("192.0.2.1")).ok
    apply(backend, "192.0.2.3")


def test_a_first_change_that_is_not_confirmed_leaves_no_table(backend: Backend) -> None:
    apply(backend, "192.0.2.1", within=1)
    assert wait_until(lambda: ruleset() == "")


def test_rollback_ends_a_trial_at_once(backend: Backend) -> None:
    old = apply(backend, "192.0.2.1")
    apply(backend, "192.0.2.2", within=60)
    assert backend.rollback(who="rin").id == old
    assert backend.held() == old
    assert backend.state.pending() is None


def test_a_guard_that_was_killed_is_replaced_by_whoever_comes_next(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    apply(backend, "192.0.2.2", within=60)
    os.kill(guard_of(backend), 9)
    assert wait_until(lambda: not backend.state.guard_lives())
    with pytest.raises(OnTrial):
        apply(backend, "192.0.2.3")
    assert backend.state.guard_lives()
    backend.rollback(who="rin")


def test_a_deadline_that_passed_without_a_guard_is_made_up_for(backend: Backend) -> None:
    old = apply(backend, "192.0.2.1")
    apply(backend, "192.0.2.2", within=1.2)
    os.kill(guard_of(backend), 9)
    time.sleep(1.3)
    with pytest.raises(NothingToDo):
        backend.confirm(who="rin")
    assert backend.held() == old


def test_two_changes_at_once_are_made_one_after_the_other_or_refused(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    state = StateDirectory(backend.state.path)
    with state.locked("somebody"), pytest.raises(Busy, match="somebody"), backend.state.locked("rin", patience=0.1):
        pass


def test_a_kept_ruleset_that_was_tampered_with_is_not_put_back(backend: Backend) -> None:
    first = apply(backend, "192.0.2.1")
    second = apply(backend, "192.0.2.2")
    (backend.state.path / "versions" / f"{first}.nft").write_text("flush ruleset\n")
    with pytest.raises(StateDamaged, match="was changed"):
        backend.rollback(who="rin")
    assert backend.held() == second


def test_a_plan_tells_rules_elements_and_drift_and_changes_nothing(backend: Backend) -> None:
    apply(backend, "192.0.2.1", "192.0.2.2")
    before = ruleset()
    plan = backend.plan(candidate("192.0.2.2", "192.0.2.3", verdict="reject with icmpx admin-prohibited"))
    assert plan.changes
    assert plan.sets[0].added == ("192.0.2.3",)
    assert plan.sets[0].removed == ("192.0.2.1",)
    assert "-\t\ttcp dport 25 drop" in plan.rules
    assert not backend.plan(candidate("192.0.2.1", "192.0.2.2")).changes
    assert ruleset() == before


def test_foreign_rules_that_send_port_25_elsewhere_are_reported(backend: Backend) -> None:
    apply(backend, "192.0.2.1")
    subprocess.run(
        ["nft", "-f", "-"],
        input="""
table ip proxy {
    chain pre { type nat hook prerouting priority dstnat; tcp dport { 25, 587 } redirect to :2525; }
    chain web { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; }
}
table inet fw {
    chain f { type filter hook forward priority -200; jump more; ct state established accept; }
    chain more { tcp dport 20-30 accept
        udp dport 25 drop
    }
    chain late { type filter hook forward priority 10; tcp dport 25 accept; }
}
""",
        text=True,
        check=True,
    )
    found = backend.verify()
    assert not found.ok
    assert [(one.bypasses, "proxy" in one.where) for one in found.foreign] == [(False, False), (True, True)]
    assert "chain f (hook forward, priority -200), rule" in found.foreign[0].where


def wait_until(condition: object, seconds: float = 6.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]  # any callable
            return True
        time.sleep(0.05)
    return False
