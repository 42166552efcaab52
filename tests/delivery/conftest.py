"""Event loops for the courier's tests."""

from __future__ import annotations

import pytest
from tests.delivery.doubles import LOOPS, Stage


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what `play` runs under each event loop in turn."""
    monkeypatch.setattr(Stage, "new_loop", request.param)
