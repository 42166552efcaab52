"""A thin shell over `ip netns`: makes namespaces, runs programs in them, finds and removes them by their prefix.

No command line is ever built as one string; names come from `topology` and from a checked lab name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError, LabFailed

NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
PREFIX = "sklab"
CONFIGURATION = Path("/etc/netns")
"""`ip netns exec` shows a program the files below this directory, in the namespace's own, as those of /etc."""

Words = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces of the lab *lab*: ``sklab-LAB-NODE``."""

    lab: str

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.lab) is None:
            raise LabError([f"{self.lab!r} is no lab name: up to 12 of a-z and 0-9, a letter first"])

    def name(self, node: str) -> str:
        """Return the name of the namespace of *node*."""
        return f"{PREFIX}-{self.lab}-{node}"

    def existing(self) -> list[str]:
        """Return the names of all namespaces of this lab that there are, whoever left them."""
        start = f"{PREFIX}-{self.lab}-"
        lines = run(["ip", "netns", "list"]).splitlines()
        return sorted(name for line in lines if (name := line.partition(" ")[0]).startswith(start))

    def inhabitants(self) -> set[int]:
        """Return the ids of all processes in namespaces of this lab."""
        found: set[int] = set()
        for name in self.existing():
            found.update(int(word) for word in run(["ip", "netns", "pids", name]).split())
        return found

    def create(self, node: str, resolver: Sequence[str]) -> None:
        """Make the namespace of *node*, in which names are looked up at *resolver*."""
        name = self.name(node)
        directory = CONFIGURATION / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "resolv.conf").write_text("".join(f"nameserver {each}\n" for each in resolver))
        run(["ip", "netns", "add", name])

    def remove_all(self) -> list[str]:
        """Remove every namespace of this lab, and with them their links; return what there was."""
        gone = self.existing()
        for name in gone:
            run(["ip", "netns", "delete", name])
        for directory in CONFIGURATION.glob(f"{PREFIX}-{self.lab}-*"):
            shutil.rmtree(directory)
        return gone

    def command(self, node: str, words: Words) -> list[str]:
        """Return the command that runs *words* in the namespace of *node*."""
        return ["ip", "netns", "exec", self.name(node), *(str(word) for word in words)]

    def run(
        self, node: str, words: Words, *, text: str = "", seconds: float = 30.0, env: Mapping[str, str] | None = None
    ) -> str:
        """Run *words* in the namespace of *node* and return what it printed.

        Raises:
            LabFailed: it ended with another status than 0, or not at all within *seconds*.
        """
        return run(self.command(node, words), text=text, seconds=seconds, env=env)

    def configure(self, node: str | None, lines: Sequence[str]) -> None:
        """Carry out *lines* of ``ip -batch`` in the namespace of *node*; None: where we are, to make links."""
        place = [] if node is None else ["-n", self.name(node)]
        for family in ("-4", "-6"):
            wanted = [line for line in lines if (_is_six(line)) == (family == "-6")]
            if wanted:
                run(["ip", family, *place, "-batch", "-"], text="\n".join(wanted) + "\n")


def _is_six(line: str) -> bool:
    return line.startswith(("address", "route")) and ":" in line


def run(words: Words, *, text: str = "", seconds: float = 30.0, env: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed.

    Raises:
        LabFailed: it is not there, ended with another status than 0, or not at all within *seconds*.
    """
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, env=env, check=False, errors="replace"
        )
    except FileNotFoundError as error:
        raise LabFailed([f"{command[0]} is not installed"]) from error
    except subprocess.TimeoutExpired as error:
        raise LabFailed([f"{' '.join(command)}: not done after {seconds:g} s"]) from error
    if done.returncode != 0:
        words_of_it = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise LabFailed([f"{' '.join(command[:8])}: status {done.returncode}", *words_of_it[-5:]])
    return done.stdout
