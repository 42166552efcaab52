"""Processes that a test starts, their free ports, and waiting with an end: nothing here outlives the test run."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

__all__ = ["Daemon", "free_port", "run", "wait_for", "wait_for_port"]

Found = TypeVar("Found")

# Below those that the kernel gives to outgoing connections (32768 up), so that none of them is in the way.
PORTS = range(15000, 32000)


def free_port(*, address: str = "127.0.0.1") -> int:
    """Return a port that nothing uses at this moment, for TCP and UDP alike."""
    for port in random.sample(PORTS, 200):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
                stream.bind((address, port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                datagram.bind((address, port))
        except OSError:
            continue
        return port
    raise RuntimeError(f"no free port on {address}")


def wait_for(what: str, look: Callable[[], Found | None], *, seconds: float = 15.0) -> Found:
    """Return what *look* finds as soon as it finds something.

    Raises:
        TimeoutError: it found nothing (None or an empty container) for *seconds*.
    """
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return found


def wait_for_port(port: int, *, address: str = "127.0.0.1", seconds: float = 15.0) -> None:
    """Wait until something accepts connections on *port*."""

    def connects() -> bool:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_for(f"port {port} to answer", connects, seconds=seconds)


def run(
    command: Sequence[str | Path],
    *,
    octets: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 30.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, with *octets* on its standard input; both outputs come back, the status unjudged."""
    return subprocess.run(
        [str(word) for word in command],
        input=octets,
        capture_output=True,
        timeout=seconds,
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        check=False,
    )


class Daemon:
    """A program in the foreground of a session (process group) of its own; its output is in `log`."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, *, seconds: float = 15.0) -> int:
        """Ask it to end, make it end if it does not; return its status."""
        if self.is_running():
            self.process.terminate()
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 15.0) -> int:
        """Let it end by itself, make it end if it does not; return its status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        self.kill()
        return status

    def kill(self) -> None:
        """End the whole process group at once."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
