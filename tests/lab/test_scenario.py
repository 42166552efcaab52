"""The day asks for what the issue promises, of actors and servers that exist, for both families."""

from __future__ import annotations

import inspect

import pytest

from sekisho.lab.actor import KINDS
from sekisho.lab.gatekeeper import MEASUREMENTS
from sekisho.lab.scenario import DAY, Expectation, Step
from sekisho.lab.topology import BY_NAME

EXPECTATIONS = [(step, expectation) for step in DAY for expectation in (*step.meanwhile, *step.acts)]


@pytest.mark.parametrize(("step", "expectation"), EXPECTATIONS)
def test_each_act_is_one_that_the_actor_can_do(step: Step, expectation: Expectation) -> None:
    for family in expectation.families:
        task = expectation.act.task(family, "token", "secret")
        inspect.signature(KINDS[str(task.pop("kind"))]).bind(**task)
    assert expectation.actor in BY_NAME


@pytest.mark.parametrize(("step", "expectation"), EXPECTATIONS)
def test_what_must_arrive_is_a_message_that_works(step: Step, expectation: Expectation) -> None:
    if expectation.wanted.arrives:
        assert expectation.act.kind == "submit"
        assert expectation.wanted.outcomes == ("works",)


def test_every_measurement_exists() -> None:
    names = {measurement.name for step in DAY for measurement in (*step.before, *step.after)}
    assert names == set(MEASUREMENTS)


def test_ipv6_is_asked_for_whatever_is_asked_for_ipv4() -> None:
    lonely = [expectation.words for _, expectation in EXPECTATIONS if expectation.families != (4, 6)]
    assert set(lonely) == {"office: its own server delivers to somebody else's MX"}


@pytest.mark.parametrize("port", [25, 465, 587])
def test_the_way_through_is_tried_in_each_of_the_first_four_phases(port: int) -> None:
    for step in DAY[:4]:
        assert any(
            expectation.act.target == "mail" and expectation.act.port == port and expectation.wanted.arrives == "mx"
            for expectation in step.acts
        ), step.name


def test_the_families_of_one_task_are_those_of_its_addresses() -> None:
    act = next(expectation.act for _, expectation in EXPECTATIONS if expectation.act.kind == "forge")
    four, six = act.task(4, "", ""), act.task(6, "", "")
    assert "." in str(four["address"])
    assert "." in str(four["source"])
    assert ":" in str(six["address"])
    assert ":" in str(six["source"])
