"""Whole client sessions as octets, named after what they show, with the expectation beside them in `smtp.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.smtp.dialogue import OPEN, converse

from sekisho.smtp import MailFrom

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = tomllib.loads((HERE / "smtp.toml").read_text(encoding="utf-8"))


def test_every_session_has_an_expectation() -> None:
    assert {path.stem for path in (HERE / "smtp").glob("*.smtp")} == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_session_comes_to_what_is_written_beside_it(name: str) -> None:
    """RFC 5321 §2.3.8, §4.1.1.4, §4.5.2; RFC 3030 §2; RFC 3207 §6."""
    case = CASES[name]
    octets = (HERE / "smtp" / f"{name}.smtp").read_bytes()
    profile = replace(OPEN, offer_starttls=True)
    tls = case.get("tls", True)
    for pieces in ([octets], [bytes([octet]) for octet in octets] if tls else [octets]):
        transcript = converse(pieces, profile, tls=tls)
        assert transcript.codes == case["codes"], case["why"]
        assert len(transcript.kept) == case["messages"]
        assert b"".join(transcript.kept).decode() == case.get("content", "")
        assert len(transcript.asked(MailFrom)) <= 1
        assert "ceo" not in repr(transcript.asked(MailFrom))
