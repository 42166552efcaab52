"""Reading all spools of a service from another process: for `sekisho queue list|show|stats` and the portal.

It changes nothing, takes no lock that would hold a mail process up, and works whether or not the service runs.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType

from sekisho.store import StoreError, connect, load_migrations, mapped, version_of

from .ids import decode
from .listing import destinations, list_messages, show_message, start_after, total
from .model import Destination, Filter, Listed, Shown, SpoolError, State, Stats
from .opening import DATABASE, spool_numbers

__all__ = ["SpoolReader"]


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        with mapped(path):
            yield
    except StoreError as error:
        raise SpoolError(str(error)) from error


class SpoolReader:
    """Reads the spools in *directory*; a context manager.

    Raises:
        SpoolError: a database cannot be read, or was written by a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self._paths = {number: directory / str(number) / DATABASE for number in spool_numbers(directory)}
        self._connections: dict[int, sqlite3.Connection] = {}
        newest = len(load_migrations(f"{__package__}.migrations"))
        try:
            for number, path in self._paths.items():
                # Not SQLite's read-only mode: it cannot open a WAL database whose last user has closed it.
                connection = self._connections[number] = connect(path)
                connection.execute("PRAGMA query_only = ON")
                if version_of(connection) != newest:
                    raise SpoolError(f"{path}: its schema has another version; start the service once to upgrade it")
        except BaseException as error:
            self.close()
            if isinstance(error, StoreError):
                raise SpoolError(str(error)) from error
            raise

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the databases."""
        for connection in self._connections.values():
            connection.close()
        self._connections = {}

    def list(self, filter_: Filter | None = None, *, limit: int = 100, after: str | None = None) -> tuple[Listed, ...]:
        """Return messages of all spools that match, oldest first; *after* the last id of the page before.

        Raises:
            ValueError: *after* is no queue id.
        """
        pages = [
            self._page(number, filter_ or Filter(), start_after(after, number), limit) for number in self._connections
        ]
        return tuple(islice(heapq.merge(*pages, key=lambda listed: listed.queue_id), limit))

    def _page(self, number: int, filter_: Filter, after: int, limit: int) -> Iterator[Listed]:
        with _mapped(self._paths[number]):
            yield from list_messages(self._connections[number], number, filter_, after=after, limit=limit)

    def show(self, queue_id: str) -> Shown | None:
        """Return everything known of one message; None when no spool has it."""
        decoded = decode(queue_id)
        if decoded is None or decoded[1] not in self._connections:
            return None
        with _mapped(self._paths[decoded[1]]):
            return show_message(self._connections[decoded[1]], decoded[1], decoded[0])

    def stats(self) -> Stats:
        """Count what is open in all spools together."""
        return _sum(self.stats_by_spool().values())

    def destinations(self, limit: int = 20) -> tuple[Destination, ...]:
        """Return the domains that most open recipients wait for, deferred ones first of all."""
        found: dict[str, Destination] = {}
        for number, connection in self._connections.items():
            with _mapped(self._paths[number]):
                for domain, own in destinations(connection).items():
                    found[domain] = _together(found[domain], own) if domain in found else own
        return tuple(
            sorted(found.values(), key=lambda each: (-each.recipients.get(State.DEFERRED, 0), -each.count, each.domain))
        )[:limit]

    def stats_by_spool(self) -> dict[int, Stats]:
        """Count what is open in each spool."""
        counted = {}
        for number, connection in self._connections.items():
            with _mapped(self._paths[number]):
                counted[number] = total(connection)
        return counted


def _together(one: Destination, other: Destination) -> Destination:
    states = dict(one.recipients)
    for state, number in other.recipients.items():
        states[state] = states.get(state, 0) + number
    due = _earlier(one.next_attempt, other.next_attempt)
    return Destination(one.domain, states, due, one.last_reply or other.last_reply)


def _sum(parts: Iterable[Stats]) -> Stats:
    messages = octets = 0
    recipients: dict[State, int] = {}
    oldest: float | None = None
    next_attempt: float | None = None
    for part in parts:
        messages += part.messages
        octets += part.octets
        for state, count in part.recipients.items():
            recipients[state] = recipients.get(state, 0) + count
        oldest = _earlier(oldest, part.oldest)
        next_attempt = _earlier(next_attempt, part.next_attempt)
    return Stats(messages, octets, recipients, oldest, next_attempt)


def _earlier(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
