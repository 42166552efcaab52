"""The policies of the blocking day: what the operator writes into the file, as text for `sekisho edge`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from .topology import BY_NAME, OWN_SPACE

PREFIXES: Mapping[str, tuple[str, str]] = {
    "home": ("198.51.100.64/26", "2001:db8:100::/40"),
    "mobile": ("100.64.7.0/24", "2001:db8:200::/40"),
    "business": ("198.51.100.128/26", "2001:db8:300::/40"),
    "campus": ("192.0.2.0/25", "2001:db8:400::/40"),
}
"""The access networks, with the addresses of their lines."""

FIXED = "business"
ACTIONS = {"campus": "reject"}
EXPLAINER_PORT = 2525
NOTICE = "https://www.isp.example/notice/port-25"
REASON_JA = "迷惑メール対策のため、25番ポートは使えません。メールの設定を587番または465番に変更してください。"
REASON_EN = "To stop spam, port 25 is closed. Please set your mail program to port 587 or 465."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far the roll-out has come.

    Fields:
        phases: phase of each access network; ``off`` for those not named.
        announced: networks whose users were told, yesterday.
        waves: network, phase, and in how many days that comes.
    """

    phases: Mapping[str, str] = field(default_factory=dict)
    announced: tuple[str, ...] = ()
    waves: tuple[tuple[str, str, int], ...] = ()

    def text(self, today: date, *, others: int = 0) -> str:
        """Return the policy file, with some *others* exempt besides the campus's server, so that it differs."""
        parts = [_head(), *(self._network(name) for name in PREFIXES), _exempt(others)]
        for number, (network, phase, days) in enumerate(self.waves, 1):
            facts = {"name": f"wave {number}", "networks": [network], "phase": phase, "on": str(_day(today, days))}
            parts.append(_table("[[waves]]", facts))
        if self.announced:
            facts = {"networks": list(self.announced), "on": str(_day(today, -1)), "text": NOTICE}
            parts.append(_table("[[announcements]]", facts))
        return "\n".join(parts)

    def _network(self, name: str) -> str:
        facts: dict[str, object] = {
            "product": name,
            "interfaces": [f"{name}-*"],
            "prefixes": list(PREFIXES[name]),
            "line": "fixed" if name == FIXED else "dynamic",
            "phase": self.phases.get(name, "off"),
            "action": ACTIONS.get(name, "drop"),
        }
        return _table(f"[networks.{name}]", facts)


def _head() -> str:
    mail = BY_NAME["mail"]
    explainer = {"ipv4": f":{EXPLAINER_PORT}", "ipv6": f":{EXPLAINER_PORT}"}
    return "\n".join(
        [
            _table("", {"version": 1, "name": "rehearsal", "management": ["198.51.100.32/28"], "own_space": OWN_SPACE}),
            _table("[servers.mail]", {"prefixes": [mail.four, mail.six]}),
            _table("[explainer]", explainer),
            _table("[reasons]", {"ja": REASON_JA, "en": REASON_EN}),
        ]
    )


def _exempt(others: int) -> str:
    faculty = BY_NAME["faculty"]
    prefixes = [faculty.four, faculty.prefix[0], *(f"192.0.2.{64 + number % 60}" for number in range(others))]
    facts = {"owner": "campus network office", "reason": "registered mail server"}
    return "\n".join(_table("[[exemptions]]", {"prefix": prefix, **facts}) for prefix in prefixes)


def _table(header: str, facts: Mapping[str, object]) -> str:
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    return "\n".join([*([header] if header else []), *lines, ""])


def _day(today: date, days: int) -> date:
    return today + timedelta(days)
