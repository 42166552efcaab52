"""The lab's programs that stay: started with a file that holds their process id, ended by that file alone.

A process id may be given to somebody else after a crash. So the file also holds the process's start time in clock ticks
since boot, and a process is ours only while both agree (proc(5), field 22 of stat).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import LabFailed

STOP_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Processes:
    """The programs whose files are in *directory*.

    Fields:
        children: those that this very process started, to learn of their end.
    """

    directory: Path
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    def start(self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        """Start *command* in the background; what it prints goes to ``NAME.log``."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=env,
                cwd="/",
            )
        self.children[process.pid] = process
        self.adopt(name, process.pid)

    def adopt(self, name: str, pid: int) -> None:
        """Keep a process that daemonized itself."""
        self.directory.mkdir(parents=True, exist_ok=True)
        started = started_at(pid)
        if started is None:
            raise LabFailed([f"{name} ended at once", *self.last_words(name)])
        (self.directory / f"{name}.pid").write_text(f"{pid} {started}\n")

    def log(self, name: str) -> Path:
        """Return the file with what *name* printed."""
        return self.directory / f"{name}.log"

    def last_words(self, name: str) -> list[str]:
        """Return the end of what *name* printed."""
        log = self.log(name)
        return log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []

    def names(self) -> list[str]:
        """Return the names of all that were started and not ended."""
        return sorted(path.stem for path in self.directory.glob("*.pid"))

    def pid(self, name: str) -> int | None:
        """Return the process id of *name* while it runs and is still the process that we started."""
        try:
            pid, started = (self.directory / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if started_at(int(pid)) == int(started) else None

    def stop(self, *names: str) -> None:
        """End the programs *names* together: SIGTERM, and SIGKILL for those that stay longer than some seconds."""
        running = {name: pid for name in names if (pid := self.pid(name)) is not None}
        for pid in running.values():
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(self.pid(name) is not None for name in running) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        for pid in running.values():
            _signal_group(pid)
            if (child := self.children.pop(pid, None)) is not None:
                child.wait()
        for name in names:
            (self.directory / f"{name}.pid").unlink(missing_ok=True)

    def _reap(self) -> None:
        for child in self.children.values():
            child.poll()


def started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is no more, a zombie included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def wait_for(what: str, look: Callable[[], bool], *, seconds: float) -> float:
    """Wait until *look* says yes, and return how long that took, in seconds.

    Raises:
        LabFailed: it did not within *seconds*.
    """
    started = time.monotonic()
    while not look():
        if time.monotonic() - started > seconds:
            raise LabFailed([f"waited {seconds:g} s for {what}"])
        time.sleep(0.05)
    return time.monotonic() - started


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _signal_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # each leads a session, and so a group, of its own
    except (ProcessLookupError, PermissionError):
        pass
