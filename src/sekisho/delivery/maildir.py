"""Local delivery into Maildirs. Blocking: it runs in a thread, several messages at a time.

A Maildir has ``tmp``, ``new`` and ``cur``; a message appears in ``new`` whole or not at all. https://cr.yp.to/proto/maildir.html
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekisho.queue import ContentDamaged
from sekisho.smtp import Reply

__all__ = ["MaildirDelivery", "deliver", "maildir_of"]

DELIVERED = Reply(250, "2.0.0", ("Delivered to the mailbox",))
MAILBOX_FULL = Reply(452, "4.2.2", ("The mailbox has no room left",))
NO_ACCESS = Reply(451, "4.3.0", ("The mailbox cannot be written at the moment",))

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 262_144  # octets
_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class MaildirDelivery:
    """One message for one mailbox.

    Fields:
        directory: the Maildir; made when missing.
        prefix: header fields put before the content: Return-Path and Delivered-To.
        chunks: gives the content in pieces of at most so many octets.
    """

    directory: Path
    prefix: bytes
    chunks: Callable[[int], Iterator[bytes]]


def maildir_of(root: Path, login: str) -> Path | None:
    """Return the Maildir of *login* below *root*; None when the name cannot be one directory name."""
    if not login or login.startswith(".") or "/" in login or "\0" in login or len(login.encode()) > 255:
        return None
    return root / login


def deliver(deliveries: Sequence[MaildirDelivery]) -> list[Reply]:
    """Write each message durably and return one reply for each, in order.

    Each leg is durable before the next begins: the files in ``tmp``, fsynced; each renamed into ``new``; each ``new``
    fsynced, once for all messages that went into it. Only then may the recipients be recorded as delivered. A crash
    before leaves files in ``tmp``, which Maildir readers remove after 36 hours, or messages that are delivered again.
    """
    replies: list[Reply] = []
    directories: dict[Path, list[int]] = {}
    for number, delivery in enumerate(deliveries):
        try:
            _write(delivery)
        except OSError as error:
            replies.append(_explain(error))
        except ContentDamaged:  # the next attempt verifies it and holds it; the others in this batch are there already
            replies.append(NO_ACCESS)
        else:
            replies.append(DELIVERED)
            directories.setdefault(delivery.directory / "new", []).append(number)
    for directory, numbers in directories.items():
        try:
            _sync_directory(directory)
        except OSError as error:
            for number in numbers:
                replies[number] = _explain(error)
    return replies


def _write(delivery: MaildirDelivery) -> None:
    name = _unique_name()
    temporary = delivery.directory / "tmp" / name
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        _make(delivery.directory)
        descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            _copy(delivery, descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, delivery.directory / "new" / name)  # names are unique, so nothing is replaced
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy(delivery: MaildirDelivery, descriptor: int) -> None:
    """Write the message with LF line ends, as everything that reads a Maildir expects."""
    with open(descriptor, "wb", closefd=False) as target:
        target.write(delivery.prefix.replace(b"\r\n", b"\n"))
        held = b""
        for chunk in delivery.chunks(_CHUNK):
            chunk = held + chunk
            held = b"\r" if chunk.endswith(b"\r") else b""
            target.write(chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n"))
        target.write(held)


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("tmp", "new", "cur"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    _sync_directory(directory)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unique_name() -> str:
    """Time, process and a counter, with random octets against a clock that was set back and a process id used again."""
    now = time.time()
    host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
    fraction = int(now % 1 * 1_000_000)
    return f"{int(now)}.M{fraction}P{os.getpid()}Q{next(_counter)}R{os.urandom(4).hex()}.{host}"


def _explain(error: OSError) -> Reply:
    return MAILBOX_FULL if error.errno in _FULL else NO_ACCESS
