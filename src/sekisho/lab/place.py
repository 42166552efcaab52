"""Where a program of the lab runs and keeps its files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sekisho

from .namespaces import Namespaces
from .processes import Processes, wait_for

START_SECONDS = 30.0
LISTENS = "0A"  # state TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Place:
    """One node of the lab: its namespace, its directory, the register of its programs."""

    node: str
    namespaces: Namespaces
    processes: Processes
    directory: Path

    def start(self, name: str, words: Sequence[str | Path], variables: dict[str, str] | None = None) -> None:
        """Start a program of this node that stays in the foreground."""
        self.processes.start(name, self.namespaces.command(self.node, words), env=environment() | (variables or {}))

    def wait_until_it_listens(self, name: str, *ports: int, table: str = "tcp") -> float:
        """Wait until the namespace of the running program *name* has listeners on all *ports*."""

        def listens() -> bool:
            pid = self.processes.pid(name)
            return pid is not None and set(ports) <= listening(pid, table)

        return wait_for(f"{name} to listen on {', '.join(map(str, ports))}", listens, seconds=START_SECONDS)


def listening(pid: int, table: str) -> set[int]:
    """Return the ports with a listener in the network namespace of process *pid*; *table* is tcp or udp."""
    found = set()
    for file in (f"/proc/{pid}/net/{table}", f"/proc/{pid}/net/{table}6"):
        try:
            lines = Path(file).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if table == "udp" or fields[3] == LISTENS:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def program(*words: str | Path) -> list[str | Path]:
    """Return the command for Sekisho's own program with *words*."""
    return [sys.executable, "-m", "sekisho", *words]


def environment(trusted: Path | None = None) -> dict[str, str]:
    """Return the environment of the lab's programs: ours without settings, and whose certificates clients trust."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
    kept |= {"PYTHONPATH": str(Path(sekisho.__file__).parent.parent), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
    return kept if trusted is None else {**kept, "SSL_CERT_FILE": str(trusted)}
