"""What strace saw: system calls with the moments at which they began and ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TRACED", "Call", "read_calls"]

_READING = "read,recvfrom,recvmsg"
_WRITING = "write,writev,pwrite64,pwritev,sendto,sendmsg"
_KEEPING = "fsync,fdatasync,openat,rename,renameat,renameat2,link,linkat"
TRACED = f"{_READING},{_WRITING},{_KEEPING}"

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\S+)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (\S+)")
_DESCRIPTOR = re.compile(r"-?\d+<([^>]*)>")


@dataclass(slots=True)
class Call:
    """One system call. Its begin and end are positions in the order in which the kernel reported them.

    Fields:
        path: of the file that the first argument names, by descriptor or by name; "" for others.
    """

    pid: int
    name: str
    arguments: str
    result: str
    began: int
    ended: int

    @property
    def path(self) -> str:
        descriptor = _DESCRIPTOR.match(self.arguments)
        if descriptor is not None:
            return descriptor[1]
        quoted = re.search(r'"([^"]*)"', self.arguments)
        return quoted[1] if quoted is not None else ""

    @property
    def is_sync(self) -> bool:
        return self.name in ("fsync", "fdatasync") and self.result == "0"

    @property
    def is_write(self) -> bool:
        return self.name in ("write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg")

    @property
    def is_read(self) -> bool:
        return self.name in ("read", "recvfrom", "recvmsg")


def read_calls(file: Path) -> list[Call]:
    """Read the output of ``strace -f -y`` in the order in which the calls began, without those that never ended."""
    return sorted(_calls(file), key=lambda call: call.began)


def _calls(file: Path) -> Iterator[Call]:
    begun: dict[int, tuple[int, str]] = {}
    with file.open(errors="replace") as lines:
        for position, line in enumerate(lines):
            if match := _WHOLE.match(line):
                yield Call(int(match[1]), match[2], match[3], match[4], position, position)
            elif match := _BEGUN.match(line):
                begun[int(match[1])] = position, match[3]
            elif (match := _RESUMED.match(line)) and int(match[1]) in begun:
                began, arguments = begun.pop(int(match[1]))
                yield Call(int(match[1]), match[2], arguments + match[3], match[4], began, position)
