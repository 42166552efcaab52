"""What a client does on the wire when its user has followed a guide: taken from the facts, played in the tests."""

from __future__ import annotations

from dataclasses import dataclass

from .card import Audience, Way
from .model import CAPABILITIES, Version

__all__ = ["WireProfile", "wire_profile"]

_SPOKEN = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5")

_EHLO = {
    "netbios_name": "RIN_PC",
    "address_literal": "[IPV6:fe80::1]",
    "localhost": "localhost",
    "fqdn": "desk.example.jp",
    "fixed": "com.fsck.k9",
    "unknown": "RIN_PC",  # the kind that strict servers refuse
}
"""Names as clients give them, in the least pleasant form of each kind."""

_STRICT_PROMPTS = ("thunderbird", "netscape")


@dataclass(frozen=True, slots=True)
class WireProfile:
    """How one client speaks.

    Fields:
        tls: "starttls", "first" or "none".
        tls_ceiling: highest version it can speak, in the words of the facts.
        mechanisms: in the order in which it tries those that the server offers.
        initial_response: how it may begin an exchange that the client begins: with the AUTH command, or after an
            empty challenge. Facts rarely say which, so a client that might do either is played both ways.
        exact_prompts: it gives up unless LOGIN asks "Username:" and "Password:".
    """

    port: int
    tls: str
    tls_ceiling: str
    ehlo: str
    mechanisms: tuple[str, ...]
    initial_response: tuple[bool, ...]
    exact_prompts: bool
    user_name: str


def wire_profile(version: Version, way: Way, audience: Audience) -> WireProfile:
    """Return how *version* speaks on the way that a guide sets it up for."""
    capability = CAPABILITIES[way.capability]
    if capability.auth == "cram-md5":
        order: tuple[str, ...] = ("CRAM-MD5",)
    else:
        order = tuple(dict.fromkeys((*version.preference, *version.mechanisms)))
    return WireProfile(
        port=way.port,
        tls=capability.tls,
        tls_ceiling=version.tls,
        ehlo=_EHLO[version.ehlo],
        mechanisms=tuple(name for name in order if name in _SPOKEN),
        initial_response=(True, False),
        exact_prompts=version.id.startswith(_STRICT_PROMPTS),
        user_name=audience.user_name,
    )
