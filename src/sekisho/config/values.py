"""Types of setting values that TOML lacks: durations, sizes, endpoints, networks, secrets. Each reads from text."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, NewType

__all__ = [
    "DAY",
    "GIB",
    "HOUR",
    "KIB",
    "MIB",
    "MINUTE",
    "Duration",
    "Endpoint",
    "Network",
    "Secret",
    "Size",
    "parse_duration",
    "parse_network",
    "parse_size",
    "render_duration",
    "render_size",
]

Duration = NewType("Duration", float)
"""Seconds. In TOML a number of seconds or text: "90s", "1h30m", "5d"."""

Size = NewType("Size", int)
"""Octets. In TOML a number of octets or text: "25MiB"."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_SECONDS: Final = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": 1, "ms": 0.001}
_OCTETS: Final = {"": 1, "B": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|[wdhms])\s*", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMG]?I?B)?", re.ASCII | re.IGNORECASE)


def parse_duration(text: str) -> Duration:
    """Read "1h30m", "5d", "200ms" or a bare number of seconds. Raises ValueError."""
    text = text.strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII):
        return Duration(float(text))
    total, position = 0.0, 0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise ValueError(text)
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if not text:
        raise ValueError("empty")
    return Duration(total)


def render_duration(seconds: float) -> str:
    """Write *seconds* so that `parse_duration` reads them back: 5400 → "1h30m"."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000}s"
    rest, parts = milliseconds // 1000, []
    for unit in "dhms":
        count, rest = divmod(rest, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> Size:
    """Read "25MiB", "1.5 GB" or a bare number of octets. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    unit = (match[2] or "").upper()
    if unit not in _OCTETS:
        raise ValueError(text)
    return Size(int(float(match[1]) * _OCTETS[unit]) if "." in match[1] else int(match[1]) * _OCTETS[unit])


def render_size(octets: int) -> str:
    """Write *octets* so that `parse_size` reads them back: 26214400 → "25MiB"."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if octets and octets % size == 0:
            return f"{octets // size}{unit}"
    return str(octets)


def parse_network(text: str) -> Network:
    """Read "192.0.2.0/24", "2001:db8::/32" or a single address. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=True)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens: an address or host name with a port, or a Unix socket.

    Fields:
        host: address without brackets, or name; "" means all addresses, or that *path* is set.
        port: 0 with *path*.
        path: Unix socket.
    """

    host: str
    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read "127.0.0.1:587", "[::1]:587", "example.jp:25", ":587", "*:587" or "unix:/path". Raises ValueError."""
        text = text.strip()
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path or "\0" in path:
                raise ValueError(text)
            return cls("", 0, path)
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(text)
        if host.startswith("[") and host.endswith("]"):
            return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        if host in ("", "*"):
            return cls("", int(port))
        if re.fullmatch(r"[A-Za-z0-9._-]{1,253}", host) is None:
            raise ValueError(text)
        return cls(host, int(port))

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Secret:
    """A password or key. ``repr`` and ``str`` hide it, it cannot be pickled; `reveal` is the only way to the text."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        return self.__text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be written anywhere")
