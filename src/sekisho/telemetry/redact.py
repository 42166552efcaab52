"""What of a client's address is written down."""

from __future__ import annotations

import functools
import ipaddress
from typing import Literal

__all__ = ["redact_address"]


@functools.lru_cache(maxsize=4096)
def redact_address(address: str, how: Literal["full", "network", "none"]) -> str | None:
    """Return *address* as it may be written: whole, as its network (IPv4 /24, IPv6 /48), or None."""
    if how == "full":
        return address
    if how == "none":
        return None
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
