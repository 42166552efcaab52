"""The catalog speaks both languages, with the same placeholders, and keeps nothing that nobody says."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import sekisho
from sekisho.text import LANGUAGES, keys, say
from sekisho.text.catalog import _catalog

SOURCE = "\n".join(path.read_text() for path in Path(sekisho.__file__).parent.rglob("*.py"))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", keys())
def test_each_text_stands_in_both_languages_with_the_same_placeholders(key: str) -> None:
    texts = _catalog()[key]
    assert set(texts) == set(LANGUAGES)
    assert placeholders(texts["ja"]) == placeholders(texts["en"])
    assert all(text.strip() == text != "" for text in texts.values())
    assert texts["en"].isascii()


@pytest.mark.parametrize("key", keys())
def test_each_text_is_said_somewhere(key: str) -> None:
    start, _, rest = key.partition(".")
    last = rest.rpartition(".")[2]
    composed = rf'f?["\']{start}\.\{{\w+\}}\.{last}["\']'  # say(f"dsn.{kind}.text", …)
    assert f'"{key}"' in SOURCE or f"'{key}'" in SOURCE or re.search(composed, SOURCE)


def test_each_text_that_is_said_exists() -> None:
    said = set(re.findall(r'(?<![\w.])say\(\s*["\']([a-z0-9_.]+)["\']', SOURCE))
    assert said
    assert said <= set(keys())


def test_values_are_put_in_and_not_read_again() -> None:
    assert "{hostname}" in say("dsn.footer", "en", queue_id="{hostname}", hostname="mail")


def test_a_text_or_value_that_is_missing_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        say("dsn.footer", "en")
    with pytest.raises(KeyError):
        say("nothing", "en")
    with pytest.raises(KeyError):
        say("dsn.author", "fr")
