"""What this package raises.

Exception
  └ ConfigError    one mistake of the operator: where it is, what is wrong, what to do
  └ ConfigErrors   all of them at once
"""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(Exception):
    """One mistake in the configuration.

    Fields:
        file: the file as the operator named it, or "environment" for a ``SEKISHO_…`` variable.
        key: dotted key (``queue.lifetime``, ``route[2].host``), a variable's name, or "" for the file as a whole.
        line: 1-based line of the file; None where no line is at fault.
    """

    def __init__(self, file: str, key: str, problem: str, remedy: str, line: int | None = None) -> None:
        super().__init__(file, key, problem, remedy, line)
        self.file = file
        self.key = key
        self.problem = problem
        self.remedy = remedy
        self.line = line

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.key}: " if self.key else ""
        return f"{place}: {subject}{self.problem}. {self.remedy}".rstrip()


class ConfigErrors(Exception):
    """Every mistake found, in the order of the file; ``str()`` has one line for each."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(tuple(errors))
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
