"""Where a connection wanted to go before the edge redirected it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

Address = IPv4Address | IPv6Address

SO_ORIGINAL_DST: Final = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST is the same number
_IN4: Final = struct.Struct("!2xH4s8x")
_IN6: Final = struct.Struct("!2xH4x16s4x")


class Gettable(Protocol):
    """What `OriginalDestination` needs of a socket."""

    @property
    def family(self) -> int: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...
    def getsockname(self) -> tuple[str, int]: ...


OriginalDestination = Callable[[Gettable], Address]
"""Where a redirected connection wanted to go. A port: tests and other ways of redirecting bring their own."""


def original_destination(connection: Gettable) -> Address:
    """Ask the kernel where a connection redirected by netfilter wanted to go; its own address when it was not."""
    with contextlib.suppress(OSError):
        if connection.family == socket.AF_INET:
            _, packed = _IN4.unpack(connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, _IN4.size))
            return IPv4Address(packed)
        _, packed = _IN6.unpack(connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _IN6.size))
        return IPv6Address(packed)
    return plain_address(connection.getsockname()[0])


def plain_address(text: str) -> Address:
    """Read a socket's address; an IPv4 address mapped into IPv6 is the IPv4 address."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
