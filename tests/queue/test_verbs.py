"""The operator's verbs, on mail that waits and on mail that is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.queue.spooling import (
    START,
    Clock,
    Listener,
    accept,
    addresses,
    arrival,
    finish,
    opened,
    outcomes,
    run,
    settle,
)

from sekisho.queue import State


def test_held_mail_stays_and_released_mail_goes(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            queue_id = await accept(queue, arrival("a.example", "b.example"))
            [message] = await listener.take()
            finish(queue, message, State.DEFERRED, next_attempt=START + 60, reply="451 later")
            await settle(queue)
            clock.now += 1
            assert await queue.hold([queue_id]) == {queue_id: 2}
            assert await queue.hold([queue_id]) == {queue_id: 0}
            clock.now += 3600
            queue.resume()
            await asyncio.sleep(0.05)
            assert listener.messages == []
            assert await queue.release([queue_id.lower()]) == {queue_id: 2}
            [message] = await listener.take()
            assert [r.attempts for r in message.recipients] == [1, 1]
            shown = await queue.show(queue_id)
            assert shown is not None
            assert [(e.state, e.reply) for e in shown.recipients[0].events] == [
                (State.DEFERRED, "451 later"),
                (State.HELD, "held by the operator"),
                (State.QUEUED, "released by the operator"),
            ]
            assert shown.recipients[0].state is State.DEFERRED

    run(main())


def test_retry_makes_deferred_mail_due_and_leaves_held_mail_alone(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            held = await accept(queue, arrival(hold=True))
            deferred = await accept(queue)
            finish(queue, (await listener.take())[0], State.DEFERRED, next_attempt=START + 9999)
            await settle(queue)
            clock.now += 5
            assert await queue.retry([held, deferred, "no id", "ZZZZZZZZZZ"]) == {held: 0, deferred: 1}
            [message] = await listener.take()
            assert message.queue_id == deferred

    run(main())


@pytest.mark.parametrize("size", [100, 300_000])
def test_deleted_mail_is_gone_but_its_history_tells(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            queue_id = await accept(queue, arrival(hold=True), b"x" * size)
            assert await queue.delete([queue_id]) == {queue_id: 1}
            assert (await queue.stats()).messages == 0
            shown = await queue.show(queue_id)
            assert shown is not None
            assert not shown.content_kept
            assert [e.state for e in shown.recipients[0].events] == [State.DELETED]
            assert await queue.release([queue_id]) == {queue_id: 0}
        assert list((tmp_path / "0" / "content").iterdir()) == []

    run(main())


@pytest.mark.parametrize(
    ("verb", "outcome", "becomes"),
    [
        ("hold", State.DEFERRED, State.HELD),
        ("hold", State.DELIVERED, State.DELIVERED),
        ("delete", State.DEFERRED, State.DELETED),
        ("delete", State.FAILED, State.FAILED),
    ],
)
def test_a_verb_on_mail_under_way_takes_effect_when_the_attempt_ends(
    tmp_path: Path, verb: str, outcome: State, becomes: State
) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue)
            [message] = await listener.take()
            assert await getattr(queue, verb)([queue_id]) == {queue_id: 1}
            finish(queue, message, outcome, next_attempt=START + 1)
            await settle(queue)
            shown = await queue.show(queue_id)
            assert shown is not None
            assert shown.recipients[0].state is becomes
            assert shown.content_kept is (becomes is State.HELD)

    run(main())


def test_a_verb_sees_outcomes_recorded_just_before_it(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue, arrival("a.example", "b.example"))
            [message] = await listener.take()
            finish(queue, message, State.DEFERRED, next_attempt=START + 300)
            assert await queue.hold([queue_id]) == {queue_id: 2}
            await settle(queue)
            assert (await queue.stats()).recipients == {State.HELD: 2}

    run(main())


def test_a_message_held_while_under_way_is_held_when_delivery_returns_it_untried(tmp_path: Path) -> None:
    async def main() -> None:
        listener = Listener()
        async with opened(tmp_path, listener=listener) as queue:
            queue_id = await accept(queue)
            [message] = await listener.take()
            await queue.hold([queue_id])
            queue.done_with(message)
            await settle(queue)
            assert (await queue.stats()).recipients == {State.HELD: 1}

    run(main())


def test_a_verb_over_many_recipients_works_in_bounded_steps(tmp_path: Path) -> None:
    async def main() -> None:
        clock, listener = Clock(), Listener()
        async with opened(tmp_path, clock, listener=listener) as queue:
            big = await accept(queue, arrival(*["a.example"] * 2500, hold=True))
            exact = await accept(queue, arrival(*["a.example"] * 1000, hold=True))
            legs: list[str] = []
            queue._commits.leg = legs.append
            assert await queue.release([big, exact]) == {big: 2500, exact: 1000}
            assert legs.count("committed") >= 4
            taken = 0
            while taken < 3500:
                for message in await listener.take():
                    taken += len(addresses(message))
                    queue.record(message, outcomes(message, State.DELIVERED))
                    queue.done_with(message)
            await settle(queue)
            assert (await queue.stats()).messages == 0

    run(main())
