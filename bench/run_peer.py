#!/usr/bin/env python3
"""Start one mail server privately on loopback, drive it through the scenarios
S1..S8 with ./loadgen and ./sink, write the figures as JSON.

    make
    python3 run_peer.py postfix --scenarios S1,S2 --runs 3 --out postfix.json
    python3 run_peer.py sekisho --toml sekisho.toml

Python 3.11 standard library only.  Needs root (the peers drop privileges
themselves) and uses the ports 20000..20999 on 127.0.0.1 only.

CPU seconds are those of the whole server (its cgroup where a writable cpuacct
or v2 cgroup is found, else its process tree), the load generator and the sink
not included.  Memory is the sum of Pss over the server's processes.
"""

import argparse
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import peers

HERE = Path(__file__).resolve().parent
ONCE = ("S3strong", "S3repeated", "S5", "S6")  # long, or steady
LOADGEN = HERE / "loadgen"
SINK = HERE / "sink"


def log(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the sink


class Sink:
    def __init__(self, port, control, *extra):
        self.proc = subprocess.Popen([SINK, "--port", str(port), "--control", str(control), *extra])
        deadline = time.monotonic() + 5
        while True:
            try:
                self.sock = socket.create_connection(("127.0.0.1", control))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.file = self.sock.makefile("r")

    def ask(self, line):
        self.sock.sendall(line.encode() + b"\n")
        return json.loads(self.file.readline())

    def close(self):
        self.sock.sendall(b"quit\n")
        self.sock.close()
        self.proc.wait()


# ------------------------------------------------------- accounting: cgroup


class Group:
    """CPU and process list of everything the server starts."""

    def __init__(self, name):
        self.dir = None
        self.roots = []
        for base, usage in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat")):
            path = Path(base, f"bench-{name}-{os.getpid()}")
            try:
                path.mkdir()
            except OSError:
                continue
            if (path / usage).exists():
                self.dir, self.usage = path, path / usage
                break
            path.rmdir()

    def enter(self):
        """To be called in the child before exec."""
        if self.dir:
            (self.dir / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self):
        if self.dir:
            return [int(p) for p in (self.dir / "cgroup.procs").read_text().split()]
        children = {}
        for p in Path("/proc").iterdir():
            if p.name.isdigit():
                try:
                    ppid = int((p / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                children.setdefault(ppid, []).append(int(p.name))
        todo, out = list(self.roots), []
        while todo:
            pid = todo.pop()
            out.append(pid)
            todo += children.get(pid, [])
        return [p for p in out if os.path.exists(f"/proc/{p}")]

    def cpu(self):
        if self.dir:
            text = self.usage.read_text()
            if self.usage.name == "cpu.stat":
                return int(text.split()[1]) / 1e6
            return int(text) / 1e9
        return sum(v for _, v in self.by_pid().values())

    def by_pid(self):
        tick = os.sysconf("SC_CLK_TCK")
        out = {}
        for pid in self.pids():
            try:
                head, tail = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)
            except OSError:
                continue
            f = tail.split()
            # utime + stime, and those of waited-for children without a cgroup
            spent = int(f[11]) + int(f[12])
            if not self.dir:
                spent += int(f[13]) + int(f[14])
            try:
                cmd = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                name = os.path.basename(cmd[0].decode(errors="replace")) or head.split("(", 1)[1]
            except OSError:
                name = head.split("(", 1)[1]
            out[pid] = (name.split()[0][:24] if name.split() else "?", spent / tick)
        return out

    def memory(self):
        """(sum of Pss, sum of Rss, processes), MiB."""
        pss = rss = n = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        pss += int(line.split()[1])
                    elif line.startswith("Rss:"):
                        rss += int(line.split()[1])
                n += 1
            except OSError:
                continue
        return round(pss / 1024, 1), round(rss / 1024, 1), n

    def close(self):
        if self.dir:
            for _ in range(50):
                try:
                    self.dir.rmdir()
                    return
                except OSError:
                    time.sleep(0.1)


def machine_cpu():
    f = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return {"idle": f[3], "iowait": f[4], "steal": f[7], "all": sum(f[:8])}


class Window:
    """CPU of the server between start and stop, split by program."""

    def __init__(self, group, memory_every=0):
        self.group, self.memory_every = group, memory_every
        self.last, self.peak = {}, (0, 0, 0)
        self.first = group.by_pid()
        self.cpu0, self.machine0, self.t0 = group.cpu(), machine_cpu(), time.monotonic()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.done.wait(self.memory_every or 1.0):
            self.last.update(self.group.by_pid())
            if self.memory_every:
                self.peak = max(self.peak, self.group.memory())

    def stop(self):
        t1, cpu1, machine1 = time.monotonic(), self.group.cpu(), machine_cpu()
        self.done.set()
        self.thread.join()
        self.last.update(self.group.by_pid())
        by = {}
        for pid, (name, spent) in self.last.items():
            spent -= self.first.get(pid, ("", 0))[1]
            if spent > 0:
                by[name] = by.get(name, 0) + spent
        total = machine1["all"] - self.machine0["all"] or 1
        out = {
            "window_s": round(t1 - self.t0, 3),
            "server_cpu_s": round(cpu1 - self.cpu0, 3),
            "by_program": {k: round(v, 2) for k, v in sorted(by.items(), key=lambda kv: -kv[1])[:6]},
            "machine_idle_pct": round(100 * (machine1["idle"] - self.machine0["idle"]) / total, 1),
            "machine_iowait_pct": round(100 * (machine1["iowait"] - self.machine0["iowait"]) / total, 1),
            "machine_steal_pct": round(100 * (machine1["steal"] - self.machine0["steal"]) / total, 1),
            # user and system time of everybody on this machine, cores x seconds
            "machine_busy_s": round(
                (total - sum(machine1[k] - self.machine0[k] for k in ("idle", "iowait", "steal")))
                / os.sysconf("SC_CLK_TCK"),
                2,
            ),
        }
        if self.memory_every:
            self.peak = max(self.peak, self.group.memory())
            out["peak_pss_mib"], out["peak_rss_mib"], out["peak_procs"] = self.peak
        return out


# ----------------------------------------------------------------- driving


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = Path(args.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        os.chmod(self.work, 0o755)
        base = args.base_port
        self.sink_port, self.sink_control = base + 1, base + 2
        self.certs()
        self.peer = peers.make(
            args.peer,
            peers.Settings(
                work=self.work / args.peer,
                sink_port=self.sink_port,
                smtp_port=base + 25,
                submission_port=base + 587,
                smtps_port=base + 465,
                cert=self.work / "tls" / "ec.crt",
                key=self.work / "tls" / "ec.key",
                user="load@sender.invalid",
                password="correct-horse",
                toml=args.toml,
            ),
        )
        self.group = None
        self.sink = None

    def certs(self):
        d = self.work / "tls"
        d.mkdir(exist_ok=True)
        if not (d / "ec.crt").exists():
            subprocess.run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-keyout",
                    d / "ec.key",
                    "-out",
                    d / "ec.crt",
                    "-subj",
                    "/CN=localhost",
                    "-days",
                    "30",
                ],
                check=True,
                capture_output=True,
            )
        os.chmod(d / "ec.key", 0o600)

    # -- the server

    def up(self, variant="relay", wipe=True, warm=True, **options):
        """Start the server; returns seconds until every port greets."""
        self.group = Group(self.args.peer)
        if wipe:
            self.peer.wipe()
        self.peer.configure(variant, **options)
        t0 = time.monotonic()
        self.peer.start(self.group)
        for port in self.peer.ports():
            self.wait_port(port)
        took = time.monotonic() - t0
        if warm:
            before = self.sink.ask("stats")["messages"]
            got = self.load(count=200, conc=20)
            if variant == "relay" and self.peer.delivers:
                self.sink.ask(f"wait {before + got['ok']} 60")
            time.sleep(0.5)
        return took

    def wait_port(self, port):
        deadline = time.monotonic() + 120
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as s:
                    if port == self.peer.s.smtps_port:
                        ctx = ssl._create_unverified_context()
                        s = ctx.wrap_socket(s)
                    s.settimeout(30)
                    if s.recv(100).startswith(b"220"):
                        s.sendall(b"QUIT\r\n")
                        s.recv(100)
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing greets on port {port}")
            time.sleep(0.01)

    def down(self):
        if not self.group:
            return
        self.peer.stop(self.group)
        for pid in self.group.pids():
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                pass
        deadline = time.monotonic() + 10
        while self.group.pids() and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in self.group.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.group.close()
        self.group = None

    # -- the load

    def command(self, port=None, **kw):
        cmd = [LOADGEN, "--port", str(port or self.peer.s.smtp_port)]
        if port == self.peer.s.submission_port:
            cmd += ["--security", "starttls"]
        elif port == self.peer.s.smtps_port:
            cmd += ["--security", "tls"]
        if port:
            cmd += ["--auth", f"{self.peer.s.user}:{self.peer.s.password}"]
        for k, v in kw.items():
            cmd.append("--" + k.replace("_", "-"))
            if v is not True:
                cmd.append(str(v))
        return [str(c) for c in cmd + self.peer.load_options]

    def load(self, port=None, **kw):
        kw.setdefault("time", 300)
        out = subprocess.run(self.command(port, **kw), stdout=subprocess.PIPE, check=True)
        return json.loads(out.stdout)

    def timed(self, wait=None, memory_every=0, **kw):
        """One measured load.  wait: None, "messages" or "recipients": also wait
        until the sink has all that was accepted."""
        self.sink.ask("reset")
        sink_cpu0 = self.sink.ask("stats")["own_cpu"]
        window = Window(self.group, memory_every)
        result = self.load(**kw)
        if wait:
            n = result["ok"] * (kw.get("rcpts", 1) if wait == "recipients" else 1)
            word = "waitrcpt" if wait == "recipients" else "wait"
            stats = self.sink.ask(f"{word} {n} {kw.get('time', 300)}")
            result["sink"] = stats
            secs = stats["t_last"] - result["t_begin"]
            result["end_to_end_s"] = round(secs, 4)
            result["end_to_end_rate"] = round(stats["messages"] / secs, 2) if secs > 0 else 0
            result["missing"] = n - stats["messages" if wait == "messages" else "recipients"]
            time.sleep(0.3)  # the server's own clearing up
        sink_cpu = self.sink.ask("stats")["own_cpu"] - sink_cpu0
        server = result["server"] = window.stop()
        # what other work on this shared machine took meanwhile
        server["others_cpu_s"] = round(
            server["machine_busy_s"] - server["server_cpu_s"] - result["own_cpu"] - sink_cpu, 2
        )
        server["sink_cpu_s"] = round(sink_cpu, 2)
        n = result["ok"] or 1
        result["cpu_ms_per_msg"] = round(1000 * result["server"]["server_cpu_s"] / n, 4)
        return result

    # -- the scenarios; each returns one run's figures

    def n(self, count):
        return max(20, int(count * self.args.scale))

    def S1(self):
        self.up("hold")
        return self.timed(count=self.n(5000), conc=20)

    def S2(self):
        self.up("relay")
        return self.timed(wait="messages", count=self.n(5000), conc=20)

    def S3(self, **options):
        self.up("relay", **options)
        return self.timed(port=self.peer.s.submission_port, wait="messages", count=self.n(3000), conc=20)

    def S3strong(self):
        return self.strong(True, 100)

    def S3repeated(self):
        return self.strong("repeated", 3000 if self.peer.s.toml else 100)

    def strong(self, strong, count):
        if not self.peer.strong_auth:
            raise peers.Unsupported("no strong password scheme configured")
        self.up("relay", strong=strong)
        if strong == "repeated":
            self.load(port=self.peer.s.submission_port, count=1, conc=1)
        return self.timed(port=self.peer.s.submission_port, wait="messages", count=self.n(count), conc=20)

    def S4(self):
        self.up("hold")
        return self.timed(port=self.peer.s.smtps_port, count=self.n(20000), conc=20, per_conn=100, pipeline=True)

    def S5(self, conns=(1000, 5000)):
        out = {}
        for c in conns:
            if c > self.peer.max_idle:
                out[str(c)] = "skipped: " + self.peer.max_idle_why
                continue
            self.up("hold", idle=c)
            base = self.group.memory()
            proc = subprocess.Popen(
                self.command(self.peer.s.submission_port, idle=True, conc=c, ramp=50, time=300),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            ready = json.loads(proc.stdout.readline())
            time.sleep(2)
            held = self.group.memory()
            window = Window(self.group)
            time.sleep(3)
            idle_cpu = window.stop()["server_cpu_s"] / 3
            proc.stdin.close()
            last = json.loads(proc.stdout.readline() or "{}")
            proc.wait()
            out[str(c)] = {
                "ready": ready,
                "pss_mib_empty": base[0],
                "pss_mib": held[0],
                "rss_mib": held[1],
                "procs": held[2],
                "kib_per_conn": round((held[0] - base[0]) * 1024 / c, 1),
                "idle_cpu_cores": round(idle_cpu, 3),
                "errors": last.get("first_errors"),
                "still_open": last.get("idle_ready"),
            }
            self.down()
        return out

    def S6(self):
        """Backlog of deferred messages: restart time, accept rate, memory."""
        n = self.n(50000)
        self.sink.ask("mode tempfail")
        try:
            self.up("backlog", warm=False)
            t0 = time.monotonic()
            window = Window(self.group)
            filled = self.load(port=None, count=n, conc=20, per_conn=50, pipeline=True, time=420, size=4096)
            t_fill = time.monotonic() - t0
            self.all_tried(filled["ok"], t0 + 500)
            t_defer = time.monotonic() - t0
            fill = window.stop()
            tried = self.sink.ask("stats")["tempfailed"]
            before = self.group.memory()
            t0 = time.monotonic()
            self.down()
            t_stop = time.monotonic() - t0
            took = self.up("backlog-hold", wipe=False, warm=False)
            first = self.load(count=1, conc=1)
            restarted = self.group.memory()
            time.sleep(5)
            idle = Window(self.group)
            time.sleep(3)
            idle = idle.stop()
            accepts = [self.timed(count=self.n(5000), conc=20) for _ in range(3)]
            result = sorted(accepts, key=lambda one: one["rate"])[1]
            return {
                "backlog": filled["ok"],
                "sink_saw": tried,
                "fill_s": round(t_fill, 1),
                "fill_and_defer_s": round(t_defer, 1),
                "fill": fill,
                "stop_s": round(t_stop, 2),
                "restart_to_greeting_s": round(took, 3),
                "first_accept_ms": first["dot_ms"]["max"],
                "pss_mib_before": before[0],
                "pss_mib_after_restart": restarted[0],
                "pss_mib_later": self.group.memory()[0],
                "idle_cpu_cores": round(idle["server_cpu_s"] / idle["window_s"], 3),
                "accept": result,
            }
        finally:
            self.sink.ask("mode ok")

    def all_tried(self, messages, deadline):
        """Wait until each message had its first attempt, or nothing more happens."""
        tried, since = 0, time.monotonic()
        while time.monotonic() < deadline:
            now_tried = self.sink.ask("stats")["tempfailed"]
            if now_tried > tried:
                tried, since = now_tried, time.monotonic()
            if tried >= messages and not self.peer.pending():
                return
            if time.monotonic() - since > 10:
                return
            time.sleep(0.5)

    def S7(self):
        self.up("relay")
        return self.timed(wait="recipients", count=1, conc=1, rcpts=1000, pipeline=True, unique_rcpt=True)

    def S8(self):
        self.up("relay")
        result = self.timed(
            wait="messages", memory_every=0.5, count=self.n(40) if self.args.scale < 1 else 40, conc=4, size=25 << 20
        )
        result["end_to_end_mb_per_s"] = round(result["ok"] * result["body_bytes"] / 1e6 / result["end_to_end_s"], 1)
        return result

    # -- all together

    def run(self, names):
        report = {"peer": self.args.peer, "version": self.peer.version(), "date": time.strftime("%Y-%m-%d"), "runs": {}}
        out = Path(self.args.out or self.work / f"{self.args.peer}.json")
        if out.exists():
            report["runs"] = json.loads(out.read_text())["runs"]
        self.sink = Sink(self.sink_port, self.sink_control)
        try:
            for name in names:
                runs = []
                once = name in ONCE
                for i in range(1 if once else self.args.runs):
                    if not self.peer.delivers and name in ("S2", "S3", "S3strong", "S3repeated", "S6", "S7", "S8"):
                        runs.append({"skipped": "this peer has no queue"})
                        break
                    if not self.peer.tls and name in ("S3", "S3strong", "S3repeated", "S4", "S5"):
                        runs.append({"skipped": "TLS does not work here"})
                        break
                    try:
                        result = getattr(self, name)()
                    except peers.Unsupported as e:
                        runs.append({"skipped": str(e)})
                        break
                    except Exception as e:
                        log(name, "run", i + 1, "FAILED:", repr(e))
                        result = {"failed": repr(e)}
                    finally:
                        self.down()
                    runs.append(result)
                    log(self.args.peer, name, "run", i + 1, brief(result))
                report["runs"][name] = runs
                out.write_text(json.dumps(report, indent=1))
        finally:
            self.sink.close()
        for name in names:
            print(name, json.dumps(summary(report["runs"][name])))
        return report


def brief(r):
    if "own_cpu" not in r:
        return json.dumps(r)[:1500]
    keep = {
        k: r[k]
        for k in (
            "ok",
            "failed",
            "conn_errors",
            "rate",
            "end_to_end_s",
            "end_to_end_rate",
            "end_to_end_mb_per_s",
            "missing",
            "cpu_ms_per_msg",
            "first_errors",
        )
        if k in r
    }
    keep["dot"] = r["dot_ms"]
    keep["loadgen_cpu"] = r["own_cpu"]
    keep.update(r["server"])
    if "sink" in r:
        keep["sink"] = {
            k: r["sink"][k] for k in ("transactions", "connections", "recipients", "peak_open", "max_rcpts")
        }
    return json.dumps(keep)


def summary(runs):
    """Medians over the runs of what is a number."""
    runs = [r for r in runs if "rate" in r]
    if not runs:
        return {}
    med = lambda f: round(statistics.median(f(r) for r in runs), 3)
    out = {
        "rate": med(lambda r: r["rate"]),
        "p50": med(lambda r: r["dot_ms"]["p50"]),
        "p99": med(lambda r: r["dot_ms"]["p99"]),
        "cpu_ms_per_msg": med(lambda r: r["cpu_ms_per_msg"]),
        "errors": sum(r["failed"] + r["conn_errors"] for r in runs),
    }
    for k in ("end_to_end_rate", "end_to_end_s", "end_to_end_mb_per_s"):
        if all(k in r for r in runs):
            out[k] = med(lambda r: r[k])
    if all("peak_pss_mib" in r["server"] for r in runs):
        out["peak_pss_mib"] = med(lambda r: r["server"]["peak_pss_mib"])
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("peer", help="postfix, or any name with --toml")
    ap.add_argument("--toml", help="describes a server to start (see peers.py, class Toml)")
    ap.add_argument("--scenarios", default="S1,S2,S3,S3strong,S3repeated,S4,S5,S6,S7,S8")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--scale", type=float, default=1.0, help="multiplies the message counts")
    ap.add_argument("--out", help="JSON file (default: in the work directory)")
    ap.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "bench"))
    ap.add_argument("--base-port", type=int, default=20000)
    args = ap.parse_args()
    bench = Bench(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        bench.run([s for s in args.scenarios.split(",") if s])
    finally:
        bench.down()


if __name__ == "__main__":
    main()
