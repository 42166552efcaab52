"""The application as a whole: the way in, and what goes wrong."""

from __future__ import annotations

import pytest
from tests.portal.conftest import MakeParts, get


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "ja"),
        ("en-US,en;q=0.9", "en"),
        ("ja,en;q=0.5", "ja"),
        ("en;q=0.3, ja;q=0.8", "ja"),
        ("de,fr;q=0.9", "en"),
        ("de, ja;q=0.1", "ja"),
        ("en;q=nonsense", "en"),
        (";;;,,,=", "en"),
    ],
)
def test_the_front_door_leads_to_the_readers_language(make_parts: MakeParts, header: str, language: str) -> None:
    answer = get(make_parts(), "/", headers={"accept-language": header})
    assert answer.status_code == 302
    assert answer.headers["location"] == f"/{language}/"
