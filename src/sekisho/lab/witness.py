"""What really came through: the counters of a table beyond the edge, which knows nothing of the gate."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass

from .lab import Lab
from .topology import WITNESS_TABLE, WORLD

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Seen:
    """Packets to port 25 that came out of the provider's network so far, by source and destination."""

    packets: Mapping[tuple[Address, Address], int]

    def count(self, source: str, destination: str = "::/0 0.0.0.0/0") -> int:
        """Return the packets from *source* to *destination*; both are addresses or networks, several with blanks."""
        sources, destinations = _networks(source), _networks(destination)
        return sum(
            number
            for (origin, target), number in self.packets.items()
            if any(origin in network for network in sources) and any(target in network for network in destinations)
        )


def _networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(word) for word in text.split()]


def testimony(lab: Lab) -> Seen:
    """Ask the witness."""
    return read(lab.namespaces.run(WORLD, ["nft", "-j", "list", "table", "inet", WITNESS_TABLE]))


def read(listing: str) -> Seen:
    """Read the JSON listing of the witness's table."""
    packets = {}
    for item in json.loads(listing)["nftables"]:
        for element in item.get("set", {}).get("elem", ()):
            facts = element["elem"]
            source, destination = facts["val"]["concat"]
            packets[ipaddress.ip_address(source), ipaddress.ip_address(destination)] = facts["counter"]["packets"]
    return Seen(packets)
