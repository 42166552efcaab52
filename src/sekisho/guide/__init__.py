"""The guide: what a person must know to send mail, from facts about clients and the settings the servers run on."""

from __future__ import annotations

from .card import Audience, Card, Notice, Way, make_card
from .choose import Choice, choose, guides_for
from .errors import CatalogError, GuideError
from .facts import catalog, load_catalog
from .model import CAPABILITIES, Both, Capability, Catalog, Family, Version
from .settings import AudienceSettings, GuideSettings, NoticeSettings
from .wire import WireProfile, wire_profile

__all__ = [
    "CAPABILITIES",
    "Audience",
    "AudienceSettings",
    "Both",
    "Capability",
    "Card",
    "Catalog",
    "CatalogError",
    "Choice",
    "Family",
    "GuideError",
    "GuideSettings",
    "Notice",
    "NoticeSettings",
    "Version",
    "Way",
    "WireProfile",
    "catalog",
    "choose",
    "guides_for",
    "load_catalog",
    "make_card",
    "wire_profile",
]
