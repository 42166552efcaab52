"""What can go wrong with the guide: its facts, or what it is to be filled in with."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["CatalogError", "GuideError"]


class GuideError(Exception):
    """The guide cannot be made as it was asked for; ``str()`` has one line for each reason.

    Fields:
        problems: file, key and what is wrong.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class CatalogError(GuideError):
    """The facts about clients break their rules."""
