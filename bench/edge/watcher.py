#!/usr/bin/env python3
"""Measure the watcher: memory with 100,000 active lines, cost of a sighting, how soon infected machines are found.

    bench/edge/watcher.py            the whole (about a minute)
    bench/edge/watcher.py --lines 10000 --seeds 2

Exit status 0 when every target of the gate is met: 200 MB, 60 s, nobody called worm-like who is none.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tests.edge.population import DAY, NETWORK, START, bots, crowd, destination, polled  # noqa: E402

from sekisho.edge.sightings import Sighting  # noqa: E402
from sekisho.edge.watcher import VerdictKind, Watcher, WatcherSettings  # noqa: E402

MOST_MEMORY = 200.0  # MB
MOST_SECONDS = 60.0
KINDS = {"clients": 2, "servers": 12, "worms": 30}  # destinations of a line in each round


def main() -> int:
    """Run everything, print one line for each figure, and return the exit status."""
    arguments = parse()
    if arguments.memory:
        print(memory(arguments.memory, arguments.lines))
        return 0
    well = True
    for kind in (*KINDS, "mixed"):
        command = [sys.executable, __file__, "--memory", kind, "--lines", str(arguments.lines)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        print(line, flush=True)
        well &= float(line.partition(" MB")[0].rpartition(" ")[2]) <= MOST_MEMORY
    for every in (0.0, 10.0):
        for seed in range(arguments.seeds):
            well &= detection(seed, every)
    print("all targets met" if well else "A TARGET WAS MISSED")
    return 0 if well else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--memory", choices=(*KINDS, "mixed"), help=argparse.SUPPRESS)
    return parser.parse_args()


def memory(kind: str, count: int) -> str:
    """Fill a watcher with lines of one kind that stay active for hours, in a process of its own."""
    rng = random.Random(1)
    watcher = Watcher(WatcherSettings(max_lines=count))
    mixture = [2] * 97 + [12] * 2 + [30]
    seen, spent = 0, 0.0
    for step in range(4):
        at = START + step * 3000
        for number in range(count):
            line = f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
            targets = KINDS.get(kind) or mixture[number % 100]
            first = number % 40_000 if targets == 2 else rng.randrange(60_000)
            sightings = [
                Sighting(line, NETWORK, destination(first + n), at + number * 0.0005, packets=6, attempts=2)
                for n in range(targets)
            ]
            begin = time.perf_counter()
            for sighting in sightings:
                watcher.saw(sighting)
            spent += time.perf_counter() - begin
            seen += targets
        watcher.changes(at + count * 0.0005)
    begin = time.perf_counter()
    rows = sum(len(row) + 1 for row in watcher.snapshot())
    snapshot = time.perf_counter() - begin
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    return (
        f"{count} active lines, {kind:<8} {rss:6.1f} MB for the whole process, "
        f"{spent / seen * 1e6:5.1f} us a sighting, snapshot {rows / 1e6:.0f} MB in {snapshot:.1f} s"
    )


def detection(seed: int, every: float) -> bool:
    """Let five infected machines begin among 1,000 quiet hosts, 20 clients and 3 honest servers of three days."""
    days = 3
    began = START + days * DAY - 200
    sightings, _ = crowd(seed, days)
    infected = bots(began, random.Random(seed))
    sightings = sorted([*sightings, *(one for line in infected.values() for one in line)], key=lambda one: one.at)
    watcher = Watcher(WatcherSettings())
    found: dict[str, float] = {}
    asked = 0.0
    for one in polled(sightings, every) if every else sightings:
        if one.at - asked >= 5:
            asked = one.at
            for verdict in watcher.changes(one.at):
                if verdict.kind is VerdictKind.WORM_LIKE:
                    found.setdefault(verdict.line, one.at)
        watcher.saw(one)
    wrong = sorted(set(found) - set(infected))
    late = max((at - began for at in found.values()), default=float("inf"))
    told = f"counters read every {every:.0f} s" if every else "each packet at once"
    print(
        f"seed {seed}, {told}: {len(set(found) & set(infected))} of 5 found, the last after {late:.0f} s, "
        f"{len(wrong)} wrongly called worm-like",
        flush=True,
    )
    return not wrong and set(found) == set(infected) and late <= MOST_SECONDS


if __name__ == "__main__":
    sys.exit(main())
