"""Which way a version of a client is to go: the safest that it has and the operator offers, or none any more."""

from __future__ import annotations

from dataclasses import dataclass

from .card import Card, Way
from .model import CAPABILITIES, TLS_ORDER, Catalog, ClientGuide, Version

__all__ = ["Choice", "choose", "guides_for"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What to tell those who have a version.

    Fields:
        way: None when it cannot send here any more.
        guides: what to follow, the first being the usual one; empty without *way*.
        reason: without *way*: "tls", "mechanism" or "offer", what it fails for.
        replace_by: versions to move to, those first that can send here.
        too_old_on: operating systems on which this version's TLS is too old.
        tls_unknown: nobody knows whether its TLS is new enough.
    """

    version: Version
    way: Way | None
    guides: tuple[ClientGuide, ...]
    reason: str | None
    replace_by: tuple[Version, ...]
    too_old_on: tuple[str, ...]
    tls_unknown: bool


def choose(catalog: Catalog, card: Card, version: Version, capability: str | None = None) -> Choice:
    """Choose for *version*; with *capability*, only that way counts."""
    reasons = set()
    for each in version.recommended:
        if capability not in (None, each.capability):
            continue
        reason = _obstacle(card, version, each.capability)
        way = card.way(each.capability)
        guides = () if reason or way is None else guides_for(catalog, card, version, way)
        if way is not None and guides:
            return Choice(version, way, guides, None, (), _too_old_on(card, version, way), _is_unknown(version, way))
        reasons.add(reason or "offer")
    first = next((each for each in ("tls", "mechanism", "offer") if each in reasons), "tls")
    return Choice(version, None, (), first, _replacements(catalog, card, version), (), False)


def guides_for(catalog: Catalog, card: Card, version: Version, way: Way) -> tuple[ClientGuide, ...]:
    """Return the guides that lead *version* this way; a program that takes only the usual port needs that one."""
    usual = int(way.capability.rpartition("_")[2])
    return tuple(
        guide
        for guide in sorted(catalog.family_of[version.id].guides, key=lambda each: each.task == "profile")
        if version.id in guide.versions
        and way.capability in guide.capabilities
        and (way.capability not in guide.port_fixed or way.port == usual)
        and (guide.task != "profile" or card.profile_url)
    )


def _obstacle(card: Card, version: Version, capability: str) -> str | None:
    way = card.way(capability)
    if way is None:
        return "offer"
    has_tls = CAPABILITIES[capability].tls != "none"
    if has_tls and version.tls in TLS_ORDER and TLS_ORDER.index(version.tls) < TLS_ORDER.index(card.minimum_tls):
        return "tls"
    if version.mechanisms and not set(version.mechanisms) & set(way.mechanisms):
        return "mechanism"
    return None


def _too_old_on(card: Card, version: Version, way: Way) -> tuple[str, ...]:
    if version.tls not in ("os", "library") or CAPABILITIES[way.capability].tls == "none":
        return ()
    minimum = TLS_ORDER.index(card.minimum_tls)
    return tuple(name for name, tls in version.tls_by_os.items() if tls in TLS_ORDER and TLS_ORDER.index(tls) < minimum)


def _is_unknown(version: Version, way: Way) -> bool:
    return version.tls == "unknown" and CAPABILITIES[way.capability].tls != "none"


def _replacements(catalog: Catalog, card: Card, version: Version) -> tuple[Version, ...]:
    found = [catalog.versions[name] for name in version.replace_by]
    return tuple(each for each in found if any(_obstacle(card, each, way.capability) is None for way in card.ways))
