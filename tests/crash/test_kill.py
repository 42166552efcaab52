"""The service is killed at random moments, again and again: what it acknowledged is delivered all the same."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.installation import LOCAL, REMOTE, Load, add_people, install, local_deliveries
from tests.interop.certificates import Authority
from tests.interop.instance import Instance
from tests.interop.processes import wait_for
from tests.interop.sink import Sink
from tests.interop.wire import Wire

KILLS = 12

# Outcomes are written within milliseconds, and survive the process from then on; before that a kill means a second
# delivery. The rest is room for a busy machine.
UNRECORDED = 1.0  # seconds


def test_every_acknowledged_message_survives_kills_at_random_moments(
    new_place: Callable[[str], Path], authority: Authority, sink: Sink
) -> None:
    chance = random.Random(20261124)
    instance = install(new_place("kill"), authority, sink)
    submission = add_people(instance)
    instance.start()
    try:
        load = Load(instance, submission)
        kills = kill_again_and_again(instance, chance)
        time.sleep(0.5)
        load.stop()

        everything = set(load.acknowledged)
        assert len(everything) > 20 * KILLS, f"too little load to show anything: {len(everything)}"
        wait_until_delivered(instance, sink, everything)
        assert_duplicates_were_in_flight(instance, sink, kills)
        assert set(arrivals_at(sink)) <= load.sent
        assert set(local_deliveries(instance)) <= load.sent
        assert load.refusals == []
        assert instance.stop() == 0
        assert "Traceback" not in instance.daemon.output()
    finally:
        instance.kill()


def kill_again_and_again(instance: Instance, chance: random.Random) -> list[float]:
    """Kill and start the service `KILLS` times, every fourth time once more while it recovers; return when."""
    kills: list[float] = []
    for number in range(KILLS):
        time.sleep(chance.uniform(0.2, 1.2))
        kills.append(time.time())
        instance.kill()
        if number % 4 == 3:
            spawn_and_kill(instance, chance.uniform(0.05, 0.6))
            kills.append(time.time())
        instance.start()
    return kills


def test_a_killed_worker_is_replaced_and_the_others_sessions_go_on(
    new_place: Callable[[str], Path], authority: Authority, sink: Sink
) -> None:
    instance = install(new_place("worker"), authority, sink)
    submission = add_people(instance)
    instance.start()
    try:
        before = instance.workers()
        assert len(before) == 2
        sessions = sessions_on_each(instance, before)
        load = Load(instance, submission)
        time.sleep(1.0)

        victim = before[0]
        kill = time.time()
        os.kill(victim, signal.SIGKILL)

        for pid, wires in sessions.items():
            for wire in wires:
                reply = wire.say("NOOP") if pid != victim else wire.reply()
                assert reply.startswith("250") is (pid != victim)
                wire.close()
        after = wait_for("a new worker", lambda: two(instance, victim), seconds=15)
        assert before[1] in after
        time.sleep(1.0)
        load.stop()

        wait_until_delivered(instance, sink, set(load.acknowledged))
        assert_duplicates_were_in_flight(instance, sink, [kill])
        assert [event["event"] for event in instance.events(event="worker.died")] == ["worker.died"]
    finally:
        assert instance.stop() == 0


def spawn_and_kill(instance: Instance, seconds: float) -> None:
    try:
        instance.start(seconds=seconds)
    except TimeoutError:
        return  # it was killed on the way up
    instance.kill()


def wait_until_delivered(instance: Instance, sink: Sink, identifiers: set[str]) -> None:
    """Wait until each of *identifiers* is in both places; say which are missing if they do not come."""

    def missing() -> set[str]:
        at_sink = set(arrivals_at(sink))
        if not identifiers <= at_sink:
            return identifiers - at_sink
        return identifiers - set(local_deliveries(instance))

    try:
        wait_for("every acknowledged message", lambda: not missing(), seconds=40)
    except TimeoutError:
        lost = missing()
        raise AssertionError(
            f"{len(lost)} acknowledged messages are not delivered, such as {sorted(lost)[:5]}; "
            f"the queue says: {instance.cli('queue', 'stats').stdout.decode()}"
        ) from None


def arrivals_at(sink: Sink) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for taken in list(sink.taken):
        assert taken.recipient == REMOTE
        found.setdefault(taken.identifier, []).append(taken.at)
    return found


def assert_duplicates_were_in_flight(instance: Instance, sink: Sink, kills: list[float]) -> None:
    """A message may come twice only when a kill fell between its delivery and the record of it."""
    for place, found in ((LOCAL, local_deliveries(instance)), (REMOTE, arrivals_at(sink))):
        for identifier, times in found.items():
            for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False):
                between = [kill for kill in kills if earlier - 0.1 <= kill <= later + 0.1]
                assert between, f"{identifier} came to {place} twice without a kill: {times}"
                assert min(between) - earlier < UNRECORDED, f"{identifier} came again long after its delivery"


def sessions_on_each(instance: Instance, workers: list[int]) -> dict[int, list[Wire]]:
    """Open sessions until each worker has at least two; return them by worker."""
    sessions: dict[int, list[Wire]] = {pid: [] for pid in workers}
    for _ in range(60):
        counts = {pid: sockets(pid) for pid in workers}
        wire = Wire(instance.mx_port)
        (owner,) = [pid for pid in workers if sockets(pid) - counts[pid]] or [0]
        assert owner, "no worker has the connection"
        sessions[owner].append(wire)
        if min(len(wires) for wires in sessions.values()) >= 2:
            return sessions
    raise AssertionError(f"all connections go to one worker: {sessions}")


def sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def two(instance: Instance, dead: int) -> list[int] | None:
    workers = instance.workers()
    return workers if len(workers) == 2 and dead not in workers else None
