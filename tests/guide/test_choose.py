"""The safest way that a version has and the operator offers, or where to move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekisho.accounts import AccountsSettings
from sekisho.guide.card import Card
from sekisho.guide.choose import Choice, choose
from sekisho.guide.facts import catalog
from sekisho.guide.model import CAPABILITIES, TLS_ORDER
from sekisho.server import ListenerSettings

from .samples import card

LENIENT = card(
    accounts=AccountsSettings(cram_md5=True, allow_without_tls=True, allow_cleartext_passwords=True),
    offer=("plain_587", "crammd5_587", "tls_465", "starttls_587"),
)


def chosen(name: str, made: Card) -> Choice:
    return choose(catalog(), made, catalog().versions[name])


def way(name: str, made: Card) -> str | None:
    choice = chosen(name, made)
    return choice.way.capability if choice.way else None


def test_the_first_recommended_way_that_is_open_is_taken() -> None:
    assert way("thunderbird-current", card()) == "starttls_587"
    assert way("thunderbird-current", card(ports={"submissions": 465})) == "tls_465"
    assert way("spark", card()) == "tls_465"


def test_the_order_of_the_offer_is_not_the_order_of_safety() -> None:
    assert way("thunderbird-current", LENIENT) == "starttls_587"
    assert way("becky-2.30", LENIENT) == "starttls_587"


def test_a_program_whose_tls_is_too_old_is_sent_elsewhere() -> None:
    """S-20, S-51: Outlook 2003 speaks TLS 1.0 at best."""
    choice = chosen("outlook-2003", card())
    assert (choice.way, choice.reason, choice.guides) == (None, "tls", ())
    assert [each.id for each in choice.replace_by] == ["outlook-m365", "thunderbird-current"]
    assert way("outlook-2003", replace(card(), minimum_tls="TLS1.0")) == "tls_465"


def test_a_program_without_tls_works_only_where_the_operator_allows_it() -> None:
    """S-22: EdMax."""
    assert chosen("edmax-2", card()).reason == "offer"
    assert way("edmax-2", LENIENT) == "crammd5_587"


def test_a_mechanism_in_common_is_needed() -> None:
    choice = chosen("outlook-2007", card(listener=ListenerSettings(mechanisms=("SCRAM-SHA-256",))))
    assert choice.reason == "mechanism"
    assert choice.replace_by == ()  # those named know SCRAM no better


def test_old_systems_and_unknown_tls_are_warned_of_and_not_refused() -> None:
    assert chosen("outlook-2010", card()).too_old_on == ("Windows XP", "Windows Vista", "Windows 7")
    assert chosen("outlook-new", card()).tls_unknown


def test_a_program_that_takes_no_other_port_needs_the_usual_one() -> None:
    old = replace(card(), minimum_tls="TLS1.0")
    assert way("eudora-7-win", old) == "starttls_587"
    elsewhere = replace(card(ports={"submission": 2587, "submissions": 2465}), minimum_tls="TLS1.0")
    assert way("eudora-7-win", elsewhere) is None


def test_a_profile_is_offered_only_where_there_is_one() -> None:
    assert [each.task for each in chosen("ios-18", card()).guides] == ["change_outgoing", "profile"]
    assert [each.task for each in chosen("ios-18", card(profile_url=None)).guides] == ["change_outgoing"]


@pytest.mark.parametrize("made", [card(), LENIENT, card(minimum_tls="1.3"), card(ports={"submissions": 465})])
def test_no_choice_is_less_safe_than_another_that_was_possible(made: Card) -> None:
    for version in catalog().versions.values():
        choice = choose(catalog(), made, version)
        ranks = [each.capability for each in version.recommended]
        if choice.way is None:
            assert all(choose(catalog(), made, version, each).way is None for each in CAPABILITIES)
            continue
        for better in ranks[: ranks.index(choice.way.capability)]:
            assert choose(catalog(), made, version, better).way is None
        if CAPABILITIES[choice.way.capability].tls != "none" and version.tls in TLS_ORDER:
            assert TLS_ORDER.index(version.tls) >= TLS_ORDER.index(made.minimum_tls)
        assert choice.guides
