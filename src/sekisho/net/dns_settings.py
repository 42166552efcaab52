"""Settings of the DNS resolver."""

from __future__ import annotations

from dataclasses import dataclass

from sekisho.config import Duration, Endpoint, at_least, setting

__all__ = ["DnsSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsSettings:
    """DNS: which servers tell where mail goes."""

    servers: tuple[Endpoint, ...] = setting(
        (),
        "Resolvers to ask, as address:port; without any, those of the system (/etc/resolv.conf).",
        example=["127.0.0.1:53"],
    )
    timeout: Duration = setting(
        Duration(10.0), "Give up on one question after this long; the mail is tried again later.", check=at_least(0.1)
    )
    cache_entries: int = setting(
        10_000, "Answers kept in memory, in each mail process, for as long as their TTL allows.", check=at_least(100)
    )
