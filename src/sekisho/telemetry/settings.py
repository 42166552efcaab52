"""Settings of the event log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sekisho.config import between, setting

__all__ = ["LogSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSettings:
    """The event log: what happened to each session and message, one JSON object a line, one file a day."""

    directory: Path | None = setting(
        None,
        'Where the files are; without it "log" inside the service\'s directory.',
        example="/var/log/sekisho",
    )
    level: Literal["debug", "info", "notice", "warning"] = setting(
        "info", "Write events of this level and above; the reference of events tells the level of each.", reload=True
    )
    retention_days: int = setting(
        90,
        "Delete files older than this many days; 0 keeps them forever.",
        reload=True,
        check=between(0, 36500),
    )
    client_addresses: Literal["full", "network", "none"] = setting(
        "full",
        "How much of a client's address is written: all of it, its network (IPv4 /24, IPv6 /48), or nothing. Without "
        "addresses `sekisho trace` cannot search for them.",
        reload=True,
    )
