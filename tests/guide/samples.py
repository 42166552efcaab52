"""A settings card for the tests, every value unlike any other, and directories of facts to break."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import sekisho.guide
from sekisho.accounts import AccountsSettings
from sekisho.config import Endpoint
from sekisho.guide.card import Card, make_card
from sekisho.guide.settings import GuideSettings
from sekisho.server import ListenerSettings

FACTS = Path(sekisho.guide.__file__).parent / "catalog"
PORTS = {"submission": 587, "submissions": 465}

SETTINGS = GuideSettings(
    name_ja="城北情報センター",
    name_en="Johoku Center",
    contact_ja="内線いちにさん",
    contact_en="extension onetwothree",
    hours_ja="平日のひる",
    hours_en="weekdays at noon",
    url="https://published.invalid/guide",
    webmail_url="https://webmail.invalid/",
    vpn_url="https://vpn.invalid/",
    password_url="https://password.invalid/",
    accounts_renewed="2026-04-01",
    profile_url="https://profile.invalid/x.mobileconfig",
)


def card(
    settings: GuideSettings = SETTINGS,
    *,
    hostname: str = "smtp.johoku.invalid",
    ports: dict[str, int] | None = None,
    accounts: AccountsSettings | None = None,
    listener: ListenerSettings | None = None,
    minimum_tls: str = "1.2",
    domains: tuple[str, ...] = ("johoku.invalid",),
    **changes: object,
) -> Card:
    """Make a card; *changes* are of the settings."""
    listeners = {kind: (Endpoint("", port), listener or ListenerSettings()) for kind, port in (ports or PORTS).items()}
    return make_card(
        replace(settings, **changes),  # type: ignore[arg-type]
        hostname=hostname,
        listeners=listeners,
        usual_ports=PORTS,
        accounts=accounts or AccountsSettings(),
        minimum_tls=minimum_tls,
        domains=domains,
    )


def broken_facts(directory: Path, file: str, old: str, new: str) -> Path:
    """Copy the facts, with the first *old* in *file* made *new*."""
    shutil.copytree(FACTS, directory, dirs_exist_ok=True)
    text = (directory / file).read_text("utf-8")
    assert old in text, f"{file} has no {old!r}"
    (directory / file).write_text(text.replace(old, new, 1), "utf-8")
    return directory
