"""Writing the site: only what changed, nothing of others, and tidy after a build that was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.guide.errors import GuideError
from sekisho.guide.publish import publish

SITE = {"index.html": "first", "ja/a.html": "あ", "ja/b.html": "b"}


def test_only_what_differs_is_written_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "guide"
    assert publish(SITE, target).written == ("index.html", "ja/a.html", "ja/b.html")
    assert publish(SITE, target).written == ()
    done = publish({"index.html": "second", "ja/a.html": "あ"}, target)
    assert (done.written, done.removed) == (("index.html",), ("ja/b.html",))
    assert not (target / "ja" / "b.html").exists()
    assert (target / "ja" / "a.html").read_text("utf-8") == "あ"


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(GuideError, match="a directory of its own"):
        publish(SITE, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_files_of_others_beside_the_guide_stay(tmp_path: Path) -> None:
    publish(SITE, tmp_path / "guide")
    (tmp_path / "guide" / "logo.svg").write_text("ours")
    publish({"index.html": "x"}, tmp_path / "guide")
    assert (tmp_path / "guide" / "logo.svg").exists()


def test_a_list_that_names_files_outside_removes_none_of_them(tmp_path: Path) -> None:
    publish(SITE, tmp_path / "guide")
    (tmp_path / "precious").write_text("x")
    (tmp_path / "guide" / ".sekisho-guide").write_text("../precious\nindex.html\n")
    publish(SITE, tmp_path / "guide")
    assert (tmp_path / "precious").exists()
