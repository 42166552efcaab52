"""Guides that stand near one another, found by what their versions have in common."""

from __future__ import annotations

from .model import Catalog, Version

__all__ = ["related", "symptom_of", "tags"]


def tags(catalog: Catalog, version: Version) -> frozenset[str]:
    """Return what *version* is about: systems, kind, maker, whether it is still made."""
    family = catalog.family_of[version.id]
    systems = {f"system:{each}" for each in version.platforms}
    return frozenset({*systems, f"kind:{family.kind}", f"maker:{family.vendor}", f"status:{version.status}"})


def related(catalog: Catalog, version: Version, most: int = 6) -> tuple[Version, ...]:
    """Return versions of other clients, nearest first: one for each client, and only those with a system in common.

    Programs that are still made come before those that are not: whoever looks around may want to move.
    """
    own, family = tags(catalog, version), catalog.family_of[version.id]
    found = []
    for other in catalog.families:
        if other.id == family.id or other.kind != family.kind:
            continue
        near = [each for each in other.versions if set(each.platforms) & set(version.platforms)]
        if near:
            best = max(near, key=lambda each: (each.status == "current", each.release or 0, each.id))
            found.append((best.status == "current", len(own & tags(catalog, best)), best))
    found.sort(key=lambda each: (not each[0], -each[1], each[2].names.en))
    return tuple(each for _, _, each in found[:most])


_SYMPTOMS = {
    "port25_blocked": "timeout_25",
    "connect_failed": "timeout_587",
    "unknown_host": "unknown_host",
    "auth_required": "auth_required",
    "auth_failed": "auth_failed",
    "auth_mechanism": "mechanism_unsupported",
    "certificate": "certificate_warning",
    "relay_denied": "relay_denied",
    "security_mismatch": "tls_handshake",
    "starttls_missing": "starttls_missing",
    "too_many_recipients": "too_many",
    "size": "too_big",
    "rate_limited": "too_many",
}


def symptom_of(situation: str) -> str | None:
    """Return the problem whose page explains the *situation* of a client's message."""
    return _SYMPTOMS.get(situation)
