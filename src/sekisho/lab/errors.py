"""What can go wrong with the rehearsal lab.

LabError
├── LabMissing     a program or a right is not there; says what to install
├── LabState       the lab is up when it should be down, or the reverse
└── LabFailed      something that was started did not come up, or a command inside the lab failed
"""

from __future__ import annotations

from collections.abc import Sequence


class LabError(Exception):
    """The lab cannot do what was asked; ``str()`` is one line for each reason."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(reasons))


class LabMissing(LabError):
    """A program, a file or a right that the lab needs is not there."""


class LabState(LabError):
    """The lab is up when it should be down, or the reverse."""


class LabFailed(LabError):
    """A program of the lab did not start, or did not do what it was told."""
