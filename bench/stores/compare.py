#!/usr/bin/env python3
"""Compare the queue on SQLite with the queue on a log, inside the real server.

    (cd .. && make)
    python3 compare.py --pairs 5 --scale 0.5        # BENCH_PYTHON as for ../start

Runs alternate (SQLite, log, log, SQLite, ...), so that other work on the machine
meets both alike.  Besides the scenarios S1 to S4 of ../run_peer.py: S1/1 and
S2/1 with one client, where no message has company in its group, and S2/long, whose
logs grow beyond several checkpoints and a segment.  Prints a table, writes JSON.

Python 3.11 standard library only.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent
sys.path.insert(0, str(BENCH))

import run_peer  # noqa: E402

STORES = {"sqlite": "-m sekisho", "log": "stores/serve_log.py"}


def measure(bench, scenario):
    match scenario:
        case "S1/1":
            bench.up("hold")
            return bench.timed(count=bench.n(5000), conc=1)
        case "S2/1":
            bench.up("relay")
            return bench.timed(wait="messages", count=bench.n(5000), conc=1)
        case "S2/long":
            bench.up("relay")
            return bench.timed(wait="messages", count=bench.n(60000), conc=20)
        case _:
            return getattr(bench, scenario)()


def row(scenario, runs):
    def cpu(store):
        return [r["cpu_ms_per_msg"] for r in runs[store]]

    def rate(store):
        return statistics.median(r.get("end_to_end_rate", r["rate"]) for r in runs[store])

    def spread(values):
        return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"

    ratios = [a / b for a, b in zip(cpu("sqlite"), cpu("log"), strict=True)]
    cells = (
        scenario,
        spread(cpu("sqlite")),
        spread(cpu("log")),
        f"{statistics.median(cpu('sqlite')) / statistics.median(cpu('log')):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        f"{rate('sqlite'):.0f}",
        f"{rate('log'):.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--scenarios", default="S1,S2,S3,S4,S1/1,S2/1,S2/long")
    ap.add_argument("--pairs", type=int, default=5)
    ap.add_argument("--scale", type=float, default=0.5)
    ap.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "bench-stores"))
    ap.add_argument("--base-port", type=int, default=22000)
    ap.add_argument("--out", help="JSON file; runs in it are kept and added to (default: in the work directory)")
    args = ap.parse_args()
    args.peer, args.toml = "sekisho", str(BENCH / "sekisho.toml")
    bench = run_peer.Bench(args)
    out = Path(args.out or bench.work / "stores.json")
    report = json.loads(out.read_text()) if out.exists() else {}
    bench.sink = run_peer.Sink(bench.sink_port, bench.sink_control)
    names = [s for s in args.scenarios.split(",") if s]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for scenario in names:
            runs = report.setdefault(scenario, {store: [] for store in STORES})
            for pair in range(args.pairs):
                for store in list(STORES)[:: -1 if pair % 2 else 1]:
                    os.environ["BENCH_SERVE"] = STORES[store]
                    try:
                        result = measure(bench, scenario)
                    finally:
                        bench.down()
                    if result["failed"] or result["conn_errors"] or result.get("missing"):
                        sys.exit(f"{scenario} {store}: {run_peer.brief(result)}")
                    runs[store].append(result)
                    run_peer.log(store, scenario, run_peer.brief(result))
                out.write_text(json.dumps(report, indent=1))
    finally:
        bench.down()
        bench.sink.close()
    print("| scenario | SQLite, CPU ms per message | log | ratio (of pairs) | SQLite, messages/s | log |")
    print("|---|---|---|---|---|---|")
    for scenario in names:
        print(row(scenario, report[scenario]))


if __name__ == "__main__":
    main()
