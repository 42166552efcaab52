"""The supervisor with toy workers: started, replaced, reloaded, drained. Each test runs it in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sekisho.kernel import presence

SCRIPT = """
import os, select, sys, time, types
from pathlib import Path
from sekisho.supervise.channel import Configuration, Drain, Failed, Ready, Reload, Reloaded
from sekisho.supervise.errors import StartError
from sekisho.supervise.parent import PORTAL, Portal, Reporter, Supervisor

OUT = Path(sys.argv[1])
MODE = sys.argv[2]

def note(line):
    with OUT.open("a") as file:
        file.write(line + "\\n")

def worker(seat, configuration, channel):
    note(f"worker {seat.number} {os.getpid()}")
    if MODE == "fails":
        channel.send(Failed("spool 0 is locked"))
        return 1
    channel.send(Ready())
    while True:
        messages = channel.receive() if select.select([channel.socket], [], [], 10)[0] else None
        if messages is None:
            note("orphan ends")
            return 0
        for message in messages:
            if isinstance(message, Drain):
                note(f"drain {message.seconds:g}")
                if MODE == "hangs":
                    time.sleep(60)
                return 0
            if isinstance(message, Reload):
                note(f"reload {message.configuration.path}")
                channel.send(Reloaded(None))

def pages(seat, configuration, channel):
    assert seat.number == PORTAL
    note(f"portal {os.getpid()} {sum(line.startswith('worker ') for line in OUT.read_text().splitlines())}")
    if MODE == "portal-fails":
        channel.send(Failed("the guide lacks a name"))
        return 1
    if MODE == "portal-hangs":
        time.sleep(60)
    return worker(seat, configuration, channel)

settings = types.SimpleNamespace(service=types.SimpleNamespace(drain_timeout=7.0))
first = Configuration(Path("first"), settings, None, None)

def read_again():
    if Path(str(OUT) + ".wrong").exists():
        raise StartError(["line 3: lifetime: not a duration"])
    return Configuration(Path("second"), settings, None, None), ["service.workers"]

supervisor = Supervisor(
    first, [], 2, run_worker=worker, read_configuration=read_again,
    reporter=Reporter(
        lambda line: note("say " + line), lambda event, **fields: note(f"event {event} {fields.get('kernel')}")
    ),
    portal=Portal(pages, []) if MODE.startswith("portal") else None,
)
try:
    sys.exit(supervisor.run())
except StartError as error:
    note("start error " + str(error))
    sys.exit(1)
"""


class Running:
    """A supervisor under test, and what it and its workers wrote."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self.process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), str(path), mode])

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, found: Callable[[list[str]], object], seconds: float = 15.0) -> list[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found(lines := self.lines()):
                return lines
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {self.lines()}")

    def wait_until_ready(self) -> None:
        self.wait_for(lambda lines: any(line.startswith("say listening") for line in lines))

    def workers(self) -> list[int]:
        return [int(line.split()[2]) for line in self.lines() if line.startswith("worker ")]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(mode: str = "works") -> Running:
        started.append(Running(tmp_path / "said", mode))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


def test_sigterm_drains_every_worker_and_ends_well(supervise: Callable[..., Running]) -> None:
    running = supervise()
    running.wait_until_ready()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0
    assert running.lines().count("drain 7") == 2
    assert running.lines().count(f"event service.started {presence()}") == 1


def test_a_worker_that_is_killed_is_replaced(supervise: Callable[..., Running]) -> None:
    running = supervise()
    running.wait_until_ready()
    os.kill(running.workers()[0], signal.SIGKILL)
    lines = running.wait_for(lambda lines: sum(line.startswith("worker ") for line in lines) == 3)
    assert any("was killed by SIGKILL; replaced in 0.1 s" in line for line in lines)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0


def test_a_worker_that_cannot_start_ends_the_service_with_its_reason(supervise: Callable[..., Running]) -> None:
    running = supervise("fails")
    assert running.process.wait(10) == 1
    assert "start error spool 0 is locked" in running.lines()


def test_sighup_hands_the_new_configuration_to_every_worker(supervise: Callable[..., Running]) -> None:
    running = supervise()
    running.wait_until_ready()
    running.process.send_signal(signal.SIGHUP)
    lines = running.wait_for(lambda lines: "say reloaded" in lines)
    assert lines.count("reload second") == 2
    assert "say these take effect with the next restart: service.workers" in lines


def test_a_wrong_configuration_is_told_and_the_old_one_kept(supervise: Callable[..., Running]) -> None:
    running = supervise()
    running.wait_until_ready()
    Path(str(running.path) + ".wrong").touch()
    running.process.send_signal(signal.SIGHUP)
    lines = running.wait_for(lambda lines: any("nothing was reloaded" in line for line in lines))
    assert "say line 3: lifetime: not a duration" in lines
    assert not any(line.startswith("reload ") for line in lines)


def test_workers_end_when_the_supervisor_is_killed(supervise: Callable[..., Running]) -> None:
    running = supervise()
    running.wait_until_ready()
    running.process.kill()
    running.wait_for(lambda lines: lines.count("orphan ends") == 2)


def test_a_second_signal_does_not_wait_for_the_drain(supervise: Callable[..., Running]) -> None:
    running = supervise("hangs")
    running.wait_until_ready()
    running.process.send_signal(signal.SIGTERM)
    running.wait_for(lambda lines: lines.count("drain 7") == 2)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0


def portals(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("portal ")]


def test_the_portal_is_started_once_mail_is_ready_and_drained_with_it(supervise: Callable[..., Running]) -> None:
    running = supervise("portal")
    lines = running.wait_for(portals)
    assert portals(lines)[0].endswith(" 2"), "both mail workers came first"
    running.wait_for(lambda lines: "worker -3" in " ".join(lines))
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0
    assert running.lines().count("drain 7") == 3


def test_a_portal_that_is_killed_is_replaced_and_mail_does_not_notice(supervise: Callable[..., Running]) -> None:
    running = supervise("portal")
    first = portals(running.wait_for(portals))[0]
    os.kill(int(first.split()[1]), signal.SIGKILL)
    lines = running.wait_for(lambda lines: len(portals(lines)) == 2)
    assert any(line.startswith("say the portal (process ") and "replaced in 0.1 s" in line for line in lines)
    assert len({line for line in lines if line.startswith("worker ") and not line.startswith("worker -")}) == 2


def test_a_portal_that_cannot_start_is_tried_again_and_mail_runs(supervise: Callable[..., Running]) -> None:
    running = supervise("portal-fails")
    lines = running.wait_for(lambda lines: len(portals(lines)) >= 3)
    assert "say the portal: the guide lacks a name" in lines
    assert any("ended with status 1; replaced in 0.2 s" in line for line in lines), "ever more slowly"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0


def test_a_portal_that_hangs_holds_up_neither_start_nor_reload(supervise: Callable[..., Running]) -> None:
    running = supervise("portal-hangs")
    running.wait_until_ready()
    running.wait_for(portals)
    running.process.send_signal(signal.SIGHUP)
    lines = running.wait_for(lambda lines: "say reloaded" in lines)
    assert lines.count("reload second") == 2


def test_a_reload_reaches_the_portal_too(supervise: Callable[..., Running]) -> None:
    running = supervise("portal")
    running.wait_for(lambda lines: "worker -3" in " ".join(lines))
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda lines: lines.count("reload second") == 3)
