"""The portal's words, in both languages: one file for each area of pages, each key beginning with the area's name.

The words of the guide, whose templates stand in the same frame, are known too.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources

from sekisho.guide.words import words as guide_words

__all__ = ["AREAS", "LANGUAGES", "word", "words"]

LANGUAGES = ("ja", "en")
AREAS = ("common", "guide", "check", "account", "operator")


def word(key: str, language: str, **values: object) -> str:
    """Return the text *key*, filled in; who shows it escapes it.

    Raises:
        KeyError: there is no such text or placeholder: a mistake of ours.
    """
    text = words()[key][language]
    return text.format_map(values) if values else text


@functools.cache
def words() -> Mapping[str, Mapping[str, str]]:
    """Return every text by key and language, those of the guide among them."""
    found: dict[str, Mapping[str, str]] = dict(guide_words())
    directory = resources.files(__package__).joinpath("words")
    for area in AREAS:
        file = directory.joinpath(f"{area}.toml")
        if file.is_file():
            found.update(tomllib.loads(file.read_text("utf-8")))
    return found
