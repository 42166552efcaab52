"""The rehearsed blocking day, with the kernel's own packet filter and real mail programs: the gate as a whole works."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sekisho
from sekisho.lab import LabMissing
from sekisho.lab.lab import Lab, check_requirements
from sekisho.lab.scenario import DAY
from sekisho.lab.topology import NODES

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sekisho.__file__).parent.parent)}
LONGEST = 180.0


@pytest.fixture(scope="module", autouse=True)
def requirements() -> None:
    """A reason to skip on a laptop, an error where everything is supposed to be installed."""
    try:
        check_requirements()
    except LabMissing as error:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def name() -> Iterator[str]:
    """A lab name of this process's own, taken down whatever happens."""
    name = f"t{os.getpid() % 10**8}"
    yield name
    command(name, "down")


def command(name: str, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sekisho", "lab", verb, "--name", name, *words],
        capture_output=True,
        text=True,
        timeout=LONGEST + 60,
        env=ENVIRONMENT,
        check=False,
    )


def rests(name: str) -> list[str]:
    """Return what is left of a lab on this machine: namespaces, files, links, and processes in none of them."""
    lab = Lab.named(name)
    files = [str(path) for path in (lab.directory, *Path("/etc/netns").glob(f"sklab-{name}-*")) if path.exists()]
    return [*lab.namespaces.existing(), *files]


def inhabited() -> set[int]:
    """Return the network namespaces in which some process is."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            found.add(link.stat().st_ino)
    return found


def test_the_blocking_day_passes_in_every_line(name: str) -> None:
    started = time.monotonic()
    done = command(name, "play", "--json")
    assert done.stdout, done.stderr
    scorecard: dict[str, Any] = json.loads(done.stdout)
    failed = [f"{line['words']}: {line['evidence']}" for line in scorecard["lines"] if not line["passed"]]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0
    assert {line["step"] for line in scorecard["lines"]} == {step.name for step in DAY}
    assert time.monotonic() - started < LONGEST
    assert rests(name) == []


def test_a_lab_is_built_looked_at_and_removed(name: str) -> None:
    assert command(name, "status").returncode == 1
    assert command(name, "up").returncode == 0
    status = json.loads(command(name, "status", "--json").stdout)
    assert status["up"] is True
    assert len(status["namespaces"]) == len(NODES)
    again = command(name, "up")
    assert again.returncode == 1
    assert f"sekisho lab down --name {name}" in again.stderr
    assert command(name, "down").returncode == 0
    assert rests(name) == []
    assert command(name, "down").returncode == 0, "down twice does no harm"


def test_down_removes_what_a_killed_builder_left(name: str) -> None:
    builder = subprocess.Popen(
        [sys.executable, "-m", "sekisho", "lab", "up", "--name", name],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    lab = Lab.named(name)
    while builder.poll() is None and not lab.processes.names():
        time.sleep(0.02)
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    running = [pid for each in lab.processes.names() if (pid := lab.processes.pid(each)) is not None]
    assert running, "the builder was killed too early to leave anything"
    assert command(name, "up").returncode == 1, "what is left must not be mistaken for a lab"
    inside = [os.stat(f"/run/netns/{each}").st_ino for each in lab.namespaces.existing()]
    assert command(name, "down").returncode == 0
    assert rests(name) == []
    assert not set(inside) & inhabited(), "a program goes on in a namespace that has no name any more"
