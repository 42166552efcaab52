"""What stands near a guide, and how it is known that it works."""

from __future__ import annotations

from pathlib import Path

from sekisho.guide.choose import choose
from sekisho.guide.confirm import REAL, confirmed
from sekisho.guide.facts import catalog
from sekisho.guide.related import related, symptom_of

from .samples import card

INTEROP = Path(__file__).parents[1] / "interop"


def test_related_programs_run_on_the_same_system_and_are_other_programs() -> None:
    """S-80."""
    facts = catalog()
    for version in facts.versions.values():
        found = related(facts, version)
        assert len(found) <= 6
        assert len({facts.family_of[each.id].id for each in found} - {facts.family_of[version.id].id}) == len(found)
        assert all(set(each.platforms) & set(version.platforms) for each in found)
    assert "becky-current" in [each.id for each in related(facts, facts.versions["oe-6"])]


def test_every_situation_of_an_error_has_its_problem_page() -> None:
    facts = catalog()
    situations = {error.situation for family in facts.families for error in family.errors}
    for situation in situations:
        assert symptom_of(situation) in facts.selfcheck.symptoms, situation


def test_programs_said_to_be_tested_are_tested() -> None:
    """S-103: the list of real programs is held to the tests that drive them."""
    tests = (INTEROP / "test_clients.py").read_text("utf-8")
    for version, program in REAL.items():
        assert version in catalog().versions
        assert f"clients.{program}," in tests or f"{program}(" in tests, program


def test_what_cannot_send_is_not_said_to_be_confirmed() -> None:
    facts, made = catalog(), card()
    for version in facts.versions.values():
        choice = choose(facts, made, version)
        assert (confirmed(choice) is None) == (choice.way is None)
