"""The settings card as rows of words and values, and what is to be said about a version, for every rendering."""

from __future__ import annotations

from dataclasses import dataclass

from sekisho.guide.card import Audience, Card, Way
from sekisho.guide.choose import Choice
from sekisho.guide.model import CAPABILITIES
from sekisho.guide.words import word

__all__ = ["CardView", "card_views", "notices"]


@dataclass(frozen=True, slots=True)
class CardView:
    """The values for one class of accounts: its name (None with only one class), and rows of word and value."""

    audience: str | None
    rows: tuple[tuple[str, str], ...]


def card_views(card: Card, ways: tuple[Way, ...], language: str, person: Audience | None = None) -> list[CardView]:
    """Return the card, for each class of accounts, with one or several ways."""
    views = []
    for audience in (person,) if person else card.audiences:
        rows = [(word("card.host", language), audience.host)]
        for number, way in enumerate(ways):
            capability = CAPABILITIES[way.capability]
            values = [
                ("card.port", str(way.port)),
                ("card.security", word(f"security.{capability.tls}", language)),
                ("card.authentication", word(f"auth.{capability.auth}", language)),
            ]
            for key, value in values[: 2 if number else 3]:  # how to log in is the same for all that stand together
                rows.append((word(key, language), word("card.either", language, value=value) if number else value))
        rows.append((word("card.user_name", language), audience.user_name))
        rows.append((word("card.password", language), word("value.password", language)))
        views.append(CardView(audience.name.say(language) if audience.name else None, tuple(rows)))
    return views


def notices(choice: Choice, card: Card, language: str) -> list[str]:
    """Return what a reader has to know before the steps."""
    version, found = choice.version, []
    if choice.way is None:
        return [
            word(f"guide.gone.{choice.reason}", language, tls=_tls(card))
            if choice.reason == "tls"
            else word(f"guide.gone.{choice.reason}", language)
        ]
    if CAPABILITIES[choice.way.capability].tls == "none":
        found.append(word("guide.clear", language))
    if choice.too_old_on:
        systems = ("、" if language == "ja" else ", ").join(choice.too_old_on)
        found.append(word("guide.too_old_on", language, systems=systems, tls=_tls(card)))
    if choice.tls_unknown:
        found.append(word("guide.tls_unknown", language, tls=_tls(card)))
    if version.end and version.status == "legacy":
        found.append(word("guide.old", language, year=version.end))
    return found


def _tls(card: Card) -> str:
    return card.minimum_tls.replace("TLS", "TLS ")
