"""The disk fills up: 452, nothing lost, and it works again as soon as there is room."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.crash.installation import LARGE, add_people, deliver, install, local_deliveries
from tests.interop.certificates import Authority
from tests.interop.instance import Instance
from tests.interop.processes import run, wait_for
from tests.interop.programs import need, need_root
from tests.interop.sink import Sink
from tests.interop.wire import Wire

MIB = 1024 * 1024
SIZE = 32 * MIB


@pytest.fixture
def disk(new_place: Callable[[str], Path]) -> Iterator[Path]:
    """A disk of its own for the data of an instance."""
    need_root("a small disk has to be mounted")
    place = new_place("disk")
    (place / "data").mkdir()
    done = run([need("mount"), "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "sekisho-test", place / "data"])
    assert done.returncode == 0, done.stderr.decode()
    yield place
    done = run([need("umount"), "--lazy", place / "data"])
    assert done.returncode == 0, done.stderr.decode()


def fill(instance: Instance, *, leave: int) -> Path:
    """Fill the disk until only *leave* octets are free."""
    path = instance.data / "filler"
    with path.open("wb") as file:
        room = os.statvfs(path)
        try:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - leave, 1))
        except OSError:
            assert leave == 0
    if leave == 0:
        with path.open("ab") as file:
            try:
                while os.write(file.fileno(), b"\0" * 4096):
                    pass
            except OSError:
                pass
    return path


@pytest.mark.parametrize(
    ("minimum_free", "leave"), [("8MiB", 4 * MIB), ("0", 0)], ids=["below the reserve", "no block left"]
)
def test_a_full_disk_refuses_for_now_and_loses_nothing(
    minimum_free: str, leave: int, disk: Path, authority: Authority, sink: Sink
) -> None:
    instance = install(disk, authority, sink, changes={"queue": {"minimum_free": minimum_free}})
    add_people(instance)
    instance.start()
    try:
        acknowledged = set(send(instance, "before", 10))
        assert len(acknowledged) == 10
        wait_for("the first ten", lambda: acknowledged <= set(local_deliveries(instance)))

        sink.refusal = b"451 4.3.0 Not now\r\n"
        waiting = set(send(instance, "waiting", 4))
        assert len(waiting) == 4
        wait_for("these four in the Maildir", lambda: waiting <= set(local_deliveries(instance)))
        acknowledged |= waiting

        filler = fill(instance, leave=leave)
        sink.refusal = None
        wait_for("what waited", lambda: all(sink.count(each) for each in waiting))  # its outcome may have no room now
        refusals: list[str] = []
        taken = itertools.count()

        def refused() -> bool:  # free space is looked at now and then, not for each message
            acknowledged.update(send(instance, f"during {next(taken)}", 8, refusals))
            return bool(refusals)

        wait_for("a refusal", refused, seconds=5)
        acknowledged |= set(send(instance, "still", 8, refusals))
        assert {reply[:9] for reply in refusals} == {"452 4.3.1"}, refusals
        filler.unlink()

        # Without tidying up by anybody: the reserve is looked at anew, what was half written is gone.
        again = wait_for("room to be noticed", lambda: send(instance, f"again {os.urandom(4).hex()}", 1))
        acknowledged |= set(again) | set(send(instance, "after", 10))
        wait_for(
            "every acknowledged message",
            lambda: all(sink.count(each) and each in local_deliveries(instance) for each in acknowledged),
        )
        assert {each: sink.count(each) for each in acknowledged} == dict.fromkeys(acknowledged, 1)
        assert {each: len(times) for each, times in local_deliveries(instance).items() if each in acknowledged} == (
            dict.fromkeys(acknowledged, 1)
        )
        assert instance.events(event="worker.died") == []
        assert "Traceback" not in instance.daemon.output()
    finally:
        assert instance.stop() == 0


def send(instance: Instance, name: str, count: int, refusals: list[str] | None = None) -> list[str]:
    """Send *count* messages over one connection, every fourth large; return those that were acknowledged."""
    acknowledged = []
    with Wire(instance.mx_port) as wire:
        wire.say("EHLO load.test")
        for number in range(count):
            identifier = f"<{name.replace(' ', '.')}.{number}@disk.test>"
            reply = deliver(wire, identifier, LARGE if number % 4 == 3 else 500)
            if reply.startswith("250"):
                acknowledged.append(identifier)
            elif refusals is not None:
                refusals.append(reply)
            if not reply:
                break
    return acknowledged
