"""Network namespaces that a test makes and removes, and how to step into one. Root only."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NEW_NETWORK = 0x40000000
_numbers = itertools.count()


def _library_call(name: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(*command: str) -> str:
    """Run a program, and return what it printed; its words are the error's."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(path: Path | None = None) -> Iterator[None]:
    """Be in the namespace at *path*, or in a new one that nobody else has, until the block ends."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if path is None:
            _library_call("unshare", NEW_NETWORK)
        else:
            with path.open() as there:
                _library_call("setns", there.fileno(), NEW_NETWORK)
        yield
    finally:
        _library_call("setns", home, NEW_NETWORK)
        os.close(home)


@dataclass(frozen=True, slots=True)
class Node:
    """A named namespace."""

    name: str

    @property
    def path(self) -> Path:
        return Path("/run/netns", self.name)

    def inside(self) -> contextlib.AbstractContextManager[None]:
        return inside(self.path)

    def run(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.name, *command)

    def ip(self, line: str) -> None:
        run("ip", "-n", self.name, *line.split())

    def ips(self, lines: str) -> None:
        """Carry out many lines in one process."""
        done = subprocess.run(
            ["ip", "-n", self.name, "-b", "-"], input=lines, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def nodes(*names: str) -> Iterator[list[Node]]:
    """Make named namespaces, each with its loopback up; they are gone after the block."""
    made = [Node(f"sktest-{os.getpid()}-{next(_numbers)}-{name}") for name in names]
    try:
        for node in made:
            run("ip", "netns", "add", node.name)
            node.ip("link set lo up")
        yield made
    finally:
        for node in made:
            subprocess.run(["ip", "netns", "delete", node.name], capture_output=True, check=False)


def join(one: Node, interface: str, other: Node, peer: str) -> None:
    """Lay a cable between two namespaces, and switch both ends on."""
    run("ip", "link", "add", interface, "netns", one.name, "type", "veth", "peer", "name", peer, "netns", other.name)
    one.ip(f"link set dev {interface} up")
    other.ip(f"link set dev {peer} up")
