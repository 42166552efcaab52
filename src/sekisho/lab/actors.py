"""Sending tasks to the actors in their namespaces, and finding the messages that they sent where these arrive."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import LabFailed
from .lab import Lab
from .place import environment
from .scorecard import Observation

SPARE_SECONDS = 20.0  # for the interpreter's start on a busy machine
ARRIVAL_SECONDS = 15.0
HEADER = 8192


def perform(lab: Lab, actor: str, tasks: Sequence[dict[str, object]]) -> list[Observation]:
    """Let *actor* carry out *tasks* all at once, and return what it saw, in their order."""
    longest = max(float(str(task["seconds"])) for task in tasks)
    words = [sys.executable, "-m", "sekisho.lab.actor"]
    try:
        answer = lab.namespaces.run(
            actor, words, text=json.dumps(tasks), seconds=2 * longest + SPARE_SECONDS, env=environment(lab.trusted)
        )
        rows: list[dict[str, Any]] = json.loads(answer)
    except (LabFailed, ValueError) as error:
        return [Observation("failed", f"the actor failed: {error}".replace("\n", "; "), 0.0)] * len(tasks)
    return [
        Observation(str(row["outcome"]), str(row["evidence"]), float(row["seconds"]), at=float(row["at"]))
        for row in rows
    ]


class Arrivals:
    """Which tokens stand in the subjects of the messages that arrived at the servers."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._seen: dict[Path, str] = {}

    def wait(self, wanted: Sequence[tuple[str, str]]) -> dict[str, float]:
        """Wait for the messages *wanted*, pairs of server and token; return after how many seconds each was there."""
        started = time.monotonic()
        found: dict[str, float] = {}
        while True:
            for server in {server for server, _ in wanted}:
                here = self._tokens(server)
                for where, token in wanted:
                    if where == server and token in here:
                        found.setdefault(token, time.monotonic() - started)
            if len(found) == len(wanted) or time.monotonic() - started > ARRIVAL_SECONDS:
                return found
            time.sleep(0.1)

    def _tokens(self, server: str) -> set[str]:
        directory = self._lab.arrivals(server)
        try:
            paths = list(directory.iterdir())
        except OSError:
            return set()  # nothing arrived there yet
        for path in paths:
            if path not in self._seen:
                with path.open("rb") as file:
                    self._seen[path] = _subject(file.read(HEADER))
        return {self._seen[path] for path in paths}


def _subject(octets: bytes) -> str:
    for line in octets.splitlines():
        if line.startswith(b"Subject: "):
            return line[9:].decode("ascii", "replace")
    return ""
