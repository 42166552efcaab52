"""The life of a message, a session, an address or a host, told from the event log.

Called by ``sekisho trace``. Reads files as they are, line by line, the newest days first, and keeps no more than it
returns; a line that cannot be read (torn by a full disk) is passed over.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final

__all__ = ["Entry", "log_files", "purge", "render", "timeline"]

DAYS: Final = 30
LIMIT: Final = 5000  # entries returned
MAX_IDS: Final = 2000  # sessions and queue ids followed
ROUNDS: Final = 3  # message → its session and its DSN → that DSN's deliveries

_NAME = re.compile(r"events-(\d{4}-\d\d-\d\d)\.jsonl(?:\.gz)?", re.ASCII)
_ID = re.compile(rb'"(?:session|[a-z_]*queue_id)": ?"([^"\\]{1,100})"')
_IDENTIFIERS: Final = ("session", "queue_id")
_LEADING: Final = ("queue_id", "session", "client", "account", "sender", "recipient", "recipients")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it was written.

    Fields:
        time: UTC seconds since the epoch.
        fields: everything else; the values are text, numbers, booleans or lists of text.
    """

    time: float
    event: str
    fields: dict[str, object]


def log_files(directory: Path) -> list[tuple[date, Path]]:
    """Return the files of the event log with their days (UTC), the newest first."""
    found = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                try:
                    found.append((date.fromisoformat(match[1]), path))
                except ValueError:
                    continue
    return sorted(found, reverse=True)


def timeline(directory: Path, needle: str, *, days: int = DAYS, limit: int = LIMIT) -> list[Entry]:
    """Return what happened to *needle*, in order of time.

    Args:
        needle: a queue id or session id, a mail address or login, or an IP address. An address or host leads to the
            sessions and messages it took part in, and these to all their events.
        days: how many of the newest files to read.
        limit: when more entries match, the newest files' win.

    Raises:
        OSError: a file cannot be read.
    """
    files = [path for _, path in log_files(directory)[:days]]
    may_match, matches = _matcher(needle.strip())
    entries: dict[bytes, Entry] = {}
    ids: set[str] = set()
    for path in files:
        for line in _lines(path):
            if may_match(line) and (entry := parse(line)) is not None and matches(entry):
                _keep(entries, line, entry, limit)
                _follow(ids, entry)
    for _ in range(ROUNDS):
        before = len(ids)
        _add_related(files, entries, ids, limit)
        if len(ids) == before:
            break
    return sorted(entries.values(), key=lambda entry: entry.time)


def render(entry: Entry, zone: tzinfo | None = None) -> str:
    """Write *entry* as one readable line; times in *zone*, without it in the local one."""
    at = datetime.fromtimestamp(entry.time, UTC).astimezone(zone)
    names: list[str] = [name for name in _LEADING if name in entry.fields]
    names += [name for name in entry.fields if name not in _LEADING and name != "worker"]
    told = " ".join(f"{name}={_shown(name, entry.fields[name])}" for name in names)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}{at:%z}  {entry.event:<18}  {told}".rstrip()


def purge(directory: Path, retention_days: int, now: float) -> list[Path]:
    """Delete the files of days that ended more than *retention_days* ago; 0 keeps all. Returns what was deleted."""
    if retention_days <= 0:
        return []
    oldest = datetime.fromtimestamp(now, UTC).date() - timedelta(days=retention_days)
    deleted = []
    for day, path in log_files(directory):
        if day < oldest:
            path.unlink(missing_ok=True)
            deleted.append(path)
    return deleted


def _add_related(files: list[Path], entries: dict[bytes, Entry], ids: set[str], limit: int) -> None:
    """Add the events of the sessions and messages in *ids*; grow *ids* by what they lead to.

    A message leads to its session, but the session's other messages are not followed: their events carry a queue id of
    their own, which is not among *ids*.
    """
    wanted = {identifier.encode() for identifier in ids}
    for path in files:
        for line in _lines(path):
            if wanted.isdisjoint(_ID.findall(line)) or (entry := parse(line)) is None:
                continue
            queue_id = entry.fields.get("queue_id")
            if isinstance(queue_id, str) and queue_id not in ids and not _is_report_on(entry, ids):
                continue
            _keep(entries, line, entry, limit)
            _follow(ids, entry)


def _is_report_on(entry: Entry, ids: set[str]) -> bool:
    return any(name.endswith("_queue_id") and value in ids for name, value in entry.fields.items())


def _keep(entries: dict[bytes, Entry], line: bytes, entry: Entry, limit: int) -> None:
    if entries.pop(line, None) is not None or len(entries) < limit:
        entries[line] = entry  # at the end: among events of one millisecond, the order of the file holds


def _follow(ids: set[str], entry: Entry) -> None:
    for name, value in entry.fields.items():
        is_identifier = name in _IDENTIFIERS or name.endswith("_queue_id")
        if is_identifier and isinstance(value, str) and len(ids) < MAX_IDS:
            ids.add(value)


def _matcher(needle: str) -> tuple[Callable[[bytes], bool], Callable[[Entry], bool]]:
    """Return a quick test of a line, and the true one of its entry."""
    try:
        ip = ipaddress.ip_address(needle.strip("[]"))
    except ValueError:
        return _text_matcher(needle)
    network = ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False)
    marks = [str(ip).encode(), str(network).encode()]

    def matches(entry: Entry) -> bool:
        client = entry.fields.get("client")
        return client in (str(ip), str(network))

    return lambda line: any(mark in line for mark in marks), matches


def _text_matcher(needle: str) -> tuple[Callable[[bytes], bool], Callable[[Entry], bool]]:
    folded = needle.strip("<>").casefold()
    mark = json.dumps(folded)[1:-1].encode()

    def equals(value: object) -> bool:
        if isinstance(value, list):
            return any(equals(element) for element in value)
        return isinstance(value, str) and value.strip("<>").casefold() == folded

    def matches(entry: Entry) -> bool:
        return any(equals(value) for value in entry.fields.values())

    return lambda line: mark in line.lower() or not folded.isascii(), matches


def _lines(path: Path) -> Iterator[bytes]:
    opener: Callable[[Path], gzip.GzipFile] = gzip.GzipFile
    with opener(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            yield from file
        except (EOFError, gzip.BadGzipFile):
            return  # still being compressed, or damaged: what was readable was told


def parse(line: bytes) -> Entry | None:
    """Read one line of the log; None when it cannot be read."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    at, event = fields.pop("t", None), fields.pop("event", None)
    if isinstance(at, int | float) and isinstance(event, str):
        return Entry(float(at), event, fields)
    return None


def _shown(name: str, value: object) -> str:
    if isinstance(value, list):
        shown = [_shown(name, element) for element in value[:5]]
        more = f",+{len(value) - 5}" if len(value) > 5 else ""
        return ",".join(shown) + more
    if name in ("next_attempt", "expires") and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return str(value)
    printable = "".join(character if character.isprintable() else "?" for character in value)
    return f'"{printable}"' if " " in printable or not printable else printable
