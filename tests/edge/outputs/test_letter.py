"""Letters: for each verdict its own, in both languages, without what only an engineer knows."""

from __future__ import annotations

import pytest

from sekisho.edge.outputs import letter
from sekisho.edge.watcher import Finding, Verdict, VerdictKind

EVIDENCE = (Finding("attempts_per_hour", 42), Finding("backing_off", 3), Finding("same_destinations", "198.51.100.9"))
LINK = "https://mail.example.jp/c/7F3K-Q2XM"


def verdict(kind: VerdictKind) -> Verdict:
    return Verdict("192.0.2.7", "ftth", kind, 1e9, EVIDENCE)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_each_verdict_has_its_letter_with_what_was_seen_and_a_link(language: str) -> None:
    letters = set()
    for kind in (VerdictKind.MISCONFIGURED_CLIENT, VerdictKind.MAIL_SERVER, VerdictKind.WORM_LIKE):
        written = letter(verdict(kind), language, operator="Example\r\nBcc: x@example.jp", link=LINK)
        assert written is not None
        assert "\n" not in written.subject
        assert "192.0.2.7" in written.text
        assert LINK in written.text
        assert "42" in written.text
        assert "back" not in written.text.partition(LINK)[2]
        letters.add(written.subject)
    assert len(letters) == 3


def test_nobody_writes_to_a_quiet_line() -> None:
    assert letter(verdict(VerdictKind.QUIET), "ja", operator="Example", link=LINK) is None
