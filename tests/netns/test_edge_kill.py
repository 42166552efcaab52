"""`kill -9` of whoever applies, at every leg and at any moment: the kernel holds old rules or new, never half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sekisho.edge.nftables import Backend
from sekisho.edge.state import EdgeError

from .namespaces import run
from .rules import candidate

ROOT = Path(__file__).parents[2]
APPLIER = """
import os, signal, sys
from pathlib import Path
from tests.netns.rules import candidate
from sekisho.edge.nftables import Backend

def leg(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

backend = Backend(Path(sys.argv[1]), leg=leg)
print("ready", flush=True)
if sys.argv[4] == "rollback":
    backend.rollback(who="rin")
else:
    within = float(sys.argv[3]) or None
    many = [f"198.51.{n // 128}.{n % 128 * 2}" for n in range(int(sys.argv[5]))]
    backend.apply(candidate("192.0.2.2", *many), who="rin", confirm_within=within)
"""

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    made = Backend(tmp_path / "state")
    made.apply(candidate("192.0.2.1"), who="rin", confirm_within=None)
    return made


def applier(
    backend: Backend, leg: str, *, within: float = 0, verb: str = "apply", many: int = 0
) -> subprocess.Popen[bytes]:
    """Start a process that changes the rules, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", APPLIER, str(backend.state.path), leg, str(within), verb, str(many)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def whole(backend: Backend, *versions: str) -> str:
    """The version that the kernel holds, after a look that it holds all of it and nothing else."""
    held = backend.held()
    assert held in versions
    text = backend.state.text(held)
    assert not backend._differences(text, []), f"the kernel does not hold version {held} as it was generated"
    return held


def end(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    with process.stdout as output:
        output.read()
    return process.wait(20)


LEGS = ["keep the text", "note the change", "commit", "switch", "tidy", "tell the state", "clear"]


@pytest.mark.parametrize("leg", LEGS)
def test_killed_at_a_leg_of_an_unconditional_change(backend: Backend, leg: str) -> None:
    old, new = candidate("192.0.2.1").id, candidate("192.0.2.2").id
    assert end(applier(backend, leg)) == -signal.SIGKILL
    held = whole(backend, old, new)
    assert held == (new if leg in ("tidy", "tell the state", "clear") else old)
    backend.apply(candidate("192.0.2.3"), who="rin", confirm_within=None)
    assert not backend.verify().notes, "what the killed one left is gone"
    assert backend.status().before[0].id == held, "the next change must know what was in force"
    assert backend.rollback(who="rin").id == held


@pytest.mark.parametrize("leg", ["keep the text", "note the change", "commit", "switch", "tidy", "tell the state"])
def test_killed_at_a_leg_of_a_change_on_trial_the_old_rules_come_back(backend: Backend, leg: str) -> None:
    old, new = candidate("192.0.2.1").id, candidate("192.0.2.2").id
    assert end(applier(backend, leg, within=1.0)) == -signal.SIGKILL
    whole(backend, old, new)
    limit = time.monotonic() + 8
    while (backend.held() != old or backend.state.pending() is not None) and time.monotonic() < limit:
        time.sleep(0.1)
    assert whole(backend, old) == old
    assert backend.state.pending() is None
    assert backend.status().current.id == old


@pytest.mark.parametrize("leg", ["go back", "clear"])
def test_killed_while_going_back(backend: Backend, leg: str) -> None:
    old = candidate("192.0.2.1").id
    new = backend.apply(candidate("192.0.2.2"), who="rin", confirm_within=None).id
    assert end(applier(backend, leg, verb="rollback")) == -signal.SIGKILL
    assert whole(backend, old, new) == (old if leg == "clear" else new)
    if leg == "go back":
        assert backend.rollback(who="rin").id == old
    else:
        backend.apply(candidate("192.0.2.3"), who="rin", confirm_within=None)
        assert backend.status().before[0].id == old


def test_killed_at_any_moment(backend: Backend) -> None:
    """Applier and nft are killed together, a little later each time, while 15,000 prefixes are on their way."""
    old = candidate("192.0.2.1").id
    seen = set()
    delays = [0.0, 0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.24, 0.28, 0.32, 0.4, 0.6]
    for delay in delays:
        process = applier(backend, "never", many=15_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        many = [f"198.51.{n // 128}.{n % 128 * 2}" for n in range(15_000)]
        new = candidate("192.0.2.2", *many).id
        held = whole(backend, old, new)
        seen.add(held)
        if held == new:
            assert backend.rollback(who="rin").id == old
        assert whole(backend, old) == old
    assert old in seen


def test_the_guard_needs_neither_the_applier_nor_its_session(backend: Backend) -> None:
    old = candidate("192.0.2.1").id
    process = applier(backend, "never", within=1.5)
    assert end(process) == 0
    with pytest.raises(ProcessLookupError):  # nothing of its session is left
        os.killpg(process.pid, signal.SIGHUP)
    assert backend.held() == candidate("192.0.2.2").id
    limit = time.monotonic() + 8
    while backend.held() != old and time.monotonic() < limit:
        time.sleep(0.1)
    assert whole(backend, old) == old


def test_a_hung_process_with_the_lock_does_not_keep_a_change_alive(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.edge.nftables.LOCK_PATIENCE", 0.5)
    old = candidate("192.0.2.1").id
    backend.apply(candidate("192.0.2.2"), who="rin", confirm_within=1.0)
    os.kill(int((backend.state.path / "guard.lock").read_text()), signal.SIGKILL)
    with backend.state.locked("a process that hangs"):
        limit = time.monotonic() + 8
        while not backend.expire() and time.monotonic() < limit:
            time.sleep(0.1)
        assert whole(backend, old) == old


def test_a_change_that_hung_past_its_deadline_undoes_itself(tmp_path: Path, backend: Backend) -> None:
    old = candidate("192.0.2.1").id

    def leg(name: str) -> None:
        if name == "tell the state":
            backend.state.clear_pending()  # as the guard does when it gives the change up

    slow = Backend(backend.state.path, leg=leg)
    with pytest.raises(EdgeError, match="took longer than its trial"):
        slow.apply(candidate("192.0.2.2"), who="rin", confirm_within=30)
    assert whole(backend, old) == old
    assert "192.0.2.2" not in run("nft", "list", "ruleset")
