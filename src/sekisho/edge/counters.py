"""What the kernel counted of each line: read from the dynamic sets of the count table, as totals or as what is new.

The kernel folds already: IPv6 sources to the delegated prefix, IPv4 sources behind address sharing to their block of
ports. Two sets have the same keys, one counting packets and one attempts; the rest of the packets are retransmissions.
nft cannot set a counter back, so `Differences` subtracts, and knows that an element which timed out begins at zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, TypeAlias

from .nflog import Sample
from .nft import Absent, NftError, Run
from .policy import Policy
from .render import ATTEMPTS, PACKETS, RETURNED, STRAY_SOURCES
from .ruleset import COUNT_TABLE
from .sightings import Kind, Sighting

__all__ = ["BESIDE", "Beside", "Counted", "Differences", "beside", "counted", "documents", "sighting_of"]

SETS: Final = (*PACKETS.values(), *ATTEMPTS.values())
BESIDE: Final = (STRAY_SOURCES, *RETURNED.values())
UNKNOWN: Final = "unknown"  # network of a source that the policy does not name any more

Key: TypeAlias = tuple[str, int, str]  # source, block of ports, destination


@dataclass(frozen=True, slots=True)
class Counted:
    """What one line sent to one destination since its element was made: a day after its last packet it vanishes.

    Fields:
        line, network: as in `sightings`.
        packets, octets: all of them.
        attempts: connections tried; the other packets repeat these.
        idle: seconds since the last packet, when the kernel tells.
    """

    line: str
    network: str
    destination: IPv4Address | IPv6Address
    packets: int
    octets: int
    attempts: int
    idle: float


@dataclass(slots=True)
class _Element:
    packets: int = 0
    octets: int = 0
    attempts: int = 0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Beside:
    """What was counted besides lines, in the last day; packets, since these have no connections.

    Fields:
        strays: with a source that is none of its interface's network, by interface.
        returned: SYN+ACK from port 25 outside towards lines that may not send there, by the line's address: the answers
            to packets that were forged with it, or left by another network.
    """

    strays: Mapping[str, int]
    returned: Mapping[str, int]


def documents(run: Run, names: Sequence[str] = SETS) -> dict[str, str]:
    """Let nft list sets that count, as JSON by name; those that are not there are left out.

    Raises:
        NftError: no privilege, or no nft.
    """
    found = {}
    for name in names:
        try:
            found[name] = run(["-j", "list", "set", "inet", COUNT_TABLE, name])
        except Absent:
            continue
    return found


def counted(listings: Mapping[str, str], policy: Policy) -> list[Counted]:
    """Return the totals in *listings*, which `documents` made.

    Raises:
        NftError: they cannot be read.
    """
    names = _Names(policy)
    return [
        Counted(*names.of(key), ip_address(key[2]), one.packets, one.octets, min(one.attempts, one.packets), one.idle)
        for key, one in _elements(listings).items()
        if one.packets
    ]


def beside(listings: Mapping[str, str]) -> Beside:
    """Return what stands in listings of `BESIDE`.

    Raises:
        NftError: they cannot be read.
    """
    found: dict[str, dict[str, int]] = {}
    for name, listed in listings.items():
        counts = found.setdefault(STRAY_SOURCES if name == STRAY_SOURCES else "", {})
        try:
            for row in json.loads(listed)["nftables"]:
                for element in row.get("set", {}).get("elem", ()):
                    one = element["elem"]
                    counts[str(one["val"])] = int(one["counter"]["packets"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NftError(f"a counter cannot be read: {error!r}") from error
    return Beside(found.get(STRAY_SOURCES, {}), found.get("", {}))


class Differences:
    """Turns one reading after the other into sightings of what is new."""

    def __init__(self, *, from_zero: bool = False) -> None:
        """With *from_zero* the first reading counts as new; else it is where counting begins."""
        self._before: dict[Key, tuple[int, int]] | None = {} if from_zero else None

    def read(self, listings: Mapping[str, str], policy: Policy, now: float) -> list[Sighting]:
        """Return what was counted since the last reading.

        Args:
            listings: what `documents` made.
            now: UTC epoch of the reading.

        Raises:
            NftError: they cannot be read; the next reading makes up for it.
        """
        elements = _elements(listings)
        before = self._before
        self._before = {key: (one.packets, one.attempts) for key, one in elements.items()}
        if before is None:
            return []
        names = _Names(policy)
        found = []
        for key, one in elements.items():
            packets, attempts = _since(one, before.get(key, (0, 0)))
            if packets > 0:
                line, network = names.of(key)
                at = now - one.idle
                found.append(Sighting(line, network, ip_address(key[2]), at, packets, min(attempts, packets)))
        return found


def _since(one: _Element, before: tuple[int, int]) -> tuple[int, int]:
    if one.packets < before[0] or one.attempts < before[1]:  # it timed out meanwhile, and began anew
        return one.packets, one.attempts
    return one.packets - before[0], one.attempts - before[1]


def sighting_of(sample: Sample, policy: Policy) -> Sighting | None:
    """Turn a logged packet into a sighting; None when its source is no line of the policy."""
    network = policy.network_of(sample.source)
    if network is None:
        return None
    line = network.line_of(sample.source, sample.source_port)
    return Sighting(line, network.name, sample.destination, sample.at, 1, int(sample.opens), Kind.SAMPLED)


class _Names:
    """Line and network of a key; the sources are few compared with the keys."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[tuple[str, int], tuple[str, str]] = {}

    def of(self, key: Key) -> tuple[str, str]:
        source, block, _ = key
        found = self._known.get((source, block))
        if found is None:
            address = ip_address(source)
            network = self._policy.network_of(address)
            found = (source, UNKNOWN) if network is None else (network.line_of(address, block), network.name)
            self._known[source, block] = found
        return found


def _elements(listings: Mapping[str, str]) -> dict[Key, _Element]:
    found: dict[Key, _Element] = {}
    for family in PACKETS:
        for name, is_attempts in ((PACKETS[family], False), (ATTEMPTS[family], True)):
            listed = listings.get(name)
            if listed is not None:
                _take(found, listed, is_attempts)
    return found


def _take(found: dict[Key, _Element], listed: str, is_attempts: bool) -> None:
    try:
        for row in json.loads(listed)["nftables"]:
            described = row.get("set")
            if described is None:
                continue
            timeout = float(described.get("timeout", 0))
            for element in described.get("elem", ()):
                _take_one(found, element["elem"], timeout, is_attempts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NftError(f"a counter cannot be read: {error!r}") from error


def _take_one(found: dict[Key, _Element], element: dict[str, Any], timeout: float, is_attempts: bool) -> None:
    parts = element["val"]["concat"]
    key = (parts[0], int(parts[1]) if len(parts) == 3 else 0, parts[-1])
    counter = element["counter"]
    one = found.setdefault(key, _Element())
    if is_attempts:
        one.attempts = counter["packets"]
        return
    one.packets, one.octets = counter["packets"], counter["bytes"]
    if "expires" in element:
        one.idle = max(0.0, timeout - float(element["expires"]))
