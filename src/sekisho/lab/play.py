"""Playing the day: carries out the steps of a scenario in a lab that is up, and writes the scorecard."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from .actors import Arrivals, perform
from .errors import LabError
from .gatekeeper import Gatekeeper
from .lab import Lab
from .scenario import Expectation, Measurement, Step
from .scorecard import Line, Observation, Scorecard, judge

Tell = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation for one family, with the token by which its message is found."""

    expectation: Expectation
    family: int
    token: str

    @property
    def words(self) -> str:
        """What the scorecard calls it."""
        expectation = self.expectation
        return f"{expectation.words}, IPv{self.family}" if len(expectation.families) > 1 else expectation.words


class Play:
    """One performance in *lab*; *tell* is called with each line as soon as it is judged."""

    def __init__(self, lab: Lab, tell: Tell) -> None:
        self._lab = lab
        self._tell = tell
        self._lines: list[Line] = []
        self._arrivals = Arrivals(lab)
        self._gatekeeper = Gatekeeper(lab)

    def run(self, day: Sequence[Step]) -> Scorecard:
        """Play *day* from its first step to its last, whatever fails on the way."""
        started = time.monotonic()
        try:
            for step in day:
                self._play(step)
        finally:
            self._gatekeeper.leave()
        return Scorecard(tuple(self._lines), time.monotonic() - started)

    def _play(self, step: Step) -> None:
        for measurement in step.before:
            self._measure(step, measurement)
        self._gatekeeper.begin_step()
        with ThreadPoolExecutor(32) as pool:
            meanwhile = self._begin(pool, step.meanwhile)
            self._judge(step, self._begin(pool, step.acts))
            for measurement in step.after:
                self._measure(step, measurement)
            self._judge(step, meanwhile)

    def _begin(
        self, pool: ThreadPoolExecutor, expectations: Sequence[Expectation]
    ) -> list[tuple[list[Case], Future[list[Observation]]]]:
        """Let each actor begin with all that it is to do."""
        per_actor: dict[str, list[Case]] = {}
        for expectation in expectations:
            for family in expectation.families:
                case = Case(expectation, family, f"lab-{secrets.token_hex(8)}")
                per_actor.setdefault(expectation.actor, []).append(case)
        return [(cases, pool.submit(self._perform, actor, cases)) for actor, cases in per_actor.items()]

    def _perform(self, actor: str, cases: Sequence[Case]) -> list[Observation]:
        tasks = []
        for case in cases:
            act = case.expectation.act
            tasks.append(act.task(case.family, case.token, self._lab.password(act.login) if act.login else ""))
        return perform(self._lab, actor, tasks)

    def _judge(self, step: Step, begun: Sequence[tuple[list[Case], Future[list[Observation]]]]) -> None:
        seen = [pair for cases, future in begun for pair in zip(cases, future.result(), strict=True)]
        followed = [
            (case.expectation.wanted.arrives, case.token)
            for case, observation in seen
            if case.expectation.wanted.arrives and observation.outcome == "works"
        ]
        arrived = self._arrivals.wait(followed)
        for case, observation in seen:
            complete = replace(observation, arrived=arrived.get(case.token))
            self._add(judge(step.name, case.words, case.expectation.wanted, complete))

    def _measure(self, step: Step, measurement: Measurement) -> None:
        started = time.monotonic()
        try:
            observation = self._gatekeeper.measure(measurement.name, measurement.arguments)
        except LabError as error:
            observation = Observation("failed", str(error).replace("\n", "; "), time.monotonic() - started)
        self._add(judge(step.name, measurement.words, measurement.wanted, observation))

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._tell(line)
