"""Scenarios beyond S1..S8, for Sekisho alone: what an operator feels and no rate shows.

latency     how long the reply to the final dot takes at half of the highest rate, checkpoints of the queue included
idle10000   10,000 idle TLS sessions
startup     until the service listens, empty and with 100,000 queued messages; until --help has answered
overload    many times the mail that it can take: what is lost, how memory grows, when it is itself again

Each takes a `run_peer.Bench` with its sink running and returns plain figures; suite.py calls them.
"""

import os
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from run_peer import Window

CONTENT = 4096


def latency(bench, seconds=65):
    """End to end, one message per connection: closed loop for the highest rate, then an open loop at half of it."""
    bench.up("relay")
    top = bench.timed(wait="messages", count=10**7, time=8, conc=20)
    rate = round(top["end_to_end_rate"] / 2)
    held = bench.timed(
        wait="messages", count=int(rate * seconds), rate=rate, conc=500, histogram=True, time=seconds + 60
    )
    return {
        "highest_rate": top["end_to_end_rate"],
        "rate": rate,
        "seconds": held["seconds"],
        "content_mib": round(held["ok"] * CONTENT / 2**20),
        **{k: held[k] for k in ("ok", "failed", "conn_errors", "missing", "dot_ms", "due_ms", "longest_silence_ms")},
        **{k: held[k] for k in ("own_worst_lag_ms", "waited", "by_second", "dot_histogram", "due_histogram")},
        "server": held["server"],
    }


def idle10000(bench):
    """10,000 sessions after STARTTLS and AUTH."""
    return bench.S5(conns=(bench.n(10000),))


def startup(bench, queued=100_000):
    """Seconds from the start of the command until every port greets."""
    empty = []
    for first in (True, False, False, False, False, False):
        took = bench.up("relay", wipe=first, warm=False)
        bench.down()
        if not first:  # the first one makes the account and the spool
            empty.append(took)
    out = {"empty_s": round(statistics.median(empty), 3), "help_s": round(help_time(), 3)}
    queued = bench.n(queued)
    bench.sink.ask("mode tempfail")
    try:
        bench.sink.ask("reset")
        bench.up("backlog", warm=False)
        filled = bench.load(count=queued, conc=20, per_conn=50, pipeline=True, time=300)
        bench.all_tried(filled["ok"], time.monotonic() + 200)
        bench.down()
        full = []
        for _ in range(3):
            full.append(bench.up("backlog", wipe=False, warm=False))
            bench.down()
    finally:
        bench.sink.ask("mode ok")
    return {**out, "queued": filled["ok"], "queued_s": round(statistics.median(full), 3)}


def help_time():
    """Seconds of `sekisho --help`, the median of ten."""
    python = os.environ.get("BENCH_PYTHON", "../.venv/bin/python")
    times = []
    for _ in range(10):
        t0 = time.monotonic()
        subprocess.run([python, "-m", "sekisho", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - t0)
    return statistics.median(times)


# ------------------------------------------------------------------ overload


class Probe(threading.Thread):
    """A client of its own address that sends one small message after another; `tries` holds what became of each."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.tries, self.over = port, [], threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            begun = time.monotonic()
            try:
                answer = self.send()
            except OSError as error:
                answer = type(error).__name__
            self.tries.append((begun, time.monotonic() - begun, answer))

    def send(self):
        with socket.create_connection(("127.0.0.1", self.port), 30, source_address=("127.0.0.77", 0)) as s:
            file = s.makefile("rb")
            for command, wanted in (
                (b"", b"220"),
                (b"EHLO probe.invalid\r\n", b"250"),
                (b"MAIL FROM:<probe@sender.invalid>\r\n", b"250"),
                (b"RCPT TO:<probe@bench.invalid>\r\n", b"250"),
                (b"DATA\r\n", b"354"),
                (b"Subject: probe\r\n\r\nprobe\r\n.\r\n", b"250"),
            ):
                s.sendall(command)
                line = file.readline()
                while line[3:4] == b"-":
                    line = file.readline()
                if not line.startswith(wanted):
                    return line.decode("latin-1").strip() or "closed"
            s.sendall(b"QUIT\r\n")
            file.read()
        return "250"

    def stop(self):
        self.over.set()
        self.join()

    def accepted(self, after=0.0, before=float("inf")):
        return [took for begun, took, answer in self.tries if answer == "250" and after <= begun < before]


def overload(bench, seconds=25):
    """Five times the highest rate, with room for 2,000 clients at once, then with room for 500 only."""
    out = {}
    for variant in ("relay", "crowded"):
        out[variant] = overloaded(bench, variant, seconds)
        bench.down()
    return out


def overloaded(bench, variant, seconds):
    bench.up(variant)
    top = bench.timed(wait="messages", count=10**7, time=5, conc=20)
    bench.sink.ask("reset")
    probe = Probe(bench.peer.s.smtp_port)
    probe.start()
    time.sleep(4)
    begun = time.monotonic()
    window = Window(bench.group, memory_every=0.5)
    load = bench.load(count=10**8, rate=round(5 * top["rate"]), conc=2000, time=seconds, histogram=True)
    ended = time.monotonic()
    server = window.stop()
    drained = bench.sink.ask(f"wait {load['ok']} 60")["t_last"]
    time.sleep(8)
    probe.stop()
    normal = statistics.median(probe.accepted(before=begun))
    promised = load["ok"] + len(probe.accepted())
    bench.sink.ask(f"wait {promised} 120")
    time.sleep(2)
    received = bench.sink.ask("stats")["messages"]
    during = probe.accepted(begun, ended)
    refused = sorted({answer for _, _, answer in probe.tries if answer != "250"})
    return {
        "highest_rate": top["rate"],
        "asked_rate": load["asked_rate"],
        "seconds": round(ended - begun, 1),
        "accepted": load["ok"],
        "accepted_rate": load["rate"],
        "refused_connections": load["conn_errors"],
        "refused_messages": load["failed"],
        "answers": load["first_errors"],
        "dot_ms": load["dot_ms"],
        "received": received,
        "missing": max(0, promised - received),
        "more_than_promised": max(0, received - promised),
        "drained_s": round(max(0.0, drained - ended), 2),
        "peak_pss_mib": server["peak_pss_mib"],
        "pss_mib_later": bench.group.memory()[0],
        "probe_normal_ms": round(1000 * normal, 2),
        "probe_during_ms": round(1000 * statistics.median(during), 2) if during else None,
        "probe_refusals": refused[:5],
        "recovered_s": recovery(probe.tries, ended, normal),
        "server": server,
    }


def recovery(tries, ended, normal):
    """Seconds after *ended* until ten messages in a row took at most thrice the time they took before, begun each."""
    run = 0
    for begun, took, answer in tries:
        if begun < ended:
            continue
        run = run + 1 if answer == "250" and took <= max(3 * normal, 0.02) else 0
        if run == 1:
            first = begun
        if run == 10:
            return round(first - ended, 3)
    return None


SCENARIOS = {"latency": latency, "idle10000": idle10000, "startup": startup, "overload": overload}


def commit_name():
    """The commit measured, with a + when the tree differs from it."""
    here = Path(__file__).parent
    name = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=here, capture_output=True, text=True)
    return name.stdout.strip()
