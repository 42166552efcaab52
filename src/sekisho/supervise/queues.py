"""The operator's verbs on the queue, from outside the workers.

Reading opens the spools beside the running service. Changing belongs to whoever holds a spool's lock: the worker, asked
on its control socket, or this process when the service is down.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sekisho.queue import Queue, SpoolLocked, decode, spool_numbers
from sekisho.telemetry import EventLog

from .control import ask, running_workers
from .errors import ControlError
from .sections import Places, Settings
from .stores import hand_to_owner

VERBS = {
    "hold": "queue.held",
    "release": "queue.released",
    "retry": "queue.retried",
    "delete": "queue.deleted",
}
"""What an operator may do, and the event that tells of it."""

OPERATOR = -2  # the number under which a command's own events are written
BATCH = 1000  # queue ids in one request


def change(
    settings: Settings, where: Places, verb: str, ids: Sequence[str], *, by: str | None = None
) -> dict[str, int]:
    """Carry out *verb* for the messages *ids*; return the changed ones with their number of changed recipients.

    Args:
        by: the operator's account, for the log, where it is known.

    Raises:
        ControlError: an id is none, or neither the service nor this process could get at its spool.
    """
    by_spool = _by_spool(ids)
    workers = running_workers(where.run)
    changed: dict[str, int] = {}
    for spool, own in by_spool.items():
        for start in range(0, len(own), BATCH):
            batch = own[start : start + BATCH]
            changed |= (
                _ask_worker(workers, verb, spool, batch, by)
                if workers
                else _do_it(settings, where, verb, spool, batch, by)
            )
    return changed


def _by_spool(ids: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for text in ids:
        decoded = decode(text)
        if decoded is None:
            raise ControlError(f"{text!r} is not a queue id; `sekisho queue list` shows them")
        found[decoded[1]].append(text)
    return found


def _ask_worker(workers: Sequence[Path], verb: str, spool: int, ids: Sequence[str], by: str | None) -> dict[str, int]:
    for path in workers:
        if spool in ask(path, "ping")["spools"]:
            answer: dict[str, int] = ask(path, "queue", do=verb, spool=spool, ids=list(ids), by=by)
            return answer
    raise ControlError(f"no running worker has spool {spool}; try again in a moment")


def _do_it(
    settings: Settings, where: Places, verb: str, spool: int, ids: Sequence[str], by: str | None
) -> dict[str, int]:
    if spool not in spool_numbers(where.queue):
        return {}

    async def work() -> dict[str, int]:
        try:
            queue = Queue.open(where.queue, settings.queue, number=spool, now=time.time)
        except SpoolLocked as error:
            raise ControlError("the service is starting or stopping; try again in a moment") from error
        queue.start()
        try:
            return await perform(queue, verb, ids)
        finally:
            await queue.close()

    events = EventLog(where.log, settings.log, OPERATOR)
    try:
        changed = asyncio.run(work())
        report(events, verb, changed, by)
    finally:
        events.close()
        hand_to_owner(where)
    return changed


async def perform(queue: Queue, verb: str, ids: Sequence[str]) -> dict[str, int]:
    """Carry out *verb* on *queue*, whose lock this process holds."""
    verbs = {"hold": queue.hold, "release": queue.release, "retry": queue.retry, "delete": queue.delete}
    return {str(queue_id): count for queue_id, count in (await verbs[verb](ids)).items()}


def report(events: EventLog, verb: str, changed: Mapping[str, int], by: str | None = None) -> None:
    """Note in the event log what an operator did to each message, and who, where that is known."""
    for queue_id, count in changed.items():
        if count:
            events.emit(VERBS[verb], queue_id=queue_id, count=count, by=by)
