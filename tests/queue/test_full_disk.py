"""A disk that is really full, and a file size limit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.queue.spooling import SETTINGS, Clock, Listener, accept, eventually, finish, opened, read, run, settle

from sekisho.config import MIB, Size
from sekisho.queue import Queue, SpoolError, SpoolFull


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,nr_inodes=1000", "sekisho-test", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("size", [20_000, 300_000], ids=["inline", "file"])
def test_a_full_disk_answers_no_loses_nothing_and_is_forgotten_once_there_is_room(small_disk: Path, size: int) -> None:
    async def main() -> None:
        letters: dict[str, bytes] = {}
        (small_disk / "ballast").write_bytes(b"x" * 2_000_000)
        async with opened(small_disk) as queue:
            refused = 0
            for n in range(2000):
                letter = bytes([n % 256]) * size
                try:
                    letters[await accept(queue, octets=letter)] = letter
                except SpoolFull:
                    refused += 1
                    if refused == 20:
                        break
            assert refused == 20
        (small_disk / "ballast").unlink()
        listener = Listener()
        async with opened(small_disk, listener=listener) as queue:
            assert {row.queue_id for row in await queue.list(limit=10_000)} == set(letters)
            for _ in letters:
                [message] = await listener.take()
                assert await read(queue, message) == letters[message.queue_id]
                finish(queue, message)
            await eventually(lambda: not queue._window.busy)
            await settle(queue)
            queue._room_until = 0.0
            letter = b"x" * size
            last = await accept(queue, octets=letter)
            [message] = await listener.take()
            assert message.queue_id == last
            assert await read(queue, message) == letter

    run(main())


def test_with_room_reserved_mail_is_refused_before_outcomes_suffer(small_disk: Path) -> None:
    async def main() -> None:
        listener = Listener()
        settings = replace(SETTINGS, minimum_free=Size(2 * MIB))
        async with opened(small_disk, settings=settings, listener=listener) as queue:
            problems: list[str] = []
            queue.problem = problems.append
            accepted = 0
            while queue.has_room(40_000):
                await accept(queue, octets=b"x" * 40_000)
                queue._room_until = 0.0
                accepted += 1
            assert 0 < accepted < 200
            with pytest.raises(SpoolFull):
                await accept(queue, octets=b"x" * 40_000)
            for message in await listener.take(accepted):
                finish(queue, message, reply="250 " + "y" * 500)
            await settle(queue)
            assert problems == []
            assert (await queue.stats()).messages == 0

    run(main())


def test_too_few_inodes_are_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as queue:
            real = os.statvfs(tmp_path)
            values = list(real)
            values[7] = 3  # f_favail
            monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
            with pytest.raises(SpoolFull):
                await accept(queue)

    run(main())


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from sekisho.queue import Queue, SpoolError
from tests.queue.spooling import SETTINGS, Clock, accept

async def main():
    queue = Queue.open(Path(sys.argv[1]), SETTINGS, number=0, now=Clock())
    queue.start()
    kept = [await accept(queue)]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    refused = 0
    for size in (50_000, 1_000_000) * 30:
        try:
            kept.append(await accept(queue, octets=b"x" * size))
        except SpoolError:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept.append(await accept(queue, octets=b"x" * 1_000_000))
    assert {row.queue_id for row in await queue.list(limit=1000)} == set(kept)
    await queue.close()
    print(len(kept), refused)

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept, refused = map(int, done.stdout.split())
    assert kept >= 2
    assert refused >= 30


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"a file, not a directory")
    with pytest.raises(SpoolError, match="spool"):
        Queue.open(tmp_path / "spool", SETTINGS, number=0, now=Clock())
    with pytest.raises(SpoolError, match="from 0 to 255"):
        Queue.open(tmp_path, SETTINGS, number=256, now=Clock())
