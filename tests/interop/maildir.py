"""Where a message ended up: a Maildir read while others write to it."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from .processes import wait_for

__all__ = ["Maildir", "parse"]


def parse(octets: bytes) -> EmailMessage:
    """Parse a message as its reader would."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


class Maildir:
    """The messages in ``new`` and ``cur`` of one Maildir, which need not exist yet.

    With *delivered_to*, only those whose ``Delivered-To`` field starts with it: several mailboxes may share a Maildir.
    """

    def __init__(self, path: Path, *, delivered_to: str | None = None) -> None:
        self.path = path
        self._field = None if delivered_to is None else f"\nDelivered-To: {delivered_to}".encode()
        self._of_others: set[str] = set()

    def contents(self) -> list[bytes]:
        """Return the octets of each message that is there, in order of arrival."""
        found: list[tuple[int, bytes]] = []
        for file in [*self.path.glob("new/*"), *self.path.glob("cur/*")]:
            if file.name in self._of_others:
                continue
            try:
                arrived, octets = file.stat().st_mtime_ns, file.read_bytes()
            except FileNotFoundError:
                continue  # moved from new to cur by a reader meanwhile; it is found there the next time
            if self._field is None or self._field in octets[:2000]:
                found.append((arrived, octets))
            else:
                self._of_others.add(file.name)
        return [octets for _, octets in sorted(found, key=lambda each: each[0])]

    def wait(self, count: int = 1, *, seconds: float = 20.0) -> list[bytes]:
        """Return the messages once there are at least *count*."""

        def enough() -> list[bytes]:
            contents = self.contents()
            return contents if len(contents) >= count else []

        return wait_for(f"{count} message(s) in {self.path}", enough, seconds=seconds)
