"""A mail process killed at any moment: what was acknowledged is there, whole, when the spool is opened again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.queue.spooling import SETTINGS, Listener, accept, arrival, eventually, finish, opened, read, run, settle

from sekisho.queue import Filter, Queue, QueuedMessage, SpoolReader, State
from sekisho.queue.commits import LEGS

KILLS = 12


def content_of(token: int) -> bytes:
    """Content that tells which message it belongs to; every fourth is a file."""
    size = 300_000 if token % 4 == 0 else 2000
    return (f"token {token} " * (size // 8))[:size].encode()


def recipients_of(token: int) -> list[str]:
    return [f"{token}-{n}.example" for n in range(1 + token % 3)]


def work(directory: str, first: int, stop_at: str) -> None:
    """The child: commit and deliver in a loop, print each id once acknowledged; with *stop_at* die at that leg."""

    async def main() -> None:
        queue = Queue.open(Path(directory), SETTINGS, number=0, now=time.time)

        def deliver(message: QueuedMessage) -> None:
            # Every other message is finished, so that recovery finds both kinds.
            state = State.DELIVERED if message.number % 2 else State.DEFERRED
            finish(queue, message, state, at=time.time(), next_attempt=time.time() + 1000)

        queue.listener = deliver
        queue.start()
        token = first

        async def client() -> None:
            nonlocal token
            while True:
                token += 1
                mine = token
                queue_id = await accept(queue, arrival(*recipients_of(mine)), content_of(mine))
                os.write(1, f"{queue_id} {mine}\n".encode())

        if stop_at:
            await accept(queue, arrival("warm.example"))
            queue._commits.leg = lambda leg: os.kill(os.getpid(), signal.SIGKILL) if leg == stop_at else None
        await asyncio.gather(*[client() for _ in range(6)])

    asyncio.run(main())


def killed(directory: Path, first: int, *, after: float | None = None, stop_at: str = "") -> dict[str, int]:
    """Run the child until it dies; return what it acknowledged."""
    program = f"from tests.queue.test_crash import work; work({str(directory)!r}, {first}, {stop_at!r})"
    path = os.pathsep.join(part for part in sys.path if part)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as child:
        assert child.stdout is not None
        lines = []
        if after is not None:
            lines.append(child.stdout.readline())
            time.sleep(after)
            child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
        assert child.wait(20) == -signal.SIGKILL
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return {queue_id: int(token) for queue_id, token in whole}


def check(directory: Path, acknowledged: dict[str, int]) -> None:
    """Every message of *acknowledged* is there with all its recipients; if it still waits, with its content."""

    async def main() -> None:
        listener = Listener()
        async with opened(directory) as queue:
            # Everything that waits is made due, and its content read back.
            ids = [listed.queue_id for listed in await queue.list(limit=100_000)]
            await queue.retry(ids)
            contents: dict[str, bytes] = {}
            queue.listener = listener
            await eventually(lambda: len(listener.messages) >= len(ids))
            for message in listener.messages:
                contents[message.queue_id] = await read(queue, message)
                finish(queue, message, State.HELD)
            await settle(queue)
            await queue.release(ids)
            for queue_id, token in acknowledged.items():
                shown = await queue.show(queue_id)
                assert shown is not None, f"{queue_id} (token {token}) was acknowledged and is lost"
                assert [r.mailbox.domain for r in shown.recipients] == recipients_of(token)
                if all(r.state is State.DELIVERED for r in shown.recipients):
                    assert not shown.content_kept
                else:
                    assert contents[queue_id] == content_of(token)

    run(main())


def test_nothing_acknowledged_is_missing_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for round_ in range(KILLS):
        acknowledged |= killed(tmp_path, round_ * 100_000, after=chance.random() * 0.08)
    assert len(acknowledged) > KILLS
    check(tmp_path, acknowledged)


@pytest.mark.parametrize("leg", LEGS)
def test_a_kill_after_each_leg_loses_nothing_and_leaves_no_litter(tmp_path: Path, leg: str) -> None:
    acknowledged = killed(tmp_path, 3, stop_at=leg)
    check(tmp_path, acknowledged)
    with SpoolReader(tmp_path) as reader:
        kept = {row.queue_id for row in reader.list(Filter(), limit=1000)}
    files = {path.name for path in (tmp_path / "0" / "content").iterdir()}
    assert files <= kept


@pytest.mark.parametrize(("leg", "kept"), [("content-synced", False), ("applied", False), ("committed", True)])
def test_the_commit_alone_decides_whether_a_message_is_there(tmp_path: Path, leg: str, kept: bool) -> None:
    """Before it returns nothing may be promised; after it everything is kept."""
    killed(tmp_path, 3, stop_at=leg)
    with SpoolReader(tmp_path) as reader:
        rows = reader.list(Filter(states=tuple(State)))
    if leg == "content-synced":
        rows = tuple(row for row in rows if row.size > 100_000)  # small ones may have been committed meanwhile
    assert any(row.mailboxes[0].domain != "warm.example" for row in rows) is kept
