"""The flow chart in a text browser: three questions, four exits (S-97 to S-101), without picture, color or script."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.browser.conftest import Portal
from tests.interop.programs import need


def dump(url: str) -> tuple[str, dict[str, str]]:
    """Return what w3m shows of a page, and where each of its numbered links leads."""
    command = [need("w3m"), "-dump", "-cols", "100", "-o", "display_link_number=1", "-O", "UTF-8", url]
    shown = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20).stdout
    text, _, references = shown.rpartition("References:")
    return text, dict(re.findall(r"^\[(\d+)\] (\S+)$", references, re.MULTILINE))


def follow(shown: tuple[str, dict[str, str]], words: str) -> tuple[str, dict[str, str]]:
    """Follow the link that is called *words*."""
    text, links = shown
    number = re.search(rf"\[(\d+)\]\s*{re.escape(words)}", text)
    assert number is not None, f"no link {words!r} in:\n{text}"
    return dump(links[number[1]])


@pytest.mark.parametrize(
    ("answers", "end"),
    [
        (("いいえ",), "変更は不要です"),
        (("はい", "いいえ"), "変更をお勧めします"),
        (("はい", "はい", "いいえ"), "変更が必要です"),
        (("はい", "はい", "はい"), "変更が必要です"),
    ],
)
def test_three_questions_are_answered_in_a_text_browser(portal: Portal, answers: tuple[str, ...], end: str) -> None:
    shown = dump(portal.at("/ja/check/b_client.html"))
    assert "メールソフトを使っていますか" in shown[0]
    for answer in answers:
        shown = follow(shown, answer)
    assert end in shown[0]


def test_the_way_from_the_first_page_to_a_guide_is_walked_in_a_text_browser(portal: Portal) -> None:
    shown = dump(portal.at("/en/"))
    assert shown[0].index("Suddenly unable to send mail?") < shown[0].index("Settings")
    shown = follow(shown, "All programs and devices")
    shown = follow(shown, "Becky! 2.8 and later")
    assert "mail.home.test" in shown[0]
    assert "name@home.test" in shown[0]
