"""Address prefixes and ranges as plain numbers: tens of thousands of exemptions are read, sorted and merged in no time.

`Prefix` stands where `ipaddress` networks would cost ten times as much; `Ranges` is a set of addresses of one family.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

from sekisho.config import Network

Address = IPv4Address | IPv6Address

BITS: Final = {4: 32, 6: 128}
_LENGTHS: Final = {text: n for n in range(129) for text in (str(n), f"{n:02}", f"{n:03}")}  # "8", and "08" as well
_SOCKET_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class Prefix(NamedTuple):
    """One prefix: family 4 or 6, its first address as a number, its length in bits. Sorts by family and address."""

    family: int
    first: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read "192.0.2.7", "192.0.2.0/24" or "2001:db8::/56". Raises ValueError, also for host bits that are set."""
        address, slash, mask = text.partition("/")
        family = 6 if ":" in address else 4
        try:
            octets = socket.inet_pton(_SOCKET_FAMILY[family], address)
        except (OSError, ValueError):
            raise ValueError(f"{text!r} is not a network") from None
        first = int.from_bytes(octets)
        bits = BITS[family]
        if not slash:
            return cls(family, first, bits)
        length = _LENGTHS.get(mask, bits + 1)
        if length > bits:
            raise ValueError(f"{text!r} is not a network")
        if first & ((1 << (bits - length)) - 1):
            raise ValueError(f"{text!r} has host bits set")
        return cls(family, first, length)

    @classmethod
    def of(cls, network: Network) -> Prefix:
        return cls(network.version, int(network.network_address), network.prefixlen)

    @property
    def last(self) -> int:
        return self.first | ((1 << (BITS[self.family] - self.length)) - 1)

    @property
    def network(self) -> Network:
        if self.family == 4:
            return IPv4Network((self.first, self.length))
        return IPv6Network((self.first, self.length))

    def holds(self, address: Address) -> bool:
        return address.version == self.family and self.first <= int(address) <= self.last

    def covers(self, other: Prefix) -> bool:
        return self.family == other.family and self.first <= other.first and other.last <= self.last

    def __str__(self) -> str:
        address = address_text(self.family, self.first)
        return address if self.length == BITS[self.family] else f"{address}/{self.length}"


def address_text(family: int, number: int) -> str:
    """The address *number* as people write it (IPv6: RFC 5952)."""
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, number.to_bytes(4))
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16))


def address_of(family: int, number: int) -> Address:
    return IPv4Address(number) if family == 4 else IPv6Address(number)


class Ranges:
    """Addresses of one family as sorted, disjoint, inclusive ranges; neighbors are joined."""

    __slots__ = ("family", "firsts", "lasts")

    def __init__(self, family: int, firsts: list[int], lasts: list[int]) -> None:
        self.family = family
        self.firsts = firsts
        self.lasts = lasts

    @classmethod
    def of(cls, family: int, prefixes: Iterable[Prefix]) -> Ranges:
        """The union of those *prefixes* that are of *family*."""
        firsts: list[int] = []
        lasts: list[int] = []
        end = -2
        sizes = [(1 << (BITS[family] - length)) - 1 for length in range(BITS[family] + 1)]
        for first, last in sorted([(first, first | sizes[n]) for own, first, n in prefixes if own == family]):
            if first > end + 1:
                firsts.append(first)
                lasts.append(last)
                end = last
            elif last > end:
                lasts[-1] = end = last
        return cls(family, firsts, lasts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.firsts, number) - 1
        return at >= 0 and number <= self.lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.firsts, self.lasts, strict=True)

    def __len__(self) -> int:
        return len(self.firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return (self.family, self.firsts, self.lasts) == (other.family, other.firsts, other.lasts)

    def __hash__(self) -> int:
        return hash((self.family, tuple(self.firsts), tuple(self.lasts)))

    def __repr__(self) -> str:
        return f"Ranges({', '.join(self.texts())})"

    def prefixes(self) -> Iterator[Prefix]:
        """The same addresses as the fewest prefixes, in order."""
        bits = BITS[self.family]
        for first, last in self:
            while first <= last:
                size = min(first & -first or 1 << bits, 1 << ((last - first + 1).bit_length() - 1))
                yield Prefix(self.family, first, bits - size.bit_length() + 1)
                first += size

    def texts(self) -> Iterator[str]:
        """Each range as nftables writes it: an address, a prefix, or "first-last"."""
        family, bits = self.family, BITS[self.family]
        for first, last in self:
            size = last - first + 1
            if size == 1:
                yield address_text(family, first)
            elif size & (size - 1) == 0 and first & (size - 1) == 0:
                yield f"{address_text(family, first)}/{bits - size.bit_length() + 1}"
            else:
                yield f"{address_text(family, first)}-{address_text(family, last)}"
