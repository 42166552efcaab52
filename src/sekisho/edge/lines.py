"""Which line a text names, and whether it may be put into the quarantine set. Pure.

The policy decides: a line of an access network with changing addresses, never an exempt one, never a server or the
management network, and never more than one subscriber.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from typing import Final

from .client import MAX_LINE_TEXT
from .policy import AccessNetwork, Line, Policy
from .prefix import BITS, Prefix, Ranges, address_text

__all__ = ["LineKey", "Lines", "NotALine"]

_SHARED: Final = re.compile(r"([0-9.]{7,15}):([0-9]{1,5})-([0-9]{1,5})", re.ASCII)


class NotALine(ValueError):
    """A text that names no line, or one that is not put into quarantine; says why."""


@dataclass(frozen=True, slots=True)
class LineKey:
    """A line as the kernel finds it.

    Fields:
        line: as `AccessNetwork.line_of` names it.
        prefix: its addresses.
        mask: bits of the source port that tell it from others at its address; 0 when the address does.
        ports: its source port under that mask.
    """

    line: str
    network: str
    prefix: Prefix
    mask: int = 0
    ports: int = 0

    @property
    def element(self) -> str:
        """As an element of a set, in the words of nft; made of numbers alone."""
        return f"{self.prefix} . {self.ports:d}" if self.mask else str(self.prefix)


class Lines:
    """The lines of a policy as of a day."""

    def __init__(self, policy: Policy, today: date) -> None:
        self._policy = policy
        exempt = [e.prefix for e in policy.exemptions if e.expires is None or e.expires >= today]
        servers = [Prefix.of(p) for group in policy.servers for p in group.prefixes]
        management = [Prefix.of(p) for p in policy.management]
        self._untouchable = [
            (words, {family: Ranges.of(family, prefixes) for family in BITS})
            for words, prefixes in (
                ("is exempt", exempt),
                ("holds a mail server of the policy", servers),
                ("is the management network", management),
            )
        ]

    def find(self, text: str) -> LineKey:
        """Return the line that *text* names: its key, or one address of it.

        Raises:
            NotALine: there is none, or it is not put into quarantine.
        """
        found = self._parsed(text)
        for words, ranges in self._untouchable:
            if _meets(ranges[found.prefix.family], found.prefix):
                raise NotALine(f"{found.line} {words}, and is never put into quarantine")
        return found

    def _parsed(self, text: str) -> LineKey:
        shared = _SHARED.fullmatch(text)
        try:
            prefix = Prefix.of(ip_network(shared[1] if shared else text[:MAX_LINE_TEXT]))
        except ValueError:
            raise NotALine(f"{text[:MAX_LINE_TEXT]!r} is no line: an address, a prefix, or ADDRESS:PORT-PORT") from None
        network = self._policy.network_of(prefix.network.network_address)
        if network is None:
            raise NotALine(f"{text} lies in no access network of the policy")
        if network.line is Line.FIXED:
            raise NotALine(f"{text} is of network {network.name!r}, whose lines are fixed and exempt")
        if prefix.family == 4 and network.shared_ports is not None:
            return _sharing(network, prefix, text, shared)
        if shared:
            raise NotALine(f"lines of network {network.name!r} share no address; leave the ports out")
        length = 32 if prefix.family == 4 else network.delegated_prefix
        if prefix.length < length:
            raise NotALine(f"{text} is more than one line of network {network.name!r}, which have a /{length} each")
        shift = BITS[prefix.family] - length
        line = Prefix(prefix.family, prefix.first >> shift << shift, length)
        name = str(line) if prefix.family == 4 else f"{address_text(6, line.first)}/{length}"
        return LineKey(name, network.name, line)


def _sharing(network: AccessNetwork, prefix: Prefix, text: str, shared: re.Match[str] | None) -> LineKey:
    if shared is None:
        raise NotALine(f"lines of network {network.name!r} share addresses: name the ports too, ADDRESS:PORT-PORT")
    first = int(shared[2])
    line = network.line_of(prefix.network.network_address, first & 0xFFFF)
    if line != text:
        raise NotALine(f"{text} is no line of network {network.name!r}; the port belongs to {line}")
    return LineKey(line, network.name, prefix, network.port_mask, first & network.port_mask)


def _meets(ranges: Ranges, prefix: Prefix) -> bool:
    """Whether any address of *prefix* is in *ranges*."""
    at = bisect_right(ranges.firsts, prefix.last) - 1
    return at >= 0 and ranges.lasts[at] >= prefix.first
