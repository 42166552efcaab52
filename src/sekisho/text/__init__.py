"""Words for people, in Japanese and English: the catalog, and what is composed from it."""

from __future__ import annotations

from .card import settings_card
from .catalog import LANGUAGES, keys, say

__all__ = ["LANGUAGES", "keys", "say", "settings_card"]
