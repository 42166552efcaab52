"""The settings card as rows of words and values, and what is to be said about a version, for every rendering."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sekisho.guide.card import Audience, Card, Way
from sekisho.guide.choose import Choice
from sekisho.guide.model import CAPABILITIES
from sekisho.guide.words import word

__all__ = ["CardView", "card_views", "notices"]


@dataclass(frozen=True, slots=True)
class CardView:
    """The values for one class of accounts: its name (None with only one class), and rows of word and value.

    In an example, "name" stands for the reader's own part of the address.
    """

    audience: str | None
    rows: tuple[tuple[str, str], ...]
    is_example: bool


def card_views(card: Card, ways: tuple[Way, ...], language: str, person: Audience | None = None) -> list[CardView]:
    """Return the card, for each class of accounts, with one or several ways."""
    views = []
    for audience in (person,) if person else card.audiences:
        rows = [(word("card.host", language), audience.host), *_ways(ways, language)]
        rows.append((word("card.user_name", language), audience.user_name))
        rows.append((word("card.password", language), word("value.password", language)))
        views.append(CardView(audience.name.say(language) if audience.name else None, tuple(rows), person is None))
    return views


def _ways(ways: tuple[Way, ...], language: str) -> Iterator[tuple[str, str]]:
    """Yield port, encryption and authentication; port and encryption in one row each when there is a choice."""
    kinds = [CAPABILITIES[way.capability] for way in ways]
    security = [word(f"security.{kind.tls}", language) for kind in kinds]
    if len(ways) == 1:
        yield word("card.port", language), str(ways[0].port)
        yield word("card.security", language), security[0]
    else:
        for number, (way, words) in enumerate(zip(ways, security, strict=True)):
            name = "card.either" if number else "card.port_and_security"
            yield word(name, language), word("card.way", language, port=way.port, security=words)
    if kinds:  # how to log in is the same for all that stand together
        yield word("card.authentication", language), word(f"auth.{kinds[0].auth}", language)


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
