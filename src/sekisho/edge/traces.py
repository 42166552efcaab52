"""What the gate's own logs say about an address, a line, or whoever changed the rules; for `sekisho trace`.

Gate, watcher and explainer write logs of their own, apart from the mail service's: below the state directory, and below
the explainer's directory beside it. They name lines, and a line may be a prefix or a block of ports, so that an address
has to be looked for within them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Final

from sekisho.telemetry import Entry, log_files, timeline
from sekisho.telemetry.trace import parse

__all__ = ["log_directories", "traced"]

Address = IPv4Address | IPv6Address
MARKS: Final = (b'"line":', b'"destinations":')


def log_directories(state: Path) -> list[Path]:
    """Return those of the gate's log directories that are there and may be read."""
    found = []
    for directory in (state / "log", state.absolute().parent / "explainer" / "log"):
        try:
            if log_files(directory):
                found.append(directory)
        except OSError:
            continue
    return found


def traced(directory: Path, needle: str, *, days: int, limit: int) -> list[Entry]:
    """Return the events of one log about *needle*, in order of time, the newest *limit* of them.

    Args:
        needle: an address: events of the line it belongs to, or with it as a destination. A line's key, a code, or any
            other text: events that have it as a value.
        days: how many of the newest files to read.

    Raises:
        OSError: a file cannot be read.
    """
    try:
        address = ip_address(needle.strip("[] "))
    except ValueError:
        return timeline(directory, needle, days=days, limit=limit)
    found = [
        entry
        for _, path in sorted(log_files(directory)[:days])
        for entry in _entries(path)
        if _concerns(entry, address)
    ]
    return sorted(found[-limit:], key=lambda entry: entry.time) if limit > 0 else []


def _entries(path: Path) -> Iterator[Entry]:
    if path.suffix == ".gz":
        return
    with path.open("rb") as lines:
        for line in lines:
            if any(mark in line for mark in MARKS) and (entry := parse(line)) is not None:
                yield entry


def _concerns(entry: Entry, address: Address) -> bool:
    destinations = entry.fields.get("destinations")
    if isinstance(destinations, list) and str(address) in destinations:
        return True
    line = entry.fields.get("line")
    return isinstance(line, str) and _holds(line, address)


def _holds(line: str, address: Address) -> bool:
    """Whether the line "192.0.2.7", "2001:db8:0:100::/56" or "203.0.113.9:4096-5119" may be the one with *address*."""
    if address.version == 4:
        return line.partition(":")[0] == str(address)
    if "/" not in line:
        return line == str(address)
    try:
        return address in ip_network(line)
    except ValueError:
        return False
