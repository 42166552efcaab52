"""Settings of accounts: where they are kept, what passwords cost, which mechanisms are offered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sekisho.config import KIB, MIB, MINUTE, Duration, Size, at_least, between, setting

__all__ = ["AccountsSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountsSettings:
    """Accounts: who may send, and how passwords are kept and checked."""

    database: Path | None = setting(
        None,
        "SQLite database of the accounts. Unset: accounts.sqlite in the service's directory. The key that seals "
        "CRAM-MD5 secrets and those of authenticator apps lies beside it.",
        example="accounts.sqlite",
    )
    default_domain: str | None = setting(
        None,
        "Domain added to a login that is given without one. Unset: a bare name works wherever only one account has it.",
        example="example.jp",
    )
    minimum_password_length: int = setting(
        8, "Fewest characters in a new password (NIST SP 800-63B asks for at least 8).", check=between(4, 64)
    )
    argon2_passes: int = setting(
        2, "Passes of argon2id over its memory (RFC 9106 §4; OWASP: 2 with 19 MiB).", check=between(1, 64)
    )
    argon2_memory: Size = setting(
        Size(19 * MIB),
        "Memory that one password check takes. A verifier made with other parameters is renewed at the next login.",
        check=between(64 * 1024, 4096 * MIB),
    )
    argon2_lanes: int = setting(1, "Lanes of argon2id; each is a thread while a check runs.", check=between(1, 16))
    scram_iterations: int = setting(
        15_000,
        "Iterations of new SCRAM verifiers (RFC 7677 §4: 4096 at least, 15000 recommended). The client pays for them.",
        check=between(4096, 600_000),
    )
    scram_sha_1: bool = setting(True, "Keep and offer SCRAM-SHA-1, for clients without SHA-256.")
    channel_binding: bool = setting(
        False,
        "Offer the -PLUS forms of SCRAM where the TLS connection can be bound to the login (RFC 5929, RFC 9266). Off, "
        "because clients with GNU SASL (mutt) choose these forms even when they cannot bind, and then do not log in.",
    )
    cram_md5: bool = setting(
        False,
        "Offer CRAM-MD5. Many clients choose it whenever it is offered, so it must work for every account that uses "
        "them: give those accounts their password with --cram-md5, which keeps it in a form that can be decrypted.",
    )
    allow_without_tls: bool = setting(
        False, "Offer CRAM-MD5 on connections without TLS too, if cram_md5 is on. Only for devices that know no TLS."
    )
    allow_cleartext_passwords: bool = setting(
        False, "Offer PLAIN and LOGIN on connections without TLS: anybody on the way can read the password."
    )
    hashing_threads: int = setting(
        1, "Passwords checked at the same time in each mail process, each taking argon2_memory.", check=between(1, 64)
    )
    hashing_backlog: int = setting(
        32,
        "Password checks waiting in each mail process before further ones are answered 454 (try later).",
        check=at_least(0),
    )
    cache_lifetime: Duration = setting(
        Duration(10 * MINUTE),
        "How long a password found right is remembered, as a keyed digest in memory, so that the next login with it "
        "costs no hashing; logins with it at the same moment share one check. 0 remembers and shares nothing. A new "
        "password or a suspension counts at the next login all the same.",
        check=at_least(0),
    )
    cache_entries: int = setting(
        10_000, "Most logins remembered in each mail process; about 250 octets each.", check=at_least(0)
    )

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """Settings that contradict each other."""
        if self.argon2_memory < 8 * KIB * self.argon2_lanes:
            yield "argon2_memory", "is less than 8 KiB for each lane", "Raise it, or lower argon2_lanes."
