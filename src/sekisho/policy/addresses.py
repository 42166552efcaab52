"""Whose address is it, for counting: IPv6 hosts own a whole /64, so that is what is counted."""

from __future__ import annotations

import functools
import ipaddress

__all__ = ["fold"]


@functools.lru_cache(maxsize=4096)
def fold(address: str) -> str:
    """Return IPv4 as it is, IPv6 as its /64, IPv4 inside IPv6 as IPv4; what is no address comes back unchanged."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ipaddress.AddressValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(ip) >> 64 << 64)}/64"
