"""What this package raises.

Exception
  └ SuperviseError      every message is written for the operator
      ├ StartError      the service cannot start; all reasons at once
      ├ PrivilegeError  the right to become another user is missing, or was not given up
      └ ControlError    a worker's control socket did not answer, or refused
"""

from __future__ import annotations

from collections.abc import Sequence


class SuperviseError(Exception):
    """Base of this package's errors; ``str()`` is what the operator reads."""


class StartError(SuperviseError):
    """The service cannot start. *problems* holds one line per reason, each with its remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PrivilegeError(SuperviseError):
    """The process could not become the service user, or could still become root again."""


class ControlError(SuperviseError):
    """A worker did not answer on its control socket, or refused what was asked."""
