"""Speed of the portal's pages: an open loop of requests at a fixed rate, the portal of `sekisho serve` on one core.

    python3 bench/portal/load.py [--rate 200] [--seconds 10] [--core 1] [--output bench/results/portal.json]

Requests are due at their time whatever became of those before, each on one of a few connections that are kept open, as
browsers and web servers in front do; a request that waits for a connection has begun to wait. Plain HTTP on loopback.
`own_worst_lag_ms` says how late the generator itself was: a worst answer below it is the machine's, not the portal's.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import re
import signal
import statistics
import time
from pathlib import Path

from sekisho.accounts import generate_password
from sekisho.supervise.demo import Instance, running

PAGES = {
    "guide page": "/ja/clients/thunderbird-current.html",
    "front page": "/ja/",
    "explainer": "/ja/port-25.html",
    "search": "/ja/search?q=0x800CCC0E",
    "search, words": "/ja/search?q=%E3%83%A1%E3%83%BC%E3%83%AB%E3%81%8C%E9%80%81%E3%82%8C%E3%81%AA%E3%81%84",
    "check": "/ja/check/",
    "check of the line": "/ja/check/line",
    "style sheet": None,  # its name is read from the front page
}
CONNECTIONS = 32
TARGET_MS = 50.0


class Connection:
    """One connection that is kept open, and opened anew when the portal ends it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body, compressed if the portal likes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost:{self._port}\r\nAccept-Encoding: gzip\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.decode("latin-1").lower()
            length = int(fields.partition("content-length: ")[2].split("\r\n", 1)[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            self._streams = None
            raise
        if "connection: close" in fields:
            writer.close()
            self._streams = None
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def load(port: int, path: str, rate: float, seconds: float) -> dict[str, object]:
    """Ask for *path* at *rate* for *seconds*; return milliseconds, and what went wrong."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    for each in connections:
        free.put_nowait(each)
    taken: list[float] = []
    wrong: dict[str, int] = {}
    octets = 0

    async def one(due: float) -> None:
        nonlocal octets
        connection = await free.get()
        try:
            status, body = await connection.get(path)
            octets = len(body)
            if status != 200:
                wrong[str(status)] = wrong.get(str(status), 0) + 1
        except (OSError, asyncio.IncompleteReadError) as error:
            wrong[type(error).__name__] = wrong.get(type(error).__name__, 0) + 1
        finally:
            free.put_nowait(connection)
        taken.append((time.perf_counter() - due) * 1000)

    begun, lag, tasks = time.perf_counter() + 0.05, 0.0, []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        lag = max(lag, time.perf_counter() - due)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    for each in connections:
        each.close()
    taken.sort()
    return {
        "path": path,
        "requests": len(taken),
        "octets": octets,
        "wrong": wrong,
        "p50_ms": round(statistics.median(taken), 2),
        "p95_ms": round(taken[int(len(taken) * 0.95)], 2),
        "p99_ms": round(taken[int(len(taken) * 0.99)], 2),
        "worst_ms": round(taken[-1], 2),
        "own_worst_lag_ms": round(lag * 1000, 2),
    }


def ticks(pid: int) -> int:
    """Return the CPU time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


async def find_portal(supervisor: int, port: int) -> int:
    """Return the process that answers: it is the one whose CPU time grows with requests."""
    before = {pid: ticks(pid) for pid in children(supervisor)}
    await load(port, PAGES["front page"] or "/", 200, 2)
    return max(before, key=lambda pid: ticks(pid) - before[pid])


async def measure(supervisor: int, port: int, rate: float, seconds: float, core: int) -> dict[str, object]:
    portal = await find_portal(supervisor, port)
    os.sched_setaffinity(portal, {core})
    if others := os.sched_getaffinity(0) - {core}:
        os.sched_setaffinity(0, others)
    connection = Connection(port)
    _, front = await connection.get("/ja/")
    connection.close()
    style = gzip.decompress(front).decode().partition('rel="stylesheet" href="')[2].partition('"')[0]
    results = {}
    for name, path in PAGES.items():
        before = ticks(portal)
        found = await load(port, path or style, rate, seconds)
        found["portal_cpu_percent"] = round((ticks(portal) - before) / os.sysconf("SC_CLK_TCK") / seconds * 100, 1)
        found["within_target"] = bool(found["p95_ms"] <= TARGET_MS and not found["wrong"])  # type: ignore[operator]
        results[name] = found
        told = f"{name:18} p50 {found['p50_ms']:6} p95 {found['p95_ms']:6} p99 {found['p99_ms']:6} ms"
        print(f"{told}, portal {found['portal_cpu_percent']} % of a core, wrong: {found['wrong'] or 'none'}")
    return {"rate": rate, "seconds": seconds, "target_p95_ms": TARGET_MS, "cores": os.cpu_count(), "pages": results}


def lift_limit(instance: Instance) -> None:
    """Let one address ask as often as it likes, as of a reload."""
    text = instance.config.read_text()
    lifted = re.sub(r"^#?requests_per_minute = .*$", "requests_per_minute = 10000000", text, flags=re.MULTILINE)
    assert lifted != text
    instance.config.write_text(lifted)
    instance.process.send_signal(signal.SIGHUP)
    time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=200, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10, help="for each page")
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1, help="core of the portal")
    parser.add_argument("--output", type=Path, help="where to keep the result as JSON")
    arguments = parser.parse_args()
    with running(None, generate_password) as instance:
        lift_limit(instance)
        port, pid = instance.settings.portal.addresses[0].port, instance.process.pid
        result = asyncio.run(measure(pid, port or 0, arguments.rate, arguments.seconds, arguments.core))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
