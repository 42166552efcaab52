"""The octets a server has received and not yet read: cut into lines, or taken as content.

A line ends with CRLF and nothing else. What is kept of an unfinished line is bounded, and the rest of a line too long
is swallowed, so that no part of it is ever read as a command of its own (RFC 5321 §2.3.8, §4.5.3.1.4).
"""

from __future__ import annotations

from enum import Enum

MAX_START_OCTETS = 120
_CR = 0x0D


class LineFault(Enum):
    """Why there is no line."""

    TOO_LONG = "too long"  # swallowed with its end; the next line can be read
    BARE_LINE_FEED = "bare line feed"  # whoever sends it and whoever relays it may see other lines: read no further
    ENDLESS = "endless"  # beyond what is worth swallowing: read no further


class LineBuffer:
    """A queue of octets with a place up to which they are read.

    Fields:
        start: how the line began that the last fault was about.
    """

    __slots__ = ("_at", "_max_octets", "_max_swallowed", "_octets", "_swallowed", "start")

    def __init__(self, max_octets: int, max_swallowed: int) -> None:
        """Both limits count the CRLF: the longest line returned, and the longest swallowed."""
        self.start = b""
        self._max_octets = max_octets
        self._max_swallowed = max_swallowed
        self._octets = b""
        self._at = 0
        self._swallowed = 0  # octets dropped of the line being read

    def __len__(self) -> int:
        """Octets received and not yet read."""
        return len(self._octets) - self._at

    def append(self, octets: bytes) -> None:
        """Take what came from the network. Nothing is copied when all before was read."""
        if self._at == len(self._octets):
            self._octets = octets
        else:
            self._octets = self._octets[self._at :] + octets
        self._at = 0

    def clear(self) -> None:
        self._octets, self._at = b"", 0

    def take_line(self) -> bytes | LineFault | None:
        """Return the next line without its CRLF, or what is wrong with it; None when its end has not come."""
        octets, at = self._octets, self._at
        end = octets.find(b"\n", at)
        size = self._swallowed + (len(octets) if end < 0 else end + 1) - at
        if size > self._max_octets:
            return self._take_long_line(at, end, size)
        if end < 0:
            return None
        self._at = end + 1
        if end == at or octets[end - 1] != _CR:
            self.start = octets[at : min(end, at + MAX_START_OCTETS)]
            return LineFault.BARE_LINE_FEED
        return octets[at : end - 1]

    def _take_long_line(self, at: int, end: int, size: int) -> LineFault | None:
        octets = self._octets
        if not self._swallowed:
            self.start = octets[at : at + MAX_START_OCTETS]
        if size > self._max_swallowed:
            return LineFault.ENDLESS
        if end < 0:
            self._swallowed = size - 1
            self._octets, self._at = octets[-1:], 0  # it may be the CR before the LF
            return None
        self._swallowed = 0
        self._at = end + 1
        return LineFault.TOO_LONG if octets[end - 1] == _CR else LineFault.BARE_LINE_FEED

    def take_octets(self, limit: int) -> bytes:
        """Take at most *limit* octets as they are."""
        octets = self._octets[self._at : self._at + limit]
        self._at += len(octets)
        return octets

    def take_all(self) -> bytes:
        """Take every octet there is. Give back with `append` what was not meant to be taken."""
        octets = self._octets[self._at :] if self._at else self._octets
        self.clear()
        return octets
