"""An instance's configuration on disk, for tests that look at it or start it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import sekisho
from sekisho.supervise.init import Answers, Written, initialize

Initialize = Callable[..., Written]

SOURCE = Path(sekisho.__file__).parent.parent


@pytest.fixture(autouse=True)
def _programs_find_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts import the same sekisho, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def initialized(tmp_path: Path) -> Initialize:
    """Return a function that writes an instance below the test's directory, with further settings."""

    def write(**changes: str) -> Written:
        own = {"service.user": '"root"'} if os.geteuid() == 0 else {}
        given = {key.replace("__", "."): value for key, value in changes.items()}
        answers = Answers(
            tmp_path / "sekisho.toml", "mail.example.test", "example.test", "data", own | given, names=("localhost",)
        )
        return initialize(answers, None)

    return write
