"""What client programs call themselves, and which of them can still send."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.guide.samples import card

from sekisho.guide.agents import Prospect, known_agents, prospect, read_agents
from sekisho.guide.errors import CatalogError
from sekisho.guide.facts import catalog


@pytest.mark.parametrize(
    ("agent", "versions"),
    [
        ("Mozilla Thunderbird 1.0.6 (Windows/20050716)", ["thunderbird-1.0"]),
        ("Thunderbird 1.5.0.9 (Windows/20061207)", ["thunderbird-1.5"]),
        ("Thunderbird 2.0.0.24 (Windows/20100228)", ["thunderbird-2.0"]),
        (
            "Mozilla/5.0 (Windows; U; Windows NT 5.1; ja; rv:1.9.2.13) Gecko/20101207 Thunderbird/3.1.7",
            ["thunderbird-3.0"],
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Thunderbird/60.9.0", ["thunderbird-38-68"]),
        ("Mozilla Thunderbird", ["thunderbird-current"]),
        ("Microsoft Outlook Express 5.50.4807.1700", ["oe-5.5"]),
        ("Microsoft Outlook Express 5.00.2919.6600", []),
        ("Microsoft Outlook, Build 10.0.4510", ["outlook-2002"]),
        ("Microsoft Outlook IMO, Build 9.0.2416 (9.0.2911.0)", ["outlook-2000"]),
        ("Microsoft Office Outlook, Build 11.0.5510", ["outlook-2003"]),
        ("Microsoft Office Outlook 12.0", ["outlook-2007"]),
        ("Microsoft Outlook 14.0", ["outlook-2010"]),
        ("Microsoft-MacOutlook/10.1f.0.191110", ["outlook-mac-2016"]),
        ("Microsoft-MacOutlook/14.3.9.131030", ["outlook-mac-2011"]),
        ("Apple Mail (2.753.1)", ["apple-mail-10.4"]),
        ("Apple Mail (2.1085)", ["apple-mail-10.6"]),
        ("Apple Mail (2.2104)", ["apple-mail-10.10"]),
        ("Apple Mail (2.3445.104.11)", ["apple-mail-10.12"]),
        ("iPhone Mail (23C54)", ["ios-18"]),
        ("iPad Mail (14G60)", ["ios-6-10"]),
        ("Becky! ver. 2.27 [ja]", ["becky-2.05"]),
        ("Becky! ver. 2.75.04 [ja]", ["becky-2.30"]),
        ("Becky! ver 1.26.09", []),
        ("TuruKame 3.55", []),
        ("Opera Mail/12.16 (Linux)", ["opera-9-12"]),
        ("QUALCOMM Windows Eudora Version 7.1.0.9", ["eudora-7-win"]),
        ("NeoMutt/20170113 (1.7.2)", ["neomutt"]),
        ("Mutt/1.4i", None),
    ],
)
def test_clients_are_known_by_what_they_call_themselves(agent: str, versions: list[str] | None) -> None:
    found = known_agents().recognize(agent)
    assert (None if found is None else [version.id for version in found.versions]) == versions


@pytest.mark.parametrize("agent", ["", "x", "Thunderbird", "Microsoft", "Mozilla/5.0", "()" * 100, "\x00"])
def test_what_says_nothing_is_not_guessed(agent: str) -> None:
    assert known_agents().recognize(agent) is None


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading(agent: str) -> None:
    found = known_agents().recognize(agent)
    assert found is None or found.family in catalog().families


def test_whether_a_client_can_go_on_sending_follows_from_the_card() -> None:
    agents, facts = known_agents(), catalog()

    def told(agent: str, minimum: str = "TLS1.2") -> Prospect:
        return prospect(agents.recognize(agent), facts, dataclasses.replace(card(), minimum_tls=minimum))

    assert told("Mozilla Thunderbird") is Prospect.FINE
    assert told("Microsoft Outlook Express 6.00.2900.5931") is Prospect.RETIRED
    assert told("Thunderbird 2.0.0.24 (Windows/20100228)") is Prospect.RETIRED
    assert told("Thunderbird 2.0.0.24 (Windows/20100228)", "TLS1.0") is Prospect.FINE
    assert told("Becky! ver 1.26.09") is Prospect.OLDER
    assert told("something else") is Prospect.UNKNOWN
    assert told("Microsoft Outlook 16.0") is Prospect.FINE


GOOD: Mapping[str, object] = {
    "family": "becky",
    "pattern": r"^Becky! (\d+)",
    "versions": [{"below": "2", "is": ["becky-2.05"]}, {"is": ["becky-current"]}],
    "example": "Becky! 3",
    "example_is": ["becky-current"],
    "confidence": "documented",
    "source": "a letter",
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"family": "nobody"}, "family"),
        ({"pattern": "("}, "pattern"),
        ({"pattern": "^Becky!"}, "finds no version"),
        ({"versions": [{"is": ["oe-6"]}]}, "versions 1: is:"),
        ({"versions": [{"below": "2", "is": []}]}, "a last one without"),
        ({"versions": [{"below": "3", "is": []}, {"below": "2", "is": []}, {"is": []}]}, "rising"),
        ({"example": "Becky! 1"}, "is read as"),
        ({"example_is": []}, "is read as"),
        ({"source": ""}, "source"),
        ({"confidence": "certain"}, "confidence"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_row_is_told_with_its_place(change: dict[str, object], problem: str) -> None:
    read_agents({"schema": 1, "agent": [dict(GOOD)]}, catalog())
    with pytest.raises(CatalogError, match=r"agents\.toml") as caught:
        read_agents({"schema": 1, "agent": [{**GOOD, **change}]}, catalog())
    assert problem in str(caught.value)


def test_an_earlier_row_must_not_take_what_a_later_one_is_for() -> None:
    early = {**GOOD, "pattern": "Becky", "versions": [{"is": ["becky-2.05"]}], "example_is": ["becky-2.05"]}
    with pytest.raises(CatalogError, match="agent 2"):
        read_agents({"schema": 1, "agent": [early, dict(GOOD)]}, catalog())
