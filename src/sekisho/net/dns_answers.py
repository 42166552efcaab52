"""What a question to DNS ends in: plain values, and the exceptions of the resolver.

Exceptions:
    ResolverError
    ├── NoSuchDomain        the name does not exist: permanent
    └── ResolverTemporary   no answer now: try again later
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Answer", "NoSuchDomain", "ResolverError", "ResolverTemporary"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the servers said about one name and one type; no records when the name exists without any.

    Fields:
        records: (preference, host name in lower case, without final dot) for MX; (0, address) for A and AAAA.
        secure: the resolver says that it validated the answer (AD, RFC 4035 §3.2.3).
        ttl: seconds for which it may be kept, as the answer has it: the least TTL of its records; None without any.
        negative_ttl: the same for an answer without records, from the SOA (RFC 2308 §5); None when there is no SOA.
    """

    records: tuple[tuple[int, str], ...]
    secure: bool
    ttl: int | None
    negative_ttl: int | None


class ResolverError(Exception):
    """A question without an answer."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


class NoSuchDomain(ResolverError):
    """The name does not exist (NXDOMAIN), or cannot be a name at all."""


class ResolverTemporary(ResolverError):
    """No server gave an answer: time-out, SERVFAIL, REFUSED, or none to be reached."""
