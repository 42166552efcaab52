"""The message catalog: every text a person reads outside a mail client's error box, by key and language."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Final

__all__ = ["LANGUAGES", "keys", "say"]

LANGUAGES: Final = ("ja", "en")


def say(key: str, language: str, **values: object) -> str:
    """Return the text *key* in *language* ("ja" or "en"), its placeholders filled with *values*.

    Values are put in as they are: who shows the text escapes it for the medium.

    Raises:
        KeyError: there is no such text, language, or a placeholder has no value: a mistake of ours.
    """
    return _catalog()[key][language].format_map(values)


def keys() -> tuple[str, ...]:
    """Every key of the catalog."""
    return tuple(_catalog())


@functools.cache
def _catalog() -> Mapping[str, Mapping[str, str]]:
    text = resources.files(__package__).joinpath("catalog.toml").read_text("utf-8")
    return tomllib.loads(text)
