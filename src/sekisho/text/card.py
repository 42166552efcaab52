"""The settings card: what a person types into a mail client, in the words of its dialogs."""

from __future__ import annotations

import unicodedata

from .catalog import say

__all__ = ["settings_card"]

INDENT = "  "


def settings_card(
    language: str,
    *,
    host: str,
    submissions: int | None,
    submission: int | None,
    login: str,
    address: str | None = None,
    password: str | None = None,
) -> str:
    """Return the card as lines of text.

    Args:
        submissions: port that takes TLS from the first octet (SSL/TLS), None where it is not open.
        submission: port that takes STARTTLS, None where it is not open.
        address: None when it is the login.
        password: shown only when given, as for a demonstration.
    """
    ways = [(port, how) for port, how in ((submissions, "SSL/TLS"), (submission, "STARTTLS")) if port is not None]
    rows = [("card.address", address or login), ("card.host", host)]
    either = ""
    for port, how in ways:
        rows += [("card.port", f"{either}{port}"), ("card.security", f"{either}{how}")]
        either = f"{say('card.either', language)} "
    rows += [
        ("card.authentication", say("card.authentication.password", language)),
        ("card.user_name", login),
    ]
    if password is not None:
        rows.append(("card.password", password))
    labels = [say(key, language) for key, _ in rows]
    width = max(map(_width, labels))
    lines = [say("card.title", language), ""]
    for label, (_, value) in zip(labels, rows, strict=True):
        lines.append(f"{INDENT}{label}{' ' * (width - _width(label))}  {value}")
    return "\n".join([*lines, "", say("card.port25", language)])


def _width(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
