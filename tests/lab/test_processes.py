"""A program is ended by its own file, and only while it is the process that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.lab.errors import LabFailed
from sekisho.lab.processes import Processes, started_at

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_program_is_started_and_ended(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("sleeper", SLEEPER)
    pid = processes.pid("sleeper")
    assert pid is not None
    assert processes.names() == ["sleeper"]
    processes.stop("sleeper")
    assert started_at(pid) is None
    assert processes.names() == []


def test_a_process_that_got_the_number_of_ours_is_left_alone(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    stranger = subprocess.Popen(SLEEPER)
    try:
        (tmp_path / "sleeper.pid").write_text(f"{stranger.pid} 1\n")
        assert processes.pid("sleeper") is None
        processes.stop("sleeper")
        assert stranger.poll() is None
    finally:
        os.kill(stranger.pid, signal.SIGKILL)
        stranger.wait()


def test_a_program_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.lab.processes.STOP_SECONDS", 0.3)
    processes = Processes(tmp_path)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    processes.start("stubborn", [sys.executable, "-c", stubborn])
    while not processes.last_words("stubborn"):
        pass
    pid = processes.pid("stubborn")
    assert pid is not None
    processes.stop("stubborn")
    assert started_at(pid) is None


def test_a_program_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LabFailed):
        Processes(tmp_path).adopt("nothing", 2**22 + 1)
