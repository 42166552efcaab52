#!/usr/bin/env python3
"""Measure the explainer: memory with 10,000 connections held open, and answers a second, over loopback.

bench/edge/explainer.py [--connections 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from sekisho.config import Duration, Endpoint  # noqa: E402
from sekisho.edge.codes import CodeBook, Codes  # noqa: E402
from sekisho.edge.explainer import NEW_LOOP, Explainer, ExplainerSettings, bind  # noqa: E402

PORTS_AN_ADDRESS = 20_000


def main() -> None:
    """Run everything and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    count = parser.parse_args().connections
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(there, count), daemon=True)
    process.start()
    port = here.recv()
    hold(0, port)
    before = memory(process.pid)
    begin = time.perf_counter()
    held = hold(count, port)
    spent = time.perf_counter() - begin
    after = memory(process.pid)
    print(
        f"{count} connections greeted and held: {after - before:.1f} MB more, "
        f"{(after - before) * 1000 / count:.2f} kB each, {after:.0f} MB in all; up in {spent:.1f} s"
    )
    for one in held:
        one.close()
    time.sleep(1)
    begin, cpu = time.perf_counter(), processor(process.pid)
    for _ in range(5000):
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"EHLO laptop\r\n")
            read_replies(one, 2)
            one.sendall(b"QUIT\r\n")
            one.recv(100)
    spent = time.perf_counter() - begin
    used = processor(process.pid) - cpu
    print(f"5000 conversations with EHLO and QUIT, one after another: {5000 / spent:.0f}/s, {used / 5:.3f} ms CPU each")
    process.terminate()


def serve(pipe: Connection, count: int) -> None:
    async def live() -> None:
        settings = ExplainerSettings(
            hostname="mail.example.jp",
            max_connections=count + 100,
            max_connections_per_line=count + 100,
            wait=Duration(60),
        )
        lines = iter(range(1 << 30))
        explainer = Explainer(
            settings,
            identify=lambda source, port: (f"line {next(lines) % 5000}", "ftth"),
            book=CodeBook(Codes(bytes(32))),
            on_sighting=lambda sighting: None,
            emit=lambda event, **fields: None,
            reasons={},
        )
        sockets = bind([Endpoint("127.0.0.1", 0)])
        await explainer.start(sockets)
        pipe.send(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=NEW_LOOP) as runner:
        runner.run(live())


def hold(count: int, port: int) -> list[socket.socket]:
    """Open connections, from several loopback addresses for want of ports, and read each one's greeting."""
    held = []
    for number in range(count):
        one = socket.create_connection(
            ("127.0.0.1", port), source_address=(f"127.0.1.{number // PORTS_AN_ADDRESS + 1}", 0)
        )
        read_replies(one, 1)
        held.append(one)
    return held


def read_replies(one: socket.socket, count: int) -> None:
    octets = b""
    while octets.count(b"554 5.7.1 ") < count or not octets.endswith(b"\r\n"):
        octets += one.recv(4096)


def memory(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def processor(pid: int | None) -> float:
    """Seconds of processor time used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
