"""Every word is there in both languages, with the same placeholders."""

from __future__ import annotations

import re
import string
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import sekisho.portal
from sekisho.guide.words import words as guide_words
from sekisho.portal.words import AREAS, LANGUAGES, words

ROOT = Path(sekisho.portal.__file__).parent
FILES = sorted((ROOT / "words").glob("*.toml"))
SOURCES = [*ROOT.rglob("*.py"), *(ROOT / "templates").rglob("*.*")]

OTHERWISE = {"common.moment", "common.moment.year"}  # a date: months have numbers in Japanese and names in English


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_words_are_complete(file: Path) -> None:
    assert file.stem in AREAS
    for key, texts in tomllib.loads(file.read_text("utf-8")).items():
        assert key.startswith(f"{file.stem}."), f"{key} is not of this area"
        assert tuple(texts) == LANGUAGES, f"{key} has {list(texts)}"
        assert all(text.strip() for text in texts.values()), f"{key} is empty"
        if key not in OTHERWISE:
            assert placeholders(texts["ja"]) == placeholders(texts["en"]), f"{key} has other placeholders"


def test_no_key_stands_twice() -> None:
    count = sum(len(tomllib.loads(file.read_text("utf-8"))) for file in FILES)
    assert count + len(guide_words()) == len(words())


def test_every_key_that_is_written_out_exists() -> None:
    areas = "|".join(AREAS)
    for source in SOURCES:
        for key in re.findall(rf"""word\(\s*["']((?:{areas})\.[a-z0-9_.]*[a-z0-9_])["']""", source.read_text("utf-8")):
            assert key in words(), f"{source.name}: {key}"
        for key in re.findall(rf"""Refusal\(\s*\d+,\s*["']((?:{areas})\.[a-z0-9_.]+)["']""", source.read_text("utf-8")):
            assert f"{key}.title" in words(), f"{source.name}: {key}.title"
            assert f"{key}.text" in words(), f"{source.name}: {key}.text"


def test_words_come_with_the_package() -> None:
    assert resources.files("sekisho.portal").joinpath("words/common.toml").is_file()
