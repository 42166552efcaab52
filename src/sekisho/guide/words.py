"""The guide's own words, in both languages; those of the clients are in the catalog."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources

__all__ = ["word", "words"]


def word(key: str, language: str, **values: object) -> str:
    """Return the text *key*, filled in; who shows it escapes it.

    Raises:
        KeyError: there is no such text or placeholder: a mistake of ours.
    """
    return words()[key][language].format_map(values)


@functools.cache
def words() -> Mapping[str, Mapping[str, str]]:
    """Return every text by key and language."""
    return tomllib.loads(resources.files(__package__).joinpath("words.toml").read_text("utf-8"))
