"""The queue against a small model: whatever is done to it in any order, each recipient is where it should be."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.queue.spooling import SETTINGS, Clock, accept, arrival, read, settle

from sekisho.queue import Outcome, Queue, QueuedMessage, QueueId, State

T = TypeVar("T")
OUTCOMES = st.sampled_from([State.DELIVERED, State.FAILED, State.DEFERRED, State.DEFERRED, State.EXPIRED, State.HELD])
OPEN = (State.QUEUED, State.DEFERRED, State.HELD)
WAITING = (State.QUEUED, State.DEFERRED)


@dataclass
class Expected:
    """What the model knows of one recipient."""

    state: State
    due: float
    attempts: int = 0
    verdict: State | None = None


class QueueMachine(RuleBasedStateMachine):
    """Arrivals, attempts, the operator and restarts. The window is tiny, so that most mail waits on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="sekisho-model-"))
        self.clock = Clock()
        self.model: dict[QueueId, list[Expected]] = {}
        self.letters: dict[QueueId, bytes] = {}
        self.out: list[QueuedMessage] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    @initialize()
    def open(self) -> None:
        async def work() -> None:
            self.queue = Queue.open(self.directory, replace(SETTINGS, window=10), number=0, now=self.clock)
            self.queue.listener = self.out.append
            self.queue.start()

        self.run(work())

    @rule(recipients=st.integers(1, 25), hold=st.booleans(), large=st.booleans())
    def arrives(self, recipients: int, hold: bool, large: bool) -> None:
        letter = f"letter {len(self.model)}".encode() * (30_000 if large else 1)
        domains = [f"{n}.example" for n in range(recipients)]
        queue_id = self.run(accept(self.queue, arrival(*domains, clock=self.clock, hold=hold), letter))
        state = State.HELD if hold else State.QUEUED
        self.model[queue_id] = [Expected(state, self.clock.now) for _ in domains]
        self.letters[queue_id] = letter

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def is_tried(self, data: st.DataObject) -> None:
        message = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        assert self.run(read(self.queue, message)) == self.letters[message.queue_id]

        async def work() -> None:
            results = []
            for recipient in message.recipients:
                expected = self.model[message.queue_id][recipient.number]
                assert expected.state in WAITING
                assert expected.attempts == recipient.attempts
                assert recipient.mailbox.domain == f"{recipient.number}.example"
                state = data.draw(OUTCOMES)
                later = self.clock.now + 60
                results.append(Outcome(recipient.number, state, "words", "mx", self.clock.now, later))
                expected.attempts += state in (State.DELIVERED, State.FAILED, State.DEFERRED)
                expected.state, expected.due = state, later
                if expected.verdict is not None and state in OPEN:
                    expected.state = expected.verdict
                    expected.attempts -= state is State.DEFERRED and expected.verdict not in WAITING
                expected.verdict = None
            self.queue.record(message, results)
            self.queue.done_with(message)

        self.run(work())

    def _under_way(self) -> set[tuple[QueueId, int]]:
        return {(message.queue_id, recipient.number) for message in self.out for recipient in message.recipients}

    @precondition(lambda self: self.model)
    @rule(data=st.data(), verb=st.sampled_from(["hold", "release", "retry", "delete"]))
    def is_told(self, data: st.DataObject, verb: str) -> None:
        queue_id = data.draw(st.sampled_from(sorted(self.model)))
        self.run(self._quiet())
        under_way = self._under_way()
        self.run(getattr(self.queue, verb)([queue_id]))
        decided = {"hold": State.HELD, "delete": State.DELETED}.get(verb)
        for number, expected in enumerate(self.model[queue_id]):
            if (queue_id, number) in under_way:
                if verb != "retry":
                    expected.verdict = decided
            elif verb == "release" and expected.state is State.HELD:
                expected.state = State.DEFERRED if expected.attempts else State.QUEUED
                expected.due = self.clock.now
            elif verb == "retry" and expected.state in WAITING:
                expected.due = self.clock.now
            elif decided is not None and expected.state in OPEN:
                expected.state = decided

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_passes(self, seconds: int) -> None:
        async def work() -> None:
            self.clock.now += seconds
            self.queue.resume()

        self.run(work())

    @rule()
    def restarts(self) -> None:
        self.run(self.queue.close())
        self.out.clear()
        for recipients in self.model.values():
            for expected in recipients:
                expected.verdict = None
        self.open()

    async def _quiet(self) -> None:
        """Let everything that is under way inside the queue come to rest."""
        await settle(self.queue)
        for _ in range(3):
            self.queue._look_again(0.0)
            await asyncio.sleep(0.003)
            while self.queue._scanning:  # noqa: ASYNC110 - a look at the inside, for tests alone
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        if not self.model:
            return
        self.run(self._quiet())
        under_way = [key for message in self.out for key in [(message.queue_id, r.number) for r in message.recipients]]
        assert len(under_way) == len(set(under_way)), "a recipient is offered twice"
        for queue_id, recipients in self.model.items():
            shown = self.run(self.queue.show(queue_id))
            assert shown is not None
            assert [r.state for r in shown.recipients] == [e.state for e in recipients]
            assert [r.attempts for r in shown.recipients] == [e.attempts for e in recipients]
            assert shown.content_kept is any(e.state in OPEN for e in recipients)
        due = {
            (queue_id, number)
            for queue_id, recipients in self.model.items()
            for number, expected in enumerate(recipients)
            if expected.state in WAITING and expected.due <= self.clock.now
        }
        assert set(under_way) <= due | {key for key in under_way if self.model[key[0]][key[1]].state in WAITING}
        if len(due) <= 10 and len(self.out) <= 2:
            assert set(under_way) >= due, "something due is not offered"

    def teardown(self) -> None:
        self.run(self.queue.close())
        self.loop.close()
        shutil.rmtree(self.directory)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
