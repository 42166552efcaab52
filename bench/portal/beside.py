"""What pages cost the mail: messages accepted with the portal under load, and without, in turns on one machine.

    python3 bench/portal/beside.py [--pairs 6] [--messages 10000] [--rate 200] [--output bench/results/beside.json]

One `sekisho serve` with portal (S1 of the bench: one message per connection, 20 clients). In every other turn a reader
asks for guide pages at a fixed rate. What the reader itself costs the machine is measured apart, as it is a part of the
slow-down that readers elsewhere would not cause; the figure for the portal is what remains. Root, as for the bench.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BENCH), str(BENCH / "portal"), str(BENCH.parent / "src")]

import load  # noqa: E402
import run_peer  # noqa: E402
from run_peer import Bench  # noqa: E402

PORT = 20080  # as variant hold-portal of sekisho.toml has it
PAGE = load.PAGES["guide page"]
TARGET = 0.05


def read_pages(rate: float, stopped: Event, told: Connection) -> None:
    """Ask for pages until told to stop; tell the p95 of the answers and the reader's own share of the machine."""
    begun, cpu = time.monotonic(), time.process_time()
    answers = []
    while not stopped.is_set():
        answers.append(asyncio.run(load.load(PORT, PAGE or "/", rate, 1.0)))
    share = (time.process_time() - cpu) / (time.monotonic() - begun) / (os.cpu_count() or 1)
    told.send(([each["p95_ms"] for each in answers], [each["wrong"] for each in answers], share))


def turn(bench: Bench, messages: int, rate: float) -> dict[str, Any]:
    """Accept *messages*, with pages read at *rate* meanwhile (0: none)."""
    reader, found = None, dict[str, Any]()
    if rate:
        stopped = multiprocessing.Event()
        ours, theirs = multiprocessing.Pipe()
        reader = multiprocessing.Process(target=read_pages, args=(rate, stopped, theirs))
        reader.start()
        time.sleep(1)
    result = bench.timed(count=messages, conc=20)
    if reader is not None:
        stopped.set()
        p95, wrong, share = ours.recv()
        reader.join(10)
        found = {"p95_ms": statistics.median(p95), "wrong": [each for each in wrong if each]}
        found["reader_share"] = round(share, 4)
    return {"rate": result["rate"], "failed": result["failed"], **found}


def summary(alone: list[dict[str, Any]], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the slow-down in the median pair, and what of it is the reader's own share of the machine."""
    pairs = zip(alone, beside, strict=True)
    slower = statistics.median(1 - with_pages["rate"] / without["rate"] for without, with_pages in pairs)
    reader = statistics.median(each["reader_share"] for each in beside)
    return {
        "messages_per_second_alone": statistics.median(each["rate"] for each in alone),
        "messages_per_second_beside": statistics.median(each["rate"] for each in beside),
        "slower_with_reader": round(slower, 4),
        "share_of_reader": reader,
        "slower": round(slower - reader, 4),
        "target": TARGET,
        "page_p95_ms": statistics.median(each["p95_ms"] for each in beside),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--messages", type=int, default=10000, help="in each turn")
    parser.add_argument("--rate", type=float, default=200, help="pages per second")
    parser.add_argument("--work", default="/var/tmp/sekisho-beside")
    parser.add_argument("--output", type=Path, help="where to keep the result as JSON")
    arguments = parser.parse_args()
    os.chdir(BENCH)
    settings = argparse.Namespace(
        peer="sekisho", toml="sekisho.toml", work=arguments.work, base_port=20000, scale=1.0, runs=1, out=None
    )
    bench = Bench(settings)
    bench.sink = run_peer.Sink(bench.sink_port, bench.sink_control)
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    try:
        bench.up("hold-portal")
        for number in range(arguments.pairs):
            for rate in (0.0, arguments.rate) if number % 2 == 0 else (arguments.rate, 0.0):
                found = turn(bench, arguments.messages, rate)
                (beside if rate else alone).append(found)
                print(f"pages {rate:.0f}/s: {found}", flush=True)
    finally:
        bench.down()
        bench.sink.close()
    print(json.dumps(result := summary(alone, beside), indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps({**result, "alone": alone, "beside": beside}, indent=1) + "\n")


if __name__ == "__main__":
    main()
