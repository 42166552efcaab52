"""Declarations that say too little are mistakes of ours, found when the class is made or read."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sekisho.config import REQUIRED, rows_of, setting


def test_a_setting_without_prose_is_refused() -> None:
    with pytest.raises(TypeError, match="prose"):
        setting(3, " ")


def test_a_field_that_is_no_setting_is_refused() -> None:
    @dataclass(frozen=True)
    class Mixed:
        """Mixed."""

        good: int = setting(1, "Good.")
        bad: int = 2

    with pytest.raises(TypeError, match=r"Mixed\.bad"):
        rows_of(Mixed)


def test_rows_tell_what_was_declared() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Some:
        """Some."""

        must: int = setting(prose="Must be\n   given.")
        may: str | None = setting(None, "May.", reload=True, example="x")

    must, may = rows_of(Some)
    assert (must.default, must.optional, must.prose, must.reload) == (REQUIRED, False, "Must be given.", False)
    assert (may.default, may.optional, may.kind, may.reload, may.example) == (None, True, str, True, "x")
