#!/usr/bin/env python3
"""The project's own measurement: Postfix and Sekisho in turns, scenario by scenario, then ours alone.

    python3 suite.py                               # everything, about 40 minutes
    python3 suite.py --scenarios S1,S4 --runs 1
    python3 suite.py --scenarios latency --keep    # also make it the run that later ones are compared with

Turns (postfix, sekisho, sekisho, postfix, ...) let both meet the same machine. Writes results/runs/suite.json (all
runs) and, with --keep, results/latest.json (the figures), results/ratios.svg and results/latency.svg; prints the table.
Root, Python 3.11; see README.md.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ours
import plots
import report
import run_peer
import targets

RESULTS = Path(__file__).resolve().parent / "results"
BOTH = ("S1", "S2", "S3", "S3strong", "S3repeated", "S4", "S5", "S6", "S7", "S8")


def bench_of(args, peer):
    settings = argparse.Namespace(
        peer=peer,
        toml="sekisho.toml" if peer == "sekisho" else None,
        work=args.work,
        base_port=args.base_port,
        scale=args.scale,
        runs=1,
        out=None,
    )
    return run_peer.Bench(settings)


def one(bench, name):
    try:
        call = getattr(bench, name) if name in BOTH else lambda: ours.SCENARIOS[name](bench)
        result = call()
    except Exception as error:
        run_peer.log(bench.args.peer, name, "FAILED:", repr(error))
        return None
    finally:
        bench.down()
    run_peer.log(bench.args.peer, name, run_peer.brief(result))
    return result


def measure(args, benches, names, save):
    runs = {peer: {} for peer in benches}
    for name in names:
        turns = 1 if name in run_peer.ONCE or name not in BOTH else args.runs
        for turn in range(turns):
            peers = list(benches) if turn % 2 == 0 else list(reversed(benches))
            for peer in peers:
                if peer != "sekisho" and name not in BOTH:
                    continue
                if (result := one(benches[peer], name)) is not None:
                    runs[peer].setdefault(name, []).append(result)
        if name == "S6":
            of_empty(runs)
        save(runs)
    return runs


def of_empty(runs):
    """S6 asks for the accept rate with a backlog as a part of the rate without, which is S1's."""
    for scenarios in runs.values():
        empty = [run["rate"] for run in scenarios.get("S1", ())]
        for run in scenarios.get("S6", ()) if empty else ():
            run["accept_of_empty"] = run["accept"]["rate"] / statistics.median(empty)


def machine():
    model = [row.split(":", 1)[1].strip() for row in open("/proc/cpuinfo") if row.startswith("model name")]
    memory = int(open("/proc/meminfo").readline().split()[1]) / 2**20
    python = os.environ.get("BENCH_PYTHON", "../.venv/bin/python")
    import subprocess

    words = subprocess.run(
        [
            python,
            "-c",
            "import platform, ssl, uvloop; print(platform.python_version(), ssl.OPENSSL_VERSION, uvloop.__version__)",
        ],
        capture_output=True,
        text=True,
    ).stdout.split()
    version = f"Python {words[0]}, OpenSSL {words[2]}, uvloop {words[-1]}" if words else ""
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "python": version,
    }


def others(runs):
    """Percent of the machine that other work took, over all timed loads."""
    spent = passed = 0.0
    for scenarios in runs.values():
        for one_scenario in scenarios.values():
            for run in one_scenario:
                server = run.get("server", {}) if isinstance(run, dict) else {}
                if "others_cpu_s" in server:
                    spent += server["others_cpu_s"]
                    passed += server["window_s"] * os.cpu_count()
    return 100 * spent / passed if passed else 0.0


def result_of(args, runs, benches):
    rows = targets.figures(runs)
    for row in rows:  # kept rows come from several runs of the suite: each says how it was taken
        taken = {peer: {row["scenario"]: of.get(row["scenario"], [])} for peer, of in runs.items()}
        row.update(date=time.strftime("%Y-%m-%d"), commit=ours.commit_name(), others_cpu_pct=round(others(taken), 1))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": ours.commit_name(),
        "machine": machine(),
        "versions": {peer: bench.peer.version() for peer, bench in benches.items() if peer != "sekisho"},
        "runs_of_each": args.runs,
        "scale": args.scale,
        "others_cpu_pct": round(others(runs), 1),
        "figures": rows,
    }


def keep(result, runs):
    """Make *result* the run that others are compared with; what was not measured this time stays."""
    latest = RESULTS / "latest.json"
    if latest.exists():
        measured = {(row["scenario"], row["what"]) for row in result["figures"]}
        before = json.loads(latest.read_text())["figures"]
        stale = [row for row in before if (row["scenario"], row["what"]) not in measured]
        order = {(f.scenario, f.what): at for at, f in enumerate(targets.FIGURES)}
        merged = [row for row in result["figures"] + stale if (row["scenario"], row["what"]) in order]
        result["figures"] = sorted(merged, key=lambda row: order[row["scenario"], row["what"]])
    latest.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / "ratios.svg").write_text(plots.ratios(result["figures"]))
    if latency := runs["sekisho"].get("latency"):
        (RESULTS / "latency.svg").write_text(plots.histogram(latency[0]))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--scenarios", default=",".join([*BOTH, *ours.SCENARIOS]))
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--scale", type=float, default=1.0, help="multiplies the message counts")
    ap.add_argument("--only", help="measure this peer alone: sekisho or postfix")
    ap.add_argument("--keep", action="store_true", help="make this the run that later ones are compared with")
    ap.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "bench"))
    ap.add_argument("--base-port", type=int, default=20000)
    args = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    (RESULTS / "runs").mkdir(parents=True, exist_ok=True)
    benches = {peer: bench_of(args, peer) for peer in ([args.only] if args.only else ["postfix", "sekisho"])}
    any_bench = next(iter(benches.values()))
    sink = run_peer.Sink(any_bench.sink_port, any_bench.sink_control)
    for bench in benches.values():
        bench.sink = sink
    out = RESULTS / "runs" / "suite.json"
    result = {}

    def save(runs):
        nonlocal result
        result = result_of(args, {"sekisho": {}, **runs}, benches)
        out.write_text(json.dumps({**result, "runs": runs}, indent=1, ensure_ascii=False))

    try:
        runs = {"sekisho": {}, **measure(args, benches, args.scenarios.split(","), save)}
    finally:
        for bench in benches.values():
            bench.down()
        sink.close()
    latest = RESULTS / "latest.json"
    earlier = json.loads(latest.read_text()) if latest.exists() else None
    print(report.heading(result), "\n\n", report.table(result, earlier), sep="")
    if args.keep:
        keep(result, runs)


if __name__ == "__main__":
    main()
