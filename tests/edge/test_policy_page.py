"""The page about the policy file: its example is the one that is tested, and it has every key with its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

from sekisho.config import Row, rows_of
from sekisho.config.setting import is_settings
from sekisho.edge.load import PolicyFile, load_policy

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "operate" / "edge-policy.md").read_text(encoding="utf-8")


def rows(cls: Any) -> Iterator[Row]:
    for row in rows_of(cls):
        inner = [kind for kind in (row.kind, *get_args(row.kind)) if is_settings(kind)]
        if inner:
            yield from rows(inner[0])
        else:
            yield row


def test_the_example_on_the_page_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"\n((?: {4}.*\n|\n)*? {4}version = 1\n(?: {4}.*\n|\n)*)", PAGE)
    text = re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() + "\n"
    assert text == (HERE / "example.toml").read_text(encoding="utf-8")
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8")
    (tmp_path / "exemptions.csv").write_text((HERE / "exemptions.csv").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_policy(tmp_path / "policy.toml", today=date(2026, 12, 1)).name == "Example Net"


def test_every_key_is_on_the_page_in_the_words_of_the_source() -> None:
    lines = PAGE.splitlines()
    found = list(rows(PolicyFile))
    assert len(found) > 35
    for row in found:
        wanted = re.compile(rf"\| `{row.name}` \| .* \| {re.escape(row.prose)} \|")
        assert any(wanted.fullmatch(line) for line in lines), f"{row.name}: {row.prose}"
